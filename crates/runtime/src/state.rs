//! The record of a container on tmpfs: one directory each, replaced atomically (runtime.md, "State").
//!
//! `ROOT/ID/` holds `state.json` (this module's `Record`), `config.json` (the configuration as it
//! was when the container was created), `process` (see `birth`), and until the container is started
//! `exec.fifo` and `start.error`. Whoever changes a container holds a lock on the directory. The
//! record is written before anything that it names is made, and goes last: whoever is killed
//! meanwhile leaves nothing that nobody knows of. While the hooks of a container's end run its
//! directory is `ROOT/ID~`, which is no id. This module knows files and processes' start times; it
//! starts, signals and removes nothing but its own files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_cgroup::SavedCgroup;
use berth_spec::runtime::{Hook, LinuxResources};
use berth_spec::state::{ContainerState, State};
use berth_spec::time::Stamp;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::birth::{BIRTH, Born};
use crate::error::{ErrorKind, LookupError, kind_of};
use crate::id::ContainerId;
use crate::resctrl::Groups;

/// The FIFO that a created container waits at, as long as it is being created.
const PENDING: &str = ".exec.fifo";
/// The same once it is created.
pub(crate) const FIFO: &str = "exec.fifo";
/// The file in which a started container says why its program was not executed.
pub(crate) const START_ERROR: &str = "start.error";
/// How long a container that another process works on is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The directory of the socket for sd_notify(3), which the container sees.
pub(crate) const NOTIFY: &str = "notify";
/// The socket in it.
pub(crate) const NOTIFY_SOCKET: &str = "notify.sock";
const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";

/// A file of the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// A system call.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The record is not one.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// Another process works on the container.
    #[error("another process is working on the container ({})", path.display())]
    Busy {
        /// Its directory.
        path: PathBuf,
    },
}

impl StateFileError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => kind_of(source),
            Self::Damaged { .. } => ErrorKind::Other,
            Self::Busy { .. } => ErrorKind::State,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if kind_of(source) == ErrorKind::Permission => {
                Some("run as root, or give --root a directory that you may write to")
            }
            Self::Damaged { .. } => Some("`delete --force` removes what is left"),
            _ => None,
        }
    }
}

pub(crate) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StateFileError {
    let path = path.to_owned();
    move |source| StateFileError::Io { operation, path, source }
}

/// What is kept of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The specification version of the configuration.
    pub oci_version: String,
    /// The first process; 0 before there is one. The file that its birth is noted in has it where
    /// the record has not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// Its start time in clock ticks since boot, by which a reused id is told from it.
    #[serde(default)]
    pub start_time: u64,
    /// A process that was born, but not heard of by the container's maker.
    #[serde(skip)]
    pub born: Born,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root directory's absolute path.
    pub rootfs: PathBuf,
    /// When the container was created (RFC 3339).
    pub created: String,
    /// The user who created it.
    pub owner: u32,
    /// The configuration's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<SavedCgroup>,
    /// Its limits, once they are not those of the configuration any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
    /// Its resource groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<Groups>,
    /// `CLONE_NEW*` flags of the namespaces that it does not share with its creator.
    pub namespaces: u64,
    /// Hooks for after the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// Hooks for after the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl Record {
    /// The state object that the specification defines.
    pub(crate) fn state(&self, id: &ContainerId, status: ContainerState) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: id.to_string(),
            status,
            pid: (status != ContainerState::Stopped && self.pid > 0).then_some(self.pid),
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

/// A container's directory.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
}

