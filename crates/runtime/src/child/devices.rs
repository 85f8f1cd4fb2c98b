//! Devices, the links in /dev, and the terminal (config-linux.md, "Devices", "Default Devices",
//! "Default symbolic links").

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::channel;
use super::mount;
use super::resolve::{self, Kind};
use super::step::{At as _, Failure, Step};
use crate::plan::{DevicePlan, Node, RootfsPlan, TerminalPlan};
use crate::sys::Reach;

const DEV: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Links that every /dev has.
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
];

/// Provides the devices, and the links of a /dev that is the container's own.
pub(crate) fn provide<'p>(plan: &'p RootfsPlan, root: BorrowedFd<'_>) -> Result<(), Failure<'p>> {
    if !plan.own_dev {
        // What there is belongs elsewhere.
        return plan.devices.iter().try_for_each(|device| one(device, root, root));
    }
    // The image must not have a link in the place of /dev: what is made below would be made
    // wherever it leads.
    let dev = match resolve::open_without_links(root, c"/dev", DEV) {
        Err(Errno::NOENT) => {
            resolve::ensure(root, c"/dev", Kind::Directory).at(Step::MountPoint, b"/dev")?;
            resolve::open_without_links(root, c"/dev", DEV)
        }
        result => result,
    }
    .at(Step::NotOrdinary, b"/dev")?;
    for device in &plan.devices {
        one(device, root, dev.as_fd())?;
    }
    for (target, name) in LINKS {
        link(dev.as_fd(), target, name)?;
    }
    if resolve::open(root, c"/proc/kcore", OFlags::PATH).is_ok() {
        link(dev.as_fd(), c"/proc/kcore", c"core")?;
    }
    match rustix::fs::unlinkat(&dev, c"ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(Failure::new(Step::Link, b"/dev/ptmx", errno)),
    }
    link(dev.as_fd(), c"pts/ptmx", c"ptmx")
}

fn link(dev: BorrowedFd<'_>, target: &CStr, name: &'static CStr) -> Result<(), Failure<'static>> {
    match rustix::fs::symlinkat(target, dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Failure::new(Step::Link, name.to_bytes(), errno)),
    }
}

fn one<'p>(
    plan: &'p DevicePlan,
    root: BorrowedFd<'_>,
    dev: BorrowedFd<'_>,
) -> Result<(), Failure<'p>> {
    let path = plan.path.to_bytes();
    match &plan.node {
        Node::Make { kind, device, mode, owner } => {
            let below = path.strip_prefix(b"/dev/").unwrap_or(path);
            let parent;
            let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
                // Directly below /dev, as nearly all are.
                _ if !below.contains(&b'/') => (dev, below),
                Some(at) => {
                    parent = parent_of(root, path, at).at(Step::Device, path)?;
                    (parent.as_fd(), path.get(at + 1..).unwrap_or_default())
                }
                None => return Err(Failure::new(Step::Device, path, Errno::INVAL)),
            };
            match rustix::fs::mknodat(parent, name, *kind, Mode::from_raw_mode(*mode), *device) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    let status = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                        .at(Step::Device, path)?;
                    return is_device(&status, *kind, *device).then_some(()).ok_or(Failure::new(
                        Step::DeviceMismatch,
                        path,
                        Errno::EXIST,
                    ));
                }
                // In a sandbox that makes no devices the host's may do.
                Err(Errno::PERM) => {
                    let tree =
                        mount::clone_tree_at(&plan.path, Reach::One).at(Step::Device, path)?;
                    return bind(&tree, plan, root, *kind, *device);
                }
                Err(errno) => return Err(Failure::new(Step::Device, path, errno)),
            }
            if let Some((uid, gid)) = *owner {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)
                    .at(Step::Device, path)?;
            }
            Ok(())
        }
        Node::Bind { source, kind, device } => {
            let tree = mount::bind_source(source, Reach::One, &plan.path)?;
            bind(&tree, plan, root, *kind, *device)
        }
    }
}

