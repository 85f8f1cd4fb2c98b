//! Mending what a killed process left: the last column of the table in `crate::state`.
//!
//! Every step can be done again after it was interrupted at any point, and does nothing when it was
//! done before. All of it happens under the container's lock. What fails does not keep the rest from
//! being done; the first failure is told, and the container stays as something that the next command
//! heals.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_cgroup::{Cgroup, Hierarchies, SavedCgroup, SavedDirectory};
use berth_image::SnapshotDriver;
use berth_monitor::protocol::RuntimeProgram;
use berth_runtime::{ContainerId, DeleteMode};

use crate::config::CgroupManager;
use crate::core::Core;
use crate::error::{FileError, HealError, RootError, RuntimeError};
use crate::handler::Runtime;
use crate::paths::remove_all;
use crate::plan::RootSource;
use crate::records::{ContainerRecord, Outcome};
use crate::state::{Observed, Remedy, observe};
use crate::view::ContainerState;

/// How long a killed monitor may keep its cgroup busy.
const SCOPE_PATIENCE: Duration = Duration::from_millis(200);

/// What becomes of a removed container's anonymous volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnonymousVolumes {
    Remove,
    Keep,
}

/// Goes on after a failure and keeps the first.
#[derive(Debug, Default)]
pub(crate) struct Failures(Option<HealError>);

impl Failures {
    pub(crate) fn keep<T, E: Into<HealError>>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.get_or_insert(error.into());
                None
            }
        }
    }

    pub(crate) fn result(self) -> Result<(), HealError> {
        self.0.map_or(Ok(()), Err)
    }
}

impl Core {
    /// The state of a container as it is on disk; nothing is mended.
    pub(crate) fn observe(&self, record: &ContainerRecord) -> Result<Observed, FileError> {
        observe(record, &self.paths.run(&record.id), &self.boot_id)
    }

    /// The state of a container, after mending it if it needs that and nobody is at it. `None` when
    /// mending meant removing it, or it is gone.
    pub(crate) fn settle(
        &self,
        record: ContainerRecord,
    ) -> Result<Option<(ContainerRecord, Observed)>, HealError> {
        let observed = self.observe(&record)?;
        if observed.remedy == Remedy::None {
            return Ok(Some((record, observed)));
        }
        let Some(lock) = self.try_lock(&record.id)? else { return Ok(Some((record, observed))) };
        let healed = self.heal(&record.id)?;
        if healed.is_none() {
            lock.discard();
        }
        Ok(healed)
    }

    /// Mends a container under its lock, which the caller holds. `None` when it is gone.
    pub(crate) fn heal(&self, id: &str) -> Result<Option<(ContainerRecord, Observed)>, HealError> {
        let Some(record) = self.read(id)? else { return Ok(None) };
        let observed = self.observe(&record)?;
        if matches!(observed.remedy, Remedy::Cleanup | Remedy::Undo | Remedy::Remove)
            && !berth_monitor::client::is_alive(&self.paths.run(id))
        {
            remove_scope(id)?;
        }
        match observed.remedy {
            Remedy::None => return Ok(Some((record, observed))),
            Remedy::Adopt => self.adopt(&record)?,
            Remedy::Cleanup => self.clean_up(&record, &observed.state)?,
            Remedy::Undo => self.undo(&record)?,
            Remedy::Remove => self.take_away(&record, AnonymousVolumes::Keep)?,
        }
        let Some(record) = self.read(id)? else { return Ok(None) };
        let observed = self.observe(&record)?;
        Ok(Some((record, observed)))
    }

    fn read(&self, id: &str) -> Result<Option<ContainerRecord>, HealError> {
        Ok(self.records().container(id)?)
    }

