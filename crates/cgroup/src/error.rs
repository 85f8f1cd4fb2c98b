//! What can go wrong, one enum an operation.

use std::io;
use std::path::{Path, PathBuf};

use crate::systemd::SystemdError;

/// A coarse class of error, for exit codes and protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The control group is not there.
    NotFound,
    /// It exists and is in use.
    Exists,
    /// The configuration asks for something that cannot be.
    Invalid,
    /// No permission.
    Permission,
    /// This kernel or layout does not have it.
    Unsupported,
    /// Anything else.
    Other,
}

/// An operation on one file or directory of a control group.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Creating a directory.
    #[error("cannot create the control group directory {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Opening.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Reading.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Writing.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Changing the owner.
    #[error("cannot change the owner of {}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Removing.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel wrote something unexpected.
    #[error("cannot make sense of {text:?} in {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Its text, or the line.
        text: String,
    },
}

impl FileError {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. }
            | Self::Open { path, .. }
            | Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Owner { path, .. }
            | Self::Remove { path, .. }
            | Self::Content { path, .. } => path,
        }
    }

    /// The system's answer, when there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Create { source, .. }
            | Self::Open { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Owner { source, .. }
            | Self::Remove { source, .. } => Some(source),
            Self::Content { .. } => None,
        }
    }

    /// The raw errno, when there is one.
    pub fn errno(&self) -> Option<i32> {
        self.io().and_then(io::Error::raw_os_error)
    }

    /// The class.
    pub fn kind(&self) -> ErrorKind {
        self.io().map_or(ErrorKind::Other, kind_of)
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV) => ErrorKind::NotFound,
        Some(libc::EPERM | libc::EACCES | libc::EROFS) => ErrorKind::Permission,
        Some(libc::EINVAL | libc::ERANGE | libc::ENAMETOOLONG) => ErrorKind::Invalid,
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => ErrorKind::Unsupported,
        Some(libc::EEXIST | libc::EBUSY) => ErrorKind::Exists,
        _ => ErrorKind::Other,
    }
}

const PERMISSION_HINT: &str =
    "run as root, or have the control group delegated to this user (systemd: Delegate=yes)";

/// Finding out what is mounted.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A file of procfs.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no cgroup file system.
    #[error("no cgroup file system is mounted")]
    NoneMounted,
}

impl DetectError {
    /// What a person can try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(_) => None,
            Self::NoneMounted => Some("mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
        }
    }
}

/// Creating a control group.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The path is unusable.
    #[error("linux.cgroupsPath {path:?} {reason}")]
    InvalidPath {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A file or directory of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Processes that are not ours are in it.
    #[error("the container's cgroup is not empty: {} is in use by process {process}", path.display())]
    Occupied {
        /// Its directory.
        path: PathBuf,
        /// One of its processes.
        process: i32,
    },
    /// The control group, or one above it, is frozen.
    #[error("container's cgroup unexpectedly frozen: {}", path.display())]
    Frozen {
        /// Its directory.
        path: PathBuf,
    },
    /// The scope is another's.
    #[error("the scope {unit} exists already and is {state}")]
    UnitExists {
        /// The unit.
        unit: String,
        /// systemd's word, such as `active`.
        state: String,
    },
    /// systemd was asked for and is not there.
    #[error("the systemd driver was asked for, but systemd cannot be reached")]
    NoSystemd(#[source] SystemdError),
    /// systemd was asked for and refused.
    #[error("systemd did not create the scope {unit}")]
    Systemd {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: SystemdError,
    },
}

impl CreateError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidPath { .. } => ErrorKind::Invalid,
            Self::File(error) => error.kind(),
            Self::Occupied { .. } | Self::Frozen { .. } | Self::UnitExists { .. } => {
                ErrorKind::Exists
            }
            Self::NoSystemd(_) => ErrorKind::Unsupported,
            Self::Systemd { .. } => ErrorKind::Other,
        }
    }

    /// What a person can try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::InvalidPath { .. } => {
                Some("give an absolute path such as /berth/NAME, or SLICE:PREFIX:NAME with systemd")
            }
            Self::Occupied { .. } | Self::UnitExists { .. } => {
                Some("give each container a linux.cgroupsPath of its own")
            }
            Self::Frozen { .. } => Some("thaw it, or remove it when nothing needs it"),
            Self::NoSystemd(_) => Some(
                "leave --systemd-cgroup out; without privileges, log in so that there is a user \
                 manager (XDG_RUNTIME_DIR)",
            ),
            Self::File(error) if error.kind() == ErrorKind::Permission => Some(PERMISSION_HINT),
            Self::File(_) => None,
            Self::Systemd { .. } => Some("systemctl status, or leave --systemd-cgroup out"),
        }
    }
}

