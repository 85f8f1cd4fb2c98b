//! `--pidfd-socket`.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use berth_runtime::process;

use super::log::Fault;

/// A connection that a pidfd is to be sent over. Made before the process, so that a socket that is
/// not there costs nothing.
pub(crate) struct PidfdSocket(Option<UnixStream>);

impl PidfdSocket {
    /// Connects, if there is something to connect to.
    pub(crate) fn connect(path: Option<&Path>) -> Result<Self, Fault> {
        let Some(path) = path else { return Ok(Self(None)) };
        let failed = |e| Fault::io(format!("connect to the pidfd socket {}", path.display()), &e);
        UnixStream::connect(path).map(|stream| Self(Some(stream))).map_err(failed)
    }

    /// Sends it.
    pub(crate) fn send(self, pidfd: BorrowedFd<'_>) -> Result<(), Fault> {
        let Some(stream) = self.0 else { return Ok(()) };
        process::send_descriptor(stream.as_fd(), pidfd, b"pidfd")
            .map_err(|error| Fault::io("send the pidfd", &error))
    }
}
