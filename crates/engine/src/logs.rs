//! Logs: the files that a monitor writes in the CRI's line format, the rotated ones included.
//!
//! A line is `TIME STREAM TAG TEXT`; the tag `P` says that the line goes on in the next one of the
//! same stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::core::Core;
use crate::error::{FileError, Interrupted, LogsError, NoLogError};
use crate::request::{LogDriver, LogStreams, LogsOptions};
use crate::view::{ContainerStatus, LogLine};
use crate::watch::Watch;

/// Lines that are read in one go.
const BATCH: usize = 512;

/// Lines of a log, as they come.
#[derive(Debug)]
pub struct LogStream {
    core: Arc<Core>,
    id: String,
    options: LogsOptions,
    reader: Option<Reader>,
    ready: VecDeque<LogLine>,
    watch: Option<Watch>,
    /// The container has ended and the log was read to its end once more since.
    last_look: bool,
    ended: bool,
}

impl LogStream {
    pub(crate) fn new(
        core: Arc<Core>,
        id: String,
        options: LogsOptions,
        reader: Reader,
        ready: VecDeque<LogLine>,
    ) -> Self {
        Self {
            core,
            id,
            options,
            reader: Some(reader),
            ready,
            watch: None,
            last_look: false,
            ended: false,
        }
    }

    /// The next line; `None` at the end (with `follow`: when the container has stopped).
    pub async fn next(&mut self) -> Result<Option<LogLine>, LogsError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                if self.options.until.is_some_and(|until| line.time > until) {
                    self.ended = true;
                    self.ready.clear();
                    return Ok(None);
                }
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            if self.read_more().await? {
                continue;
            }
            if !self.options.follow || self.last_look {
                self.ended = true;
                return Ok(None);
            }
            if self.has_stopped().await? {
                self.last_look = true;
                continue;
            }
            if self.options.until.is_some_and(|until| Timestamp::now() > until) {
                self.ended = true;
                return Ok(None);
            }
            let log = self.core.paths.log(&self.id);
            let directory = log.parent().unwrap_or(Path::new("/")).to_owned();
            if self.watch.is_none() {
                self.watch = Some(Watch::new(&[&directory, &log]));
                // What came before the watch was there.
                continue;
            }
            if let Some(watch) = &self.watch {
                watch.changed().await;
            }
        }
    }

    async fn read_more(&mut self) -> Result<bool, LogsError> {
        let Some(mut reader) = self.reader.take() else { return Ok(false) };
        let task = tokio::task::spawn_blocking(move || {
            let lines = reader.lines(BATCH);
            (reader, lines)
        });
        let (reader, lines) = task.await.map_err(|_| Interrupted)?;
        self.reader = Some(reader);
        let options = self.options.clone();
        let before = self.ready.len();
        self.ready.extend(lines?.into_iter().filter(|line| is_wanted(&options, line)));
        Ok(self.ready.len() > before)
    }

    async fn has_stopped(&self) -> Result<bool, LogsError> {
        let (core, id) = (Arc::clone(&self.core), self.id.clone());
        let task = tokio::task::spawn_blocking(move || -> Result<bool, LogsError> {
            let Some(record) = core.records().container(&id)? else { return Ok(true) };
            let Some((record, observed)) = core.settle(record)? else { return Ok(true) };
            let status = observed.state.status;
            let is_starting = status == ContainerStatus::Created && record.launch.is_some();
            Ok(!status.is_active() && status != ContainerStatus::Restarting && !is_starting)
        });
        task.await.map_err(|_| Interrupted)?
    }
}

fn is_wanted(options: &LogsOptions, line: &LogLine) -> bool {
    let stream = match options.streams {
        LogStreams::Both => true,
        LogStreams::Stdout => !line.is_stderr,
        LogStreams::Stderr => line.is_stderr,
    };
    stream && options.since.is_none_or(|since| line.time >= since)
}

impl Core {
    /// Opens a container's log at the place where reading begins.
    pub(crate) fn open_log(
        &self,
        word: &str,
        options: &LogsOptions,
    ) -> Result<(String, Reader, VecDeque<LogLine>), LogsError> {
        let record = self.find::<LogsError>(word)?;
        if record.details.request.log.driver == LogDriver::None {
            return Err(NoLogError(record.name).into());
        }
        let mut reader = Reader::new(self.paths.log(&record.id));
        let mut ready = VecDeque::new();
        if let Some(tail) = options.tail {
            // The last lines of all that there is, a partial line counting as a part of one.
            loop {
                let lines = reader.lines(BATCH)?;
                if lines.is_empty() {
                    break;
                }
                for line in lines.into_iter().filter(|line| is_wanted(options, line)) {
                    if options.until.is_some_and(|until| line.time > until) {
                        continue;
                    }
                    ready.push_back(line);
                    while count(&ready) > tail {
                        ready.pop_front();
                    }
                }
            }
        }
        Ok((record.id, reader, ready))
    }
}