/// Opening a saved control group.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The record holds no path.
    #[error("the saved control group names no directory")]
    Empty,
}

/// Applying limits.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused a value.
    #[error("cannot set linux.resources.{field}")]
    File {
        /// The property of the configuration.
        field: String,
        /// The file and why.
        #[source]
        source: FileError,
    },
    /// The controller is not there.
    #[error(
        "linux.resources.{field} needs the {controller} controller, which is not available here"
    )]
    NoController {
        /// The property of the configuration.
        field: String,
        /// The controller.
        controller: &'static str,
    },
    /// The controller is there and lacks the file.
    #[error("linux.resources.{field} needs {file}, which this kernel does not have")]
    NoFile {
        /// The property of the configuration.
        field: String,
        /// The file's name.
        file: String,
    },
    /// The property has no meaning with this cgroup version.
    #[error("linux.resources.{field} does not exist with cgroup {version}")]
    WrongVersion {
        /// The property of the configuration.
        field: String,
        /// `v1` or `v2`.
        version: &'static str,
    },
    /// The value makes no sense.
    #[error("linux.resources.{field} is {value}: {reason}")]
    Invalid {
        /// The property of the configuration.
        field: String,
        /// Its value.
        value: String,
        /// What was expected.
        reason: &'static str,
    },
    /// A limit below what is in use, with `checkBeforeUpdate`.
    #[error("linux.resources.memory.limit of {limit} bytes is below the {usage} bytes in use")]
    BelowUsage {
        /// The limit.
        limit: i64,
        /// The usage.
        usage: u64,
    },
    /// The device filter of cgroup v2.
    #[error("cannot {action} the device filter of linux.resources.devices")]
    DeviceProgram {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// systemd refused the properties.
    #[error("systemd did not set the limits of {unit}")]
    Systemd {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: SystemdError,
    },
}

impl ApplyError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => source.kind(),
            Self::NoController { .. } | Self::NoFile { .. } | Self::WrongVersion { .. } => {
                ErrorKind::Unsupported
            }
            Self::Invalid { .. } | Self::BelowUsage { .. } => ErrorKind::Invalid,
            Self::DeviceProgram { source, .. } => kind_of(source),
            Self::Systemd { .. } => ErrorKind::Other,
        }
    }

    /// What a person can try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoController { .. } => Some(
                "leave the limit out, or enable the controller (kernel command line, \
                 cgroup.subtree_control of the parent)",
            ),
            Self::NoFile { file, .. } if file.contains("memsw") || file.contains("swap") => {
                Some("boot with swapaccount=1, or leave the swap limit out")
            }
            Self::NoFile { .. } | Self::WrongVersion { .. } => Some("leave the limit out"),
            Self::BelowUsage { .. } => Some("give a higher limit"),
            Self::File { field, .. } if matches!(field.as_str(), "cpu.cpus" | "cpu.mems") => Some(
                "give a list such as 0-2,4 of CPUs (or memory nodes) that this machine and the \
                 parent control group have",
            ),
            _ if self.kind() == ErrorKind::Permission => Some(PERMISSION_HINT),
            _ => None,
        }
    }
}

