//! Volumes: directories that outlive containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_spec::rootfs::RootfsMount;

use crate::core::Core;
use crate::error::{
    CreateError, FileError, NoVolumeError, ParseError, PathError, RemoveError, RequestError,
    RootError, StartError, VolumeError,
};
use crate::identity;
use crate::paths::make_private;
use crate::plan::MountKind;
use crate::records::{ContainerRecord, VolumeRecord};
use crate::request::{
    ContainerRequest, CopyUp, MissingSource, MountRequest, MountSource, RemoveOptions,
};
use crate::view::Volume;

impl Core {
    /// Makes the directories that a container's mounts need, and gives new volumes the image's
    /// content. Called at each start: a volume may have been emptied, a directory removed.
    pub(crate) fn prepare_volumes(
        &self,
        record: &ContainerRecord,
        root: &RootfsMount,
    ) -> Result<(), StartError> {
        for mount in &record.details.mounts {
            let Some(source) = &mount.source else { continue };
            match mount.kind {
                MountKind::Bind if !source.exists() => {
                    make_private(source)?;
                }
                MountKind::Volume => {
                    let Some(name) = &mount.name else { continue };
                    let volume = self.records().volume(name)?;
                    make_private(source)?;
                    if volume.is_none_or(|volume| volume.populated) {
                        continue;
                    }
                    if mount.copy_up && is_empty(source)? {
                        copy_up(record, root, &mount.target, source)?;
                    }
                    self.records().set_populated(name)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `--volumes-from`: the mounts of other containers become mounts of this one, but where it has
    /// one of its own.
    pub(crate) fn join_volumes_from(
        &self,
        request: &mut ContainerRequest,
    ) -> Result<(), CreateError> {
        for wanted in std::mem::take(&mut request.volumes_from) {
            let (word, options) = wanted.split_once(':').unwrap_or((&wanted, ""));
            let other: ContainerRecord = self.find::<CreateError>(word)?;
            for mount in other.details.mounts {
                if request.mounts.iter().any(|own| own.target == mount.target) {
                    continue;
                }
                let source = match (mount.kind, mount.name, mount.source) {
                    (MountKind::Volume, Some(name), _) => MountSource::Volume(name),
                    (MountKind::Bind, _, Some(path)) => MountSource::Bind(path),
                    _ => continue,
                };
                let mut words = mount.options;
                for option in options.split(',').filter(|option| !matches!(*option, "" | "z" | "Z"))
                {
                    if !matches!(option, "ro" | "rw") {
                        return Err(RequestError::Value {
                            option: "--volumes-from",
                            value: wanted.clone(),
                            expected: "CONTAINER, CONTAINER:ro or CONTAINER:rw".to_owned(),
                        }
                        .into());
                    }
                    words.push(option.to_owned());
                }
                request.mounts.push(MountRequest {
                    source,
                    target: mount.target,
                    options: words,
                    missing: MissingSource::Refuse,
                    copy_up: CopyUp::No,
                });
            }
            request.volumes_from.push(wanted);
        }
        Ok(())
    }

    /// Creates a volume.
    pub(crate) fn create_volume(
        &self,
        name: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Volume, VolumeError> {
        let generated;
        let name = if let Some(name) = name {
            if !identity::is_name(name) {
                return Err(ParseError::new(
                    "volume name",
                    name,
                    "letters, digits, '_', '.' and '-', the first a letter or digit",
                )
                .into());
            }
            name
        } else {
            generated = identity::new_id();
            &generated
        };
        self.records().insert_volume(name, labels, false)?;
        make_private(&self.volume_path(name))?;
        let record = self.records().volume(name)?;
        self.view(record.ok_or_else(|| NoVolumeError(name.to_owned()))?)
    }

    /// All volumes.
    pub(crate) fn list_volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        let records = self.records().volumes()?;
        records.into_iter().map(|record| self.view(record)).collect()
    }

    /// Removes a volume; with force the containers that use it first.
    pub(crate) fn remove_volume(&self, name: &str, force: bool) -> Result<(), VolumeError> {
        if self.records().volume(name)?.is_none() {
            return Err(NoVolumeError(name.to_owned()).into());
        }
        if force {
            let users = self.records().volume_users(name)?;
            for id in users {
                let options = RemoveOptions { force: true, ..RemoveOptions::default() };
                match self.remove(&id, options) {
                    Ok(_) | Err(RemoveError::Find(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.records().delete_volume(name)?;
        Ok(crate::paths::remove_all(&self.paths.volumes().join(name))?)
    }

    /// Removes volumes that no container uses; gives their names.
    pub(crate) fn prune_volumes(&self) -> Result<Vec<String>, VolumeError> {
        let mut removed = Vec::new();
        for volume in self.list_volumes()? {
            if volume.used_by.is_empty() {
                // One that came into use since is none to remove.
                if self.remove_volume(&volume.name, false).is_ok() {
                    removed.push(volume.name);
                }
            }
        }
        Ok(removed)
    }

    fn volume_path(&self, name: &str) -> PathBuf {
        self.paths.volumes().join(name).join("_data")
    }

    fn view(&self, record: VolumeRecord) -> Result<Volume, VolumeError> {
        let used_by = self.records().volume_users(&record.name)?;
        Ok(Volume {
            path: self.volume_path(&record.name),
            name: record.name,
            created: record.created,
            labels: record.labels,
            anonymous: record.anonymous,
            used_by,
        })
    }
}

/// Copies what the image has at a path into a volume, owner and permissions of the directory
/// too.
fn copy_up(
    record: &ContainerRecord,
    root: &RootfsMount,
    target: &Path,
    volume: &Path,
) -> Result<(), StartError> {
    let mount = berth_runtime::rootfs::mount_detached(root)
        .map_err(|source| RootError::Mount { id: record.id.clone(), source })?;
    match crate::copy::copy_directory(&mount, target, volume) {
        Ok(()) | Err(PathError::NotFound(_) | PathError::NotDirectory(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_empty(directory: &Path) -> Result<bool, FileError> {
    let mut entries =
        std::fs::read_dir(directory).map_err(FileError::new("read the volume", directory))?;
    Ok(entries.next().is_none())
}
