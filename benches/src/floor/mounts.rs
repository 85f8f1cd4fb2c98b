//! The floor's file systems: those of the default bundle, and its masks.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FileType, Mode, makedev, mknodat, symlink};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};

use crate::cgroups::Cgroup;
use crate::marks::Marks;

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);

/// What, where, of which type, how and with which options.
const MOUNTS: &[(&str, &str, MountFlags, &CStr)] = &[
    ("proc", "proc", MountFlags::empty(), c""),
    ("tmpfs", "dev", MountFlags::NOSUID.union(MountFlags::STRICTATIME), c"mode=755,size=65536k"),
    (
        "devpts",
        "dev/pts",
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
        c"newinstance,ptmxmode=0666,mode=0620,gid=5",
    ),
    ("tmpfs", "dev/shm", SAFE, c"mode=1777,size=65536k"),
    ("mqueue", "dev/mqueue", SAFE, c""),
    ("sysfs", "sys", SAFE.union(MountFlags::RDONLY), c""),
];

const DEVICES: &[(&str, u32, u32)] = &[
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/full", 1, 7),
    ("dev/tty", 5, 0),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
];

const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("/proc/kcore", "dev/core"),
    ("pts/ptmx", "dev/ptmx"),
];

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Makes `root` the root of this mount namespace, with everything in it.
pub fn set_up(root: &Path, cgroups: &[Cgroup], marks: &mut Marks) -> anyhow::Result<()> {
    mount_change(c"/", MountPropagationFlags::DOWNSTREAM.union(MountPropagationFlags::REC))
        .context("cut the mounts off from the host's")?;
    mount_bind_recursive(root, root).context("bind the root")?;
    rustix::process::chdir(root).context("enter the root")?;
    marks.mark("child: the root cut off and bound");
    for &(kind, target, flags, options) in MOUNTS {
        make_directory(target)?;
        mount(kind, target, kind, flags, options).with_context(|| format!("mount {target}"))?;
    }
    marks.mark("child: proc, dev, pts, shm, mqueue, sys");
    if !cgroups.is_empty() {
        mount_cgroups(cgroups)?;
        marks.mark("child: cgroup mounts");
    }
    for &(path, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, mode, makedev(major, minor))
            .with_context(|| format!("make {path}"))?;
    }
    for &(target, path) in LINKS {
        symlink(target, path).with_context(|| format!("make {path}"))?;
    }
    marks.mark("child: devices and links");
    rustix::process::pivot_root(c".", c".").context("change the root")?;
    unmount(c".", UnmountFlags::DETACH).context("leave the old root")?;
    rustix::process::chdir(c"/").context("enter the new root")?;
    marks.mark("child: pivot and the old root left");
    for path in MASKED {
        mask(path).with_context(|| format!("mask {path}"))?;
    }
    for path in READ_ONLY {
        ignore_missing(mount_bind_recursive(*path, *path).and_then(|()| {
            mount_remount(*path, MountFlags::BIND.union(MountFlags::RDONLY).union(SAFE), c"")
        }))
        .with_context(|| format!("make {path} read-only"))?;
    }
    mount_remount(c"/", MountFlags::BIND.union(MountFlags::RDONLY), c"")
        .context("make the root read-only")?;
    marks.mark("child: masked and read-only paths");
    Ok(())
}

/// The container's own cgroups, read-only.
fn mount_cgroups(cgroups: &[Cgroup]) -> anyhow::Result<()> {
    let base = "sys/fs/cgroup";
    let read_only = SAFE.union(MountFlags::RDONLY).union(MountFlags::BIND);
    if let [only] = cgroups {
        mount_bind(&only.directory, base).context("bind the cgroup")?;
        return mount_remount(base, read_only, c"").context("make the cgroup read-only");
    }
    mount("tmpfs", base, "tmpfs", SAFE, c"mode=755").context("mount over the cgroups")?;
    for cgroup in cgroups {
        let target = format!("{base}/{}", cgroup.name);
        make_directory(&target)?;
        mount_bind(&cgroup.directory, &target).with_context(|| format!("bind {target}"))?;
        mount_remount(&target, read_only, c"")
            .with_context(|| format!("make {target} read-only"))?;
    }
    mount_remount(base, read_only, c"").context("make the cgroups read-only")
}

fn mask(path: &str) -> io::Result<()> {
    match mount_bind(c"/dev/null", path) {
        Err(rustix::io::Errno::NOTDIR) => {
            Ok(mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, c"")?)
        }
        result => Ok(ignore_missing(result)?),
    }
}

fn ignore_missing(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn make_directory(path: &str) -> anyhow::Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("make {path}")),
    }
}
