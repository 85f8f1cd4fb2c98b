//! `NOTIFY_SOCKET` (sd_notify(3)): the container's readiness, passed on to who started us.
//!
//! Only that it is ready is passed on, and then which process to watch; a container has no say in
//! anything else that the host's manager can be told.

use std::env;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use berth_runtime::{Notify, process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::log::{Fault, Log};

/// How long the host's manager may take to have read what it was told, in seconds.
const PATIENCE: i64 = 30;

/// The host's socket, if there is one.
fn host() -> Option<PathBuf> {
    env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Whether a container gets a socket.
pub(crate) fn wanted() -> Notify {
    if host().is_some() { Notify::Socket } else { Notify::None }
}

/// The two ends.
pub(crate) struct Proxy {
    container: UnixDatagram,
    host: UnixDatagram,
}

impl AsFd for Proxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }
}

impl Proxy {
    /// Connects the container's end to the host's.
    pub(crate) fn new(container: Option<UnixDatagram>) -> Result<Option<Self>, Fault> {
        let (Some(container), Some(path)) = (container, host()) else { return Ok(None) };
        let connect = || -> io::Result<UnixDatagram> {
            let host = UnixDatagram::unbound()?;
            match path.as_os_str().as_bytes() {
                [b'@', name @ ..] => host.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
                _ => host.connect(&path)?,
            }
            container.set_nonblocking(true)?;
            Ok(host)
        };
        let host = connect()
            .map_err(|e| Fault::io(format!("connect to NOTIFY_SOCKET {}", path.display()), &e))?;
        Ok(Some(Self { container, host }))
    }

    /// Reads one message: the line that says that the container is ready, if it does.
    fn ready(&self) -> Option<Vec<u8>> {
        let mut buffer = [0u8; 4096];
        let length = self.container.recv(&mut buffer).ok()?;
        let mut lines = buffer.get(..length)?.split(|&byte| byte == b'\n');
        lines.find(|line| line.starts_with(b"READY=")).map(<[u8]>::to_vec)
    }

    /// Reads a message and passes readiness on, with the process to watch; whether that is done.
    pub(crate) fn pass_on(&self, main: i32) -> io::Result<bool> {
        let Some(mut line) = self.ready() else { return Ok(false) };
        line.push(b'\n');
        self.host.send(&line)?;
        self.host.send(format!("MAINPID={main}\n").as_bytes())?;
        Ok(true)
    }

    /// Waits until the container is ready or its process has ended, and until the host's manager
    /// knows: it must not see the caller end before.
    pub(crate) fn wait(&self, main: i32, pidfd: &OwnedFd, log: &Log) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::io("pass on that the container is ready", &error);
        loop {
            let mut polled =
                [PollFd::new(&self.container, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut polled, None))
                .map_err(|errno| failed(errno.into()))?;
            let [message, end] = polled.map(|polled| !polled.revents().is_empty());
            if message && self.pass_on(main).map_err(failed)? {
                return self.barrier(log).map_err(failed);
            }
            if end && !message {
                return Ok(());
            }
        }
    }

    /// The manager closes a pipe's end once it has read all that was sent before.
    fn barrier(&self, log: &Log) -> io::Result<()> {
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        process::send_descriptor(self.host.as_fd(), theirs.as_fd(), b"BARRIER=1")?;
        drop(theirs);
        let mut polled = [PollFd::new(&ours, PollFlags::IN)];
        let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        if rustix::io::retry_on_intr(|| poll(&mut polled, Some(&patience)))? == 0 {
            log.warn("NOTIFY_SOCKET's reader does not answer");
        }
        Ok(())
    }
}
