//! Errors as front ends see them: one enum per operation, each with a kind and hints.
//!
//! [`ErrorKind`] maps to exit codes here, and only here; HTTP and gRPC front ends map the same kinds
//! to theirs. An operation's enum is made of *causes* (below, and [`RequestError`], [`RecordError`]),
//! each of which says what was being done to what; the enum adds nothing to their words.

mod monitor;
mod operations;

use std::io;
use std::path::{Path, PathBuf};

pub use monitor::MonitorError;
pub use operations::*;

pub use crate::assemble::RequestError;
pub use crate::records::RecordError;
use crate::records::short;
use crate::view::ContainerStatus;

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such container, image, volume, path.
    NotFound,
    /// A name in use, a state that the operation does not fit.
    Conflict,
    /// The request makes no sense, or asks for what is not supported.
    Invalid,
    /// No permission.
    Denied,
    /// Something that must be there to do it is not (a monitor, a kernel facility, disk space).
    Unavailable,
    /// The container's command is not there.
    CommandNotFound,
    /// The container's command cannot be executed.
    CommandNotExecutable,
    /// Anything else.
    Internal,
}

impl ErrorKind {
    /// The exit code of `run`, `start`, `exec` and `create`: 127 and 126 for a command that is not
    /// there or cannot be executed, 125 for berth's own failures, as podman and docker have it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::CommandNotFound => 127,
            Self::CommandNotExecutable => 126,
            _ => 125,
        }
    }
}

/// What every error of the engine can say beyond its text.
pub trait EngineError: std::error::Error + Send + Sync + 'static {
    /// What sort of failure it is.
    fn kind(&self) -> ErrorKind;

    /// What a person can do about it, a sentence each; to be printed as `hint:` lines.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The kind of a system error.
pub(crate) fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::OutOfMemory
        | io::ErrorKind::Unsupported => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

const DISK_FULL: &str = "the disk is full: `berth system prune` removes what is not in use, \
    `--root` and `--runroot` set other places";
const NO_PERMISSION: &str =
    "run it as root, or set directories of your own with --root and --runroot";
const READ_ONLY: &str = "set directories that can be written with --root and --runroot";

fn io_hints(error: &io::Error) -> Vec<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DISK_FULL,
        io::ErrorKind::PermissionDenied => NO_PERMISSION,
        io::ErrorKind::ReadOnlyFilesystem => READ_ONLY,
        _ => return Vec::new(),
    };
    vec![hint.to_owned()]
}

/// The kind of an error of the image crate.
pub(crate) fn image_kind(error: &dyn berth_image::Explain) -> ErrorKind {
    use berth_image::ErrorKind as Image;
    match error.kind() {
        Image::NotFound => ErrorKind::NotFound,
        Image::Conflict => ErrorKind::Conflict,
        Image::Invalid => ErrorKind::Invalid,
        Image::Denied => ErrorKind::Denied,
        Image::Unavailable => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// A word on a command line, or in a request, that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {given:?}: expected {expected}")]
pub struct ParseError {
    what: &'static str,
    given: String,
    expected: String,
}

impl ParseError {
    /// An error about `given`, which should have been `expected`.
    pub fn new(what: &'static str, given: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { what, given: given.into(), expected: expected.into() }
    }
}

impl EngineError for ParseError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// An operation on a file of the engine's that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was being done.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: says what was being done to which path.
    pub(crate) fn new<E: Into<io::Error>>(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self { action, path: path.as_ref().to_owned(), source: source.into() }
    }
}

impl EngineError for FileError {
    fn kind(&self) -> ErrorKind {
        // A file of our own that is missing is not a container that is missing.
        match io_kind(&self.source) {
            ErrorKind::NotFound | ErrorKind::Conflict => ErrorKind::Internal,
            kind => kind,
        }
    }

    fn hints(&self) -> Vec<String> {
        io_hints(&self.source)
    }
}

impl EngineError for RecordError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NameInUse { .. } | Self::VolumeInUse { .. } | Self::VolumeExists { .. } => {
                ErrorKind::Conflict
            }
            Self::Gone { .. } => ErrorKind::NotFound,
            Self::TooNew { .. } => ErrorKind::Unavailable,
            Self::Open { source, .. } | Self::Statement { source, .. } => match source.code() {
                _ if source.is_full() => ErrorKind::Unavailable,
                Some(rusqlite::ErrorCode::DatabaseBusy) => ErrorKind::Unavailable,
                Some(
                    rusqlite::ErrorCode::PermissionDenied
                    | rusqlite::ErrorCode::ReadOnly
                    | rusqlite::ErrorCode::CannotOpen,
                ) => ErrorKind::Denied,
                _ => ErrorKind::Internal,
            },
            Self::Damaged { .. } | Self::Encode { .. } => ErrorKind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NameInUse { name, .. } => vec![format!(
                "choose another name, remove that container (`berth rm {name}`), or use --replace"
            )],
            Self::VolumeInUse { name, users } => {
                let users: Vec<&str> = users.iter().map(|id| short(id)).collect();
                vec![format!(
                    "remove the containers that use {name} first ({}), or use --force",
                    users.join(", ")
                )]
            }
            Self::TooNew { .. } => {
                vec!["use the newer berth, or another --root".to_owned()]
            }
            Self::Open { source, .. } | Self::Statement { source, .. } => {
                database_hint(source).map(str::to_owned).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn database_hint(error: &crate::records::DatabaseError) -> Option<&'static str> {
    use rusqlite::ErrorCode;
    if error.is_full() {
        return Some(DISK_FULL);
    }
    match error.code()? {
        ErrorCode::PermissionDenied | ErrorCode::CannotOpen => Some(NO_PERMISSION),
        ErrorCode::ReadOnly => Some(READ_ONLY),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Some("another berth has held the database for a minute: is one of them stopped?")
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(
            "move berth.db, berth.db-wal and berth.db-shm away: berth makes new ones; images and \
             layers stay, containers have to be made again",
        ),
        _ => None,
    }
}

/// A word that stands for no container, or for several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// None.
    #[error("no container has the name or id {0:?}")]
    NotFound(String),
    /// Several.
    #[error("the id {prefix:?} is the beginning of several: {}", ids.iter().map(|id| short(id)).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// Some of them.
        ids: Vec<String>,
    },
}

