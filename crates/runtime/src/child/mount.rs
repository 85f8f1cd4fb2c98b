//! Carrying out one mount: detached first, with its options set, then attached by descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    fspick, move_mount, open_tree,
};

use super::copy_up;
use super::legacy;
use super::resolve::{self, Kind};
use super::step::{At as _, Detail, Failure, Step};
use crate::plan::mounts::{CgroupMount, Parameters};
use crate::plan::options::ATTRIBUTE_RDONLY;
use crate::plan::{BindSource, CgroupEntry, MountKind, MountPlan};
use crate::sys::{self, MountAttributes, Reach};

/// Where the container's cgroup is in each hierarchy, if that was told only after the clone:
/// `label NUL path NUL`, for each.
pub(crate) type CgroupPaths<'b> = &'b [u8];

/// Makes a mount of the plan beneath `root`.
pub(crate) fn make<'p>(
    plan: &'p MountPlan,
    root: BorrowedFd<'_>,
    cgroups: CgroupPaths<'_>,
) -> Result<(), Failure<'p>> {
    match &plan.kind {
        MountKind::FileSystem { .. } => {
            let mount = file_system(plan, root)?;
            if let (true, Some(mount)) = (plan.late_readonly, mount) {
                // Made once, and so never there already.
                let _ = plan.late.set(mount);
            }
            Ok(())
        }
        MountKind::Remount { parameters } => remount(plan, parameters.as_ref(), root),
        MountKind::Bind { source, reach } => {
            let mount = match source {
                BindSource::Inside(path) => resolve::open(root, path, OFlags::PATH)
                    .and_then(|found| clone_tree(found, *reach))
                    .at(Step::BindSource, path.to_bytes())?,
                source => bind_source(source, *reach, &plan.destination)?,
            };
            let target = bind_target(&mount, plan, root)?;
            attach_with_options(&mount, &target, plan, plan.destination.to_bytes())
        }
        MountKind::Cgroup(cgroup) => cgroup_mount(cgroup, plan, root, cgroups),
    }
}

/// Attaches a detached mount over what `target` is.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// A detached copy of the mount, or the tree of mounts, at what `source` is.
pub(crate) fn clone_tree(source: impl AsFd, reach: Reach) -> Result<OwnedFd, Errno> {
    open_tree(source, c"", clone_flags(reach) | OpenTreeFlags::AT_EMPTY_PATH)
}

/// The same, at a path of the host.
pub(crate) fn clone_tree_at(path: &CStr, reach: Reach) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, clone_flags(reach))
}

fn clone_flags(reach: Reach) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if reach == Reach::Tree { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// A new instance of a file system with these parameters, detached.
pub(crate) fn new_file_system(
    name: &CStr,
    parameters: &[(&CStr, &CStr)],
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in parameters {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    mount_context(&context, attributes)
}

fn mount_context(context: &OwnedFd, attributes: u64) -> Result<OwnedFd, Errno> {
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts a new file system, and gives its root.
fn file_system<'p>(
    plan: &'p MountPlan,
    root: BorrowedFd<'_>,
) -> Result<Option<OwnedFd>, Failure<'p>> {
    let MountKind::FileSystem { name, parameters, ordinary_directory, copy_up, classic } =
        &plan.kind
    else {
        return Ok(None);
    };
    let destination = plan.destination.to_bytes();
    let there = match ordinary_directory {
        true => Ok(ordinary_target(plan, root)?),
        false => resolve::open(root, &plan.destination, OFlags::PATH),
    };
    let made = matches!(there, Err(Errno::NOENT));
    let target = match there {
        Err(Errno::NOENT) => resolve::ensure(root, &plan.destination, Kind::Directory),
        there => there,
    }
    .at(Step::MountPoint, destination)?;
    if let Some(classic) = classic {
        let at_once = if *copy_up { 0 } else { plan.attributes.set };
        legacy::mount(name, classic, &target, at_once).at(Step::Mount, destination)?;
        // What is a mount's root now; were it anything else, it would take no options.
        let mount =
            resolve::open(root, &plan.destination, OFlags::PATH).at(Step::Mount, destination)?;
        if *copy_up {
            copy_up::copy(&target, &mount).at(Step::CopyUp, destination)?;
        }
        set_options(&mount, plan, destination, change)?;
        return Ok(Some(mount));
    }
    let context = match fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::PERM) if name.as_c_str() == c"sysfs" => {
            return hosts_sysfs(plan, &target).map(Some);
        }
        context => context.at(Step::Mount, destination)?,
    };
    // Where there was no directory to look like, it is as the kernel makes it: open to all, with
    // the sticky bit.
    if name.as_c_str() == c"tmpfs" && !made {
        inherit_mode(&context, &target).at(Step::MountOption, destination)?;
    }
    configure(&context, parameters, destination, |context| fsconfig_create(context))?;
    // Set when the mount is made, unless it must be written to first.
    let at_once = if *copy_up { 0 } else { plan.attributes.set };
    let mount = mount_context(&context, at_once).at(Step::Mount, destination)?;
    if *copy_up {
        copy_up::copy(&target, &mount).at(Step::CopyUp, destination)?;
    } else if plan.tree_attributes.is_empty()
        && plan.propagation.is_empty()
        && plan.id_map.is_none()
    {
        attach(&mount, &target).at(Step::Mount, destination)?;
        return Ok(Some(mount));
    }
    attach_with_options(&mount, &target, plan, destination)?;
    Ok(Some(mount))
}