    /// After a reboot: containers that ran then ended unseen. Once a boot.
    pub(crate) fn settle_reboot(&self) -> Result<(), HealError> {
        let known = self.records().meta("boot_id")?;
        if known.as_deref() == Some(self.boot_id.as_str()) {
            return Ok(());
        }
        let mut failures = Failures::default();
        let records = if known.is_some() { self.records().containers()? } else { Vec::new() };
        for record in records.into_iter().filter(|record| record.launch.is_some()) {
            failures.keep(self.settle(record));
        }
        failures.result()?;
        self.records().set_meta("boot_id", &self.boot_id)?;
        Ok(())
    }

    /// Records how a run ended, takes down what it had, and removes the container with `--rm`.
    pub(crate) fn clean_up(
        &self,
        record: &ContainerRecord,
        state: &ContainerState,
    ) -> Result<(), HealError> {
        if record.remove {
            return self.take_away(record, AnonymousVolumes::Remove);
        }
        let mut failures = Failures::default();
        failures.keep(self.delete_runtime_state(record));
        failures.keep(self.clear_run(&record.id));
        let outcome = Outcome {
            exit_code: state.exit_code,
            oom_killed: state.oom_killed,
            started_at: state.started_at,
            finished_at: state.finished_at,
            restarts: state.restarts,
            error: state.error.clone(),
        };
        failures.result()?;
        let recorded = self.records().set_outcome(&record.id, &outcome);
        match recorded {
            Err(crate::error::RecordError::Gone { .. }) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Takes down what a start that came to nothing has made.
    pub(crate) fn undo(&self, record: &ContainerRecord) -> Result<(), HealError> {
        if record.remove {
            return self.take_away(record, AnonymousVolumes::Remove);
        }
        let mut failures = Failures::default();
        failures.keep(self.delete_runtime_state(record));
        failures.keep(self.clear_run(&record.id));
        failures.result()?;
        Ok(self.records().clear_launch(&record.id)?)
    }

    /// Removes a container and all it has. Its processes are killed if there still are any.
    pub(crate) fn take_away(
        &self,
        record: &ContainerRecord,
        volumes: AnonymousVolumes,
    ) -> Result<(), HealError> {
        let id = record.id.as_str();
        // With `--rm` a removal that is cut short is begun anew by what its launch says.
        if !record.removing && !record.remove {
            self.records().set_removing(id)?;
        }
        let mut failures = Failures::default();
        failures.keep(self.delete_runtime_state(record));
        failures.keep(self.remove_root(record));
        self.keep_events(id);
        failures.keep(remove_all(&self.paths.run(id)));
        failures.result()?;
        let orphans = self.records().delete(id)?;
        crate::events::append(&self.paths.events(), record, "remove", &[]);
        if volumes == AnonymousVolumes::Remove {
            for name in orphans {
                self.remove_volume_files(&name)?;
            }
        }
        Ok(())
    }

    /// Removes a volume's record, then its files. Files without a record are `system prune`'s.
    pub(crate) fn remove_volume_files(&self, name: &str) -> Result<(), HealError> {
        self.records().delete_volume(name)?;
        Ok(remove_all(&self.paths.volumes().join(name))?)
    }

    fn remove_root(&self, record: &ContainerRecord) -> Result<(), HealError> {
        let directory = self.paths.container(&record.id);
        if let RootSource::Layers { driver, .. } = &record.details.root
            && directory.exists()
        {
            let driver = snapshot_driver(&record.id, driver)?;
            driver
                .remove(&directory)
                .map_err(|source| RootError::Snapshot { id: record.id.clone(), source })?;
        }
        Ok(remove_all(&directory)?)
    }

    /// Takes the bundle and the like from the run directory. The monitor's own files stay: it may be
    /// about to end, and its events are still of interest.
    pub(crate) fn clear_run(&self, id: &str) -> Result<(), FileError> {
        let run = self.paths.run(id);
        remove_all(&run.join("bundle"))?;
        let files =
            ["status.json", "hosts", "hostname", "resolv.conf", "stdin", "stdout", "stderr"];
        for name in files {
            let path = run.join(name);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::new("remove", &path)(error)),
            }
        }
        Ok(())
    }

