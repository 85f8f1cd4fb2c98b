//! A container's files for everybody else: `status.json` and `events`, and the request that made
//! the container, for a monitor that has to take over after this one was killed.
//!
//! What can't be written now, on a full disk, is kept and tried again: the latest status, and so
//! many events. When the directory has been removed there is nobody to tell any more.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::events::{self, Event, EventKind};
use crate::status::{self, Status};
use crate::time;

/// The file with the request.
pub(super) const REQUEST_FILE: &str = "request";
const NEW_STATUS_FILE: &str = "status.json.new";
/// A link in the place of one of the files is an error: it could lead to anybody's.
const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
/// How long to wait before trying again.
const RETRY: Duration = Duration::from_millis(500);
/// The size in bytes from which the events file is set aside.
const MAX_EVENTS_SIZE: u64 = 1 << 20;
/// More than the longest event.
const MAX_EVENT: u64 = 8192;
/// How many events are kept while they can't be written.
const MAX_KEPT: usize = 64;

/// What a container has on disk.
#[derive(Debug)]
pub(super) struct Record {
    directory: OwnedFd,
    pub(super) status: Status,
    sequence: u64,
    unwritten: VecDeque<Vec<u8>>,
    stale: bool,
    retry_at: Option<Instant>,
}

impl Record {
    /// Opens the record in a container's run directory.
    pub(super) fn open(path: &Path, status: Status) -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let sequence = last_sequence(&directory, events::FILE)
            .or_else(|| last_sequence(&directory, events::OLD_FILE))
            .unwrap_or(0);
        Ok(Self {
            directory,
            status,
            sequence,
            unwritten: VecDeque::new(),
            stale: false,
            retry_at: None,
        })
    }

    /// The container's directory.
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Keeps the request for an adopting monitor.
    pub(super) fn keep_request(&self, frame: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | FILE;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(&self.directory, REQUEST_FILE, flags, mode)?;
        write_all(&file, frame)
    }

    /// Publishes the status as it is now.
    pub(super) fn publish(&mut self) {
        self.stale = true;
        self.try_publish();
    }

    /// Adds an event.
    pub(super) fn event(&mut self, kind: EventKind) {
        self.sequence += 1;
        let event = Event {
            sequence: self.sequence,
            time: time::now().to_string(),
            id: self.status.id.clone(),
            kind,
        };
        let Ok(mut line) = serde_json::to_vec(&event) else { return };
        line.push(b'\n');
        if self.unwritten.len() == MAX_KEPT {
            self.unwritten.pop_front();
        }
        self.unwritten.push_back(line);
        self.try_events();
    }

    /// Whether everything is on disk.
    pub(super) fn is_settled(&self) -> bool {
        !self.stale && self.unwritten.is_empty()
    }

    /// When to call [`Self::retry`].
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries again what failed.
    pub(super) fn retry(&mut self) {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            self.try_events();
            self.try_publish();
        }
    }

    /// The container was not created after all.
    pub(super) fn withdraw(&mut self) {
        let _ = rustix::fs::unlinkat(&self.directory, status::FILE, AtFlags::empty());
        let _ = rustix::fs::unlinkat(&self.directory, REQUEST_FILE, AtFlags::empty());
    }

    fn try_publish(&mut self) {
        if !self.stale {
            return;
        }
        let Ok(text) = serde_json::to_vec(&self.status) else { return };
        let result = self.replace_status(&text);
        self.stale = self.failed(result);
    }

    fn replace_status(&self, text: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | FILE;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.directory, NEW_STATUS_FILE, flags, mode)?;
        write_all(&file, text)?;
        rustix::fs::renameat(&self.directory, NEW_STATUS_FILE, &self.directory, status::FILE)
    }

    fn try_events(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        let result = self.append_events();
        self.failed(result);
    }

    fn append_events(&mut self) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | FILE;
        let mode = Mode::from_raw_mode(0o644);
        let mut file = rustix::fs::openat(&self.directory, events::FILE, flags, mode)?;
        let mut size = rustix::fs::fstat(&file)?.st_size as u64;
        if size >= MAX_EVENTS_SIZE {
            rustix::fs::renameat(&self.directory, events::FILE, &self.directory, events::OLD_FILE)?;
            file = rustix::fs::openat(&self.directory, events::FILE, flags, mode)?;
            size = 0;
        }
        while let Some(line) = self.unwritten.front() {
            if let Err(error) = write_all(&file, line) {
                let _ = rustix::fs::ftruncate(&file, size);
                return Err(error);
            }
            size += line.len() as u64;
            self.unwritten.pop_front();
        }
        Ok(())
    }

    /// Whether to try again, and if so, when.
    fn failed(&mut self, result: Result<(), Errno>) -> bool {
        match result {
            Ok(()) => false,
            Err(Errno::NOENT) => {
                self.unwritten.clear();
                false
            }
            Err(_) => {
                self.retry_at = Some(Instant::now() + RETRY);
                true
            }
        }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The sequence number of the last event: every line begins with it.
fn last_sequence(directory: &OwnedFd, name: &str) -> Option<u64> {
    let flags = OFlags::RDONLY | FILE;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
    let size = rustix::fs::fstat(&file).ok()?.st_size as u64;
    let mut tail = vec![0; size.min(MAX_EVENT) as usize];
    let offset = size - tail.len() as u64;
    let length = rustix::io::pread(&file, &mut tail[..], offset).ok()?;
    tail.truncate(length);
    tail.split(|&byte| byte == b'\n').rev().find_map(|line| {
        let digits = line.strip_prefix(b"{\"sequence\":")?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::State;

    fn status() -> Status {
        Status {
            id: "c".into(),
            state: State::Running,
            pid: Some(1),
            pid_start_time: None,
            started_at: None,
            finished_at: None,
            exit_code: None,
            signal: None,
            oom_killed: false,
            restarts: 0,
            restart: None,
            monitor_pid: 2,
        }
    }

    #[test]
    fn event_numbers_go_on_in_a_new_record() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut record = Record::open(directory.path(), status()).unwrap();
            record.event(EventKind::Started { pid: 1 });
            record.event(EventKind::Oom);
        }
        let events = crate::events::read(directory.path(), 1).unwrap();
        let numbers: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert_eq!(events[0].kind, EventKind::Oom);
    }

    #[test]
    fn a_long_events_file_is_set_aside_and_still_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::open(directory.path(), status()).unwrap();
        let error = "x".repeat(1000);
        for _ in 0..1200 {
            record.event(EventKind::RestartFailed { error: error.clone() });
        }
        drop(record);
        assert!(directory.path().join("events.old").exists());
        let mut record = Record::open(directory.path(), status()).unwrap();
        record.event(EventKind::Oom);
        let events = crate::events::read(directory.path(), 0).unwrap();
        let numbers: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(numbers, (1..=1201).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_published_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(crate::status::read(directory.path()).unwrap(), None);
        let mut record = Record::open(directory.path(), status()).unwrap();
        record.publish();
        assert!(record.is_settled());
        assert_eq!(crate::status::read(directory.path()).unwrap(), Some(status()));
    }

    #[test]
    fn a_removed_directory_is_no_reason_to_try_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::open(directory.path(), status()).unwrap();
        directory.close().unwrap();
        record.publish();
        record.event(EventKind::Oom);
        assert!(record.is_settled() && record.retry_at().is_none());
    }
}