/// Adding a process.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A hierarchy refused it.
    #[error("cannot move process {pid} into the control group")]
    File {
        /// The process.
        pid: i32,
        /// The file and why.
        #[source]
        source: FileError,
    },
    /// The systemd scope that starts with this process could not be made.
    #[error("cannot start the control group with process {pid}")]
    Start {
        /// The process.
        pid: i32,
        /// Why.
        #[source]
        source: CreateError,
    },
    /// The limits that waited for the scope could not be applied.
    #[error("cannot limit the control group started with process {pid}")]
    Limit {
        /// The process.
        pid: i32,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// The scope is not there yet.
    #[error("the systemd scope {unit} has no process yet, so it cannot be joined")]
    Pending {
        /// The unit.
        unit: String,
    },
}

impl AttachError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => source.kind(),
            Self::Start { source, .. } => source.kind(),
            Self::Limit { source, .. } => source.kind(),
            Self::Pending { .. } => ErrorKind::Other,
        }
    }

    /// What a person can try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start { source, .. } => source.hint(),
            Self::Limit { source, .. } => source.hint(),
            Self::File { source, .. } if source.kind() == ErrorKind::Permission => {
                Some(PERMISSION_HINT)
            }
            _ => None,
        }
    }
}

/// Joining by the process itself; carries no allocation, for use between clone and exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot join hierarchy {index} of the control group: {errno}")]
pub struct JoinError {
    /// Which file of the [`crate::Joiner`]: see [`crate::Joiner::path`].
    pub index: usize,
    /// The kernel's answer.
    pub errno: rustix::io::Errno,
}

/// Listing processes.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the processes of the control group")]
pub struct ProcessesError(#[source] pub FileError);

/// Freezing, thawing, asking.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// There is no freezer.
    #[error("there is no freezer: neither the v1 controller nor cgroup.freeze of v2")]
    NoFreezer,
    /// A file of it.
    #[error("cannot change or read the freezer's state")]
    File(#[from] FileError),
    /// It takes too long.
    #[error("the control group {} did not become {wanted} within {milliseconds} ms", path.display())]
    Timeout {
        /// Its directory.
        path: PathBuf,
        /// `frozen` or `thawed`.
        wanted: &'static str,
        /// How long was waited.
        milliseconds: u64,
    },
}

impl FreezeError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoFreezer => ErrorKind::Unsupported,
            Self::File(error) => error.kind(),
            Self::Timeout { .. } => ErrorKind::Other,
        }
    }
}

/// Signalling every process.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The processes could not be listed.
    #[error(transparent)]
    Processes(#[from] ProcessesError),
    /// A file of the control group.
    #[error("cannot kill the control group")]
    File(#[from] FileError),
    /// A process refused the signal.
    #[error("cannot signal process {pid} of the control group")]
    Signal {
        /// The process.
        pid: i32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// New processes appear faster than they are killed, or one is stuck in the kernel.
    #[error("process {pid} of the control group {} does not go away", path.display())]
    Survivors {
        /// The directory.
        path: PathBuf,
        /// One of them.
        pid: i32,
    },
}

/// Reading statistics.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the statistics of the control group")]
pub struct StatisticsError(#[from] pub FileError);

/// Watching for out-of-memory kills.
#[derive(Debug, thiserror::Error)]
pub enum OomError {
    /// There is no memory controller.
    #[error("out-of-memory kills cannot be watched: there is no memory controller")]
    NoMemoryController,
    /// A file of it.
    #[error("cannot watch for out-of-memory kills")]
    File(#[from] FileError),
    /// The event descriptor.
    #[error("cannot {action} the descriptor that tells of out-of-memory kills")]
    Descriptor {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Removing.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It stays busy.
    #[error("cannot remove the control group directory {}{}", path.display(), in_use(*process))]
    Directory {
        /// The directory.
        path: PathBuf,
        /// A process that is in it.
        process: Option<i32>,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// systemd did not stop the scope.
    #[error("systemd did not stop the scope {unit}")]
    Systemd {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: SystemdError,
    },
    /// More than one of these.
    #[error("{}", list(.0))]
    Several(Vec<RemoveError>),
}

impl RemoveError {
    /// What a person can try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Directory { process: Some(_), .. } => Some("stop the process, then try again"),
            _ => None,
        }
    }
}

fn list(errors: &[RemoveError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn in_use(process: Option<i32>) -> String {
    process.map(|pid| format!(", in use by process {pid}")).unwrap_or_default()
}
