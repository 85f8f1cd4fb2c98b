//! A client's hold on the streams of a container or of an exec session.
//!
//! It speaks the monitor's protocol and knows nothing of terminals, detach keys or HTTP: front ends
//! pump bytes between it and whatever they have.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_monitor::client::{Connection, Received, Sent};
use berth_monitor::protocol::{Exit, MAX_STDIN, Reply, Request, STDIN_WINDOW, Target};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::core::Core;
use crate::error::{AttachError, FileError, Interrupted, MonitorError};
use crate::request::TerminalSize;
use crate::signal::Signal;

/// What comes out of an [`Attachment`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachEvent {
    /// Bytes of standard output (all output, with a terminal).
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// The process is gone and everything it wrote has been handed out. Nothing comes after it.
    Exited(ExitStatus),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// The exit code; 128 plus the signal's number when a signal ended it; `None` when nobody saw
    /// it end (its monitor was killed and the kernel keeps no record).
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<Signal>,
    /// Whether the kernel killed it for lack of memory.
    pub oom_killed: bool,
}

impl ExitStatus {
    /// The code that a command line exits with: 125 when it isn't known.
    pub fn exit_code(self) -> u8 {
        self.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
    }
}

impl From<Exit> for ExitStatus {
    fn from(exit: Exit) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal.and_then(Signal::from_number),
            oom_killed: exit.oom_killed,
        }
    }
}

/// What both directions share. Held for a system call that does not block, never across a wait.
#[derive(Debug)]
struct Shared {
    connection: Connection,
    /// Bytes of standard input that the monitor has not reported as taken.
    outstanding: usize,
    ended: bool,
    /// Why the clean-up after the end failed.
    unclean: Option<AttachError>,
}

/// An attached client. All methods take `&self`: reading and writing may run at the same time, and
/// writing goes on only while somebody is in [`Attachment::next`], which takes in the monitor's
/// receipts.
///
/// Dropping it detaches; the container goes on (and its monitor cleans up after it).
#[derive(Debug)]
pub struct Attachment {
    shared: Mutex<Shared>,
    /// A duplicate of the connection's descriptor for the event loop, so that the connection itself
    /// can be used from both directions. It is used for nothing but waiting: the socket is one of
    /// packets.
    watched: UnixStream,
    taken: Notify,
    target: Target,
    /// Whoever started the container cleans up after it.
    owner: Option<Arc<Core>>,
}

impl Attachment {
    /// Wraps a connection that is attached to `target`.
    pub(crate) fn new(
        connection: Connection,
        target: Target,
        owner: Option<Arc<Core>>,
    ) -> Result<Self, AttachError> {
        let failed = FileError::new("watch the connection to the monitor of", &target.container);
        let watched = connection
            .as_fd()
            .try_clone_to_owned()
            .and_then(|descriptor| {
                let socket = std::os::unix::net::UnixStream::from(descriptor);
                socket.set_nonblocking(true)?;
                UnixStream::from_std(socket)
            })
            .map_err(failed)?;
        let shared = Shared { connection, outstanding: 0, ended: false, unclean: None };
        Ok(Self { shared: Mutex::new(shared), watched, taken: Notify::new(), target, owner })
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, source: berth_monitor::client::ConnectionError) -> AttachError {
        MonitorError::lost("pass on streams", &self.target.container)(source).into()
    }

    /// The next event; `None` after [`AttachEvent::Exited`], or when the monitor was lost in a way
    /// that leaves no exit status to be told. Cancel safe.
    ///
    /// For the attachment that `run` or `start` gave, the container's clean-up (and its removal,
    /// with `--rm`) is done when `Exited` is handed out: its name is free again by then. If it
    /// failed, [`Self::take_cleanup_failure`] tells why.
    pub async fn next(&self) -> Result<Option<AttachEvent>, AttachError> {
        loop {
            let received = {
                let mut shared = self.shared();
                if shared.ended {
                    return Ok(None);
                }
                shared.connection.try_receive().map_err(|source| self.lost(source))?
            };
            let reply = match received {
                Received::Reply(reply) => reply,
                Received::WouldBlock => {
                    self.readable().await?;
                    continue;
                }
                Received::Closed => {
                    self.shared().ended = true;
                    self.taken.notify_waiters();
                    return Ok(None);
                }
            };
            match reply {
                Reply::Stdout { target, data } if target == self.target => {
                    return Ok(Some(AttachEvent::Stdout(data)));
                }
                Reply::Stderr { target, data } if target == self.target => {
                    return Ok(Some(AttachEvent::Stderr(data)));
                }
                Reply::StdinTaken { target, bytes } if target == self.target => {
                    let mut shared = self.shared();
                    shared.outstanding = shared.outstanding.saturating_sub(bytes as usize);
                    self.taken.notify_waiters();
                }
                Reply::Exited { target, exit } if target == self.target && !exit.restarting => {
                    self.end().await;
                    return Ok(Some(AttachEvent::Exited(exit.into())));
                }
                _ => {}
            }
        }
    }

