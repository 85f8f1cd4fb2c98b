//! The status file of a container: `status.json` in its run directory, owned by its monitor.
//!
//! The monitor replaces the file by rename, so that a reader sees the old or the new one. Whoever
//! lists containers reads these files and asks no monitor. A status says what the monitor last
//! knew: whether that monitor lives is told by [`crate::client::is_alive`].

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name.
pub const FILE: &str = "status.json";

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A worker is creating it. Never in the file: before the first status there is none.
    Creating,
    /// It is created; its program does not run yet.
    Created,
    /// Its program runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has exited, and the restart policy will start it again.
    Restarting,
    /// It has exited for good.
    Stopped,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
        }
    }
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The container's ID.
    pub id: String,
    /// Its state.
    pub state: State,
    /// Its first process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When that process began, in clock ticks since boot (`/proc/PID/stat`, field 22): together
    /// with the pid this names the process for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_start_time: Option<u64>,
    /// When the program was last started (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it last exited (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// The exit code (128 plus the signal after a signal); absent while it runs, and when nobody
    /// can know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// How many times the restart policy has started it again.
    #[serde(default)]
    pub restarts: u32,
    /// How far the restart policy has come, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartProgress>,
    /// The monitor that wrote this.
    pub monitor_pid: i32,
}

/// How far a restart policy has come: what another monitor needs to go on with it. Times are
/// milliseconds since boot, time in suspension included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartProgress {
    /// How often it has been started again in a row, without a run that was long enough to begin
    /// anew.
    pub attempts: u32,
    /// The pause before the next restart but the one that may be waited for.
    pub pause_ms: u64,
    /// When the program that runs was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it is to be started again, while that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// Somebody stopped it: it is not started again, whatever the policy.
    #[serde(default)]
    pub barred: bool,
}

/// Why a status could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read the container status {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not a status.
    #[error("{path} is not a container status")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads the status in a container's run directory. `None` when there is none (yet).
pub fn read(directory: &Path) -> Result<Option<Status>, ReadError> {
    let path = directory.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReadError::Read { path, source }),
    };
    match serde_json::from_slice(&bytes) {
        Ok(status) => Ok(Some(status)),
        Err(source) => Err(ReadError::Parse { path, source }),
    }
}
