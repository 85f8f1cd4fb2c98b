//! Small tools for those who wait for a container's process in the foreground.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions, WaitOptions, pidfd_send_signal, waitid};

use crate::sys;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Waits for a child's end.
pub fn wait(pidfd: impl AsFd) -> io::Result<Ended> {
    let status =
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED))?;
    let status = status.ok_or(io::ErrorKind::NotFound)?;
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Killed(signal.unwrap_or(0)),
    })
}

/// Reaps every child that has ended: orphans that a sub-reaper gets, and perhaps the process `pid`
/// itself, of which it tells.
pub fn reap_children(pid: i32) -> Option<Ended> {
    let mut own = None;
    while let Ok(Some((child, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if child.as_raw_nonzero().get() == pid {
            own = Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ended::Exited(code),
                (None, signal) => Ended::Killed(signal.unwrap_or(0)),
            });
        }
    }
    own
}

/// Sends a signal; a process that is gone needs none.
pub fn send_signal(pidfd: impl AsFd, signal: i32) {
    let _ = pidfd_send_signal(pidfd, sys::signal(signal));
}

/// Takes over a descriptor that this process was started with and told the number of; an error if it
/// is not open. To be called before anything else opens a descriptor.
pub fn take_descriptor(number: i32) -> io::Result<OwnedFd> {
    Ok(sys::take_over(number)?)
}

/// Makes orphaned descendants this process' children.
pub fn become_subreaper() -> io::Result<()> {
    Ok(sys::become_subreaper()?)
}

/// The signals that a process in the foreground would get, held back to be read.
#[derive(Debug)]
pub struct SignalReader(OwnedFd);

impl SignalReader {
    /// Holds back every signal that can be passed on.
    pub fn new() -> io::Result<Self> {
        let kept = [
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGABRT,
            libc::SIGSYS,
            libc::SIGURG,
            libc::SIGPIPE,
            // The shell's own way to stop and resume the foreground.
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGTTOU,
        ];
        let signals: Vec<i32> =
            (1..=64).filter(|s| !kept.contains(s) && !matches!(s, 32 | 33)).collect();
        Ok(Self(sys::signal_descriptor(&signals)?))
    }

    /// The next signal, if there is one.
    pub fn next(&self) -> Option<i32> {
        // `struct signalfd_siginfo` is 128 bytes and begins with the number.
        let mut information = [0u8; 128];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut information));
        let number = information.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
        length.ok().filter(|&length| length == information.len()).and(number).map(|n| n as i32)
    }
}

impl AsFd for SignalReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a descriptor with some bytes over a unix socket.
pub fn send_descriptor(
    socket: BorrowedFd<'_>,
    descriptor: BorrowedFd<'_>,
    bytes: &[u8],
) -> io::Result<()> {
    Ok(crate::child::channel::send_descriptor(socket, descriptor, bytes).map(drop)?)
}
