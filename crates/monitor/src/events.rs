//! The events of a container: `events` in its run directory, one JSON object a line, in order.
//!
//! Each has a sequence number that grows by one and never starts anew in the same directory, so
//! that a reader that remembers the last number misses nothing and sees nothing twice. When the
//! file has become long, it is set aside and a new one begun.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name.
pub const FILE: &str = "events";
/// The name of the file with the events before those: `events` is renamed to this when it has
/// become long, and what had that name is gone.
pub const OLD_FILE: &str = "events.old";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counted from 1.
    pub sequence: u64,
    /// When (RFC 3339).
    pub time: String,
    /// The container's ID.
    pub id: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum EventKind {
    /// It was created.
    Created {
        /// Its first process.
        pid: i32,
    },
    /// Its program was started.
    Started {
        /// Its first process.
        pid: i32,
    },
    /// It was frozen.
    Paused,
    /// It was thawed.
    Resumed,
    /// The kernel killed one of its processes for want of memory.
    Oom,
    /// Its first process exited.
    Exited {
        /// The exit code, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Whether processes were killed for want of memory.
        oom_killed: bool,
        /// Whether it will be started again.
        restarting: bool,
    },
    /// A further process was started.
    ExecStarted {
        /// The session.
        session: String,
        /// Its process.
        pid: i32,
    },
    /// A further process exited.
    ExecExited {
        /// The session.
        session: String,
        /// The exit code, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
    },
    /// An attempt to start it again failed.
    RestartFailed {
        /// Why.
        error: String,
    },
    /// A monitor took over from one that was killed.
    Adopted {
        /// The new monitor.
        monitor: i32,
    },
    /// A newer monitor took over in place.
    Replaced {
        /// The new program's version.
        version: String,
    },
    /// Output could not be written to the log.
    LogLost {
        /// How many bytes of output.
        bytes: u64,
        /// Why, at first.
        error: String,
    },
    /// The cleanup command failed.
    CleanupFailed {
        /// Its exit code.
        code: i32,
    },
}

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the container events {path}")]
pub struct ReadError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Reads the events after sequence number `after` (0 for all). A line that isn't an event, such
/// as one of a later version, is passed over.
pub fn read(directory: &Path, after: u64) -> Result<Vec<Event>, ReadError> {
    let mut events = Vec::new();
    for name in [OLD_FILE, FILE] {
        let path = directory.join(name);
        if let Err(source) = read_file(&path, after, &mut events) {
            return Err(ReadError { path, source });
        }
    }
    Ok(events)
}

fn read_file(path: &Path, after: u64, events: &mut Vec<Event>) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let after = events.last().map_or(after, |event| event.sequence.max(after));
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(event) = serde_json::from_slice::<Event>(&line?)
            && event.sequence > after
        {
            events.push(event);
        }
    }
    Ok(())
}
