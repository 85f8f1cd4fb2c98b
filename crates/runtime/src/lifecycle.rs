//! What happens to a container after it was created: start, kill, pause, and what is known of it (runtime.md, "Operations").

use std::os::fd::OwnedFd;
use std::path::Path;

use berth_cgroup::{Cgroup, FreezerState};
use berth_spec::state::ContainerState;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::child::channel;
use crate::error::{
    CgroupOperationError, CgroupUseError, KillError, LookupError, SetupError, StartError,
};
use crate::hooks;
use crate::id::{ContainerId, Signal};
use crate::maker::reports;
use crate::options::{DeleteMode, KillScope};
use crate::plan::namespaces::flag;
use crate::removal;
use crate::state::{Directory, Locked, Record, START_ERROR, start_time};

/// A container that was found.
pub(crate) struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its directory.
    pub directory: Directory,
    /// What is kept of it; `None` when its creation never got that far.
    pub record: Option<Record>,
    /// Whether somebody was creating it when it was looked at.
    pub creating: bool,
}

impl Container {
    /// Finds a container.
    pub(crate) fn open(root: &Path, id: &ContainerId) -> Result<Self, LookupError> {
        let directory = Directory::open(root, id)?;
        let read = || {
            let failed = |source| LookupError::Record { id: id.clone(), source };
            directory.read_record().map_err(failed)
        };
        let mut record = read()?;
        let mut creating = false;
        if record.as_ref().is_none_or(|record| record.pid == 0) {
            creating = !directory.try_lock();
            if !creating {
                // Who was creating it may have come to the end since the record was read.
                record = read()?;
                directory.unlock();
            }
        }
        Ok(Self { id: id.clone(), directory, record, creating })
    }

    /// Finds a container that has a record.
    pub(crate) fn recorded(root: &Path, id: &ContainerId) -> Result<(Self, Record), LookupError> {
        let container = Self::open(root, id)?;
        match container.record.clone() {
            Some(record) => Ok((container, record)),
            None => Err(LookupError::NotFound(id.clone())),
        }
    }

    /// Where it is in its life.
    pub(crate) fn status(&self) -> ContainerState {
        let Some(record) = &self.record else { return self.unfinished() };
        if record.pid == 0 {
            return self.unfinished();
        }
        if start_time(record.pid) != Some(record.start_time) {
            return ContainerState::Stopped;
        }
        let living = if self.directory.has_fifo() {
            ContainerState::Created
        } else if self.directory.is_pending() {
            return ContainerState::Creating;
        } else {
            ContainerState::Running
        };
        match open_cgroup(record).ok().map(|cgroup| cgroup.freezer_state()) {
            Some(Ok(FreezerState::Frozen)) => ContainerState::Paused,
            _ => living,
        }
    }

    /// Somebody is creating it, or died over that.
    fn unfinished(&self) -> ContainerState {
        if self.creating { ContainerState::Creating } else { ContainerState::Stopped }
    }

    /// A pidfd of its first process, if that lives.
    pub(crate) fn pidfd(record: &Record) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(record.pid)?, PidfdFlags::empty()).ok()?;
        // The id may have been another process' by the time it was opened.
        (start_time(record.pid) == Some(record.start_time)).then_some(pidfd)
    }
}

/// The cgroup of a container.
pub(crate) fn open_cgroup(record: &Record) -> Result<Cgroup, CgroupUseError> {
    let saved = record.cgroup.as_ref().ok_or(CgroupUseError::None)?;
    Ok(Cgroup::open(saved)?)
}

/// Lets a created container execute its program.
pub(crate) fn start(root: &Path, id: &ContainerId) -> Result<(), StartError> {
    let (container, record) = Container::recorded(root, id)?;
    let in_setup = |source| StartError::Setup { id: id.clone(), source };
    let in_record = |source| StartError::Lookup(LookupError::Record { id: id.clone(), source });
    if container.directory.lock().map_err(in_record)? == Locked::Gone {
        return Err(LookupError::NotFound(id.clone()).into());
    }
    let status = container.status();
    if status != ContainerState::Created {
        return Err(StartError::NotCreated { id: id.clone(), status });
    }
    let Some(fifo) = container.directory.open_fifo().map_err(in_record)? else {
        return Err(StartError::NotCreated { id: id.clone(), status: ContainerState::Stopped });
    };
    rustix::io::write(&fifo, b"!")
        .map_err(reports::at("let the container's process go"))
        .map_err(in_setup)?;
    // The reader's end closes when the program is executed, or the process is gone.
    let mut polled = [PollFd::new(&fifo, PollFlags::ERR)];
    rustix::io::retry_on_intr(|| poll(&mut polled, None))
        .map_err(reports::at("wait for the container's program"))
        .map_err(in_setup)?;
    let report = std::fs::read(container.directory.file(START_ERROR)).unwrap_or_default();
    container.directory.remove_start_files();
    if let Some(report) = channel::decode(&report) {
        let (command, path) = command_of(&container);
        let error = reports::explain(report, &command, &path);
        if !matches!(error, SetupError::Hook(_)) {
            return Err(in_setup(error));
        }
        return Err(destroy(root, container, error));
    }
    if record.poststart.is_empty() {
        return Ok(());
    }
    let state = record.state(id, ContainerState::Running);
    hooks::run_all("poststart", &record.poststart, &state)
        .map_err(|error| destroy(root, container, SetupError::Hook(error)))
}

