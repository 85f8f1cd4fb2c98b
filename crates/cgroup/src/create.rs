//! Making the directories of a control group, and what makes them usable: controllers enabled
//! along the path on v2, CPUs and memory nodes filled in on v1.

use std::io;
use std::os::unix::fs::chown;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;

use crate::FreezerState;
use crate::cgroup::Owner;
use crate::directory::{Directory, is_absent};
use crate::error::{CreateError, FileError};
use crate::freezer;
use crate::hierarchy::{Hierarchies, HierarchyKind, HierarchyMount, Layout};
use crate::systemd::unit::is_systemds;

/// The directory in every hierarchy, as it will be.
pub(crate) fn plan(hierarchies: &Hierarchies, path: &Path) -> Result<Vec<Directory>, CreateError> {
    check(path)?;
    let mounts = hierarchies.mounts().iter();
    let directory = |mount: &HierarchyMount| {
        Directory::new(mount.kind.clone(), mount.mount_point.join(below(mount, path)))
    };
    Ok(mounts.map(directory).collect())
}

/// Makes the planned directories of some hierarchies.
pub(crate) fn make(
    hierarchies: &Hierarchies,
    directories: &[Directory],
    owner: Option<Owner>,
    wanted: impl Fn(&HierarchyKind) -> bool,
    made: &mut Made,
) -> Result<(), CreateError> {
    let pairs = hierarchies.mounts().iter().zip(directories);
    for (mount, directory) in pairs.filter(|(mount, _)| wanted(&mount.kind)) {
        one(hierarchies.layout(), mount, directory, owner, made)?;
    }
    Ok(())
}

/// The directories of a systemd scope, whose control group systemd has named. It makes those of
/// the hierarchies that it cares for; the others are made here and given the scope's process.
pub(crate) fn below_unit(
    hierarchies: &Hierarchies,
    group: &str,
    pid: i32,
    owner: Option<Owner>,
) -> Result<Vec<Directory>, CreateError> {
    let group = Path::new(group);
    check(group)?;
    let mut made = Made::default();
    let mut directories = Vec::with_capacity(hierarchies.mounts().len());
    for mount in hierarchies.mounts() {
        let below = below_root(mount, group);
        match one_below_unit(mount, below, pid, owner, &mut made) {
            Ok(directory) => directories.push(directory),
            Err(error) => {
                made.undo();
                return Err(error.into());
            }
        }
    }
    Ok(directories)
}

/// A control group as systemd names it, below a mount point.
pub(crate) fn below_root<'g>(mount: &HierarchyMount, group: &'g Path) -> &'g Path {
    group.strip_prefix(&mount.root).or(group.strip_prefix("/")).unwrap_or(group)
}

fn one_below_unit(
    mount: &HierarchyMount,
    below: &Path,
    pid: i32,
    owner: Option<Owner>,
    made: &mut Made,
) -> Result<Directory, FileError> {
    let directory = Directory::new(mount.kind.clone(), mount.mount_point.join(below));
    if !is_systemds(&mount.kind) || !directory.path.exists() {
        ancestors(&mount.mount_point, below, &mount.kind, made)?;
        make_one(&directory.path, made)?;
        if mount.kind.has("cpuset") {
            fill_cpuset(&mount.mount_point, &directory)?;
        }
        directory.write("cgroup.procs", &pid.to_string())?;
    }
    if let Some(owner) = owner {
        delegate(&directory, owner)?;
    }
    Ok(directory)
}

fn check(path: &Path) -> Result<(), CreateError> {
    let refuse = |reason| CreateError::InvalidPath { path: path.to_owned(), reason };
    let mut names = 0;
    for component in path.components() {
        match component {
            Component::Normal(_) => names += 1,
            Component::ParentDir => return Err(refuse("must not contain \"..\"")),
            _ => {}
        }
    }
    if names == 0 { Err(refuse("names no control group")) } else { Ok(()) }
}

/// The path below the mount point, without a leading slash.
fn below(mount: &HierarchyMount, path: &Path) -> PathBuf {
    if let Ok(absolute) = path.strip_prefix("/") {
        return absolute.components().collect();
    }
    let own = match mount.kind {
        HierarchyKind::Unified => mount.own_path.parent().unwrap_or(Path::new("/")),
        _ => &mount.own_path,
    };
    own.join(path).components().skip(1).collect()
}

