//! The user's terminal: raw mode that is undone on every way out, and its size.
//!
//! A [`RawMode`] puts the terminal back when it is dropped. A panic does not drop anything in a
//! build that aborts, so the settings to restore also stand in one static that the panic hook
//! reads. Signals are the foreground loop's matter: it drops the guard before it ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// What the panic hook puts back.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

#[derive(Debug)]
struct Saved {
    terminal: OwnedFd,
    settings: Termios,
}

/// Whether `stream` is a terminal.
pub fn is_terminal(stream: impl AsFd) -> bool {
    isatty(stream)
}

/// Rows and columns of the terminal behind `stream`, if it is one and knows them.
pub fn size(stream: impl AsFd) -> Option<(u16, u16)> {
    let size = tcgetwinsize(stream).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The terminal in raw mode, until this is dropped.
#[derive(Debug)]
#[must_use = "the terminal leaves raw mode when this is dropped"]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal behind `stream` into raw mode.
    pub fn enter(stream: BorrowedFd<'_>) -> io::Result<Self> {
        let settings = tcgetattr(stream)?;
        let terminal = stream.try_clone_to_owned()?;
        let mut raw = settings.clone();
        raw.make_raw();
        install_panic_hook();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Saved { terminal, settings });
        tcsetattr(stream, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back if it is in raw mode. There is nobody left to tell when that fails:
/// the terminal is gone then.
fn restore() {
    if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _gone = tcsetattr(&saved.terminal, OptionalActions::Drain, &saved.settings);
    }
}

fn install_panic_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            previous(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcsetwinsize};

    fn terminal() -> (OwnedFd, std::fs::File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        (master, std::fs::File::options().read(true).write(true).open(name).unwrap())
    }

    fn canonical(terminal: &std::fs::File) -> bool {
        tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    #[test]
    fn raw_mode_ends_with_its_guard_and_with_a_panic() {
        let (_master, terminal) = terminal();
        assert!(canonical(&terminal));
        let raw = RawMode::enter(terminal.as_fd()).unwrap();
        assert!(!canonical(&terminal));
        drop(raw);
        assert!(canonical(&terminal));

        let raw = RawMode::enter(terminal.as_fd()).unwrap();
        // A thread's panic runs the hook without dropping the guard here.
        std::thread::spawn(|| panic!("expected by this test")).join().unwrap_err();
        assert!(canonical(&terminal));
        drop(raw);
        assert!(canonical(&terminal));
    }

    #[test]
    fn size_is_known_for_terminals_that_have_one() {
        let (_master, terminal) = terminal();
        assert_eq!(size(&terminal), None);
        let window = Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, window).unwrap();
        assert_eq!(size(&terminal), Some((33, 101)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(size(&file), None);
        assert!(!is_terminal(&file));
        assert!(is_terminal(&terminal));
    }
}
