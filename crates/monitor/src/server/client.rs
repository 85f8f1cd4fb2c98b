//! One connected client: frames in, frames out, never blocking.
//!
//! What a full socket doesn't take is queued here. The queue is short, because the streams that a
//! client with a queue is attached to are not read, nor are its requests; only the last output of
//! a container that has exited goes beyond that, and no pipe holds more than 64 KiB of it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::protocol::{MAX_FRAME, Reply, VERSION};

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: u32,
    pub(super) socket: OwnedFd,
    /// Its `Hello` has been received.
    pub(super) greeted: bool,
    /// The version that both sides speak, once it is greeted.
    pub(super) version: u16,
    /// The connection is over (or to be ended).
    pub(super) dead: bool,
    /// Bytes of standard input received from it that nobody has taken.
    pub(super) debt: usize,
    pub(super) queue: VecDeque<Vec<u8>>,
    /// Since when it has taken nothing.
    pub(super) stalled_since: Option<Instant>,
}

/// What receiving gave.
pub(super) enum Received {
    /// The buffer holds a frame.
    Frame,
    /// Nothing yet.
    Nothing,
    /// The end, or what is no frame.
    End,
}

impl Client {
    pub(super) fn new(key: u32, socket: OwnedFd) -> Self {
        Self {
            key,
            socket,
            greeted: false,
            version: VERSION,
            dead: false,
            debt: 0,
            queue: VecDeque::new(),
            stalled_since: None,
        }
    }

    /// Whether the peer is this user or root.
    pub(super) fn is_trusted(socket: BorrowedFd<'_>) -> bool {
        rustix::net::sockopt::socket_peercred(socket)
            .is_ok_and(|peer| peer.uid == rustix::process::geteuid() || peer.uid.is_root())
    }

    pub(super) fn is_blocked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Receives a frame to an empty buffer with room for the longest. The buffer's memory is not
    /// cleared, so that it costs no more than the frames that come.
    pub(super) fn receive(&self, buffer: &mut Vec<u8>) -> Received {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match rustix::net::recv(self.socket.as_fd(), spare_capacity(buffer), flags) {
            Ok((_, length)) if (1..=MAX_FRAME).contains(&length) => Received::Frame,
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            _ => Received::End,
        }
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        let frame = match reply.for_version(self.version) {
            None => reply.encode(),
            Some(older) => older.encode(),
        };
        self.send(&frame, &[]);
    }

    /// Sends the frame that `head` and `data` make up.
    pub(super) fn send(&mut self, head: &[u8], data: &[u8]) {
        if self.dead {
            return;
        }
        if self.is_blocked() {
            self.queue.push_back([head, data].concat());
            return;
        }
        match send_now(self.socket.as_fd(), head, data) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                self.queue.push_back([head, data].concat());
                self.stalled_since = Some(Instant::now());
            }
            Err(_) => self.dead = true,
        }
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        while let Some(frame) = self.queue.front() {
            match send_now(self.socket.as_fd(), frame, &[]) {
                Ok(()) => {
                    self.queue.pop_front();
                    self.stalled_since = Some(Instant::now());
                }
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.dead = true;
                    self.queue.clear();
                }
            }
        }
        self.queue = VecDeque::new();
        self.stalled_since = None;
    }
}

fn send_now(socket: BorrowedFd<'_>, head: &[u8], data: &[u8]) -> Result<(), Errno> {
    let pieces = [IoSlice::new(head), IoSlice::new(data)];
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match rustix::net::sendmsg(socket, &pieces, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::INTR) => {}
            // The kernel has no memory for it at this moment.
            Err(Errno::NOBUFS | Errno::NOMEM) => return Err(Errno::AGAIN),
            other => return other.map(drop),
        }
    }
}
