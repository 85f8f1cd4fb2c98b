//! Removing a container (runtime.md, "Delete"): what lives of it, its cgroup, its record, and then
//! its poststop hooks.
//!
//! Every step can be the last one of a process that is killed: what is left is then still named by
//! the record, and the next `delete` goes on with it. Hooks may so be run twice, but never not.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use berth_cgroup::Cgroup;
use berth_spec::runtime::LinuxNamespaceType;
use berth_spec::state::ContainerState;
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::birth::Born;
use crate::error::{DeleteError, LookupError};
use crate::hooks;
use crate::id::ContainerId;
use crate::lifecycle::{Container, open_cgroup};
use crate::maker::reports::{self, Ended};
use crate::options::DeleteMode;
use crate::plan::namespaces::flag;
use crate::resctrl::Groups;
use crate::state::{Directory, Locked, Record, StateFileError};

/// Removes a container. Gives what failed and does not keep it from being gone.
pub(crate) fn delete(
    root: &Path,
    id: &ContainerId,
    mode: DeleteMode,
) -> Result<Vec<String>, DeleteError> {
    let gone = || match (finish(root, id)?, mode) {
        (Some(failures), _) => Ok(failures),
        (None, DeleteMode::Force) => Ok(Vec::new()),
        (None, DeleteMode::Stopped) => Err(LookupError::NotFound(id.clone()).into()),
    };
    let directory = match Directory::open(root, id) {
        Err(LookupError::NotFound(_)) => return gone(),
        directory => directory?,
    };
    if mode == DeleteMode::Stopped {
        refuse_creating(root, id)?;
    }
    if directory.lock().map_err(|source| in_state(id, source))? == Locked::Gone {
        return gone();
    }
    let record = match directory.read_record() {
        // A record that cannot be read was never whole, so that nothing had been made.
        Err(StateFileError::Damaged { .. }) if mode == DeleteMode::Force => None,
        record => record.map_err(|source| LookupError::Record { id: id.clone(), source })?,
    };
    remove(root, &Container { id: id.clone(), directory, record, creating: false }, mode)
}

fn in_state(id: &ContainerId, source: StateFileError) -> DeleteError {
    DeleteError::State { id: id.clone(), source }
}

/// Who creates the container is not waited for.
fn refuse_creating(root: &Path, id: &ContainerId) -> Result<(), DeleteError> {
    let container = Container::open(root, id)?;
    if container.directory.try_lock() {
        container.directory.unlock();
        return Ok(());
    }
    match container.status() {
        ContainerState::Creating => {
            Err(DeleteError::NotStopped { id: id.clone(), status: ContainerState::Creating })
        }
        _ => Ok(()),
    }
}

/// Removes a container whose lock is this process' own.
pub(crate) fn remove(
    root: &Path,
    container: &Container,
    mode: DeleteMode,
) -> Result<Vec<String>, DeleteError> {
    let id = &container.id;
    let Some(record) = &container.record else {
        container.directory.remove().map_err(|source| in_state(id, source))?;
        return Ok(Vec::new());
    };
    if record.pid == 0 {
        return remove_unborn(container, record);
    }
    let status = container.status();
    let cgroup = open_cgroup(record).ok();
    match (status, mode) {
        (ContainerState::Stopped, _) => {}
        // Like runc, a container that was never started needs no force. The lock is this process'
        // own, so that nobody is still creating it.
        (ContainerState::Created | ContainerState::Creating, _) | (_, DeleteMode::Force) => {
            stop(id, record, cgroup.as_ref())?;
        }
        (status, DeleteMode::Stopped) => {
            return Err(DeleteError::NotStopped { id: id.clone(), status });
        }
    }
    if let Some(cgroup) = &cgroup {
        if record.namespaces & flag(LinuxNamespaceType::Pid) == 0 {
            // Without a PID namespace they outlive the first one.
            let _ = cgroup.kill_all(Signal::KILL);
        }
        cgroup.remove().map_err(|source| DeleteError::Cgroup { id: id.clone(), source })?;
    }
    let mut warnings = record.resctrl.as_ref().map(Groups::remove).unwrap_or_default();
    let failures = bury(root, id, &container.directory, record);
    warnings.extend(failures.map_err(|source| in_state(id, source))?);
    Ok(warnings)
}