    fn waiting(&self) -> impl FnOnce(std::io::Error) -> AttachError {
        let failed = FileError::new("wait for the monitor of", &self.target.container);
        move |error| failed(error).into()
    }

    /// Waits until the connection has something.
    async fn readable(&self) -> Result<(), AttachError> {
        self.watched.readable().await.map_err(self.waiting())?;
        // The event loop forgets that the socket is readable only if it is not, at this look.
        let _ = self.watched.try_io(Interest::READABLE, || {
            let mut byte = [0u8; 1];
            let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
            rustix::net::recv(&self.watched, byte.as_mut_slice(), flags)?;
            Ok(())
        });
        Ok(())
    }

    /// Why cleaning up after the process's end failed, if it did: its exit status is known all the
    /// same, and the next command that looks at the container cleans up.
    pub fn take_cleanup_failure(&self) -> Option<AttachError> {
        self.shared().unclean.take()
    }

    /// The process is gone.
    async fn end(&self) {
        if let Some(core) = &self.owner {
            let (core, id) = (Arc::clone(core), self.target.container.clone());
            let cleaned = tokio::task::spawn_blocking(move || core.clean_up_now(&id)).await;
            self.shared().unclean = match cleaned {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.into()),
                Err(_) => Some(Interrupted.into()),
            };
            let request = Request::CleanupDone { id: self.target.container.clone() };
            // A monitor that is gone needs no word.
            let _ = self.shared().connection.try_send(&request);
        }
        self.shared().ended = true;
        self.taken.notify_waiters();
    }

    /// Sends standard input; returns when all of it is on its way to a container that keeps up with
    /// it. When the process is gone the bytes are lost, as with a pipe that nobody reads.
    pub async fn send_stdin(&self, bytes: &[u8]) -> Result<(), AttachError> {
        for chunk in bytes.chunks(MAX_STDIN) {
            loop {
                // Registered before looking, so that no receipt is missed in between.
                let taken = self.taken.notified();
                {
                    let shared = self.shared();
                    if shared.ended {
                        return Ok(());
                    }
                    if shared.outstanding + chunk.len() <= STDIN_WINDOW {
                        break;
                    }
                }
                taken.await;
            }
            self.shared().outstanding += chunk.len();
            let request = Request::Stdin { target: self.target.clone(), data: chunk.to_vec() };
            self.send(&request).await?;
        }
        Ok(())
    }

    /// Says that no more standard input comes.
    pub async fn close_stdin(&self) -> Result<(), AttachError> {
        self.send(&Request::CloseStdin { target: self.target.clone() }).await
    }

    /// Sets the terminal's size.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), AttachError> {
        let size = berth_monitor::protocol::TerminalSize { rows: size.rows, columns: size.columns };
        self.send(&Request::Resize { target: self.target.clone(), size }).await
    }

    /// Sends a signal to the attached process.
    pub async fn signal(&self, signal: Signal) -> Result<(), AttachError> {
        let request = Request::Signal { target: self.target.clone(), signal: signal.number() };
        self.send(&request).await
    }

    /// Leaves the process running and lets go of it.
    pub async fn detach(self) -> Result<(), AttachError> {
        let request = Request::Detach { target: self.target.clone() };
        self.send(&request).await
    }

    async fn send(&self, request: &Request) -> Result<(), AttachError> {
        loop {
            let sent = {
                let mut shared = self.shared();
                if shared.ended {
                    return Ok(());
                }
                shared.connection.try_send(request)
            };
            match sent {
                Ok(Sent::Number(_)) => return Ok(()),
                Ok(Sent::WouldBlock) => self.writable().await?,
                // The process has ended, and the reading side says how.
                Err(berth_monitor::client::ConnectionError::Send(_)) => return Ok(()),
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    async fn writable(&self) -> Result<(), AttachError> {
        self.watched.writable().await.map_err(self.waiting())?;
        // The frame did not fit when it was tried: the next edge tells when there is room again.
        let full = || Err::<(), _>(std::io::ErrorKind::WouldBlock.into());
        let _ = self.watched.try_io(Interest::WRITABLE, full);
        Ok(())
    }
}
