//! File operations relative to directory descriptors: nothing here follows a symbolic link.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

/// How deep `remove_tree` holds directories open before it flattens what is below.
const OPEN_DEPTH: usize = 64;

/// Opens a directory itself, for reading and as the base of further operations.
pub(crate) fn open_directory(at: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys::openat(at, name, flags, Mode::empty())
}

/// Opens a directory below another by a path that passes through no link.
pub(crate) fn open_path(root: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let root = root.as_fd();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let whole = if path.is_empty() { b"." } else { path };
    match sys::openat2(root, whole, flags, Mode::empty(), resolve) {
        // A kernel before 5.6, or a sandbox that knows no openat2: one by one.
        Err(Errno::NOSYS | Errno::PERM) => {}
        result => return result,
    }
    let mut directory = open_directory(root, b".")?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        directory = open_directory(&directory, name)?;
    }
    Ok(directory)
}

/// Opens a regular file for reading (a fifo does not block, a link is refused).
pub(crate) fn open_file(at: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    sys::openat(at, name, flags, Mode::empty())
}

/// Makes a file that was not there, for writing.
pub(crate) fn create_file(at: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys::openat(at, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Makes a directory unless it is there, and opens it.
pub(crate) fn ensure_directory(
    at: impl AsFd,
    name: &[u8],
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let at = at.as_fd();
    match open_directory(at, name) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    match sys::mkdirat(at, name, mode) {
        Ok(()) | Err(Errno::EXIST) => open_directory(at, name),
        Err(error) => Err(error),
    }
}

/// Names and kinds in a directory, without `.` and `..`.
pub(crate) fn list(directory: impl AsFd) -> rustix::io::Result<Vec<(Vec<u8>, FileType)>> {
    let directory = directory.as_fd();
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = sys::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        names.push((name.to_vec(), kind));
    }
    Ok(names)
}

/// A directory whose content is being removed.
struct Removal {
    directory: OwnedFd,
    name: Vec<u8>,
    left: Vec<(Vec<u8>, FileType)>,
}

/// Removes a file or a whole tree below `at`; nothing there is no error. However deep the tree,
/// few descriptors are open: what is deeper is moved up to `at` (under `image-deep-…` names), which
/// must therefore be on the same file system and nobody else's to look at.
pub(crate) fn remove_tree(at: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    let at = at.as_fd();
    let mut queue = vec![name.to_vec()];
    while let Some(name) = queue.pop() {
        match sys::unlinkat(at, name.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        let mut stack = vec![enter(at, &name)?];
        loop {
            let depth = stack.len();
            let Some(top) = stack.last_mut() else { break };
            match top.left.pop() {
                Some((name, FileType::Directory)) if depth < OPEN_DEPTH => {
                    let below = enter(&top.directory, &name)?;
                    stack.push(below);
                }
                Some((name, FileType::Directory)) => {
                    let moved = format!("image-deep-{:016x}", random()?).into_bytes();
                    sys::renameat(&top.directory, name.as_slice(), at, moved.as_slice())?;
                    queue.push(moved);
                }
                Some((name, _)) => {
                    match sys::unlinkat(&top.directory, name.as_slice(), AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(error),
                    }
                }
                None => {
                    let Some(done) = stack.pop() else { break };
                    let parent = stack.last().map_or(at, |top| top.directory.as_fd());
                    match sys::unlinkat(parent, done.name.as_slice(), AtFlags::REMOVEDIR) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
    Ok(())
}

fn enter(at: impl AsFd, name: &[u8]) -> rustix::io::Result<Removal> {
    let at = at.as_fd();
    let directory = match open_directory(at, name) {
        // Not ours to read yet: an image may hold directories without permission bits.
        Err(Errno::ACCESS) => {
            sys::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            open_directory(at, name)?
        }
        result => result?,
    };
    let left = list(&directory)?;
    Ok(Removal { directory, name: name.to_vec(), left })
}

/// Random bits for names.
pub(crate) fn random() -> rustix::io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Writes all bytes.
pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_all(file: OwnedFd, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Replaces a file's content so that after a crash either the old or the new one is there.
pub(crate) fn replace_file(at: impl AsFd, name: &[u8], content: &[u8]) -> rustix::io::Result<()> {
    let at = at.as_fd();
    let mut temporary = name.to_vec();
    temporary.extend_from_slice(b".new");
    match sys::unlinkat(at, temporary.as_slice(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let file = create_file(at, &temporary)?;
    let written = write_all(&file, content)
        .and_then(|()| sys::fchmod(&file, Mode::from_raw_mode(0o644)))
        .and_then(|()| sys::fsync(&file))
        .and_then(|()| sys::renameat(at, temporary.as_slice(), at, name));
    if written.is_err() {
        // The failure is told; what is left of the new file is not worth keeping.
        let _ = sys::unlinkat(at, temporary.as_slice(), AtFlags::empty());
    }
    written?;
    sys::fsync(at)
}

/// Copies a file's content into an empty file: shared blocks where the file system has them, and
/// holes stay holes.
pub(crate) fn copy_content(from: &OwnedFd, to: &OwnedFd, size: u64) -> io::Result<()> {
    if size == 0 || sys::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    sys::ftruncate(to, size)?;
    let mut position = 0;
    while position < size {
        let (start, end) = match sys::seek(from, SeekFrom::Data(position)) {
            Ok(start) => (start, sys::seek(from, SeekFrom::Hole(start))?.min(size)),
            Err(Errno::NXIO) => break, // only a hole is left
            Err(Errno::INVAL | Errno::OPNOTSUPP) => (position, size),
            Err(error) => return Err(error.into()),
        };
        copy_extent(from, to, start, end)?;
        position = end;
    }
    Ok(())
}

fn copy_extent(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    let (mut input, mut output) = (start, start);
    while input < end {
        let wanted = usize::try_from(end - input).unwrap_or(usize::MAX);
        match sys::copy_file_range(from, Some(&mut input), to, Some(&mut output), wanted) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
                return copy_by_hand(from, to, input, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    sys::seek(from, SeekFrom::Start(start))?;
    sys::seek(to, SeekFrom::Start(start))?;
    let mut from = std::fs::File::from(from.try_clone()?).take(end - start);
    let mut to = std::fs::File::from(to.try_clone()?);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_the_descriptors_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let top = open_directory(sys::CWD, scratch.path().as_os_str().as_encoded_bytes()).unwrap();
        let mut at = top.try_clone().unwrap();
        for _ in 0..1000 {
            at = ensure_directory(&at, b"d", Mode::RWXU).unwrap();
            drop(create_file(&at, b"f").unwrap());
        }
        drop(at);
        remove_tree(&top, b"d").unwrap();
        assert!(list(&top).unwrap().is_empty());
        remove_tree(&top, b"d").unwrap();
    }

    #[test]
    fn holes_stay_holes_when_content_is_copied() {
        let scratch = tempfile::tempdir().unwrap();
        let top = open_directory(sys::CWD, scratch.path().as_os_str().as_encoded_bytes()).unwrap();
        let from = create_file(&top, b"a").unwrap();
        sys::ftruncate(&from, 8 << 20).unwrap();
        sys::seek(&from, SeekFrom::Start(4 << 20)).unwrap();
        write_all(&from, b"middle").unwrap();
        let from = open_file(&top, b"a").unwrap();
        let to = create_file(&top, b"b").unwrap();
        copy_content(&from, &to, 8 << 20).unwrap();
        assert_eq!(
            std::fs::read(scratch.path().join("a")).unwrap(),
            std::fs::read(scratch.path().join("b")).unwrap()
        );
        assert!(sys::fstat(&to).unwrap().st_blocks < 1000);
    }
}
