//! What is mounted, and where this process sits in it (cgroups(7), proc_pid_mountinfo(5)).
//!
//! Read once; nothing here changes anything.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{DetectError, FileError};
use crate::mount_table::MountLine;

/// How control groups are laid out on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// The main controllers are in version 1 hierarchies and version 2 is mounted beside them.
    Hybrid,
}

/// What a hierarchy holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HierarchyKind {
    /// cgroup v2.
    Unified,
    /// cgroup v1 with these controllers, such as `cpu` and `cpuacct`.
    Controllers(Vec<String>),
    /// cgroup v1 without controllers, by name, such as `systemd`.
    Named(String),
}

impl HierarchyKind {
    /// Whether it has this controller of version 1.
    pub fn has(&self, controller: &str) -> bool {
        matches!(self, Self::Controllers(list) if list.iter().any(|c| c == controller))
    }

    /// How /proc/PID/cgroup and mount options spell it: `cpu,cpuacct`, `name=systemd`, or empty.
    pub fn label(&self) -> String {
        match self {
            Self::Unified => String::new(),
            Self::Controllers(list) => list.join(","),
            Self::Named(name) => format!("name={name}"),
        }
    }
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HierarchyMount {
    /// What it holds.
    pub kind: HierarchyKind,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Which of its directories is mounted there: `/` unless a part of it is bound.
    pub root: PathBuf,
    /// Where this process sits, below the mount point (absolute, `/` at the mount point itself).
    pub own_path: PathBuf,
}

/// Every mounted hierarchy.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    mounts: Vec<HierarchyMount>,
    layout: Layout,
}

impl Hierarchies {
    /// Reads /proc/self/mountinfo and /proc/self/cgroup.
    pub fn detect() -> Result<Self, DetectError> {
        Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
    }

    pub(crate) fn parse(mountinfo: &str, own: &str) -> Result<Self, DetectError> {
        let mut mounts: Vec<HierarchyMount> = Vec::new();
        for line in mountinfo.lines() {
            let Some(mut mount) = parse_mount(line) else { continue };
            mount.own_path = own_path(own, &mount);
            // A hierarchy may be mounted more than once: the first whole one is used.
            match mounts.iter_mut().find(|m| m.kind == mount.kind) {
                None => mounts.push(mount),
                Some(known) if known.root != Path::new("/") && mount.root == Path::new("/") => {
                    *known = mount;
                }
                Some(_) => {}
            }
        }
        let unified = mounts.iter().any(|m| m.kind == HierarchyKind::Unified);
        let v1 = mounts.iter().any(|m| matches!(m.kind, HierarchyKind::Controllers(_)));
        let layout = match (v1, unified) {
            (true, true) => Layout::Hybrid,
            (true, false) => Layout::V1,
            (false, true) => Layout::V2,
            (false, false) => return Err(DetectError::NoneMounted),
        };
        Ok(Self { mounts, layout })
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Each hierarchy, in the order of mounting.
    pub fn mounts(&self) -> &[HierarchyMount] {
        &self.mounts
    }

    /// Where this process sits, below the mount's mount point.
    pub fn own_path<'a>(&self, mount: &'a HierarchyMount) -> &'a Path {
        &mount.own_path
    }

    /// The hierarchy of version 2.
    pub fn unified(&self) -> Option<&HierarchyMount> {
        self.mounts.iter().find(|m| m.kind == HierarchyKind::Unified)
    }
}

fn read(path: &str) -> Result<String, FileError> {
    // One large buffer: procfs makes the text anew for each call.
    let mut bytes = Vec::with_capacity(64 << 10);
    fs::File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|source| FileError::Read { path: path.into(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse_mount(line: &str) -> Option<HierarchyMount> {
    let mount = MountLine::parse(line)?;
    let kind = match mount.kind {
        "cgroup" => parse_v1(mount.file_system_options)?,
        "cgroup2" => HierarchyKind::Unified,
        _ => return None,
    };
    Some(HierarchyMount {
        kind,
        mount_point: mount.mount_point(),
        root: mount.root(),
        own_path: PathBuf::from("/"),
    })
}

/// Super block options of version 1 beside its controllers.
const V1_OPTIONS: &[&str] = &[
    "rw",
    "ro",
    "noprefix",
    "xattr",
    "clone_children",
    "cpuset_v2_mode",
    "none",
    "favordynmods",
    "nofavordynmods",
    "seclabel",
];

fn parse_v1(options: &str) -> Option<HierarchyKind> {
    let mut controllers = Vec::new();
    let mut named = None;
    for option in options.split(',') {
        match option.split_once('=') {
            Some(("name", name)) => named = Some(name.to_owned()),
            Some(_) => {}
            None if V1_OPTIONS.contains(&option) => {}
            None => controllers.push(option.to_owned()),
        }
    }
    match named {
        Some(name) if controllers.is_empty() => Some(HierarchyKind::Named(name)),
        _ if controllers.is_empty() => None,
        _ => Some(HierarchyKind::Controllers(controllers)),
    }
}

/// Where /proc/self/cgroup says that the process is, seen from the mount point.
fn own_path(own: &str, mount: &HierarchyMount) -> PathBuf {
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (label, path) = rest.split_once(':')?;
        let same = match &mount.kind {
            HierarchyKind::Unified => label.is_empty() && line.starts_with("0:"),
            HierarchyKind::Named(name) => label.strip_prefix("name=") == Some(name.as_str()),
            HierarchyKind::Controllers(list) => {
                label.split(',').any(|c| list.first().is_some_and(|f| f == c))
            }
        };
        same.then(|| Path::new(path))
    });
    let below = path.and_then(|p| p.strip_prefix(&mount.root).ok()).unwrap_or(Path::new(""));
    // A process outside its cgroup namespace's root sees "/.."; nothing below it can be meant.
    if below.components().any(|c| c == Component::ParentDir) {
        return PathBuf::from("/");
    }
    Path::new("/").join(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu\\040x,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
99 31 0:32 /a /elsewhere rw,relatime - cgroup cgroup rw,memory
";
    const OWN: &str = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/u\n";

    #[test]
    fn a_hybrid_machine_is_recognised_with_every_hierarchy_once() {
        let h = Hierarchies::parse(HYBRID, OWN).expect("parses");
        assert_eq!(h.layout(), Layout::Hybrid);
        let labels: Vec<String> = h.mounts().iter().map(|m| m.kind.label()).collect();
        assert_eq!(labels, ["cpu,cpuacct", "memory", "name=systemd", ""]);
        assert_eq!(h.mounts()[0].mount_point, Path::new("/sys/fs/cgroup/cpu x,cpuacct"));
        assert_eq!(h.mounts()[1].own_path, Path::new("/a/b"));
        assert_eq!(h.mounts()[3].own_path, Path::new("/u"));
    }

    #[test]
    fn a_bound_part_of_a_hierarchy_gives_paths_from_its_mount_point() {
        let text = "99 31 0:32 /a /m rw - cgroup cgroup rw,memory\n";
        let h = Hierarchies::parse(text, OWN).expect("parses");
        assert_eq!(h.layout(), Layout::V1);
        assert_eq!(h.mounts()[0].own_path, Path::new("/b"));
    }

    #[test]
    fn version_2_alone_is_recognised_and_nothing_mounted_is_an_error() {
        let text = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let h = Hierarchies::parse(text, "0::/../x\n").expect("parses");
        assert_eq!(h.layout(), Layout::V2);
        assert_eq!(h.mounts()[0].own_path, Path::new("/"));
        assert!(matches!(Hierarchies::parse("", ""), Err(DetectError::NoneMounted)));
    }
}