fn one(
    layout: Layout,
    mount: &HierarchyMount,
    directory: &Directory,
    owner: Option<Owner>,
    made: &mut Made,
) -> Result<(), CreateError> {
    let path = &directory.path;
    let below = path.strip_prefix(&mount.mount_point).unwrap_or(path);
    let mut fresh = false;
    match mkdir(path, Mode::from(0o755)) {
        Ok(()) => {
            fresh = true;
            made.0.push(path.clone());
        }
        Err(Errno::NOENT) => {
            ancestors(&mount.mount_point, below, &mount.kind, made)?;
            make_one(path, made)?;
        }
        Err(Errno::EXIST) => unused(directory)?,
        Err(e) => return Err(FileError::Create { path: path.clone(), source: e.into() }.into()),
    }
    // What lies directly below the root has nothing to inherit that would keep a process out.
    if below.components().nth(1).is_some() {
        usable(directory)?;
    }
    match &mount.kind {
        HierarchyKind::Unified if layout == Layout::V2 => {
            enable_controllers(&mount.mount_point, below)?;
        }
        // There is nothing in it yet, which need not be read first.
        kind if kind.has("cpuset") && fresh => {
            CPUSET.iter().try_for_each(|file| inherit(&mount.mount_point, directory, file))?;
        }
        kind if kind.has("cpuset") => fill_cpuset(&mount.mount_point, directory)?,
        _ => {}
    }
    match owner {
        Some(owner) => Ok(delegate(directory, owner)?),
        None => Ok(()),
    }
}

fn make_one(path: &Path, made: &mut Made) -> Result<(), FileError> {
    match mkdir(path, Mode::from(0o755)) {
        Ok(()) => {
            made.0.push(path.to_owned());
            Ok(())
        }
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(FileError::Create { path: path.to_owned(), source: e.into() }),
    }
}

/// Makes what lies between the mount point and the group itself.
fn ancestors(
    mount_point: &Path,
    below: &Path,
    kind: &HierarchyKind,
    made: &mut Made,
) -> Result<(), FileError> {
    let mut path = mount_point.to_owned();
    for component in below.parent().unwrap_or(Path::new("")).components() {
        path.push(component);
        make_one(&path, made)?;
        if kind.has("cpuset") && made.0.last() == Some(&path) {
            let directory = Directory::new(kind.clone(), path.clone());
            fill_cpuset(mount_point, &directory)?;
            // Groups made below start with these values, which spares filling each of them.
            directory.write("cgroup.clone_children", "1")?;
        }
    }
    Ok(())
}

/// An existing directory is taken over when nobody is in it and it is not frozen: whoever froze it
/// does not expect a new container to stop before its first step.
fn unused(directory: &Directory) -> Result<(), CreateError> {
    if let Some(&process) = directory.processes()?.first() {
        return Err(CreateError::Occupied { path: directory.path.clone(), process });
    }
    thawed(directory)
}