/// Removes what there is of a container whose creation was cut off before it had a process, or
/// before anybody knew of it. None of its hooks has run, and its cgroup may be somebody else's.
fn remove_unborn(container: &Container, record: &Record) -> Result<Vec<String>, DeleteError> {
    if let Born::Unheard(process) = record.born
        && let Some(pidfd) = process.pidfd()
    {
        end(&container.id, &pidfd)?;
    }
    let mut warnings = record.resctrl.as_ref().map(Groups::remove).unwrap_or_default();
    if let Ok(cgroup) = open_cgroup(record)
        && let Err(error) = cgroup.remove_unused()
    {
        warnings.push(crate::error::chain(&error));
    }
    container.directory.remove().map_err(|source| in_state(&container.id, source))?;
    Ok(warnings)
}

/// Kills what lives of a container.
fn stop(id: &ContainerId, record: &Record, cgroup: Option<&Cgroup>) -> Result<(), DeleteError> {
    let pidfd = Container::pidfd(record);
    if let Some(pidfd) = &pidfd {
        kill(id, pidfd)?;
    }
    if let Some(cgroup) = cgroup {
        // Thaws what is frozen, too. What survives shows when the first process does not end, or
        // when the cgroup cannot be removed.
        let _ = cgroup.kill_all(Signal::KILL);
    }
    pidfd.map_or(Ok(()), |pidfd| await_end(id, &pidfd))
}

fn end(id: &ContainerId, pidfd: &OwnedFd) -> Result<(), DeleteError> {
    kill(id, pidfd)?;
    await_end(id, pidfd)
}

fn kill(id: &ContainerId, pidfd: &OwnedFd) -> Result<(), DeleteError> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(DeleteError::Kill { id: id.clone(), source: io::Error::from(errno) }),
    }
}

fn await_end(id: &ContainerId, pidfd: &OwnedFd) -> Result<(), DeleteError> {
    match reports::wait_for_end(pidfd.as_fd(), Some(10)) {
        Ended::NotYet => Err(DeleteError::StillAlive(id.clone())),
        _ => Ok(()),
    }
}

/// Removes the record of a container of which nothing else is left, and runs its poststop hooks.
/// The hooks find the container gone; until they have run, what they need is kept aside.
pub(crate) fn bury(
    root: &Path,
    id: &ContainerId,
    directory: &Directory,
    record: &Record,
) -> Result<Vec<String>, StateFileError> {
    if record.poststop.is_empty() {
        return directory.remove().map(|()| Vec::new());
    }
    let retired = directory.retire(root, id).or_else(|| {
        // A container of this id that was left half-way may be in the way.
        let _ = finish(root, id);
        directory.retire(root, id)
    });
    match retired {
        Some(retired) => {
            let failures = run_poststop(id, record);
            retired.remove().map(|()| failures)
        }
        // Then it goes first.
        None => directory.remove().map(|()| run_poststop(id, record)),
    }
}

fn run_poststop(id: &ContainerId, record: &Record) -> Vec<String> {
    let state = record.state(id, ContainerState::Stopped);
    let failures = hooks::run_each("poststop", &record.poststop, &state);
    failures.iter().map(|error| crate::error::chain(error)).collect()
}

/// Goes on with a removal that was cut off after the container was gone.
fn finish(root: &Path, id: &ContainerId) -> Result<Option<Vec<String>>, DeleteError> {
    let failed = |source| in_state(id, source);
    let Some(directory) = Directory::open_retired(root, id).map_err(failed)? else {
        return Ok(None);
    };
    let record = directory.read_record().ok().flatten();
    let failures = record.map(|record| run_poststop(id, &record)).unwrap_or_default();
    directory.remove().map_err(failed)?;
    Ok(Some(failures))
}
