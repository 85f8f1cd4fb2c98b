//! Waiting for a process in the foreground: signals go on to it, its exit code comes back, and
//! between its terminal and ours everything is copied.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use berth_runtime::process::{self, Ended, SignalReader};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::log::Fault;

/// Makes orphans of the container this process' children, so that they are waited for.
pub(crate) fn become_subreaper() -> Result<(), Fault> {
    process::become_subreaper().map_err(|error| Fault::io("become a sub-reaper", &error))
}

/// What is needed to wait. Made before the process, so that no signal is missed.
pub(crate) struct Foreground {
    signals: SignalReader,
}

impl Foreground {
    /// Holds signals back.
    pub(crate) fn new() -> Result<Self, Fault> {
        let signals = SignalReader::new().map_err(|error| Fault::io("wait for signals", &error))?;
        Ok(Self { signals })
    }

    /// Waits for the process' end and gives its exit code; `master` is its terminal's.
    pub(crate) fn wait(
        self,
        pid: i32,
        pidfd: &OwnedFd,
        master: Option<OwnedFd>,
    ) -> Result<ExitCode, Fault> {
        let failed = |errno: Errno| Fault::io("wait for the container's process", &errno.into());
        let mut terminal = master.map(Terminal::new).transpose()?;
        let mut status = None;
        loop {
            let (ended, signalled) = match &mut terminal {
                None => {
                    let mut polled = [
                        PollFd::new(pidfd, PollFlags::IN),
                        PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
                    ];
                    rustix::io::retry_on_intr(|| poll(&mut polled, None)).map_err(failed)?;
                    (!polled[0].revents().is_empty(), !polled[1].revents().is_empty())
                }
                Some(terminal) => terminal.turn(pidfd, self.signals.as_fd()).map_err(failed)?,
            };
            if signalled {
                status = status.or(self.pass_on(pid, pidfd, terminal.as_ref()));
            }
            if ended {
                if let Some(terminal) = &mut terminal {
                    terminal.drain();
                }
                break;
            }
        }
        drop(terminal);
        let status = match status {
            Some(status) => status,
            None => process::wait(pidfd)
                .map_err(|error| Fault::io("wait for the container's process", &error))?,
        };
        Ok(match status {
            Ended::Exited(code) => ExitCode::from(code as u8),
            Ended::Killed(signal) => ExitCode::from((128 + signal) as u8),
        })
    }

    /// Passes signals on; tells how the process ended if it turned up among the orphans.
    fn pass_on(&self, pid: i32, pidfd: &OwnedFd, terminal: Option<&Terminal>) -> Option<Ended> {
        let mut status = None;
        while let Some(signal) = self.signals.next() {
            match (signal, terminal) {
                (libc::SIGCHLD, _) => status = status.or(process::reap_children(pid)),
                (libc::SIGWINCH, Some(terminal)) => terminal.resize(),
                (signal, _) => process::send_signal(pidfd, signal),
            }
        }
        status
    }
}

/// Our terminal, in raw mode, and the container's.
struct Terminal {
    master: OwnedFd,
    /// How ours was before.
    saved: Option<Termios>,
    input: bool,
    output: bool,
}

impl Terminal {
    fn new(master: OwnedFd) -> Result<Self, Fault> {
        let failed = |error: io::Error| Fault::io("take over the terminal", &error);
        let stdin = rustix::stdio::stdin();
        let saved = if isatty(stdin) {
            let saved = tcgetattr(stdin).map_err(|errno| failed(errno.into()))?;
            let mut raw = saved.clone();
            raw.make_raw();
            tcsetattr(stdin, OptionalActions::Now, &raw).map_err(|errno| failed(errno.into()))?;
            Some(saved)
        } else {
            None
        };
        let terminal = Self { master, saved, input: true, output: true };
        terminal.resize();
        Ok(terminal)
    }

    /// Takes over the size of ours.
    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            // A master whose slave is gone needs no size.
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Waits for something to happen and copies: whether the process ended, and whether there are
    /// signals.
    fn turn(&mut self, pidfd: &OwnedFd, signals: BorrowedFd<'_>) -> Result<(bool, bool), Errno> {
        let stdin = rustix::stdio::stdin();
        let wanted = |wanted: bool| if wanted { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = vec![
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals, PollFlags::IN),
        ];
        if self.output {
            polled.push(PollFd::new(&self.master, wanted(true)));
        }
        if self.input {
            polled.push(PollFd::from_borrowed_fd(stdin, wanted(true)));
        }
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let ready = |at: usize| polled.get(at).is_some_and(|p| !p.revents().is_empty());
        let (ended, signalled) = (ready(0), ready(1));
        let (output, input) =
            (self.output && ready(2), self.input && ready(2 + usize::from(self.output)));
        drop(polled);
        if output && !copy(self.master.as_fd(), rustix::stdio::stdout()) {
            self.output = false;
        }
        if input && !copy(stdin, self.master.as_fd()) {
            self.input = false;
            // As a terminal tells of the end of its input.
            let _ = rustix::io::write(&self.master, &[4]);
        }
        Ok((ended, signalled))
    }

    /// Copies what the process has still written.
    fn drain(&mut self) {
        while self.output {
            let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            match poll(&mut polled, Some(&now)) {
                Ok(1..) if copy(self.master.as_fd(), rustix::stdio::stdout()) => {}
                _ => self.output = false,
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // There is nothing to be done about a terminal that is gone.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}

/// Copies once; false at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 16 << 10];
    let length = match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut buffer)) {
        Ok(0) | Err(_) => return false,
        Ok(length) => length,
    };
    let mut rest = buffer.get(..length).unwrap_or_default();
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, rest)) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(_) => return false,
        }
    }
    true
}
