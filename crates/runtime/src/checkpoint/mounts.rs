//! The mounts of a container whose content CRIU is not to keep, because it is the host's: bind
//! mounts, cgroups, and the covers of masked paths.
//!
//! To CRIU such a mount is a name: at the checkpoint the name goes with a place in the container, at
//! the restore with a path of the host. The name of a bind mount is its destination as the
//! configuration has it, so that a restore finds it without the container.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use berth_cgroup::mount_table::MountLine;
use berth_spec::runtime::{Linux, LinuxNamespaceType, Mount, Spec};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, statx};
use rustix::mount::{UnmountFlags, unmount};

use super::error::CriuError;
use crate::child::legacy;
use crate::child::mount::{attach, clone_tree_at};
use crate::child::resolve::{self, Kind, ensure};
use crate::config::ConfigError;
use crate::plan::mounts::CgroupMount;
use crate::plan::{devices, options};
use crate::sys::Reach;

/// What covers a masked file.
pub(super) const NULL: &str = "/dev/null";

/// A mount as CRIU is told of it: a key, and what it stands for.
pub(super) type External = (PathBuf, PathBuf);

struct Entry {
    parent: String,
    mount_point: PathBuf,
    cgroup: bool,
}

/// A container's mounts.
pub(super) struct Table(BTreeMap<String, Entry>);

impl Table {
    /// The mounts in the mount namespace of a process.
    pub(super) fn of(pid: i32) -> Result<Self, CriuError> {
        let path = format!("/proc/{pid}/mountinfo");
        let text =
            std::fs::read(&path).map_err(|source| CriuError::io(format!("read {path}"), source))?;
        let text = String::from_utf8_lossy(&text);
        let entries = text.lines().filter_map(MountLine::parse).map(|line| {
            let entry = Entry {
                parent: line.parent.to_owned(),
                mount_point: line.mount_point(),
                cgroup: matches!(line.kind, "cgroup" | "cgroup2"),
            };
            (line.id.to_owned(), entry)
        });
        Ok(Self(entries.collect()))
    }

    /// Whether there is a mount of this id.
    pub(super) fn has(&self, id: u64) -> bool {
        self.0.contains_key(&id.to_string())
    }

    /// Every mount that CRIU is to take as the host's. `root` is the container's.
    pub(super) fn external(&self, root: &OwnedFd, spec: &Spec) -> Result<Vec<External>, CriuError> {
        let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut others = Vec::new();
        for mount in &spec.mounts {
            let destination = destination(mount);
            let Some(id) = mount_at(root, &destination)? else { continue };
            if is_bind(mount) {
                names.insert(id, destination)
            } else {
                others.push(id);
                None
            };
        }
        for path in masked_files(root, spec)? {
            names.extend(mount_at(root, &path)?.map(|id| (id, NULL.into())));
        }
        // In a user namespace devices are bound.
        for path in device_paths(spec) {
            names.extend(mount_at(root, path)?.map(|id| (id, path.to_owned())));
        }
        let mut found = Vec::new();
        for (id, entry) in &self.0 {
            let name = if entry.cgroup && !names.contains_key(id) {
                Some(entry.mount_point.clone())
            } else {
                self.name(id, &names, &others)
            };
            found.extend(name.map(|name| (entry.mount_point.clone(), name)));
        }
        Ok(found)
    }

    /// The name of a mount that is a bind mount, or came with one.
    fn name(
        &self,
        id: &str,
        names: &BTreeMap<String, PathBuf>,
        others: &[String],
    ) -> Option<PathBuf> {
        let mount = self.0.get(id)?;
        let mut at = id;
        // No chain is longer than the table, whatever the table says.
        for _ in 0..self.0.len() {
            if let Some(name) = names.get(at) {
                let below = mount.mount_point.strip_prefix(&self.0.get(at)?.mount_point).ok()?;
                return Some(if below == Path::new("") { name.clone() } else { name.join(below) });
            }
            if others.iter().any(|other| other == at) {
                return None;
            }
            at = &self.0.get(at)?.parent;
        }
        None
    }
}