fn thawed(directory: &Directory) -> Result<(), CreateError> {
    if directory.kind != HierarchyKind::Unified && !directory.kind.has("freezer") {
        return Ok(());
    }
    match freezer::state(directory) {
        Ok(FreezerState::Thawed) => Ok(()),
        Ok(_) => Err(CreateError::Frozen { path: directory.path.clone() }),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A group shares its ancestors' fate: below a frozen one its first process would never run, and
/// one below a group with processes that hands controllers down takes none at all (cgroup-v2.rst,
/// "Threads"). The latter can still be a part of that group's threads; what limits whole processes
/// is then missing, which is told by name when such a limit is applied.
fn usable(directory: &Directory) -> Result<(), CreateError> {
    thawed(directory)?;
    if directory.kind == HierarchyKind::Unified
        && directory.read_optional("cgroup.type")?.is_some_and(|t| t.trim() == "domain invalid")
    {
        directory.write("cgroup.type", "threaded")?;
    }
    Ok(())
}

/// What a v1 cpuset must have before it takes a process.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// A v1 cpuset starts without CPUs and nodes and takes no process until it has some: those of its
/// parent, unless the parent hands them down by itself.
pub(crate) fn fill_cpuset(mount_point: &Path, directory: &Directory) -> Result<(), FileError> {
    for file in CPUSET {
        if directory.read(file)?.trim().is_empty() {
            inherit(mount_point, directory, file)?;
        }
    }
    Ok(())
}

fn inherit(mount_point: &Path, directory: &Directory, file: &str) -> Result<(), FileError> {
    let Some(parent) = directory.path.parent().filter(|_| directory.path != mount_point) else {
        return Ok(());
    };
    let parent = Directory::new(directory.kind.clone(), parent.to_owned());
    let mut value = parent.read(file)?;
    if value.trim().is_empty() {
        inherit(mount_point, &parent, file)?;
        value = parent.read(file)?;
    }
    directory.write(file, value.trim())
}

/// Hands every controller of the v2 root down to the group's parent. What an ancestor cannot hand
/// down (it has processes of its own, or was not given it) is left out: a limit that needs it
/// fails by name when it is applied.
fn enable_controllers(mount_point: &Path, below: &Path) -> Result<(), FileError> {
    let root = Directory::new(HierarchyKind::Unified, mount_point.to_owned());
    let available = root.read("cgroup.controllers")?;
    let wanted: Vec<&str> = available.split_whitespace().collect();
    let parent = below.parent().unwrap_or(Path::new(""));
    let parent_directory = Directory::new(HierarchyKind::Unified, mount_point.join(parent));
    if missing(&parent_directory, &wanted)?.is_empty() {
        return Ok(());
    }
    let mut path = mount_point.to_owned();
    enable(&root, &wanted)?;
    for component in parent.components() {
        path.push(component);
        enable(&Directory::new(HierarchyKind::Unified, path.clone()), &wanted)?;
    }
    Ok(())
}

fn missing<'a>(directory: &Directory, wanted: &[&'a str]) -> Result<Vec<&'a str>, FileError> {
    let enabled = directory.read("cgroup.subtree_control")?;
    Ok(wanted.iter().copied().filter(|w| !enabled.split_whitespace().any(|e| e == *w)).collect())
}

/// Enables the controllers for a group's children, as far as that goes.
pub(crate) fn enable(directory: &Directory, wanted: &[&str]) -> Result<(), FileError> {
    let missing = missing(directory, wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = missing.iter().map(|c| format!("+{c}")).collect();
    if directory.write("cgroup.subtree_control", &all.join(" ")).is_ok() {
        return Ok(());
    }
    // One that cannot be enabled fails the whole line.
    for controller in &all {
        let _ = directory.write("cgroup.subtree_control", controller);
    }
    Ok(())
}

/// Files of a group that its new owner may write, where the kernel does not list them.
const DELEGATED: &[&str] = &["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

/// Gives the group to the container's root, so that it can make groups below: v2, and v1's named
/// hierarchies, which limit nothing.
fn delegate(directory: &Directory, owner: Owner) -> Result<(), FileError> {
    let files: Vec<String> = match &directory.kind {
        HierarchyKind::Unified => match std::fs::read_to_string("/sys/kernel/cgroup/delegate") {
            Ok(list) => list.lines().map(str::to_owned).collect(),
            Err(_) => DELEGATED.iter().map(|&f| f.to_owned()).collect(),
        },
        HierarchyKind::Named(_) => vec!["cgroup.procs".to_owned(), "tasks".to_owned()],
        HierarchyKind::Controllers(_) => return Ok(()),
    };
    let give = |path: PathBuf| match chown(&path, Some(owner.uid), owner.gid) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Owner { path, source })
        }
        _ => Ok(()),
    };
    give(directory.path.clone())?;
    files.iter().try_for_each(|file| give(directory.file(file)))
}

/// Directories made so far, for taking them back.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<PathBuf>);

impl Made {
    /// Whether a directory is among them.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|made| made == path)
    }

    /// Removes them.
    pub(crate) fn undo(&mut self) {
        for path in self.0.drain(..).rev() {
            let _ = std::fs::remove_dir(path);
        }
    }
}