impl EngineError for FindError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Ambiguous { .. } => ErrorKind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotFound(_) => vec!["`berth ps --all` lists all containers".to_owned()],
            Self::Ambiguous { .. } => vec!["give more digits of the id".to_owned()],
        }
    }
}

/// A container whose state the operation does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action} container {name}: it is {status}")]
pub struct StateError {
    /// What was to be done.
    pub action: &'static str,
    /// The container.
    pub name: String,
    /// What it is.
    pub status: ContainerStatus,
}

impl EngineError for StateError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Conflict
    }

    fn hints(&self) -> Vec<String> {
        let Self { action, name, status } = self;
        let hint = match (*action, status) {
            ("remove", ContainerStatus::Running | ContainerStatus::Paused) => {
                format!("stop it first (`berth stop {name}`), or use --force")
            }
            (_, ContainerStatus::Created | ContainerStatus::Exited) => {
                format!("start it first: `berth start {name}`")
            }
            (_, ContainerStatus::Paused) => format!("resume it first: `berth unpause {name}`"),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// An image that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the image {name:?}")]
pub struct ImageError {
    /// The image as it was named.
    pub name: String,
    kind: ErrorKind,
    hints: Vec<String>,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl ImageError {
    /// For `map_err`: an error of the image crate about an image.
    pub(crate) fn new<E>(name: &str) -> impl FnOnce(E) -> Self
    where
        E: berth_image::Explain + Send + Sync + 'static,
    {
        move |error| Self {
            name: name.to_owned(),
            kind: image_kind(&error),
            hints: error.hints(),
            source: Box::new(error),
        }
    }
}

impl ImageError {
    /// For `map_err`: a file of an image's that cannot be read.
    pub(crate) fn file(name: &str) -> impl FnOnce(berth_image::FileError) -> Self {
        Self::new(name)
    }
}

impl EngineError for ImageError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = self.hints.clone();
        if self.kind == ErrorKind::NotFound && hints.is_empty() {
            hints.push(
                "`berth images` lists what there is, `berth load` brings more; `demo` is always \
                 there"
                    .to_owned(),
            );
        }
        hints
    }
}

/// A writable layer, or a root file system, that cannot be made, mounted or removed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The snapshot.
    #[error("cannot prepare the root file system of container {}", short(id))]
    Snapshot {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: berth_image::SnapshotError,
    },
    /// The mount.
    #[error("cannot mount the root file system of container {}", short(id))]
    Mount {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: berth_runtime::rootfs::RootfsError,
    },
    /// The driver that the container was made with is not known.
    #[error(
        "container {} was made with the snapshot driver {driver:?}, which is not known",
        short(id)
    )]
    Driver {
        /// The container.
        id: String,
        /// The driver.
        driver: String,
    },
}

impl EngineError for RootError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Snapshot { source, .. } => image_kind(source),
            Self::Mount { .. } | Self::Driver { .. } => ErrorKind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        use berth_image::Explain as _;
        match self {
            Self::Snapshot { source, .. } => source.hints(),
            Self::Mount { source, .. } => source.hint().map(str::to_owned).into_iter().collect(),
            Self::Driver { .. } => Vec::new(),
        }
    }
}