/// A mount's destination, absolute.
pub(super) fn destination(mount: &Mount) -> PathBuf {
    Path::new("/").join(&mount.destination).components().collect()
}

/// Whether it binds a part of the host's files.
fn is_bind(mount: &Mount) -> bool {
    mount.typ.as_deref() == Some("bind")
        || mount.options.iter().any(|option| option == "bind" || option == "rbind")
}

/// The id of the mount that a path of the container is the top of; `None` when it is none, or the
/// path is not there any more.
fn mount_at(root: &OwnedFd, path: &Path) -> Result<Option<String>, CriuError> {
    let failed = |source: io::Error| CriuError::io(format!("look at {}", path.display()), source);
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|e| failed(e.into()))?;
    let Ok(file) = resolve::open(root, &c_path, OFlags::PATH) else { return Ok(None) };
    let found = statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::TYPE)
        .map_err(|errno| failed(errno.into()))?;
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    let is_top = found.stx_attributes.bits() & STATX_ATTR_MOUNT_ROOT != 0;
    Ok(is_top.then(|| found.stx_mnt_id.to_string()))
}

/// The masked paths that are files in the container.
fn masked_files(root: &OwnedFd, spec: &Spec) -> Result<Vec<PathBuf>, CriuError> {
    let mut files = Vec::new();
    for path in spec.linux.iter().flat_map(|linux| &linux.masked_paths) {
        let c_path = CString::new(path.as_str())
            .map_err(|error| CriuError::io(format!("look at {path}"), io::Error::from(error)))?;
        let Ok(file) = resolve::open(root, &c_path, OFlags::PATH) else { continue };
        let status = rustix::fs::fstat(&file)
            .map_err(|errno| CriuError::io(format!("look at {path}"), errno))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
            files.push(path.into());
        }
    }
    Ok(files)
}

/// Refuses what CRIU would lose without a word.
pub(super) fn check(spec: &Spec) -> Result<(), ConfigError> {
    for (index, mount) in spec.mounts.iter().enumerate() {
        let parsed = options::parse(mount);
        if parsed.id_map.is_some() || !mount.uid_mappings.is_empty() {
            return Err(ConfigError::unsupported(
                format!("mounts[{index}].uidMappings"),
                "CRIU does not keep the mapping of a mount's ids",
            ));
        }
    }
    Ok(())
}

/// What the names of a checkpoint stand for on this host, but for cgroups.
pub(super) fn sources(spec: &Spec, bundle: &Path) -> Result<Vec<External>, CriuError> {
    let mut found = Vec::new();
    let mut table = None;
    for mount in &spec.mounts {
        let (true, Some(source)) = (is_bind(mount), &mount.source) else { continue };
        let (name, source) = (destination(mount), bundle.join(source));
        let recursive = mount.options.iter().any(|option| option == "rbind");
        found.push((name.clone(), source.clone()));
        if !recursive {
            continue;
        }
        let Ok(real) = std::fs::canonicalize(&source) else { continue };
        let table = match &mut table {
            Some(table) => table,
            table @ None => table.insert(Table::of(std::process::id() as i32)?),
        };
        for entry in table.0.values() {
            if let Ok(below) = entry.mount_point.strip_prefix(&real)
                && below != Path::new("")
            {
                found.push((name.join(below), entry.mount_point.clone()));
            }
        }
    }
    let linux = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&linux);
    if !linux.masked_paths.is_empty() {
        found.push((NULL.into(), NULL.into()));
    }
    if linux.namespaces.iter().any(|namespace| namespace.typ == LinuxNamespaceType::User) {
        found.extend(device_paths(spec).map(|path| (path.to_owned(), path.to_owned())));
    }
    Ok(found)
}

/// Where devices are in a container, and on the host.
fn device_paths(spec: &Spec) -> impl Iterator<Item = &Path> {
    let configured = spec.linux.iter().flat_map(|linux| &linux.devices);
    devices::default_paths().chain(configured.map(|device| device.path.as_path()))
}