impl Directory {
    /// Makes the directory and locks it; `None` when it is there already.
    pub(crate) fn create(root: &Path, id: &ContainerId) -> Result<Option<Self>, StateFileError> {
        let path = root.join(id);
        let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
        let made = match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(root)
                    .map_err(failed("create", root))?;
                make(&path)
            }
            made => made,
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.map_err(failed("create", &path))?,
        }
        let directory = match Self::open_path(path) {
            // Somebody deleted it, as one that was abandoned.
            Err(StateFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            directory => directory?,
        };
        Ok(match directory.lock()? {
            Locked::Own => Some(directory),
            Locked::Gone => None,
        })
    }

    /// Opens the directory of a container.
    pub(crate) fn open(root: &Path, id: &ContainerId) -> Result<Self, LookupError> {
        Self::open_path(root.join(id)).map_err(|error| match error {
            StateFileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                LookupError::NotFound(id.clone())
            }
            source => LookupError::Record { id: id.clone(), source },
        })
    }

    fn open_path(path: PathBuf) -> Result<Self, StateFileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|errno| failed("open", &path)(errno.into()))?;
        Ok(Self { path, descriptor })
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The descriptor that holds the lock.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Waits for the lock as long as the directory is there, but not for ever: who has it may be
    /// held up by a hook.
    pub(crate) fn lock(&self) -> Result<Locked, StateFileError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let locked = self.try_lock();
            // A lock may have been waited for while its holder deleted the container.
            if !self.is_current() {
                return Ok(Locked::Gone);
            }
            if locked {
                return Ok(Locked::Own);
            }
            if Instant::now() > end {
                return Err(StateFileError::Busy { path: self.path.clone() });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Takes the lock if nobody has it.
    pub(crate) fn try_lock(&self) -> bool {
        rustix::fs::flock(&self.descriptor, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Gives the lock up, also for processes that inherited it.
    pub(crate) fn unlock(&self) {
        // Cannot fail on a descriptor that is open; if it did, closing would do the same.
        let _ = rustix::fs::flock(&self.descriptor, FlockOperation::Unlock);
    }

    /// Whether the directory is still the one under its name.
    pub(crate) fn is_current(&self) -> bool {
        match (rustix::fs::fstat(&self.descriptor), rustix::fs::stat(&self.path)) {
            (Ok(own), Ok(named)) => own.st_ino == named.st_ino && own.st_dev == named.st_dev,
            _ => false,
        }
    }

    /// Replaces the record.
    pub(crate) fn write_record(&self, record: &Record) -> Result<(), StateFileError> {
        let path = self.file(RECORD);
        let text = serde_json::to_vec(record)
            .map_err(|source| StateFileError::Damaged { path: path.clone(), source })?;
        let temporary = format!(".{RECORD}");
        self.write(&temporary, &text)?;
        rustix::fs::renameat(&self.descriptor, &*temporary, &self.descriptor, RECORD)
            .map_err(|errno| failed("replace", &path)(errno.into()))
    }

    /// Keeps the configuration's text.
    pub(crate) fn write_config(&self, text: &[u8]) -> Result<(), StateFileError> {
        self.write(CONFIG, text)
    }

    /// Where the configuration's text is kept.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.file(CONFIG)
    }

    /// Creates a file in it for writing, and for mapping.
    pub(crate) fn create_file(&self, name: &str) -> Result<File, StateFileError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|errno| failed("create", &self.file(name))(errno.into()))
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<(), StateFileError> {
        self.create_file(name)?.write_all(text).map_err(failed("write", &self.file(name)))
    }

    /// Makes the FIFO that the container waits at and opens both of its ends at once. Nobody else
    /// finds it before [`Self::publish_fifo`].
    pub(crate) fn create_fifo(&self) -> Result<OwnedFd, StateFileError> {
        let path = || self.file(PENDING);
        rustix::fs::mkfifoat(&self.descriptor, PENDING, Mode::from_raw_mode(0o600))
            .map_err(|errno| failed("create", &path())(errno.into()))?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.descriptor, PENDING, flags, Mode::empty())
            .map_err(|errno| failed("open", &path())(errno.into()))
    }

    /// Says that the container is created and may be started.
    pub(crate) fn publish_fifo(&self) -> Result<(), StateFileError> {
        rustix::fs::renameat(&self.descriptor, PENDING, &self.descriptor, FIFO)
            .map_err(|errno| failed("publish", &self.file(FIFO))(errno.into()))
    }

    /// Whether the container's creation has not come to its end.
    pub(crate) fn is_pending(&self) -> bool {
        self.has(PENDING)
    }

    /// Opens the FIFO's writing end; `None` when it is not there or nobody waits at it.
    pub(crate) fn open_fifo(&self) -> Result<Option<OwnedFd>, StateFileError> {
        use rustix::io::Errno;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.descriptor, FIFO, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(Errno::NXIO | Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("open", &self.file(FIFO))(errno.into())),
        }
    }

    /// Whether the container still waits to be started. A FIFO that nobody waits at is what a
    /// `start` has left that was killed.
    pub(crate) fn has_fifo(&self) -> bool {
        self.open_fifo().is_ok_and(|fifo| fifo.is_some())
    }

    fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(
            &self.descriptor,
            name,
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        )
        .is_ok()
    }

    /// Makes the directory of the socket for sd_notify(3).
    pub(crate) fn make_notify(&self) -> Result<PathBuf, StateFileError> {
        let path = self.file(NOTIFY);
        rustix::fs::mkdirat(&self.descriptor, NOTIFY, Mode::from_raw_mode(0o755))
            .and_then(|()| rustix::fs::chmod(&path, Mode::from_raw_mode(0o755)))
            .map_err(|errno| failed("create", &path)(errno.into()))?;
        Ok(path)
    }

    /// Binds that socket, if there is its directory.
    pub(crate) fn bind_notify(&self) -> Result<Option<UnixDatagram>, StateFileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = match rustix::fs::openat(&self.descriptor, NOTIFY, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            directory => {
                directory.map_err(|errno| failed("open", &self.file(NOTIFY))(errno.into()))?
            }
        };
        // The path of a socket is short, and that of a state directory need not be.
        let path = format!("/proc/self/fd/{}/{NOTIFY_SOCKET}", directory.as_raw_fd());
        let bind = || -> io::Result<UnixDatagram> {
            let socket = UnixDatagram::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
            Ok(socket)
        };
        bind().map(Some).map_err(failed("bind the socket in", &self.file(NOTIFY)))
    }

    /// Removes what only a container that waits needs.
    pub(crate) fn remove_start_files(&self) {
        for name in [FIFO, START_ERROR] {
            // What is not there need not be removed; what cannot be is removed with the directory.
            let _ = rustix::fs::unlinkat(&self.descriptor, name, rustix::fs::AtFlags::empty());
        }
    }

    /// The record; `None` when its creation never got that far.
    pub(crate) fn read_record(&self) -> Result<Option<Record>, StateFileError> {
        let path = self.file(RECORD);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.descriptor, RECORD, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", &path)(errno.into())),
        };
        let mut text = Vec::with_capacity(4 << 10);
        File::from(file).read_to_end(&mut text).map_err(failed("read", &path))?;
        let mut record: Record = serde_json::from_slice(&text)
            .map_err(|source| StateFileError::Damaged { path, source })?;
        if record.pid == 0 {
            record.born = self.born();
            if let Born::Confirmed { pid, start_time } = record.born {
                (record.pid, record.start_time) = (pid, start_time);
            }
        }
        Ok(Some(record))
    }

    fn born(&self) -> Born {
        let mut bytes = [0u8; 64];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let read = rustix::fs::openat(&self.descriptor, BIRTH, flags, Mode::empty())
            .and_then(|file| rustix::io::read(&file, &mut bytes));
        // Without the file there was no birth.
        Born::parse(bytes.get(..read.unwrap_or(0)).unwrap_or_default())
    }

    /// Takes the container's name from the directory, so that the container is gone; what is left
    /// is found by [`Self::open_retired`]. `None` where that cannot be done.
    pub(crate) fn retire(&self, root: &Path, id: &ContainerId) -> Option<Self> {
        let path = retired_path(root, id);
        let descriptor = self.descriptor.try_clone().ok()?;
        fs::rename(&self.path, &path).ok()?;
        Some(Self { path, descriptor })
    }

    /// A container's directory without a name, locked; `None` when there is none (any more).
    pub(crate) fn open_retired(
        root: &Path,
        id: &ContainerId,
    ) -> Result<Option<Self>, StateFileError> {
        let Ok(directory) = Self::open_path(retired_path(root, id)) else { return Ok(None) };
        let locked = directory.lock()?;
        Ok((locked == Locked::Own).then_some(directory))
    }

    /// Removes the directory with all that is in it.
    pub(crate) fn remove(&self) -> Result<(), StateFileError> {
        // The record goes last, so that no part is left that nobody knows of.
        for name in [PENDING, FIFO, START_ERROR, CONFIG, BIRTH, RECORD] {
            let _ = rustix::fs::unlinkat(&self.descriptor, name, rustix::fs::AtFlags::empty());
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                fs::remove_dir_all(&self.path).map_err(failed("remove", &self.path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("remove", &self.path)),
        }
    }
}

