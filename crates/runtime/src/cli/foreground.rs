//! Waiting for a process in the foreground: signals go on to it, its exit code comes back, and
//! between its terminal and ours everything is copied.

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use berth_runtime::process::{self, Ended, SignalReader};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::log::{Fault, Log};
use super::notify::Proxy;
use super::terminal::Terminal;

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

    /// Waits for the process' end and gives its exit code; `master` is its terminal's, `notify`
    /// where it says that it is ready.
    pub(crate) fn wait(
        self,
        pid: i32,
        pidfd: &OwnedFd,
        master: Option<OwnedFd>,
        mut notify: Option<Proxy>,
        log: &Log,
    ) -> Result<ExitCode, Fault> {
        let failed = |errno: Errno| Fault::io("wait for the container's process", &errno.into());
        let mut terminal = master.map(Terminal::new).transpose()?;
        let mut status = None;
        loop {
            let fixed = [pidfd.as_fd(), self.signals.as_fd()];
            let fixed = fixed.into_iter().chain(notify.as_ref().map(Proxy::as_fd));
            let mut polled: Vec<_> =
                fixed.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)).collect();
            let own = polled.len();
            polled.extend(terminal.iter().flat_map(Terminal::sources));
            rustix::io::retry_on_intr(|| poll(&mut polled, None)).map_err(failed)?;
            let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
            drop(polled);
            if let Some(terminal) = &mut terminal {
                terminal.copy(ready.get(own..).unwrap_or_default());
            }
            if ready.get(2..own).unwrap_or_default().contains(&true) {
                // This process is the one to watch, as long as it waits for the other.
                let main = std::process::id() as i32;
                match notify.as_ref().map(|notify| notify.pass_on(main)) {
                    Some(Ok(false)) | None => {}
                    Some(Ok(true)) => notify = None,
                    Some(Err(error)) => {
                        log.warn(&format!("cannot pass on that the container is ready: {error}"));
                        notify = None;
                    }
                }
            }
            if ready.get(1) == Some(&true) {
                status = status.or(self.pass_on(pid, pidfd, terminal.as_ref()));
            }
            if ready.first() == Some(&true) {
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
        let code = match status {
            Ended::Exited(code) => code,
            Ended::Killed(signal) => 128 + signal,
        };
        log.debug(|| format!("process {pid} ended with {code}"));
        Ok(ExitCode::from(code as u8))
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