/// Whole lines, and a partial one at the end.
fn count(lines: &VecDeque<LogLine>) -> u64 {
    let whole = lines.iter().filter(|line| line.content.ends_with(b"\n")).count() as u64;
    whole + u64::from(lines.back().is_some_and(|line| !line.content.ends_with(b"\n")))
}

/// Reads a log and its rotated files, oldest first, and goes on in the new file when the current
/// one is rotated.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    /// Rotated files to read before the current one, the next one last.
    older: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    /// The open file is the current one, not a rotated one.
    is_last: bool,
    /// The beginning of a line that is not whole yet.
    rest: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(path: PathBuf) -> Self {
        let mut older = Vec::new();
        for number in 1.. {
            let rotated = with_number(&path, number);
            if !rotated.exists() {
                break;
            }
            older.push(rotated);
        }
        Self { path, older, current: None, is_last: false, rest: Vec::new() }
    }

    /// Up to `most` lines; none when there are no more now.
    pub(crate) fn lines(&mut self, most: usize) -> Result<Vec<LogLine>, FileError> {
        let mut lines = Vec::new();
        while lines.len() < most {
            if self.current.is_none() && !self.open_next()? {
                break;
            }
            let Some(file) = self.current.as_mut() else { break };
            let length = file
                .read_until(b'\n', &mut self.rest)
                .map_err(FileError::new("read the log", &self.path))?;
            if self.rest.ends_with(b"\n") {
                lines.extend(parse(&self.rest));
                self.rest.clear();
            } else if length == 0 && !self.advance()? {
                break;
            }
        }
        Ok(lines)
    }

    fn open_next(&mut self) -> Result<bool, FileError> {
        let (path, is_last) = match self.older.pop() {
            Some(path) => (path, false),
            None => (self.path.clone(), true),
        };
        match File::open(&path) {
            Ok(file) => {
                self.current = Some(BufReader::with_capacity(64 << 10, file));
                self.is_last = is_last;
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A rotated file that has gone since, or a log that has not begun.
                if is_last { Ok(false) } else { self.open_next() }
            }
            Err(error) => Err(FileError::new("open the log", &path)(error)),
        }
    }

    /// At the end of a file: whether there is another to go on with.
    fn advance(&mut self) -> Result<bool, FileError> {
        if !self.is_last {
            self.current = None;
            return self.open_next();
        }
        let Some(file) = self.current.as_mut() else { return Ok(false) };
        let failed = || FileError::new("look at the log", &self.path);
        let open = file.get_ref().metadata().map_err(failed())?;
        let Ok(named) = std::fs::metadata(&self.path) else { return Ok(false) };
        if (open.dev(), open.ino()) != (named.dev(), named.ino()) {
            // Rotated: the old file has been read to its end, since it grows no more.
            self.current = None;
            self.rest.clear();
            return self.open_next();
        }
        let position = file.stream_position().map_err(failed())?;
        if open.len() < position {
            // Cut short by somebody: from the beginning.
            file.seek(SeekFrom::Start(0)).map_err(failed())?;
            self.rest.clear();
            return Ok(open.len() > 0);
        }
        Ok(false)
    }
}

fn with_number(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// A line of the file; what is none is passed over.
fn parse(line: &[u8]) -> Option<LogLine> {
    let line = line.strip_suffix(b"\n")?;
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let is_stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let is_whole = parts.next()?.starts_with(b"F");
    let mut content = parts.next().unwrap_or_default().to_vec();
    if is_whole {
        content.push(b'\n');
    }
    Some(LogLine { time, is_stderr, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05.123456789Z";

    #[test]
    fn lines_are_read_across_rotated_files_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("container.log");
        std::fs::write(with_number(&path, 2), format!("{TIME} stdout F one\n")).unwrap();
        std::fs::write(with_number(&path, 1), format!("{TIME} stderr F two\n")).unwrap();
        std::fs::write(&path, format!("{TIME} stdout P thr\n{TIME} stdout F ee\n{TIME} std"))
            .unwrap();
        let mut reader = Reader::new(path.clone());
        let lines = reader.lines(100).unwrap();
        let text: Vec<&[u8]> = lines.iter().map(|line| line.content.as_slice()).collect();
        assert_eq!(text, [&b"one\n"[..], b"two\n", b"thr", b"ee\n"]);
        assert!(lines[1].is_stderr);
        assert!(reader.lines(100).unwrap().is_empty());
    }

    #[test]
    fn reading_goes_on_after_a_rotation() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("container.log");
        std::fs::write(&path, format!("{TIME} stdout F one\n")).unwrap();
        let mut reader = Reader::new(path.clone());
        assert_eq!(reader.lines(100).unwrap().len(), 1);
        std::fs::rename(&path, with_number(&path, 1)).unwrap();
        std::fs::write(&path, format!("{TIME} stdout F two\n")).unwrap();
        let lines = reader.lines(100).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].content, b"two\n");
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        for line in ["\n", "nonsense\n", "2026 stdout F x\n", &format!("{TIME} std F x\n")] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(parse(format!("{TIME} stdout F\n").as_bytes()).unwrap().content, b"\n");
    }
}