fn retired_path(root: &Path, id: &ContainerId) -> PathBuf {
    root.join(format!("{id}~"))
}

/// What became of waiting for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locked {
    /// This process has it.
    Own,
    /// The directory is gone.
    Gone,
}

/// The ids of the containers under a root directory, in order.
pub(crate) fn ids(root: &Path) -> Result<Vec<ContainerId>, StateFileError> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("list", root))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", root))?;
        let id = entry.file_name().into_string().ok().and_then(|name| ContainerId::new(name).ok());
        if let (Some(id), Ok(kind)) = (id, entry.file_type())
            && kind.is_dir()
        {
            ids.push(id);
        }
    }
    ids.sort();
    Ok(ids)
}

/// The start time of a living process, in clock ticks since boot; `None` when it is gone or only
/// its exit status is left.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let mut buffer = [0u8; 1024];
    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut buffer).ok()?;
    let text = buffer.get(..length)?;
    // The name in parentheses may hold anything; the fields after the last one are numbers.
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(text.get(end + 1..)?).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The time now, as RFC 3339 with nanoseconds in UTC.
pub(crate) fn now() -> String {
    Stamp::from(std::time::SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_has_a_start_time_and_an_absent_one_has_none() {
        let own = std::process::id() as i32;
        assert_eq!(start_time(own), start_time(own));
        assert!(start_time(own).is_some());
        assert!(start_time(i32::MAX).is_none());
    }

    #[test]
    fn a_directory_is_made_once_and_removed_whole() {
        let root = tempfile::tempdir().unwrap();
        let id = ContainerId::new("c").unwrap();
        let directory = Directory::create(root.path(), &id).unwrap().unwrap();
        assert!(Directory::create(root.path(), &id).unwrap().is_none());
        assert!(directory.read_record().unwrap().is_none());
        directory.write_config(b"{}").unwrap();
        let _fifo = directory.create_fifo().unwrap();
        assert!(directory.is_pending() && !directory.has_fifo());
        directory.publish_fifo().unwrap();
        assert!(!directory.is_pending() && directory.has_fifo() && directory.is_current());
        assert_eq!(directory.lock().unwrap(), Locked::Own);
        assert_eq!(ids(root.path()).unwrap(), std::slice::from_ref(&id));
        let other = Directory::open(root.path(), &id).unwrap();
        assert!(!other.try_lock());
        directory.unlock();
        assert!(other.try_lock());
        directory.remove().unwrap();
        assert!(!directory.is_current());
        assert!(matches!(Directory::open(root.path(), &id), Err(LookupError::NotFound(_))));
    }

    #[test]
    fn a_damaged_record_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let id = ContainerId::new("c").unwrap();
        let directory = Directory::create(root.path(), &id).unwrap().unwrap();
        directory.write(RECORD, b"{\"pid\":").unwrap();
        assert!(matches!(directory.read_record(), Err(StateFileError::Damaged { .. })));
    }
}
