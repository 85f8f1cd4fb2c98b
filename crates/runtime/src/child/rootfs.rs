//! Making the container's root file system and changing into it (config-linux.md; pivot_root(2)).
//!
//! Everything is done beneath the root's descriptor before the root is changed, so that the host's
//! files can still be bound and nothing is looked up by a path that the container controls.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::devices;
use super::mount::{self, CgroupPaths};
use super::resolve::{self, Kind};
use super::step::{At as _, Failure, Step};
use crate::options::Pivot;
use crate::plan::RootfsPlan;
use crate::plan::options::ATTRIBUTE_RDONLY;
use crate::plan::rootfs::Attach;
use crate::sys::Reach;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Attaches the root, mounts what is to be mounted in it, and makes the devices. The descriptor
/// is the root's. `join` is called before the first step that the process has to be in its cgroup
/// for, and perhaps again.
pub(crate) fn assemble<'p>(
    plan: &'p RootfsPlan,
    cgroups: CgroupPaths<'_>,
    mut join: impl FnMut() -> Result<(), Failure<'p>>,
) -> Result<OwnedFd, Failure<'p>> {
    let root = attach_root(plan)?;
    for step in &plan.mounts {
        if step.needs_cgroup() {
            join()?;
        }
        mount::make(step, root.as_fd(), cgroups)?;
    }
    // Which devices may be made is the cgroup's business, too.
    join()?;
    devices::provide(plan, root.as_fd())?;
    Ok(root)
}

fn attach_root(plan: &RootfsPlan) -> Result<OwnedFd, Failure<'_>> {
    let path = plan.path.to_bytes();
    let host = rustix::fs::open(c"/", DIRECTORY, Mode::empty()).at(Step::OpenRoot, b"/")?;
    if plan.host_propagation != 0 {
        mount::propagate(&host, Reach::Tree, plan.host_propagation).at(Step::Propagation, b"/")?;
    }
    let opened;
    // The path is looked up once; what it led to is cloned, and covered by its clone.
    let target = rustix::fs::open(&plan.path, DIRECTORY, Mode::empty());
    let root = match (&plan.mount, &target) {
        (Some(mount), _) => mount.as_fd(),
        (None, Ok(directory)) => {
            opened = mount::clone_tree(directory, Reach::Tree).at(Step::OpenRoot, path)?;
            opened.as_fd()
        }
        (None, &Err(errno)) => return Err(Failure::new(Step::OpenRoot, path, errno)),
    };
    if plan.attach == Attach::Root {
        // What is attached to a shared mount would appear at the host.
        mount::propagate(&host, Reach::One, libc::MS_PRIVATE).at(Step::Propagation, b"/")?;
        mount::attach(root, &host).at(Step::AttachRoot, b"/")?;
        mount::propagate(root, Reach::One, libc::MS_PRIVATE).at(Step::Propagation, path)?;
    } else {
        match target {
            Ok(target) => mount::attach(root, &target).at(Step::AttachRoot, path)?,
            Err(Errno::ACCESS) if plan.mount.is_some() => {
                mount::attach(root, &host).at(Step::AttachRoot, b"/")?;
            }
            Err(errno) => return Err(Failure::new(Step::AttachRoot, path, errno)),
        }
    }
    root.try_clone_to_owned()
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
        .at(Step::OpenRoot, path)
}

/// Makes the working directory if the image lacks it, in a root that becomes read-only. What keeps
/// it from being made shows when it is entered.
pub(crate) fn make_directory(plan: &RootfsPlan, cwd: &std::ffi::CStr, root: BorrowedFd<'_>) {
    if plan.readonly {
        let _ = resolve::ensure(root, cwd, Kind::Directory);
    }
}

