//! What a worker tells its monitor: one packet a report, over a socket pair, descriptors with it.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::Failure;
use super::oom::OomFiles;
use crate::protocol::error_kind;

const PROCESS: u8 = 1;
const STARTED: u8 = 2;
const DONE: u8 = 3;
const FAILED: u8 = 4;

const HAS_TERMINAL: u8 = 1;
const HAS_COUNTER: u8 = 2;
const HAS_EVENT: u8 = 4;

/// The longest error text.
const MAX_TEXT: usize = 4096;
/// The longest hint.
const MAX_HINT: usize = 1024;
/// Stands between an error's text and its hint: neither holds such a byte.
const HINT: u8 = 0;

/// A report.
#[derive(Debug)]
pub(in crate::server) enum Report {
    /// The process is there.
    Process {
        pid: i32,
        /// In clock ticks since boot.
        start_time: u64,
        /// The master side of its terminal.
        terminal: Option<OwnedFd>,
        /// For a container's first process.
        oom: Option<OomFiles>,
    },
    /// The container's program runs.
    Started,
    /// What was asked for is done.
    Done,
    /// It could not be done.
    Failed(Failure),
}

fn clip(text: &str, longest: usize) -> &[u8] {
    text.as_bytes().get(..longest).unwrap_or(text.as_bytes())
}

/// Sends a report. There is nobody to tell that it failed.
pub(super) fn send(socket: BorrowedFd<'_>, report: &Report) {
    let mut bytes = Vec::new();
    let mut descriptors = Vec::new();
    match report {
        Report::Process { pid, start_time, terminal, oom } => {
            let mut flags = 0;
            if let Some(terminal) = terminal {
                flags |= HAS_TERMINAL;
                descriptors.push(terminal.as_fd());
            }
            if let Some(oom) = oom {
                flags |= HAS_COUNTER;
                descriptors.push(oom.counter.as_fd());
                if let Some(event) = &oom.event {
                    flags |= HAS_EVENT;
                    descriptors.push(event.as_fd());
                }
            }
            bytes.extend_from_slice(&[PROCESS, flags]);
            bytes.extend_from_slice(&pid.to_le_bytes());
            bytes.extend_from_slice(&start_time.to_le_bytes());
        }
        Report::Started => bytes.push(STARTED),
        Report::Done => bytes.push(DONE),
        Report::Failed(failure) => {
            bytes.extend_from_slice(&[FAILED, failure.kind as u8]);
            bytes.extend_from_slice(clip(&failure.text, MAX_TEXT));
            if let Some(hint) = &failure.hint {
                bytes.push(HINT);
                bytes.extend_from_slice(clip(hint, MAX_HINT));
            }
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let pieces = [IoSlice::new(&bytes)];
    while sendmsg(socket, &pieces, &mut control, SendFlags::NOSIGNAL) == Err(Errno::INTR) {}
}

/// Receives a report, if there is one.
pub(in crate::server) fn receive(socket: BorrowedFd<'_>) -> Option<Report> {
    let mut buffer = [0_u8; MAX_TEXT + MAX_HINT + 16];
    let (length, mut descriptors) = receive_with_descriptors(socket, &mut buffer)?;
    let mut descriptors = descriptors.drain(..);
    match buffer.get(..length)? {
        [PROCESS, flags, rest @ ..] => {
            let (pid, rest) = rest.split_first_chunk::<4>()?;
            let start_time = rest.first_chunk::<8>()?;
            let terminal = if flags & HAS_TERMINAL == 0 { None } else { descriptors.next() };
            let counter = if flags & HAS_COUNTER == 0 { None } else { descriptors.next() };
            let event = if flags & HAS_EVENT == 0 { None } else { descriptors.next() };
            Some(Report::Process {
                pid: i32::from_le_bytes(*pid),
                start_time: u64::from_le_bytes(*start_time),
                terminal,
                oom: counter.map(|counter| OomFiles { event, counter }),
            })
        }
        [STARTED] => Some(Report::Started),
        [DONE] => Some(Report::Done),
        [FAILED, kind, words @ ..] => {
            let mut words = words.splitn(2, |&byte| byte == HINT);
            let mut next = || words.next().map(|word| String::from_utf8_lossy(word).into_owned());
            let text = next().unwrap_or_default();
            Some(Report::Failed(Failure { kind: error_kind(*kind), text, hint: next() }))
        }
        _ => None,
    }
}

/// Receives a packet and at most three descriptors, without waiting.
fn receive_with_descriptors(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Option<(usize, Vec<OwnedFd>)> {
    receive_descriptors(socket, buffer, RecvFlags::DONTWAIT)
}

/// Receives bytes and at most three descriptors.
pub(super) fn receive_descriptors(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Option<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [std::io::IoSliceMut::new(buffer)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(socket, &mut pieces, &mut control, flags) {
            Err(Errno::INTR) => {}
            other => break other.ok()?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    (received.bytes > 0).then_some((received.bytes, descriptors))
}