/// Gives a file system its parameters, and has them taken.
fn configure<'p>(
    context: &OwnedFd,
    parameters: &'p Parameters,
    destination: &'p [u8],
    take: fn(&OwnedFd) -> Result<(), Errno>,
) -> Result<(), Failure<'p>> {
    let failed = |step| move |errno| explained(context, Failure::new(step, destination, errno));
    for (key, value) in parameters {
        let taken = match value {
            Some(value) => fsconfig_set_string(context, key, value),
            None => fsconfig_set_flag(context, key),
        };
        taken.map_err(failed(Step::MountOption))?;
    }
    take(context).map_err(failed(Step::Mount))
}

/// Changes the options of what is mounted there.
fn remount<'p>(
    plan: &'p MountPlan,
    parameters: Option<&'p Parameters>,
    root: BorrowedFd<'_>,
) -> Result<(), Failure<'p>> {
    let destination = plan.destination.to_bytes();
    let target =
        resolve::open(root, &plan.destination, OFlags::PATH).at(Step::MountPoint, destination)?;
    if let Some(parameters) = parameters {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let context = fspick(&target, c"", flags).at(Step::Mount, destination)?;
        configure(&context, parameters, destination, |context| fsconfig_reconfigure(context))?;
    }
    set_options(&target, plan, destination, change)
}

/// Makes those mounts read-only that were waiting for what had to be made in them.
pub(crate) fn protect_late(plans: &[MountPlan]) -> Result<(), Failure<'_>> {
    for plan in plans {
        if let Some(mount) = plan.late.get() {
            set_attribute(mount, Reach::One, ATTRIBUTE_RDONLY)
                .at(Step::MountAttributes, plan.destination.to_bytes())?;
        }
    }
    Ok(())
}

/// A user namespace gets a sysfs of its own only along with a network namespace: without one, it
/// sees the host's, with all that is mounted below.
#[cold]
fn hosts_sysfs<'p>(plan: &'p MountPlan, target: &OwnedFd) -> Result<OwnedFd, Failure<'p>> {
    let destination = plan.destination.to_bytes();
    let tree = clone_tree_at(c"/sys", Reach::Tree).at(Step::BindSource, destination)?;
    match sys::mount_setattr(&tree, Reach::Tree, &plan.attributes) {
        Ok(()) | Err(Errno::NOSYS) => {}
        Err(errno) => return Err(errno).at(Step::MountAttributes, destination),
    }
    attach_with_options(&tree, target, plan, destination)?;
    Ok(tree)
}