/// Makes paths read-only and unreadable, and the root read-only.
pub(crate) fn protect<'p>(plan: &'p RootfsPlan, root: BorrowedFd<'_>) -> Result<(), Failure<'p>> {
    for path in &plan.readonly_paths {
        let at = |step| move |errno| Failure::new(step, path.to_bytes(), errno);
        let Some(target) = existing(root, path).map_err(at(Step::ReadonlyPath))? else { continue };
        let tree = mount::clone_tree(&target, Reach::Tree).map_err(at(Step::ReadonlyPath))?;
        mount::attach(&tree, &target).map_err(at(Step::ReadonlyPath))?;
        mount::set_attribute(&tree, Reach::One, ATTRIBUTE_RDONLY)
            .map_err(at(Step::ReadonlyPath))?;
    }
    if !plan.masked.is_empty() {
        mask(plan, root)?;
    }
    mount::protect_late(&plan.mounts)?;
    if plan.readonly {
        mount::set_attribute(root, Reach::One, ATTRIBUTE_RDONLY).at(Step::ReadonlyRoot, b"")?;
    }
    Ok(())
}

/// What a path is, if it is there.
fn existing(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<Option<OwnedFd>, Errno> {
    match resolve::open(root, path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Covers files with the host's /dev/null and directories with an empty read-only tmpfs.
fn mask<'p>(plan: &'p RootfsPlan, root: BorrowedFd<'_>) -> Result<(), Failure<'p>> {
    let null = devices::host_null().at(Step::MaskedPath, b"/dev/null")?;
    let mut empty: Option<OwnedFd> = None;
    for path in &plan.masked {
        let at = |errno| Failure::new(Step::MaskedPath, path.to_bytes(), errno);
        let Some(target) = existing(root, path).map_err(at)? else { continue };
        let status = rustix::fs::fstat(&target).map_err(at)?;
        let cover = if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            // One empty file system serves every directory.
            match &empty {
                Some(attached) => mount::clone_tree(attached, Reach::One).map_err(at)?,
                None => mount::new_file_system(
                    c"tmpfs",
                    &[(c"source", c"tmpfs"), (c"mode", c"755")],
                    ATTRIBUTE_RDONLY,
                )
                .map_err(at)?,
            }
        } else {
            mount::clone_tree(&null, Reach::One).map_err(at)?
        };
        mount::attach(&cover, &target).map_err(at)?;
        if empty.is_none() && FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// Makes `root` the process' root and lets go of the host's.
pub(crate) fn change_root<'p>(
    plan: &'p RootfsPlan,
    root: BorrowedFd<'_>,
) -> Result<(), Failure<'p>> {
    let path = plan.path.to_bytes();
    match plan.pivot {
        Pivot::Pivot => pivot(root).at(Step::ChangeRoot, path)?,
        Pivot::Move => move_root(root).at(Step::ChangeRoot, path)?,
    }
    if let Some((kind, reach)) = plan.propagation {
        mount::propagate(root, reach, kind).at(Step::Propagation, b"the container's root")?;
    }
    Ok(())
}

fn pivot(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let old = rustix::fs::open(c"/", DIRECTORY, Mode::empty())?;
    fchdir(root)?;
    // Stacks the old root on top of the new one, so that no directory is needed for it.
    pivot_root(c".", c".")?;
    fchdir(&old)?;
    // The host must not hear of the old root's end.
    mount::propagate(&old, Reach::Tree, libc::MS_SLAVE)?;
    unmount(c".", UnmountFlags::DETACH)?;
    chdir(c"/")
}

/// For a root that cannot be pivoted away from, such as a ramdisk: the container's root is moved
/// over it. The host's file systems stay, hidden below; its procfs and sysfs are let go of first,
/// because their sight would allow a user namespace in the container to mount them unmasked.
fn move_root(root: BorrowedFd<'_>) -> Result<(), Errno> {
    for path in [c"/proc", c"/sys"] {
        match unmount(path, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            // A mount that came from a more privileged namespace is locked: it is covered instead.
            Err(Errno::PERM) => {
                let cover =
                    mount::new_file_system(c"tmpfs", &[(c"source", c"tmpfs")], ATTRIBUTE_RDONLY)?;
                let target = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
                mount::attach(&cover, &target)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    fchdir(root)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root, c"", CWD, c"/", flags)?;
    chroot(c".")?;
    chdir(c"/")
}