    /// Appends a removed container's events to those of all.
    fn keep_events(&self, id: &str) {
        crate::events::archive(&self.paths.run(id), &self.paths.events());
    }

    /// Deletes the runtime's state of a container, its processes and its cgroup.
    pub(crate) fn delete_runtime_state(&self, record: &ContainerRecord) -> Result<(), HealError> {
        let id = record.id.as_str();
        let runtime = match self.runtime(record.details.request.runtime.as_deref()) {
            Ok(runtime) => runtime,
            // Its name may have left the configuration; what it knew of the container may have not.
            Err(_) if !self.is_known_to_a_program(id) => return self.forget_cgroups(record),
            Err(error) => return Err(error.into()),
        };
        match runtime {
            Runtime::Builtin => {
                let is_known = self.paths.runtime().join(id).join("state.json").exists();
                let name = ContainerId::new(id)
                    .map_err(RuntimeError::builtin("delete the state of", id))?;
                self.builtin()
                    .delete(&name, DeleteMode::Force)
                    .map_err(RuntimeError::builtin("delete the state of", id))?;
                if is_known {
                    // The runtime has accounted for its cgroup.
                    return Ok(());
                }
            }
            Runtime::Program(program) => self.delete_foreign(id, &program)?,
        }
        self.forget_cgroups(record)
    }

    /// Removes the cgroups of a container and of its monitor that nobody accounts for.
    fn forget_cgroups(&self, record: &ContainerRecord) -> Result<(), HealError> {
        let id = record.id.as_str();
        self.remove_cgroup(record)?;
        // A monitor removes its own scope when it ends, unless it was killed.
        berth_cgroup::scope::remove(id)
            .map_err(RuntimeError::builtin("remove the monitor's scope of", id))?;
        Ok(())
    }

    /// Our own runtime.
    pub(crate) fn builtin(&self) -> berth_runtime::Runtime {
        let runtime = berth_runtime::Runtime::new(self.paths.runtime());
        match self.config.cgroup_manager {
            CgroupManager::Cgroupfs => runtime,
            CgroupManager::Systemd => runtime.with_systemd_cgroup(),
        }
    }

    /// Whether any program that is not our runtime keeps state of a container.
    fn is_known_to_a_program(&self, id: &str) -> bool {
        let own = self.paths.runtime();
        let entries = own.parent().map(std::fs::read_dir);
        let roots = entries.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
        roots.filter(|root| *root != own && root.is_dir()).any(|root| {
            let name = root.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("runtime-") && keeps_state_of(&root, id)
        })
    }