/// What the names of cgroup mounts stand for.
pub(super) fn cgroup_sources(destination: &Path, cgroup: &CgroupMount) -> Vec<External> {
    let os = |text: &CString| PathBuf::from(std::ffi::OsStr::from_bytes(text.as_bytes()));
    let entries = cgroup.entries.iter().filter_map(|entry| {
        let source = entry.source.as_ref().map(os)?;
        let name = if cgroup.unified_only {
            destination.to_owned()
        } else {
            destination.join(os(&entry.name))
        };
        Some((name, source))
    });
    entries.collect()
}

/// A place in the new root that something is mounted on.
#[derive(Debug)]
pub(super) struct Place {
    /// Where.
    pub destination: CString,
    /// What is bound there: what is mounted later may need a place in it.
    pub source: Option<CString>,
    /// With what reach.
    pub recursive: bool,
}

/// The places that a restore needs to be there, as a creation would make them.
pub(super) fn places(spec: &Spec, bundle: &Path) -> Result<Vec<Place>, CriuError> {
    let mut places = Vec::new();
    let mut file_systems: Vec<PathBuf> = Vec::new();
    for mount in &spec.mounts {
        let destination = destination(mount);
        let c_path = |path: &Path| {
            CString::new(path.as_os_str().as_bytes()).map_err(|error| {
                CriuError::io(format!("mount on {}", path.display()), io::Error::from(error))
            })
        };
        // In a file system of its own CRIU makes what there was.
        let inside = file_systems.iter().any(|above| destination.starts_with(above));
        let bind = is_bind(mount);
        if !inside {
            let source = mount.source.as_ref().filter(|_| bind).map(|path| bundle.join(path));
            places.push(Place {
                destination: c_path(&destination)?,
                source: source.as_deref().map(c_path).transpose()?,
                recursive: mount.options.iter().any(|option| option == "rbind"),
            });
        }
        if !bind {
            file_systems.push(destination);
        }
    }
    Ok(places)
}

/// The root of a process.
pub(super) fn root_of(pid: i32) -> Result<OwnedFd, CriuError> {
    let path = format!("/proc/{pid}/root");
    rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| CriuError::io(format!("open {path}"), errno))
}

/// What a descriptor of a process is to CRIU when it comes from outside the container: a pipe, or
/// a file on a mount that the container does not have.
pub(super) fn stream(pid: i32, number: usize, table: &Table) -> Option<String> {
    let path = format!("/proc/{pid}/fd/{number}");
    let link = std::fs::read_link(&path).ok()?.to_string_lossy().into_owned();
    if !link.starts_with('/') {
        return Some(link);
    }
    let found = statx(CWD, &*path, AtFlags::empty(), StatxFlags::MNT_ID | StatxFlags::INO).ok()?;
    if table.has(found.stx_mnt_id) {
        return Some(link);
    }
    Some(format!("file[{:x}:{:x}]", found.stx_mnt_id, found.stx_ino))
}

/// Whether a name of a stream is one that the restored container gets from the runtime.
pub(super) fn is_outside(stream: &str) -> bool {
    stream.starts_with("pipe:") || stream.starts_with("file[")
}

/// Makes the places in the root that `root` is. Runs in a process on its way to another program.
pub(super) fn make_places(root: &OwnedFd, places: &[Place]) -> rustix::io::Result<()> {
    let Some((place, rest)) = places.split_first() else { return Ok(()) };
    let Some(source) = &place.source else {
        ensure(root.as_fd(), &place.destination, Kind::Directory)?;
        return make_places(root, rest);
    };
    let reach = if place.recursive { Reach::Tree } else { Reach::One };
    let tree = clone_tree_at(source, reach)?;
    let directory = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
    let kind = if directory == FileType::Directory { Kind::Directory } else { Kind::File };
    let target = ensure(root.as_fd(), &place.destination, kind)?;
    attach(&tree, &target)?;
    let made = make_places(root, rest);
    // CRIU mounts it anew, and wants a root without it.
    let mut buffer = [0u8; 32];
    unmount(legacy::path(tree.as_raw_fd(), &mut buffer), UnmountFlags::DETACH)?;
    made
}
