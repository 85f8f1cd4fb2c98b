//! Removing a group with everything below it.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::directory::{Directory, children};
use crate::error::RemoveError;
use crate::systemd::SystemdError;
use crate::systemd::unit::is_systemds;

/// How long a busy directory is tried again: its last process may be dying.
const PATIENCE: Duration = Duration::from_secs(3);

impl Cgroup {
    /// Removes the group and all groups below in every hierarchy. What is gone already is no
    /// error; what is busy is tried again for three seconds, all of it, before the call fails.
    /// Processes are not killed: see [`Cgroup::kill_all`].
    pub fn remove(&self) -> Result<(), RemoveError> {
        let mut errors = Vec::new();
        // A unit that was not started with a process of ours may be anybody's.
        let unit = self.unit.as_ref().filter(|_| self.is_started());
        let stopped = unit.map(|unit| (unit, unit.stop()));
        if let Some((_, Err(SystemdError::Connect { .. }))) = &stopped {
            self.leave_to_systemd();
        }
        errors.extend(remove_all(self.directories(), remove_tree));
        match stopped {
            // Without systemd there is no unit either, once the directories are gone.
            Some((_, Err(SystemdError::Connect { .. }))) if errors.is_empty() => {}
            Some((unit, Err(source))) => {
                errors.push(RemoveError::Systemd { unit: unit.name.clone(), source });
            }
            Some((_, Ok(()))) | None => {}
        }
        summary(errors)
    }

    /// Removes the group's directories as far as nobody uses them: neither a process nor a group
    /// below. For a group that was planned and perhaps made, perhaps not, so that what is there may
    /// as well be somebody else's. A systemd scope is stopped if it has no processes.
    pub fn remove_unused(&self) -> Result<(), RemoveError> {
        let mut errors = Vec::new();
        if let Some(unit) = &self.unit {
            match unit.stop_unused() {
                // Without systemd there is no unit.
                Ok(()) | Err(SystemdError::Connect { .. }) => {}
                Err(source) => {
                    errors.push(RemoveError::Systemd { unit: unit.name.clone(), source });
                }
            }
        }
        errors.extend(remove_all(self.directories(), remove_directory));
        summary(errors)
    }

    /// systemd removes the group of a scope without processes. It would take a scope whose group
    /// somebody else removed for one that goes on.
    #[cold]
    fn leave_to_systemd(&self) {
        let end = Instant::now() + PATIENCE;
        let is_there = |d: &Directory| is_systemds(&d.kind) && d.path.exists();
        while self.directories().iter().any(is_there) && Instant::now() < end {
            sleep(Duration::from_millis(10));
        }
    }
}

fn summary(mut errors: Vec<RemoveError>) -> Result<(), RemoveError> {
    match errors.len() {
        0 => Ok(()),
        1 => errors.pop().map_or(Ok(()), Err),
        _ => Err(RemoveError::Several(errors)),
    }
}

/// What is done with a directory that is removed.
type Attempt = fn(&Path) -> io::Result<()>;

/// Each directory is tried at once; only then are the busy ones waited for.
fn remove_all(directories: &[Directory], attempt: Attempt) -> Vec<RemoveError> {
    let busy: Vec<&Directory> =
        directories.iter().filter(|d| remove_directory(&d.path).is_err()).collect();
    let end = Instant::now() + PATIENCE;
    busy.iter().filter_map(|d| remove_patiently(d, attempt, end).err()).collect()
}

fn remove_patiently(
    directory: &Directory,
    attempt: Attempt,
    end: Instant,
) -> Result<(), RemoveError> {
    let mut pause = Duration::from_micros(100);
    loop {
        let Err(source) = attempt(&directory.path) else { return Ok(()) };
        let busy = source.raw_os_error() == Some(libc::EBUSY);
        if !busy || Instant::now() > end {
            let process = directory.processes().ok().and_then(|p| p.first().copied());
            return Err(RemoveError::Directory { path: directory.path.clone(), process, source });
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// A directory with everything below it.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    for child in children(path) {
        remove_tree(&child)?;
    }
    remove_directory(path)
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