    fn delete_foreign(&self, id: &str, program: &RuntimeProgram) -> Result<(), RuntimeError> {
        let root = berth_monitor::client::runtime_root(&self.paths.runtime(), &program.path);
        if !keeps_state_of(&root, id) {
            return Ok(());
        }
        let output = std::process::Command::new(&program.path)
            .arg("--root")
            .arg(&root)
            .args(&program.options)
            .args(["delete", "--force", id])
            .stdin(std::process::Stdio::null())
            .output();
        let text = match output {
            Ok(output) if output.status.success() || !keeps_state_of(&root, id) => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        Err(RuntimeError::Foreign {
            action: "delete",
            id: id.to_owned(),
            program: program.path.clone(),
            text,
        })
    }

    /// Removes a cgroup that nobody accounts for: its creator was killed before it could say so.
    fn remove_cgroup(&self, record: &ContainerRecord) -> Result<(), HealError> {
        let id = record.id.as_str();
        let path = record.details.spec.linux.as_ref().and_then(|linux| linux.cgroups_path.clone());
        let Some(path) = path.filter(|_| self.config.cgroup_manager == CgroupManager::Cgroupfs)
        else {
            return Ok(());
        };
        let hierarchies =
            Hierarchies::detect().map_err(RuntimeError::builtin("find the cgroup of", id))?;
        let directories = directories(&hierarchies, &path);
        if directories.is_empty() {
            return Ok(());
        }
        let saved = SavedCgroup {
            layout: hierarchies.layout(),
            driver: berth_cgroup::Driver::Cgroupfs,
            unit: None,
            directories,
        };
        let failed = "remove the cgroup of";
        let cgroup = Cgroup::open(&saved).map_err(RuntimeError::builtin(failed, id))?;
        cgroup
            .kill_all(rustix::process::Signal::KILL)
            .map_err(RuntimeError::builtin("kill the processes of", id))?;
        cgroup.remove().map_err(RuntimeError::builtin(failed, id))?;
        Ok(())
    }

    /// Starts a monitor that takes up a container whose own was killed.
    fn adopt(&self, record: &ContainerRecord) -> Result<(), HealError> {
        use berth_monitor::client;
        use berth_monitor::protocol::{SlowClient, Streams};
        let id = record.id.as_str();
        let options = self.launch_options(id)?;
        let adopted = client::adopt(&options)
            .map_err(|source| crate::error::MonitorError::Launch { id: id.to_owned(), source })?;
        let Some(mut connection) = adopted else { return Ok(()) };
        // Its answer says that it has taken the container up, or that there is nothing left of it.
        match connection.attach(id, Streams::NONE, SlowClient::Wait) {
            Ok(()) | Err(client::RequestError::Refused { .. } | client::RequestError::Gone) => {
                Ok(())
            }
            Err(error) => Err(crate::error::MonitorError::request("adopt", id)(error).into()),
        }
    }

    /// How a container's monitor is started.
    pub(crate) fn launch_options(
        &self,
        id: &str,
    ) -> Result<berth_monitor::client::LaunchOptions, crate::error::MonitorError> {
        Ok(berth_monitor::client::LaunchOptions {
            directory: self.paths.run(id),
            monitor: self.monitor_program()?.clone(),
            cleanup_command: self.cleanup_command(),
            runtime_root: self.paths.runtime(),
            scope: Some(id.to_owned()),
            lifetime: berth_monitor::client::Lifetime::Containers,
        })
    }
}

/// Removes the cgroup of a monitor that was killed and could not do it itself. The kernel may take a
/// moment to let the dead process go.
fn remove_scope(id: &str) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::builtin("remove the monitor's cgroup of", id);
    let hierarchies =
        Hierarchies::detect().map_err(RuntimeError::builtin("find the monitor's cgroup of", id))?;
    let scope = PathBuf::from(format!("/berth-monitor-{id}"));
    let deadline = Instant::now() + SCOPE_PATIENCE;
    loop {
        berth_cgroup::scope::remove(id).map_err(failed())?;
        // What is still in use then is left to `system prune`.
        if directories(&hierarchies, &scope).is_empty() || Instant::now() > deadline {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A container's directories that exist in the hierarchies.
pub(crate) fn directories(hierarchies: &Hierarchies, path: &Path) -> Vec<SavedDirectory> {
    let mounts = hierarchies.mounts().iter();
    let all = mounts.map(|mount| {
        let below: PathBuf = if path.is_absolute() {
            path.strip_prefix("/").unwrap_or(path).to_owned()
        } else {
            mount.own_path.strip_prefix("/").unwrap_or(&mount.own_path).join(path)
        };
        SavedDirectory { kind: mount.kind.clone(), path: mount.mount_point.join(below) }
    });
    all.filter(|directory| directory.path.is_dir()).collect()
}

/// The snapshot driver of a name.
pub(crate) fn snapshot_driver(id: &str, name: &str) -> Result<Box<dyn SnapshotDriver>, RootError> {
    let unknown = || RootError::Driver { id: id.to_owned(), driver: name.to_owned() };
    berth_image::snapshot::driver(name).ok_or_else(unknown)
}

/// Whether a runtime's state directory holds anything of a container: runc and crun keep a directory
/// of its name, runsc files whose names have it in them.
fn keeps_state_of(root: &Path, id: &str) -> bool {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(id))
}
