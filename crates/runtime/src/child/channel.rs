//! What the new process and its maker say to each other: single packets over a socket pair.
//!
//! The maker's words come in a fixed order and may be sent ahead of time; the end of the socket
//! tells the one that the other is gone.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};

use super::step::{Failure, Step};

/// What the maker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Word {
    /// The ids are mapped.
    Mapped = 1,
    /// The process is in its cgroup; where that is follows.
    Cgroup = 2,
    /// The hooks of the runtime's side have run.
    Hooks = 3,
    /// The record is written: go on to the program.
    Go = 4,
}

/// What the new process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// The mounts are there: hooks may run.
    Mounted,
    /// All is set up; what is left is to be let go.
    Ready,
    /// A step failed.
    Failed {
        /// Which.
        step: Step,
        /// The error number, or what the step uses in its place.
        code: i32,
        /// What it was about.
        subject: Vec<u8>,
        /// What else there is to say.
        detail: Vec<u8>,
    },
}

/// Two connected ends.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The longest packet.
pub(crate) const LIMIT: usize = 8192;
const HEADER: usize = 12;
const MOUNTED: u8 = 1;
const READY: u8 = 2;
const FAILED: u8 = 3;
const LISTENER: u8 = 4;

/// Says a word to the new process, and what belongs to it.
pub(crate) fn say(socket: BorrowedFd<'_>, word: Word, payload: &[u8]) -> Result<(), Errno> {
    let mut packet = Vec::with_capacity(1 + payload.len());
    packet.push(word as u8);
    packet.extend_from_slice(payload);
    rustix::io::retry_on_intr(|| rustix::net::send(socket, &packet, SendFlags::NOSIGNAL)).map(drop)
}

/// Waits for a word, and gives what follows it. `None` when the maker is gone or says something else.
pub(crate) fn hear<'b>(
    socket: BorrowedFd<'_>,
    word: Word,
    buffer: &'b mut [u8; LIMIT],
) -> Option<&'b [u8]> {
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())
    });
    let (length, _) = received.ok()?;
    let (first, payload) = buffer.get(..length)?.split_first()?;
    (*first == word as u8).then_some(payload)
}

/// Tells the maker that the mounts are there.
pub(crate) fn report_mounted(socket: BorrowedFd<'_>) {
    report(socket, &[MOUNTED]);
}

/// Tells the maker that all is set up.
pub(crate) fn report_ready(socket: BorrowedFd<'_>) {
    report(socket, &[READY]);
}

/// Tells the maker what failed.
pub(crate) fn report_failure(socket: BorrowedFd<'_>, failure: &Failure<'_>) {
    let mut buffer = [0u8; 1024];
    report(socket, encode(failure, &mut buffer));
}

fn report(socket: BorrowedFd<'_>, packet: &[u8]) {
    // A maker that is gone needs not be told.
    let _ = rustix::io::retry_on_intr(|| rustix::net::send(socket, packet, SendFlags::NOSIGNAL));
}

/// Sends the listener of a system call filter.
pub(crate) fn send_listener(socket: BorrowedFd<'_>, listener: BorrowedFd<'_>) -> Result<(), Errno> {
    send_descriptor(socket, listener, &[LISTENER]).map(drop)
}

/// Sends a descriptor with some bytes; gives how many of them went.
pub(crate) fn send_descriptor(
    socket: BorrowedFd<'_>,
    descriptor: BorrowedFd<'_>,
    bytes: &[u8],
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::io::retry_on_intr(|| {
        let data = [std::io::IoSlice::new(bytes)];
        rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL)
    })
}