/// Binds a device of the host, if it is the one that is wanted.
fn bind<'p>(
    tree: &OwnedFd,
    plan: &'p DevicePlan,
    root: BorrowedFd<'_>,
    kind: FileType,
    device: u64,
) -> Result<(), Failure<'p>> {
    let path = plan.path.to_bytes();
    let status = rustix::fs::fstat(tree).at(Step::Device, path)?;
    if !is_device(&status, kind, device) {
        return Err(Failure::new(Step::DeviceMismatch, path, Errno::NODEV));
    }
    let target = resolve::ensure(root, &plan.path, Kind::File).at(Step::Device, path)?;
    mount::attach(tree, &target).at(Step::Device, path)
}

fn parent_of(root: BorrowedFd<'_>, path: &[u8], at: usize) -> Result<OwnedFd, Errno> {
    let mut buffer = [0u8; 4096];
    let parent = path.get(..at).ok_or(Errno::INVAL)?;
    buffer.get_mut(..at).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(parent);
    let parent = if at == 0 {
        c"/"
    } else {
        CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::NAMETOOLONG)?
    };
    resolve::ensure(root, parent, Kind::Directory)
}

fn is_device(status: &rustix::fs::Stat, kind: FileType, device: u64) -> bool {
    FileType::from_raw_mode(status.st_mode) == kind
        && (kind == FileType::Fifo || status.st_rdev == device)
}

/// The host's /dev/null, proven to be it.
pub(crate) fn host_null() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty())?;
    let status = rustix::fs::fstat(&null)?;
    if is_device(&status, FileType::CharacterDevice, rustix::fs::makedev(1, 3)) {
        Ok(null)
    } else {
        Err(Errno::NODEV)
    }
}

/// Opens a new terminal of the container's devpts, sends its master away, and gives the slave.
pub(crate) fn open_terminal<'p>(
    plan: &'p TerminalPlan,
    root: BorrowedFd<'_>,
    owner: (u32, u32),
) -> Result<OwnedFd, Failure<'p>> {
    let master = open_multiplexer(root).at(Step::Terminal, b"")?;
    rustix::pty::unlockpt(&master).at(Step::Terminal, b"")?;
    // Straight from the master, not by a path that the container could have changed.
    let flags = rustix::pty::OpenptFlags::RDWR
        | rustix::pty::OpenptFlags::NOCTTY
        | rustix::pty::OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).at(Step::Terminal, b"")?;
    if let Some((rows, columns)) = plan.size {
        let size =
            rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).at(Step::Terminal, b"")?;
    }
    if plan.keeps_newlines {
        keep_newlines(&slave).at(Step::Terminal, b"")?;
    }
    let (uid, gid) = owner;
    if uid != 0 || gid != 0 {
        // devpts may hold the group fixed; the user is what matters.
        let _ = rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None);
    }
    channel::send_descriptor(plan.socket.as_fd(), master.as_fd(), b"/dev/ptmx")
        .at(Step::SendTerminal, b"")?;
    Ok(slave)
}

/// Lets newlines pass unchanged, before the program can have written any.
fn keep_newlines(slave: &OwnedFd) -> Result<(), Errno> {
    let mut attributes = rustix::termios::tcgetattr(slave)?;
    attributes.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(slave, rustix::termios::OptionalActions::Now, &attributes)
}

fn open_multiplexer(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = match resolve::open_without_links(root, c"/dev/pts/ptmx", flags) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => resolve::open(root, c"/dev/ptmx", flags),
        result => result,
    }?;
    let status = rustix::fs::fstat(&master)?;
    if is_device(&status, FileType::CharacterDevice, rustix::fs::makedev(5, 2)) {
        Ok(master)
    } else {
        Err(Errno::NODEV)
    }
}

/// Binds a terminal's slave over /dev/console.
pub(crate) fn bind_console(slave: &OwnedFd, root: BorrowedFd<'_>) -> Result<(), Failure<'static>> {
    let step = Step::Device;
    // A link of the image's could put the terminal over any file, of procfs for one.
    let target = resolve::ensure_without_links(root, c"/dev/console", Kind::File)
        .at(step, b"/dev/console")?;
    let tree = mount::clone_tree(slave, Reach::One).at(step, b"/dev/console")?;
    mount::attach(&tree, &target).at(step, b"/dev/console")
}
