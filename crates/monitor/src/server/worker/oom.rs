//! Out-of-memory kills in a container's memory cgroup, whichever runtime made it.
//!
//! The worker opens what the monitor watches: the files stay readable as long as the cgroup is
//! there, and the monitor needs no path and no parsing of mount tables.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_cgroup::{Hierarchies, HierarchyKind, HierarchyMount};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags};

/// What tells of kills.
#[derive(Debug)]
pub(in crate::server) struct OomFiles {
    /// cgroup v1: readable when memory ran out. In v2 `counter` itself tells, by `POLLPRI`.
    pub(in crate::server) event: Option<OwnedFd>,
    /// A file with a line `oom_kill N`.
    pub(in crate::server) counter: OwnedFd,
}

/// Opens the files for the cgroup that `pid` is in. `None` when it has no memory cgroup of its
/// own, or the kernel doesn't count kills.
pub(in crate::server) fn watch(pid: i32) -> Option<OomFiles> {
    let hierarchies = Hierarchies::detect().ok()?;
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let memory = hierarchies.mounts().iter().find(|mount| mount.kind.has("memory"));
    if let Some(mount) = memory {
        let directory = directory(mount, &own)?;
        let counter = open(&directory.join("memory.oom_control"), OFlags::RDONLY)?;
        kills(counter.as_fd())?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let control = open(&directory.join("cgroup.event_control"), OFlags::WRONLY)?;
        let line = format!("{} {}", event.as_raw_fd(), counter.as_raw_fd());
        rustix::io::write(&control, line.as_bytes()).ok()?;
        return Some(OomFiles { event: Some(event), counter });
    }
    let directory = directory(hierarchies.unified()?, &own)?;
    let counter = open(&directory.join("memory.events"), OFlags::RDONLY)?;
    kills(counter.as_fd())?;
    Some(OomFiles { event: None, counter })
}

/// How many kills a counter file tells of. `None` when the cgroup is gone.
pub(in crate::server) fn kills(counter: BorrowedFd<'_>) -> Option<u64> {
    let mut buffer = [0_u8; 512];
    let length = rustix::io::pread(counter, &mut buffer, 0).ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The directory of the process's cgroup in a hierarchy, unless it is the monitor's own too.
fn directory(mount: &HierarchyMount, membership: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let same = match &mount.kind {
            HierarchyKind::Unified => controllers.is_empty(),
            _ => controllers.split(',').any(|name| name == "memory"),
        };
        same.then_some(path)
    })?;
    let below = Path::new(path).strip_prefix(&mount.root).ok()?;
    let own_below = mount.own_path.strip_prefix("/").ok()?;
    (below != own_below).then(|| mount.mount_point.join(below))
}

fn open(path: &Path, flags: OFlags) -> Option<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).ok()
}