/// procfs and sysfs go on a directory of the image and on nothing a link leads to: much is written
/// below them later that must not land elsewhere.
fn ordinary_target<'p>(plan: &'p MountPlan, root: BorrowedFd<'_>) -> Result<OwnedFd, Failure<'p>> {
    let destination = plan.destination.to_bytes();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match resolve::open_without_links(root, &plan.destination, flags) {
        Err(Errno::NOENT) => {
            resolve::ensure(root, &plan.destination, Kind::Directory)
                .at(Step::MountPoint, destination)?;
            resolve::open_without_links(root, &plan.destination, flags)
                .at(Step::NotOrdinary, destination)
        }
        result => result.at(Step::NotOrdinary, destination),
    }
}

/// A tmpfs looks like the directory below it, unless the options say otherwise.
fn inherit_mode(context: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let mode = rustix::fs::fstat(target)?.st_mode & 0o7777;
    let mut text = *b"00000\0";
    for (index, digit) in text[..5].iter_mut().enumerate() {
        *digit = b'0' + (mode >> (12 - 3 * index) & 7) as u8;
    }
    let text = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::INVAL)?;
    fsconfig_set_string(context, c"mode", text)
}

/// Adds what the kernel has to say on a mount that failed.
fn explained<'p>(context: &OwnedFd, failure: Failure<'p>) -> Failure<'p> {
    let mut buffer = [0u8; 256];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) => {
            let text = buffer.get(..length).unwrap_or_default();
            let text = text.strip_prefix(b"e ").unwrap_or(text);
            Failure { detail: Detail::new(text.trim_ascii_end()), ..failure }
        }
        Err(_) => failure,
    }
}

/// The detached mount of what is bound.
pub(crate) fn bind_source<'p>(
    source: &'p BindSource,
    reach: Reach,
    destination: &'p CStr,
) -> Result<OwnedFd, Failure<'p>> {
    match source {
        BindSource::Path(path) | BindSource::Inside(path) => {
            clone_tree_at(path, reach).at(Step::BindSource, path.to_bytes())
        }
        BindSource::Tree(tree) => tree
            .try_clone()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
            .at(Step::BindSource, destination.to_bytes()),
    }
}

fn bind_target<'p>(
    mount: &OwnedFd,
    plan: &'p MountPlan,
    root: BorrowedFd<'_>,
) -> Result<OwnedFd, Failure<'p>> {
    let destination = plan.destination.to_bytes();
    let status = rustix::fs::fstat(mount).at(Step::BindSource, destination)?;
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    };
    resolve::ensure(root, &plan.destination, kind).at(Step::MountPoint, destination)
}

/// Sets a mount's options and attaches it, in this order, so that it is never seen without them.
fn attach_with_options<'p>(
    mount: &OwnedFd,
    target: &OwnedFd,
    plan: &'p MountPlan,
    name: &'p [u8],
) -> Result<(), Failure<'p>> {
    match set_options(mount, plan, name, |mount, reach, wanted| {
        sys::mount_setattr(mount, reach, &wanted)
    }) {
        Ok(()) => attach(mount, target).at(Step::Mount, name),
        Err(failure) if failure.code == Errno::NOSYS.raw_os_error() => {
            // The old way works on attached mounts only.
            attach(mount, target).at(Step::Mount, name)?;
            set_options(mount, plan, name, |mount, reach, wanted| {
                legacy::set(mount, reach, &wanted)
            })
        }
        Err(failure) => Err(failure),
    }
}

fn set_options<'p>(
    mount: &OwnedFd,
    plan: &'p MountPlan,
    name: &'p [u8],
    set: fn(&OwnedFd, Reach, MountAttributes) -> Result<(), Errno>,
) -> Result<(), Failure<'p>> {
    if let Some(map) = &plan.id_map {
        set(mount, map.reach, map.attributes()).at(Step::MountIds, name)?;
    }
    for (reach, attributes) in [(Reach::Tree, plan.tree_attributes), (Reach::One, plan.attributes)]
    {
        if !attributes.is_empty() {
            set(mount, reach, attributes).at(Step::MountAttributes, name)?;
        }
    }
    for &(propagation, reach) in &plan.propagation {
        let attributes = MountAttributes { propagation, ..MountAttributes::default() };
        set(mount, reach, attributes).at(Step::Propagation, name)?;
    }
    Ok(())
}

