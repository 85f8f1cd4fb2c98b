//! Removing what is not in use, and mending what killed processes left.

use std::path::Path;
use std::time::Duration;

use berth_monitor::client;

use crate::core::Core;
use crate::error::{FileError, HealError, PruneError, RemoveError};
use crate::filter::Filter;
use crate::heal::Failures;
use crate::list::{disk_usage, passes_record};
use crate::paths::remove_all;
use crate::records::short;
use crate::request::RemoveOptions;
use crate::state::Remedy;
use crate::view::{ContainerStatus, Pruned};

/// A monitor has entered its cgroup long before this.
const STALE: Duration = Duration::from_secs(5);

/// What `system_prune` takes beyond what is broken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneOptions {
    /// Stopped containers are removed.
    pub containers: bool,
    /// Volumes that no container uses are removed.
    pub volumes: bool,
    /// Dangling images are removed.
    pub images: bool,
    /// `--all`: all images that no container uses.
    pub all_images: bool,
    /// `--filter`: `Until`, `Label`, `NotLabel` count.
    pub filters: Vec<Filter>,
}

impl Core {
    /// Removes containers that don't run.
    pub(crate) fn prune(&self, filters: &[Filter]) -> Result<Pruned, PruneError> {
        let mut pruned = Pruned::default();
        let records = self.records().containers()?;
        for record in records.into_iter().filter(|record| passes_record(filters, record)) {
            let id = record.id.clone();
            let Some((record, observed)) = self.settle(record)? else {
                pruned.containers.push(id);
                continue;
            };
            let is_idle =
                matches!(observed.state.status, ContainerStatus::Created | ContainerStatus::Exited);
            // One that is being started, or cleaned up after, is left to those who are at it.
            if !is_idle || record.launch.is_some() {
                continue;
            }
            let bytes = disk_usage(&self.paths.container(&id));
            let options = RemoveOptions { volumes: true, ..RemoveOptions::default() };
            match self.remove(&id, options) {
                Ok(_) => {
                    pruned.containers.push(id);
                    pruned.reclaimed += bytes;
                }
                // It was started or removed in between.
                Err(RemoveError::Find(_) | RemoveError::State(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(pruned)
    }

    /// Mends everything, and removes what the options name.
    pub(crate) fn system_prune(&self, options: &PruneOptions) -> Result<Pruned, PruneError> {
        let mut pruned = Pruned::default();
        self.mend(&mut pruned)?;
        if options.containers {
            let more = self.prune(&options.filters)?;
            pruned.containers.extend(more.containers);
            pruned.reclaimed += more.reclaimed;
        }
        if options.volumes {
            let names = self.prune_volumes().map_err(|error| match error {
                crate::error::VolumeError::File(error) => PruneError::File(error),
                crate::error::VolumeError::Records(error) => PruneError::Records(error),
                crate::error::VolumeError::Remove(error) => PruneError::Remove(error),
                _ => PruneError::Interrupted(crate::error::Interrupted),
            })?;
            pruned.volumes.extend(names);
        }
        if options.images || options.all_images {
            let removed = self.prune_images(options.all_images).map_err(|error| match error {
                crate::error::ImagesError::Image(error) => PruneError::Image(error),
                crate::error::ImagesError::Records(error) => PruneError::Records(error),
                crate::error::ImagesError::Interrupted(error) => PruneError::Interrupted(error),
            })?;
            pruned.images.extend(removed.images.iter().map(crate::launch::hexadecimal));
            pruned.reclaimed += removed.reclaimed;
        }
        Ok(pruned)
    }

    /// Every container that is not as it should be, and every file that belongs to none.
    fn mend(&self, pruned: &mut Pruned) -> Result<(), PruneError> {
        let mut failures = Failures::default();
        let records = self.records().containers()?;
        for record in records {
            let name = record.name.clone();
            let remedy = self.observe(&record)?.remedy;
            if remedy == Remedy::None {
                continue;
            }
            if failures.keep(self.settle(record)).is_some() {
                let done = match remedy {
                    Remedy::Adopt => "has a new monitor",
                    Remedy::Undo => "had been left half started",
                    Remedy::Cleanup => "had ended without being cleaned up after",
                    Remedy::Remove => "had been left half removed",
                    Remedy::None => continue,
                };
                pruned.healed.push(format!("container {name} {done}"));
            }
        }
        failures.keep(self.sweep(pruned));
        Ok(failures.result()?)
    }

    /// Directories, cgroups and runtime states without a record.
    fn sweep(&self, pruned: &mut Pruned) -> Result<(), HealError> {
        let mut failures = Failures::default();
        for id in names(&self.paths.runs())? {
            let Some(lock) = self.orphan(&id)? else { continue };
            // A monitor without a container ends by itself.
            let run = self.paths.run(&id);
            client::wait_until_gone(&run, Duration::from_secs(2));
            if failures.keep(remove_all(&run)).is_some() {
                pruned.healed.push(format!("removed the run directory of {}", short(&id)));
            }
            lock.discard();
        }
        for id in names(&self.paths.runtime())? {
            let Some(lock) = self.orphan(&id)? else { continue };
            if let Ok(name) = berth_runtime::ContainerId::new(id.as_str()) {
                let deleted = self
                    .builtin()
                    .delete(&name, berth_runtime::DeleteMode::Force)
                    .map_err(crate::error::RuntimeError::builtin("delete the state of", &id));
                if failures.keep(deleted).is_some() {
                    pruned.healed.push(format!("removed the runtime's state of {}", short(&id)));
                }
            }
            lock.discard();
        }
        for id in names(&self.paths.containers())? {
            let Some(lock) = self.orphan(&id)? else { continue };
            let directory = self.paths.container(&id);
            pruned.reclaimed += disk_usage(&directory);
            if failures.keep(remove_all(&directory)).is_some() {
                pruned.healed.push(format!("removed the files of {}", short(&id)));
            }
            lock.discard();
        }
        for name in names(&self.paths.volumes())? {
            if self.records().volume(&name)?.is_none() {
                let directory = self.paths.volumes().join(&name);
                pruned.reclaimed += disk_usage(&directory);
                if failures.keep(remove_all(&directory)).is_some() {
                    pruned.healed.push(format!("removed the files of volume {name}"));
                }
            }
        }
        let stale = berth_cgroup::scope::remove_stale(STALE)
            .map_err(crate::error::RuntimeError::builtin("remove cgroups of monitors of", "*"));
        for name in failures.keep(stale).unwrap_or_default() {
            pruned.healed.push(format!("removed the cgroup {name} of a killed monitor"));
        }
        for id in names(&self.paths.locks())? {
            if let Some(lock) = self.orphan(&id)? {
                lock.discard();
            }
        }
        failures.result()
    }

    /// The lock of an id that no container has, if nobody holds it.
    fn orphan(&self, id: &str) -> Result<Option<crate::lock::ContainerLock>, HealError> {
        if self.records().container(id)?.is_some() {
            return Ok(None);
        }
        let Some(lock) = self.try_lock(id)? else { return Ok(None) };
        // Under the lock: it may have been recorded since.
        if self.records().container(id)?.is_some() {
            return Ok(None);
        }
        Ok(Some(lock))
    }
}

/// What a directory holds; nothing when it is not there.
fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new("read the directory", directory)(error)),
    };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
