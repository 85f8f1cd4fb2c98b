//! `tmpcopyup`: what the image has in a directory goes into the tmpfs that is mounted over it.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Timestamps, Uid, fchmod, fchown, fstat,
    mkdirat, mknodat, openat, readlinkat_raw, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

/// Directories deeper than this are an error, not a stack overflow.
const DEPTH: usize = 64;

/// Copies the content of the directory `from` into `to`, with owners, modes and times.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    directory(from.as_fd(), to.as_fd(), 0)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth > DEPTH {
        return Err(Errno::LOOP);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = openat(from, c".", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&listed, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let status = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
    let kind = FileType::from_raw_mode(status.st_mode);
    match kind {
        FileType::Directory => {
            mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = openat(from, name, flags, Mode::empty())?;
            let made = openat(to, name, flags, Mode::empty())?;
            directory(below.as_fd(), made.as_fd(), depth + 1)?;
            owned(&made, &status, mode)?;
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let source = openat(from, name, flags, Mode::empty())?;
            // Where somebody else writes, too, it may be another file by now, or a device.
            let status = fstat(&source)?;
            if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
                return Err(Errno::STALE);
            }
            let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            content(&source, &made)?;
            owned(&made, &status, mode)?;
        }
        FileType::Symlink => {
            let mut target = [0u8; 4096];
            // One byte stays for the NUL.
            readlinkat_raw(from, name, &mut target[..4095])?;
            let target = CStr::from_bytes_until_nul(&target).map_err(|_| Errno::INVAL)?;
            symlinkat(target, to, name)?;
            owned_link(to, name, &status)?;
        }
        _ => {
            mknodat(to, name, kind, mode, status.st_rdev)?;
            owned_link(to, name, &status)?;
        }
    }
    utimensat(to, name, &times(&status), AtFlags::SYMLINK_NOFOLLOW)
}

fn content(source: &OwnedFd, made: &OwnedFd) -> Result<(), Errno> {
    loop {
        match rustix::fs::sendfile(made, source, None, 1 << 20) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn owned(made: &OwnedFd, status: &Stat, mode: Mode) -> Result<(), Errno> {
    let own = fstat(made)?;
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid) {
        fchown(made, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    }
    fchmod(made, mode)
}

fn owned_link(to: BorrowedFd<'_>, name: &CStr, status: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

fn times(status: &Stat) -> Timestamps {
    let time =
        |seconds, nanoseconds| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec as i64),
        last_modification: time(status.st_mtime, status.st_mtime_nsec as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_tree_is_copied_with_modes_and_links() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::write(from.path().join("a/b/file"), "content").unwrap();
        fs::set_permissions(from.path().join("a/b/file"), fs::Permissions::from_mode(0o640))
            .unwrap();
        fs::set_permissions(from.path().join("a"), fs::Permissions::from_mode(0o2750)).unwrap();
        symlink("b/file", from.path().join("a/link")).unwrap();
        let open = |path: &std::path::Path| fs::File::open(path).unwrap();
        copy(open(from.path()), open(to.path())).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("a/link")).unwrap(), "content");
        let mode = |path: &str| {
            fs::symlink_metadata(to.path().join(path)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode("a"), mode("a/b/file")), (0o2750, 0o640));
    }

    #[test]
    fn a_tree_that_is_too_deep_is_an_error() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        fs::create_dir_all(from.path().join("d/".repeat(DEPTH + 2))).unwrap();
        let open = |path: &std::path::Path| fs::File::open(path).unwrap();
        assert_eq!(copy(open(from.path()), open(to.path())), Err(Errno::LOOP));
    }
}