/// A failure as bytes, cut to what fits.
pub(crate) fn encode<'b>(failure: &Failure<'_>, buffer: &'b mut [u8; 1024]) -> &'b [u8] {
    let detail = failure.detail.bytes();
    let subject = failure.subject.get(..buffer.len() - HEADER - detail.len());
    let subject = subject.unwrap_or(failure.subject);
    buffer[0] = FAILED;
    buffer[1] = failure.step as u8;
    buffer[4..8].copy_from_slice(&failure.code.to_ne_bytes());
    buffer[8..10].copy_from_slice(&(subject.len() as u16).to_ne_bytes());
    buffer[10..12].copy_from_slice(&(detail.len() as u16).to_ne_bytes());
    let end = HEADER + subject.len();
    buffer[HEADER..end].copy_from_slice(subject);
    buffer[end..end + detail.len()].copy_from_slice(detail);
    &buffer[..end + detail.len()]
}

/// A report from its bytes; `None` for what is none.
pub(crate) fn decode(packet: &[u8]) -> Option<Report> {
    match *packet.first()? {
        MOUNTED => Some(Report::Mounted),
        READY => Some(Report::Ready),
        FAILED => {
            let number = |at: usize| Some(u16::from_ne_bytes(*packet.get(at..)?.first_chunk()?));
            let (subject, detail) = (usize::from(number(8)?), usize::from(number(10)?));
            let text = packet.get(HEADER..)?;
            Some(Report::Failed {
                step: Step::from_number(*packet.get(1)?)?,
                code: i32::from_ne_bytes(*packet.get(4..)?.first_chunk()?),
                subject: text.get(..subject)?.to_vec(),
                detail: text.get(subject..subject + detail)?.to_vec(),
            })
        }
        _ => None,
    }
}

/// What the maker receives.
#[derive(Debug)]
pub(crate) enum Received {
    /// A report.
    Report(Report),
    /// The listener of a system call filter.
    Listener(OwnedFd),
    /// The socket's end: the process executes the program, or is gone.
    End,
}

/// Waits for what the new process says.
pub(crate) fn receive(socket: impl AsFd) -> Result<Received, Errno> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, recvmsg};
    let mut buffer = [0u8; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // A peer that ends with unread words of ours makes the kernel say so once, before it gives out
    // what the peer had said: its report is still to come.
    let length = loop {
        let mut data = [std::io::IoSliceMut::new(&mut buffer)];
        match recvmsg(&socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(errno) => return Err(errno),
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(listener) = descriptors.next()
        {
            return Ok(Received::Listener(listener));
        }
    }
    if length == 0 {
        return Ok(Received::End);
    }
    decode(buffer.get(..length).unwrap_or_default()).map(Received::Report).ok_or(Errno::BADMSG)
}

#[cfg(test)]
mod tests {
    use super::super::step::Detail;
    use super::*;

    #[test]
    fn a_failure_survives_its_way() {
        let subject = [b'x'; 3000];
        for length in [0, 7, 3000] {
            let failure = Failure {
                step: Step::Mount,
                code: 13,
                subject: &subject[..length],
                detail: Detail::new(b"because"),
            };
            let mut buffer = [0u8; 1024];
            let Some(Report::Failed { step, code, subject, detail }) =
                decode(encode(&failure, &mut buffer))
            else {
                panic!("no failure");
            };
            assert_eq!((step, code, &detail[..]), (Step::Mount, 13, &b"because"[..]));
            assert_eq!(subject.len(), length.min(1024 - HEADER - 7));
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        for packet in [&[][..], &[9], &[FAILED], &[FAILED, 1, 0, 0, 0, 0, 0, 0, 9, 0, 9, 0]] {
            assert!(decode(packet).is_none());
        }
    }

    #[test]
    fn words_are_heard_in_order() {
        let (a, b) = pair().unwrap();
        say(a.as_fd(), Word::Mapped, b"").unwrap();
        say(a.as_fd(), Word::Go, b"path").unwrap();
        let mut buffer = [0; LIMIT];
        assert_eq!(hear(b.as_fd(), Word::Mapped, &mut buffer).unwrap(), b"");
        assert_eq!(hear(b.as_fd(), Word::Go, &mut buffer).unwrap(), b"path");
        drop(a);
        assert!(hear(b.as_fd(), Word::Go, &mut buffer).is_none());
    }
}
