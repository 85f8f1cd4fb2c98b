//! Log files in the format of CRI logs (`TIME STREAM P|F TEXT`, one record a line), with rotation.
//!
//! A chunk of output that ends inside a line is written at once as a partial record (`P`), so a
//! prompt is in the log while it is on the screen and nothing is held back in memory. A record is
//! whole in the file or not there at all. When the disk is full, output is not held up: what
//! can't be written is counted, and reported once writing works again.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::protocol::LogConfig;
use crate::time;
use berth_spec::time::STAMP_LENGTH;

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// Opening failed.
    #[error("cannot open the log file {path}: {source}")]
    Open { path: PathBuf, source: Errno },
    /// It is a device, a FIFO, …
    #[error("the log file {path} is not a regular file")]
    NotRegular { path: PathBuf },
}

/// The most pieces that one call writes.
const MAX_PIECES: usize = 96;

/// The log of one container.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: OwnedFd,
    size: u64,
    max_size: u64,
    max_files: u32,
    /// After a failed rotation: not to be tried again below this size.
    rotate_from: u64,
    lost: u64,
    error: Option<Errno>,
}

/// The stream that a record is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Log {
    /// Opens the log that the configuration asks for.
    pub(super) fn open(config: &LogConfig) -> Result<Option<Self>, OpenError> {
        let LogConfig::Path { path, max_size, max_files } = config else { return Ok(None) };
        let (file, size) = open_file(path)?;
        Ok(Some(Self {
            path: path.clone(),
            file,
            size,
            max_size: *max_size,
            max_files: (*max_files).max(1),
            rotate_from: 0,
            lost: 0,
            error: None,
        }))
    }

    /// Opens the file anew, because somebody has renamed it.
    pub(super) fn reopen(&mut self) -> Result<(), OpenError> {
        (self.file, self.size) = open_file(&self.path)?;
        Ok(())
    }

    /// Writes a chunk of output.
    pub(super) fn append(&mut self, stream: Stream, data: &[u8]) {
        let name: &[u8] = match stream {
            Stream::Stdout => b" stdout ",
            Stream::Stderr => b" stderr ",
        };
        let stamp = time::now();
        let mut head = [0_u8; STAMP_LENGTH + 10];
        let (stamp_part, name_part) = head.split_at_mut(STAMP_LENGTH);
        stamp_part.copy_from_slice(stamp.as_bytes());
        name_part.copy_from_slice(&[name, b"F "].concat());
        let full = head;
        if let Some(tag) = head.get_mut(STAMP_LENGTH + 8) {
            *tag = b'P';
        }
        let partial = head;
        let mut lines = data.split_inclusive(|&byte| byte == b'\n').peekable();
        while lines.peek().is_some() {
            self.rotate_if_due();
            let room = self.room();
            let mut pieces = Vec::with_capacity(MAX_PIECES.min(data.len() * 3));
            let (mut length, mut payload) = (0_u64, 0_u64);
            while let Some(line) =
                lines.next_if(|_| length < room && pieces.len() + 3 <= MAX_PIECES)
            {
                let whole = line.ends_with(b"\n");
                pieces.push(IoSlice::new(if whole { &full } else { &partial }));
                pieces.push(IoSlice::new(line));
                if !whole {
                    pieces.push(IoSlice::new(b"\n"));
                }
                length += (full.len() + line.len() + usize::from(!whole)) as u64;
                payload += line.len() as u64;
            }
            self.write(&pieces, length, payload);
        }
    }

    /// How many bytes may be written before the next look at the file's size; above zero.
    fn room(&self) -> u64 {
        match self.max_size {
            0 => u64::MAX,
            // A rotation failed: the file grows on.
            max if self.size >= max => max,
            max => max - self.size,
        }
    }

    fn write(&mut self, pieces: &[IoSlice<'_>], length: u64, payload: u64) {
        let error = match rustix::io::writev(&self.file, pieces) {
            Ok(written) if written as u64 == length => {
                self.size += length;
                return;
            }
            Ok(_) => Errno::NOSPC,
            Err(error) => error,
        };
        // No torn record stays in the file. If even this fails, the next record follows the torn
        // one, and readers skip that line.
        let _ = rustix::fs::ftruncate(&self.file, self.size);
        self.lost += payload;
        self.error.get_or_insert(error);
    }

    /// What was lost since the last call, once writing works again (or at the end).
    pub(super) fn take_loss(&mut self) -> Option<(u64, String)> {
        let error = self.error.take()?;
        Some((std::mem::take(&mut self.lost), error.to_string()))
    }

    /// Whether output was lost that has not been reported.
    pub(super) fn has_loss(&self) -> bool {
        self.error.is_some()
    }

    fn rotate_if_due(&mut self) {
        if self.max_size == 0 || self.size < self.max_size.max(self.rotate_from) {
            return;
        }
        let result = if self.max_files == 1 { self.empty() } else { self.rotate() };
        if result.is_err() {
            self.rotate_from = self.size + self.max_size;
        } else {
            self.rotate_from = 0;
        }
    }

    fn empty(&mut self) -> Result<(), Errno> {
        rustix::fs::ftruncate(&self.file, 0)?;
        self.size = 0;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), Errno> {
        for number in (1..self.max_files - 1).rev() {
            match rustix::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        rustix::fs::rename(&self.path, self.numbered(1))?;
        if let Ok((file, size)) = open_file(&self.path) {
            (self.file, self.size) = (file, size);
            Ok(())
        } else {
            // The open file gets its name back.
            let _ = rustix::fs::rename(self.numbered(1), &self.path);
            Err(Errno::NOSPC)
        }
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open_file(path: &Path) -> Result<(OwnedFd, u64), OpenError> {
    let open_error = |source| OpenError::Open { path: path.to_owned(), source };
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::NOCTTY
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)).map_err(open_error)?;
    let stat = rustix::fs::fstat(&file).map_err(open_error)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(OpenError::NotRegular { path: path.to_owned() });
    }
    Ok((file, stat.st_size as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: &Path, max_size: u64, max_files: u32) -> Log {
        let config = LogConfig::Path { path: path.to_owned(), max_size, max_files };
        Log::open(&config).unwrap().unwrap()
    }

    fn without_stamps(path: &Path) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| format!("{}\n", &line[STAMP_LENGTH + 1..]));
        lines.collect::<Vec<_>>().concat()
    }

    #[test]
    fn lines_and_parts_of_lines_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = log(&path, 0, 0);
        log.append(Stream::Stdout, b"one\n\ntw");
        log.append(Stream::Stderr, b"bad\n");
        log.append(Stream::Stdout, b"o\n");
        let expected = "stdout F one\nstdout F \nstdout P tw\nstderr F bad\nstdout F o\n";
        assert_eq!(without_stamps(&path), expected);
    }

    #[test]
    fn many_lines_in_one_chunk_all_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = log(&path, 0, 0);
        let chunk = (0..1000).map(|n| format!("{n}\n")).collect::<Vec<_>>().concat();
        log.append(Stream::Stdout, chunk.as_bytes());
        let expected = (0..1000).map(|n| format!("stdout F {n}\n")).collect::<Vec<_>>().concat();
        assert_eq!(without_stamps(&path), expected);
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = log(&path, 100, 3);
        let chunk = (0..20).map(|n| format!("line {n:02}\n")).collect::<Vec<_>>().concat();
        log.append(Stream::Stdout, chunk.as_bytes());
        let numbered = |n: u32| directory.path().join(format!("log.{n}"));
        assert!(numbered(2).exists() && !numbered(3).exists());
        let kept = [numbered(2), numbered(1), path].map(|path| without_stamps(&path)).concat();
        assert!(
            chunk
                .lines()
                .map(|line| format!("stdout F {line}\n"))
                .collect::<Vec<_>>()
                .concat()
                .ends_with(&kept)
        );
        assert!(kept.ends_with("line 19\n"));
        for n in 1..3 {
            assert!(std::fs::metadata(numbered(n)).unwrap().len() < 100 + 60);
        }
    }

    #[test]
    fn a_log_of_one_file_is_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = log(&path, 100, 1);
        log.append(Stream::Stdout, "0123456789\n".repeat(10).as_bytes());
        assert!(std::fs::metadata(&path).unwrap().len() < 200);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_is_no_log_file() {
        let config = LogConfig::Path { path: "/dev/null".into(), max_size: 0, max_files: 0 };
        assert!(matches!(Log::open(&config), Err(OpenError::NotRegular { .. })));
    }
}
