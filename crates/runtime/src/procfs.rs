//! A procfs that is proven to be one, and files of it that nothing is mounted over.
//!
//! What is written there (labels, kernel parameters, id mappings, how likely a process is killed)
//! must not land elsewhere, whatever a configuration mounts at /proc or below it. Usable between
//! clone and exec: nothing here allocates.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// `PROC_SUPER_MAGIC` of linux/magic.h.
const MAGIC: u64 = 0x9fa0;
/// The inode of a procfs' root; a directory below it, bound somewhere, has another.
const ROOT_INODE: u64 = 1;
/// No file outside of the procfs, and nothing that is mounted on it. `self` may be followed.
const WITHIN: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_XDEV).union(ResolveFlags::NO_MAGICLINKS);

/// The root directory of a procfs.
#[derive(Debug)]
pub(crate) struct Procfs(OwnedFd);

impl Procfs {
    /// Takes a directory that is the root of a procfs; `ENODEV` for any other.
    pub(crate) fn verified(directory: OwnedFd) -> Result<Self, Errno> {
        let system = rustix::fs::fstatfs(&directory)?;
        let status = rustix::fs::fstat(&directory)?;
        if system.f_type as u64 == MAGIC && status.st_ino == ROOT_INODE {
            Ok(Self(directory))
        } else {
            Err(Errno::NODEV)
        }
    }

    /// The one at /proc in this process' mount namespace.
    pub(crate) fn own() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self::verified(rustix::fs::openat(CWD, c"/proc", flags, Mode::empty())?)
    }

    /// Opens a file or directory of it.
    pub(crate) fn open(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), WITHIN)
    }

    /// Writes a value, at once, as these files want it.
    pub(crate) fn write(&self, path: &CStr, value: &[u8]) -> Result<(), Errno> {
        rustix::io::write(self.open(path, OFlags::WRONLY)?, value).map(drop)
    }

    /// The descriptor's number.
    pub(crate) fn number(&self) -> i32 {
        std::os::fd::AsRawFd::as_raw_fd(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_a_procfs_is_one() {
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Procfs::verified(rustix::fs::open(path, flags, Mode::empty()).unwrap())
        };
        assert!(open("/proc").is_ok());
        for other in ["/proc/self", "/proc/sys", "/tmp", "/"] {
            assert_eq!(open(other).unwrap_err(), Errno::NODEV, "{other}");
        }
    }

    #[test]
    fn nothing_outside_is_reached_through_it() {
        let procfs = Procfs::own().unwrap();
        assert!(procfs.open(c"self/status", OFlags::RDONLY).is_ok());
        for way in [c"self/root/etc/passwd", c"../etc/passwd", c"/etc/passwd", c"self/cwd/."] {
            let opened = procfs.open(way, OFlags::RDONLY);
            assert!(matches!(opened, Err(Errno::LOOP | Errno::XDEV)), "{way:?}: {opened:?}");
        }
    }
}
