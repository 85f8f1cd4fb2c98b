//! A control group of its own for a supervisor, so that stopping the unit that started it does
//! not kill it.
//!
//! Under systemd it is a transient scope. Otherwise it is a directory in the one hierarchy that
//! only tracks processes: `name=systemd` on v1 and hybrid machines, else v2. Nothing is limited.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::directory::{Directory, children, is_absent};
use crate::error::{DetectError, ErrorKind, FileError};
use crate::hierarchy::{Hierarchies, HierarchyKind, HierarchyMount};
use crate::remove::remove_tree;
use crate::systemd::{SystemdError, manager, unit};

/// Entering or leaving such a group.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    /// What is mounted is unknown.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// There is no hierarchy to do it in.
    #[error("there is neither a name=systemd nor a v2 hierarchy for a scope")]
    NoHierarchy,
    /// The name is unusable.
    #[error("{name:?} cannot name a scope: letters, digits, '-', '_' and '.' only")]
    Name {
        /// The name.
        name: String,
    },
    /// A file or directory of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// systemd refused.
    #[error("systemd did not start or stop the scope {unit}")]
    Systemd {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: SystemdError,
    },
}

impl ScopeError {
    /// The class. A supervisor can do without a scope where there is no permission for one, or
    /// nothing to have it in.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Detect(_) | Self::NoHierarchy => ErrorKind::Unsupported,
            Self::Name { .. } => ErrorKind::Invalid,
            Self::File(error) => error.kind(),
            Self::Systemd { .. } => ErrorKind::Other,
        }
    }
}

/// A scope that the calling process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A unit of systemd; it goes away with its last process.
    Unit(String),
    /// A directory; [`remove`] takes it away once its process is gone.
    Directory(PathBuf),
}

/// Puts the calling, single-threaded process into a group of its own, `berth-monitor-NAME`.
pub fn enter_own_scope(name: &str) -> Result<Scope, ScopeError> {
    let group = group_name(name)?;
    if manager::is_booted() {
        let unit = format!("{group}.scope");
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        return match unit::start_plain_scope(&unit, pid) {
            Ok(()) => Ok(Scope::Unit(unit)),
            Err(source) => Err(ScopeError::Systemd { unit, source }),
        };
    }
    let directory = directory(&Hierarchies::detect()?, &group)?;
    match rustix::fs::mkdir(&directory.path, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => {
            return Err(FileError::Create { path: directory.path, source: e.into() }.into());
        }
    }
    // On v1 one thread moves without the lock that a whole process needs, see the crate's page.
    let file = if directory.kind == HierarchyKind::Unified { "cgroup.procs" } else { "tasks" };
    directory.write(file, "0")?;
    Ok(Scope::Directory(directory.path))
}

/// Removes what [`enter_own_scope`] made for that name, once its process is gone: somebody else
/// has to do it, since a process cannot remove the group that it is in. That there is nothing
/// (left) is no error, and neither is a process that is still in it.
pub fn remove(name: &str) -> Result<(), ScopeError> {
    let group = group_name(name)?;
    if manager::is_booted() {
        // The unit ends with its process.
        return Ok(());
    }
    let directory = match directory(&Hierarchies::detect()?, &group) {
        Ok(directory) => directory,
        Err(ScopeError::NoHierarchy) => return Ok(()),
        Err(error) => return Err(error),
    };
    match remove_tree(&directory.path) {
        Err(source) => {
            let error = FileError::Remove { path: directory.path, source };
            let busy = error.errno() == Some(libc::EBUSY);
            if busy || is_absent(&error) { Ok(()) } else { Err(error.into()) }
        }
        Ok(()) => Ok(()),
    }
}

/// Removes the scopes of monitors that were killed: those that nobody is in and that are older than
/// `age`, so that one is not taken from a monitor that is about to enter it. Gives their names.
pub fn remove_stale(age: Duration) -> Result<Vec<String>, ScopeError> {
    if manager::is_booted() {
        return Ok(Vec::new());
    }
    let parent = match directory(&Hierarchies::detect()?, "") {
        Ok(parent) => parent,
        Err(ScopeError::NoHierarchy) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut removed = Vec::new();
    for path in children(&parent.path) {
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|n| n.strip_prefix(PREFIX));
        let Some(name) = name else { continue };
        let is_old = std::fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|elapsed| elapsed >= age));
        // A group with a process in it cannot be removed, which is what tells them apart.
        if is_old && rustix::fs::rmdir(&path).is_ok() {
            removed.push(name.to_owned());
        }
    }
    Ok(removed)
}

/// What the name of a monitor's group begins with.
const PREFIX: &str = "berth-monitor-";

fn group_name(name: &str) -> Result<String, ScopeError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(ScopeError::Name { name: name.to_owned() });
    }
    Ok(format!("{PREFIX}{name}"))
}

fn directory(hierarchies: &Hierarchies, group: &str) -> Result<Directory, ScopeError> {
    let tracks = |m: &&HierarchyMount| m.kind == HierarchyKind::Named("systemd".to_owned());
    let mount = hierarchies.mounts().iter().find(tracks).or_else(|| hierarchies.unified());
    let mount = mount.ok_or(ScopeError::NoHierarchy)?;
    Ok(Directory::new(mount.kind.clone(), mount.mount_point.join(group)))
}