/// What the specification has for hooks that fail when a container starts: an error, the container
/// is stopped, destroyed, and its poststop hooks run. What cannot be removed is left to `delete`.
#[cold]
fn destroy(root: &Path, container: Container, source: SetupError) -> StartError {
    let id = container.id.clone();
    let warnings = match removal::remove(root, &container, DeleteMode::Force) {
        Ok(warnings) => warnings,
        Err(error) => vec![crate::error::chain(&error)],
    };
    StartError::Hook { id, source: Box::new(source), warnings }
}

/// What the container was to execute, for an error message.
fn command_of(container: &Container) -> (String, String) {
    let Ok(loaded) = crate::config::load_file(&container.directory.config_path()) else {
        return Default::default();
    };
    loaded.spec.process.map_or_else(Default::default, |process| {
        let path = crate::plan::process::search_path(&process.env).to_owned();
        (process.args.into_iter().next().unwrap_or_default(), path)
    })
}

/// Sends a signal.
pub(crate) fn kill(
    root: &Path,
    id: &ContainerId,
    signal: Signal,
    scope: KillScope,
) -> Result<(), KillError> {
    let (container, record) = Container::recorded(root, id)?;
    if record.pid == 0 {
        // A cgroup that is only planned may be somebody else's.
        return Err(KillError::NotRunning(id.clone()));
    }
    if scope == KillScope::All && record.cgroup.is_some() {
        let cgroup =
            open_cgroup(&record).map_err(|source| KillError::Cgroup { id: id.clone(), source })?;
        return cgroup
            .kill_all(raw(signal))
            .map_err(|error| KillError::Cgroup { id: id.clone(), source: error.into() });
    }
    let own_processes = record.namespaces & flag(berth_spec::runtime::LinuxNamespaceType::Pid) == 0;
    if signal == Signal::KILL && own_processes && record.cgroup.is_some() {
        return kill_shared(id, &record);
    }
    let status = container.status();
    let pidfd = match status {
        ContainerState::Stopped | ContainerState::Creating => None,
        _ => Container::pidfd(&record),
    };
    let Some(pidfd) = pidfd else { return Err(KillError::NotRunning(id.clone())) };
    match pidfd_send_signal(&pidfd, raw(signal)) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Err(KillError::NotRunning(id.clone())),
        Err(errno) => return Err(KillError::Send { id: id.clone(), source: errno.into() }),
    }
    if signal == Signal::KILL && status == ContainerState::Paused {
        // A frozen process of cgroup v1 dies when it is thawed, and nobody else would do that.
        if let Ok(cgroup) = open_cgroup(&record) {
            let _ = cgroup.thaw();
        }
    }
    Ok(())
}

/// Kills a container that shares its PID namespace: with its first process the kernel ends no
/// other, and what that has left behind is still the container.
fn kill_shared(id: &ContainerId, record: &Record) -> Result<(), KillError> {
    let failed = |source: CgroupUseError| KillError::Cgroup { id: id.clone(), source };
    let cgroup = open_cgroup(record).map_err(failed)?;
    let alive = cgroup.processes().map_err(|error| failed(error.into()))?;
    if alive.is_empty() {
        return Err(KillError::NotRunning(id.clone()));
    }
    cgroup.kill_all(rustix::process::Signal::KILL).map_err(|error| failed(error.into()))
}

/// The signal as rustix has it.
fn raw(signal: Signal) -> rustix::process::Signal {
    // Numbers from 1 to 64 are all there is.
    rustix::process::Signal::from_named_raw(signal.number())
        .unwrap_or(crate::sys::signal(signal.number()))
}

/// Runs an operation on the cgroup of a container that is in one of these states.
pub(crate) fn with_cgroup<T>(
    root: &Path,
    id: &ContainerId,
    operation: &'static str,
    states: &[ContainerState],
    run: impl FnOnce(&Cgroup) -> Result<T, CgroupUseError>,
) -> Result<T, CgroupOperationError> {
    let (container, record) = Container::recorded(root, id)?;
    if !states.is_empty() {
        let status = container.status();
        if !states.contains(&status) {
            return Err(CgroupOperationError::State { operation, id: id.clone(), status });
        }
    }
    open_cgroup(&record).and_then(|cgroup| run(&cgroup)).map_err(|source| {
        CgroupOperationError::Cgroup { operation, id: id.clone(), source: Box::new(source) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_being_created_is_not_taken_for_stopped() {
        let root = std::env::temp_dir().join(format!("berth-lifecycle-{}", std::process::id()));
        let id = ContainerId::new("c").unwrap();
        let creator = Directory::create(&root, &id).unwrap().unwrap();
        let seen = Container::open(&root, &id).unwrap();
        // The creator comes to its end between two looks.
        creator.unlock();
        assert_eq!(seen.status(), ContainerState::Creating);
        let abandoned = Container::open(&root, &id).unwrap();
        assert_eq!(abandoned.status(), ContainerState::Stopped);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
