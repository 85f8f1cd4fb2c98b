//! Directories by descriptor: entries, links, extended attributes.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Extended attributes that are copied.
fn is_copied(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability"
}

/// The names in a directory, in order.
pub(super) fn names(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Opens what is in a directory, never through a link, without waiting for a FIFO's other end.
pub(super) fn open_entry(directory: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// What a link points to.
pub(super) fn link_target(directory: impl AsFd, name: &OsStr) -> Result<OsString, Errno> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// The extended attributes of an open file that are copied. A file system that has none is no
/// failure.
pub(super) fn attributes(file: impl AsFd) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = vec![0u8; 64 << 10];
    let Ok(length) = rustix::fs::flistxattr(&file, list.as_mut_slice()) else { return Vec::new() };
    let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    names
        .filter(|name| is_copied(name))
        .filter_map(|name| {
            let mut value = vec![0u8; 64 << 10];
            let length =
                rustix::fs::fgetxattr(&file, OsStr::from_bytes(name), value.as_mut_slice()).ok()?;
            value.truncate(length);
            Some((name.to_vec(), value))
        })
        .collect()
}

/// Sets an extended attribute if it is one that is copied; a file system that cannot hold it goes
/// without.
pub(super) fn set_attribute(file: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    if !is_copied(name) {
        return Ok(());
    }
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, flags) {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        result => result,
    }
}

/// A path's last component for messages and archives.
pub(super) fn last(path: &Path) -> OsString {
    path.file_name().map_or_else(|| OsString::from("/"), OsStr::to_owned)
}
