//! Owners, permission bits, times and extended attributes of what a layer holds.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{
    self as sys, AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::tar::{Entry, Time};

/// Attributes that are orders to the kernel's overlay, or labels of the machine that made the
/// archive; those of an image mean nothing here.
const FOREIGN: [&[u8]; 4] =
    [b"trusted.overlay.", b"user.overlay.", b"security.selinux", b"system.nfs4_acl"];

/// What a file or directory has besides its content.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) atime: Time,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An extended attribute that could not be set, though that stops nothing.
pub(super) struct Refused {
    pub(super) name: Vec<u8>,
    pub(super) error: Errno,
}

impl Metadata {
    pub(super) fn of_entry(entry: &Entry) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            atime: entry.atime.unwrap_or(entry.mtime),
            xattrs: entry.xattrs.clone(),
        }
    }

    /// What is on an open file or directory.
    pub(super) fn of_file(file: impl AsFd, stat: &Stat) -> rustix::io::Result<Self> {
        Ok(Self { xattrs: xattrs(file)?, ..Self::of_stat(stat) })
    }

    /// What a stat tells: all but extended attributes.
    pub(super) fn of_stat(stat: &Stat) -> Self {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: time(stat.st_mtime, stat.st_mtime_nsec as u32),
            atime: time(stat.st_atime, stat.st_atime_nsec as u32),
            xattrs: Vec::new(),
        }
    }

    /// For a directory that nothing describes.
    pub(super) fn plain_directory(time: Time) -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: time, atime: time, xattrs: Vec::new() }
    }

    /// Puts everything on an open file or directory: the owner first, because a change of owner
    /// takes set-id bits and capabilities away; the times last.
    pub(super) fn apply_to(&self, file: impl AsFd) -> rustix::io::Result<Vec<Refused>> {
        let file = file.as_fd();
        sys::fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        sys::fchmod(file, Mode::from_raw_mode(self.mode))?;
        let refused = set_each(&self.xattrs, |name, value| {
            sys::fsetxattr(file, name, value, XattrFlags::empty())
        })?;
        sys::futimens(file, &self.times())?;
        Ok(refused)
    }

    /// The same for what cannot be opened: links, devices, fifos.
    pub(super) fn apply_at(
        &self,
        at: impl AsFd,
        name: &[u8],
        what: Special,
    ) -> rustix::io::Result<Vec<Refused>> {
        let at = at.as_fd();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        sys::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if what == Special::Node {
            // Made a moment ago in a directory of our own, so it is no link.
            sys::chmodat(at, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        let mut refused = Vec::new();
        if !self.xattrs.is_empty() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = sys::openat(at, name, flags, Mode::empty())?;
            // The only way to the attributes of what is open as a path; it leads to that very file.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            refused = set_each(&self.xattrs, |name, value| {
                sys::setxattr(path.as_str(), name, value, XattrFlags::empty())
            })?;
        }
        sys::utimensat(at, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(refused)
    }

    fn times(&self) -> Timestamps {
        let spec =
            |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
        Timestamps { last_access: spec(self.atime), last_modification: spec(self.mtime) }
    }
}

/// Gives a directory the owner, mode and attributes of another.
pub(crate) fn copy_root_metadata(from: impl AsFd, to: impl AsFd) -> rustix::io::Result<()> {
    let stat = sys::fstat(&from)?;
    Metadata::of_file(from, &stat)?.apply_to(to).map(drop)
}

/// What cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// A symbolic link: its permission bits mean nothing.
    Symlink,
    /// A device or a fifo.
    Node,
}

/// Sets attributes; what the file system or the caller's rights do not allow is given back.
fn set_each(
    xattrs: &[(Vec<u8>, Vec<u8>)],
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
) -> rustix::io::Result<Vec<Refused>> {
    let mut refused = Vec::new();
    for (name, value) in xattrs {
        if FOREIGN.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        match set(name, value) {
            Ok(()) => {}
            Err(error @ (Errno::OPNOTSUPP | Errno::PERM)) => {
                refused.push(Refused { name: name.clone(), error });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

/// Every attribute of an open file that is part of its content.
fn xattrs(file: impl AsFd) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let file = file.as_fd();
    let mut names = vec![0; 1024];
    let size = loop {
        match sys::flistxattr(file, names.as_mut_slice()) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if names.len() < 65536 => names.resize(65536, 0),
            size => break size?,
        }
    };
    names.truncate(size);
    let mut all = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if FOREIGN.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let mut value = vec![0; 65536];
        match sys::fgetxattr(file, name, value.as_mut_slice()) {
            Ok(size) => {
                value.truncate(size);
                all.push((name.to_vec(), value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// The value of one attribute, if it is there and short.
pub(super) fn xattr_is(file: impl AsFd, name: &str, wanted: &[u8]) -> rustix::io::Result<bool> {
    let mut value = [0; 16];
    match sys::fgetxattr(file, name, value.as_mut_slice()) {
        Ok(size) => Ok(value.get(..size) == Some(wanted)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error),
    }
}