/// An OCI runtime that is not there, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such runtime.
    #[error("no OCI runtime is called {0:?}")]
    Unknown(String),
    /// A configured one is not installed.
    #[error("the OCI runtime {name:?} is configured as {}, which is not there", program.display())]
    Missing {
        /// Its name.
        name: String,
        /// What was looked for.
        program: PathBuf,
    },
    /// Our own failed.
    #[error("cannot {action} container {}", short(id))]
    Builtin {
        /// What was to be done.
        action: &'static str,
        /// The container.
        id: String,
        /// Its advice.
        hint: Option<&'static str>,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A foreign one failed.
    #[error("{} could not {action} container {}: {text}", program.display(), short(id))]
    Foreign {
        /// What was to be done.
        action: &'static str,
        /// The container.
        id: String,
        /// The runtime.
        program: PathBuf,
        /// Its words.
        text: String,
    },
}

impl RuntimeError {
    /// For `map_err`: our own runtime failed.
    pub(crate) fn builtin<E: std::error::Error + Send + Sync + 'static>(
        action: &'static str,
        id: &str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Builtin {
            action,
            id: id.to_owned(),
            hint: None,
            source: Box::new(source),
        }
    }

    /// Adds what our own runtime advises.
    pub(crate) fn with_hint(mut self, advice: Option<&'static str>) -> Self {
        if let Self::Builtin { hint, .. } = &mut self {
            *hint = advice;
        }
        self
    }
}

impl EngineError for RuntimeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::Invalid,
            Self::Missing { .. } => ErrorKind::Unavailable,
            Self::Builtin { .. } | Self::Foreign { .. } => ErrorKind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown(_) => {
                vec![
                    "use `builtin`, the name of an installed runtime such as runc, or a path; \
                     `berth info` lists those that are known"
                        .into(),
                ]
            }
            Self::Missing { .. } => {
                vec!["install it, or correct `path` in berth.toml".into()]
            }
            Self::Builtin { hint: Some(hint), .. } => vec![(*hint).to_owned()],
            _ => Vec::new(),
        }
    }
}

/// The configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It says what cannot be understood.
    #[error("{}, line {line}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A runtime is configured in a way that cannot be.
    #[error("{}: runtimes.{name}: {problem}", path.display())]
    Runtime {
        /// The file.
        path: PathBuf,
        /// The runtime's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Self::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            problem: error.message().replace('\n', "; "),
        }
    }
}

impl EngineError for ConfigError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => io_kind(source),
            Self::Syntax { .. } | Self::Runtime { .. } => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        vec!["`--config` and BERTH_CONFIG name another file".to_owned()]
    }
}

/// This user, or this machine, cannot run the engine.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Not root.
    #[error("berth must be run by root: an engine for unprivileged users is not offered yet")]
    NotRoot,
    /// Root, but without a capability that creating containers takes.
    #[error("berth is run by root without the capability {0}, which creating containers takes")]
    Capability(&'static str),
}

impl EngineError for EnvironmentError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotRoot => vec!["run it with sudo".to_owned()],
            Self::Capability(_) => {
                vec!["run it outside the container, or in a privileged one".to_owned()]
            }
        }
    }
}

/// A path in a container, or on the host, that cannot be copied from or to.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// There is no such path.
    #[error("no such file or directory: {}", .0.display())]
    NotFound(PathBuf),
    /// It is not a directory and should be.
    #[error("not a directory: {}", .0.display())]
    NotDirectory(PathBuf),
    /// A directory would take the place of a file, or a file that of a directory.
    #[error("{} is in the way of {}", there.display(), new.display())]
    InTheWay {
        /// What is there.
        there: PathBuf,
        /// What was to come.
        new: PathBuf,
    },
    /// A step on it failed.
    #[error("cannot {action} {}", path.display())]
    Step {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The archive is damaged, or could not be read or written.
    #[error("cannot {action} the archive")]
    Archive {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl EngineError for PathError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::NotDirectory(_) => ErrorKind::Invalid,
            Self::InTheWay { .. } => ErrorKind::Conflict,
            Self::Step { source, .. } | Self::Archive { source, .. } => io_kind(source),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::InTheWay { .. } => vec!["--overwrite replaces it".to_owned()],
            Self::Step { source, .. } | Self::Archive { source, .. } => io_hints(source),
            _ => Vec::new(),
        }
    }
}

/// A task of the engine's that did not come to its end (the program is shutting down).
#[derive(Debug, thiserror::Error)]
#[error("the operation was interrupted")]
pub struct Interrupted;

impl EngineError for Interrupted {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// A container that keeps no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("container {0} keeps no log: it was created with --log-driver none")]
pub struct NoLogError(pub String);

impl EngineError for NoLogError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// A volume that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no volume has the name {0:?}")]
pub struct NoVolumeError(pub String);

impl EngineError for NoVolumeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NotFound
    }

    fn hints(&self) -> Vec<String> {
        vec!["`berth volume ls` lists all volumes".to_owned()]
    }
}
