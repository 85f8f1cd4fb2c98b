//! What callers are shown: lists, details, statistics. Data only, serializable; no formatting.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attachment::Attachment;
use crate::signal::Signal;

/// What `create` gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The container's id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What was asked for and is done otherwise, a sentence each.
    pub warnings: Vec<String>,
}

/// What `run` gives.
#[derive(Debug)]
pub struct Running {
    /// The container.
    pub created: Created,
    /// The attachment, when one was asked for.
    pub attachment: Option<Attachment>,
}

/// What `exec` gives.
#[derive(Debug)]
pub struct ExecSession {
    /// The session's id.
    pub id: String,
    /// The process as the host sees it.
    pub pid: i32,
    /// The attachment, unless detached.
    pub attachment: Option<Attachment>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerStatus {
    /// Recorded; never ran, or not since the last clean-up of a failed start.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its process ended and the restart policy will start it again.
    Restarting,
    /// Its process ended.
    Exited,
    /// It is being removed.
    Removing,
}

impl ContainerStatus {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
        }
    }

    /// Whether there is a process.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl std::fmt::Display for ContainerStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of a container's process; from the monitor's files or the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    /// Where it is in its life.
    pub status: ContainerStatus,
    /// The process as the host sees it, while there is one.
    pub pid: Option<i32>,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
    /// When it ended last.
    pub finished_at: Option<Timestamp>,
    /// How it ended; `None` while it runs, before it ran, or when nobody saw it end.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed it for lack of memory.
    pub oom_killed: bool,
    /// How often the restart policy started it again.
    pub restarts: u32,
    /// The monitor, while there is one.
    pub monitor_pid: Option<i32>,
    /// Why it could not be started, if it could not.
    pub error: Option<String>,
}

/// A running monitor that was to execute the installed program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigratedMonitor {
    /// The container's id.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// The monitor's process, the same before and after.
    pub pid: i32,
    /// What became of its program.
    pub change: MonitorChange,
}

/// What became of a monitor's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorChange {
    /// It is the installed one already.
    None,
    /// It was replaced.
    Replaced {
        /// The version before.
        before: String,
        /// The version now.
        after: String,
    },
}

/// A line of `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as it was named.
    pub image: String,
    /// The image's id, hexadecimal; empty for `--rootfs`.
    pub image_id: String,
    /// Entrypoint and command.
    pub command: Vec<String>,
    /// When it was created.
    pub created: Timestamp,
    /// Its state.
    pub state: ContainerState,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Destinations of its mounts.
    pub mounts: Vec<String>,
    /// `none`, `host`, …
    pub network: String,
    /// Bytes in the writable layer and in all layers; with [`ListFilter::size`](crate::ListFilter).
    pub size: Option<ContainerSize>,
    /// Whether it goes when it exits (`--rm`).
    pub remove: bool,
}

/// The size of a container's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerSize {
    /// Bytes in the writable layer.
    pub writable: u64,
    /// Bytes in all layers.
    pub total: u64,
}

/// What `top` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top {
    /// Column titles.
    pub titles: Vec<String>,
    /// A row a process.
    pub rows: Vec<Vec<String>>,
}

/// One sample of a container's use of resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatistics {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When the sample was taken.
    pub time: Timestamp,
    /// CPU time used, nanoseconds; rates are the difference of two samples.
    pub cpu_total: u64,
    /// Of it in the kernel, nanoseconds.
    pub cpu_system: u64,
    /// CPUs the host has online.
    pub online_cpus: u32,
    /// Share of one CPU used since the container's start, percent (what `stats --no-stream` shows).
    pub cpu_average_percent: f64,
    /// Bytes of memory used, without reclaimable page cache.
    pub memory_usage: u64,
    /// The limit in bytes: the container's, or the host's memory.
    pub memory_limit: u64,
    /// Bytes received and sent over network interfaces, loopback left out.
    pub network: (u64, u64),
    /// Bytes read from and written to block devices.
    pub block: (u64, u64),
    /// Processes and threads.
    pub pids: u64,
}

/// How `stop` found the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It ran and was stopped.
    Now,
    /// It ran on for all the time that it was given after its stop signal, and was killed.
    Killed {
        /// What it did not end by.
        signal: Signal,
        /// How long it was given.
        seconds: u32,
    },
    /// It did not run.
    Already,
}

/// What `wait` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitOutcome {
    /// The exit code, when the condition was an exit and somebody saw it.
    pub exit_code: Option<i32>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the monitor read it.
    pub time: Timestamp,
    /// Whether it is standard error.
    pub is_stderr: bool,
    /// The bytes, with their newline where the container wrote one.
    pub content: Vec<u8>,
}

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// `create`, `start`, `died`, `oom`, `cleanup`, `remove`, …
    pub status: String,
    /// The container's id.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// The image as it was named.
    pub image: String,
    /// More, such as `exitCode` and `signal`.
    pub attributes: BTreeMap<String, String>,
}

/// What a path in a container is (docker's path stat).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// Its last component.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// st_mode, type and permissions.
    pub mode: u32,
    /// When it was modified.
    pub modified: Timestamp,
    /// Where a symbolic link points to.
    pub link_target: Option<PathBuf>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its files are on the host.
    pub path: PathBuf,
    /// When it was created.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it was made for one container.
    pub anonymous: bool,
    /// Ids of containers that use it.
    pub used_by: Vec<String>,
}

/// What `system prune` took away and mended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// Ids of containers removed.
    pub containers: Vec<String>,
    /// Names of volumes removed.
    pub volumes: Vec<String>,
    /// Ids of images removed.
    pub images: Vec<String>,
    /// Left-overs of killed processes that were mended or taken away, a sentence each.
    pub healed: Vec<String>,
    /// Bytes freed on disk, as far as they were counted.
    pub reclaimed: u64,
}

/// An OCI runtime, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// The name by which `--runtime` knows it.
    pub name: String,
    /// Whether it makes containers when nobody says.
    pub is_default: bool,
    /// The program; none for our own.
    pub path: Option<PathBuf>,
    /// The first line that it says of its version.
    pub version: Option<String>,
    /// What its `features` command says (features.md), if it has one.
    pub features: Option<berth_spec::features::Features>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

impl RuntimeInfo {
    /// Its features in a few words.
    pub fn abilities(&self) -> Vec<String> {
        self.features.as_ref().map(crate::handler::summary).unwrap_or_default()
    }
}

/// What `info` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// berth's version.
    pub version: String,
    /// Persistent state.
    pub root: PathBuf,
    /// State on tmpfs.
    pub runroot: PathBuf,
    /// Number of containers by status.
    pub containers: BTreeMap<String, u64>,
    /// Number of images.
    pub images: u64,
    /// Kernel release.
    pub kernel: String,
    /// Machine's architecture.
    pub architecture: String,
    /// Operating system's pretty name.
    pub operating_system: String,
    /// Host name.
    pub hostname: String,
    /// CPUs online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// `v1`, `v2` or `hybrid`.
    pub cgroup_layout: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_manager: String,
    /// The snapshot driver.
    pub snapshot_driver: String,
    /// The default runtime.
    pub runtime: String,
    /// The runtimes that containers can be made with.
    pub runtimes: Vec<RuntimeInfo>,
    /// The monitor program.
    pub monitor: Option<PathBuf>,
    /// `seccomp`, `apparmor`, `selinux` as far as they can be used.
    pub security: Vec<String>,
    /// Whether this is an unprivileged user's engine.
    pub rootless: bool,
}