/// Changes the propagation of an attached mount or tree.
pub(crate) fn propagate(mount: impl AsFd, reach: Reach, kind: u64) -> Result<(), Errno> {
    change(&mount, reach, MountAttributes { propagation: kind, ..MountAttributes::default() })
}

/// Adds one attribute to an attached mount or tree.
pub(crate) fn set_attribute(mount: impl AsFd, reach: Reach, attribute: u64) -> Result<(), Errno> {
    change(&mount, reach, MountAttributes { set: attribute, ..MountAttributes::default() })
}

fn change(mount: &impl AsFd, reach: Reach, wanted: MountAttributes) -> Result<(), Errno> {
    match sys::mount_setattr(mount, reach, &wanted) {
        Err(Errno::NOSYS) => legacy::set(mount, reach, &wanted),
        result => result,
    }
}

fn cgroup_mount<'p>(
    cgroup: &'p CgroupMount,
    plan: &'p MountPlan,
    root: BorrowedFd<'_>,
    paths: CgroupPaths<'_>,
) -> Result<(), Failure<'p>> {
    let destination = plan.destination.to_bytes();
    let target = resolve::ensure(root, &plan.destination, Kind::Directory)
        .at(Step::MountPoint, destination)?;
    if cgroup.unified_only {
        let Some(entry) = cgroup.entries.first() else { return Ok(()) };
        let mount = cgroup_tree(entry, paths)?;
        return attach_with_options(&mount, &target, plan, destination);
    }
    let readonly = plan.attributes.set & ATTRIBUTE_RDONLY;
    let parameters = [(c"source", c"tmpfs"), (c"mode", c"755")];
    let top = new_file_system(c"tmpfs", &parameters, plan.attributes.set & !readonly)
        .at(Step::Mount, destination)?;
    attach(&top, &target).at(Step::Mount, destination)?;
    for entry in &cgroup.entries {
        cgroup_entry(entry, plan, &top, paths)?;
    }
    if readonly != 0 {
        set_attribute(&top, Reach::One, readonly).at(Step::MountAttributes, destination)?;
    }
    Ok(())
}

fn cgroup_entry<'p>(
    entry: &'p CgroupEntry,
    plan: &'p MountPlan,
    top: &OwnedFd,
    paths: CgroupPaths<'_>,
) -> Result<(), Failure<'p>> {
    let name = entry.name.to_bytes();
    rustix::fs::mkdirat(top, &entry.name, rustix::fs::Mode::from_raw_mode(0o755))
        .at(Step::MountPoint, name)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(top, &entry.name, flags, rustix::fs::Mode::empty())
        .at(Step::MountPoint, name)?;
    let mount = cgroup_tree(entry, paths)?;
    attach_with_options(&mount, &target, plan, name)?;
    for link in &entry.links {
        rustix::fs::symlinkat(&entry.name, top, link).at(Step::Link, link.to_bytes())?;
    }
    Ok(())
}

fn cgroup_tree<'p>(entry: &'p CgroupEntry, paths: CgroupPaths<'_>) -> Result<OwnedFd, Failure<'p>> {
    let name = entry.name.to_bytes();
    let mut words = paths.split_inclusive(|&byte| byte == 0);
    while let (Some(hierarchy), Some(path)) = (words.next(), words.next()) {
        if hierarchy.strip_suffix(&[0]) == Some(name)
            && let Ok(path) = CStr::from_bytes_with_nul(path)
        {
            return clone_tree_at(path, Reach::One).at(Step::BindSource, name);
        }
    }
    match &entry.source {
        Some(source) => clone_tree_at(source, Reach::One).at(Step::BindSource, source.to_bytes()),
        None => Err(Failure::new(Step::BindSource, name, Errno::NOENT)),
    }
}
