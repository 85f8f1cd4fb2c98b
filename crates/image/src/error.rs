//! What every operation's errors have in common: a kind, advice, and the failed file operation.
//!
//! Each operation has an enum of its own beside it; this module holds only what they share.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What sort of failure an error is, for exit codes and protocols' status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// It is in use, or exists already.
    Conflict,
    /// What was given is wrong: an archive, a reference, an option.
    Invalid,
    /// The caller lacks permission.
    Denied,
    /// A resource is lacking now: disk space, descriptors, a lock.
    Unavailable,
    /// Anything else.
    Internal,
}

/// What an error says besides its text.
pub trait Explain: std::error::Error {
    /// The sort of failure.
    fn kind(&self) -> ErrorKind;

    /// What a person can try, one sentence each.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A system call on a path that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was being done, as a verb.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// The system's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// Says what was being done when a call failed.
pub(crate) trait During<T> {
    /// With the action as a verb, and the path it was done to.
    fn during(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, FileError> {
        self.map_err(|source| FileError {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

impl Explain for FileError {
    fn kind(&self) -> ErrorKind {
        io_kind(&self.source)
    }

    fn hints(&self) -> Vec<String> {
        io_hints(&self.source)
    }
}

/// The kind of a system error.
pub(crate) fn io_kind(error: &io::Error) -> ErrorKind {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => ErrorKind::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorKind::Denied,
        Some(
            Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN,
        ) => ErrorKind::Unavailable,
        Some(Errno::EXIST | Errno::NOTEMPTY | Errno::BUSY) => ErrorKind::Conflict,
        _ => match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof => ErrorKind::Invalid,
            _ => ErrorKind::Internal,
        },
    }
}

/// Advice on a system error.
pub(crate) fn io_hints(error: &io::Error) -> Vec<String> {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => {
            "the disk is full: remove what is not needed (`berth image prune` removes images \
             without a name), or set another place with `--root`"
        }
        Some(Errno::DQUOT) => "the disk quota is used up: remove what is not needed",
        Some(Errno::ACCESS | Errno::PERM) => {
            "run it as the owner of the store, or choose a store of your own with `--root`"
        }
        Some(Errno::ROFS) => "the file system is read-only: choose another store with `--root`",
        Some(Errno::MFILE | Errno::NFILE) => "raise the limit of open files (`ulimit -n`)",
        _ => return Vec::new(),
    };
    vec![hint.to_owned()]
}
