//! Paths of the container, opened and made beneath its root: by descriptors and `openat2`, so that
//! no symbolic link leads out, whatever the container's image or another container changes while
//! this goes on.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// How often a lookup that raced with a rename is tried.
const TRIES: usize = 64;
/// How many dangling links are followed when a path is made.
const LINKS: usize = 40;
/// The longest path.
const PATH: usize = 4096;

/// What a path is made to be when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Opens a path of the container. Symbolic links are followed within the root.
pub(crate) fn open(root: impl AsFd, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_with(root.as_fd(), path, flags, ResolveFlags::empty())
}

/// Opens a path of the container on which there is no symbolic link.
pub(crate) fn open_without_links(
    root: impl AsFd,
    path: &CStr,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    open_with(root.as_fd(), path, flags, ResolveFlags::NO_SYMLINKS)
}

fn open_with(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    more: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    for _ in 0..TRIES {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens a path of the container as a place to mount on, and makes it, with all directories on the
/// way, if it is not there.
pub(crate) fn ensure(root: impl AsFd, path: &CStr, kind: Kind) -> Result<OwnedFd, Errno> {
    match open(&root, path, OFlags::PATH) {
        Err(Errno::NOENT) => make(root.as_fd(), path, kind),
        result => result,
    }
}

/// The same where no symbolic link may be on the way, last of all at the end of it.
pub(crate) fn ensure_without_links(
    root: impl AsFd,
    path: &CStr,
    kind: Kind,
) -> Result<OwnedFd, Errno> {
    match open_without_links(&root, path, OFlags::PATH) {
        Err(Errno::NOENT) => {
            make(root.as_fd(), path, kind)?;
            open_without_links(root, path, OFlags::PATH)
        }
        result => result,
    }
}

/// A path that is put together in place, NUL-terminated.
struct Buffer {
    bytes: [u8; PATH],
    length: usize,
}

impl Buffer {
    fn new(path: &[u8]) -> Result<Self, Errno> {
        let mut buffer = Self { bytes: [0; PATH], length: 0 };
        buffer.push(path)?;
        Ok(buffer)
    }

    fn push(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.length + more.len();
        // One byte stays for the NUL.
        let place = self.bytes[..PATH - 1].get_mut(self.length..end).ok_or(Errno::NAMETOOLONG)?;
        place.copy_from_slice(more);
        self.length = end;
        Ok(())
    }

    fn get(&self, end: usize) -> &[u8] {
        &self.bytes[..end.min(self.length)]
    }

    /// Runs `f` on the first `end` bytes as a C string.
    fn prefix<T>(
        &mut self,
        end: usize,
        f: impl FnOnce(&CStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let byte = std::mem::replace(&mut self.bytes[end], 0);
        let start = if end == 0 { return f(c"/") } else { 0 };
        let result = CStr::from_bytes_until_nul(&self.bytes[start..=end])
            .map_err(|_| Errno::INVAL)
            .and_then(f);
        self.bytes[end] = byte;
        result
    }
}

/// The next component at or after `from`: where it begins and ends.
fn component(path: &[u8], from: usize) -> Option<(usize, usize)> {
    let begin = from + path.get(from..)?.iter().position(|&byte| byte != b'/')?;
    let rest = path.get(begin..)?;
    let length = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    Some((begin, begin + length))
}

fn make(root: BorrowedFd<'_>, path: &CStr, kind: Kind) -> Result<OwnedFd, Errno> {
    let mut buffer = Buffer::new(path.to_bytes())?;
    let mut links = 0;
    let mut at = 0;
    while let Some((begin, end)) = component(buffer.get(PATH), at) {
        let last = component(buffer.get(PATH), end).is_none();
        match buffer.prefix(end, |prefix| open(root, prefix, OFlags::PATH)) {
            Ok(_) => {}
            Err(Errno::NOENT) => {
                let parent = buffer
                    .prefix(begin, |prefix| open(root, prefix, OFlags::PATH | OFlags::DIRECTORY))?;
                let kind = if last { kind } else { Kind::Directory };
                match make_one(&parent, buffer.get(end).get(begin..).unwrap_or_default(), kind) {
                    Ok(()) => {}
                    // A link that leads nowhere yet, or somebody was faster: what it leads to is
                    // made in its place.
                    Err(Errno::EXIST) if links < LINKS => {
                        links += 1;
                        match follow(&parent, &buffer, begin, end)? {
                            Some(followed) => {
                                buffer = followed;
                                at = 0;
                                continue;
                            }
                            None => continue,
                        }
                    }
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        }
        at = end;
    }
    let length = buffer.length;
    buffer.prefix(length, |whole| open(root, whole, OFlags::PATH))
}

fn make_one(parent: &OwnedFd, name: &[u8], kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// The path with the link between `begin` and `end` replaced by what it says; `None` if it is no
/// link any more.
fn follow(
    parent: &OwnedFd,
    path: &Buffer,
    begin: usize,
    end: usize,
) -> Result<Option<Buffer>, Errno> {
    let mut target = [0u8; PATH];
    let name = path.get(end).get(begin..).unwrap_or_default();
    let length = match rustix::fs::readlinkat_raw(parent, name, &mut target[..]) {
        Ok(length) => length,
        Err(Errno::INVAL | Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let target = target.get(..length).unwrap_or_default();
    let before = if target.first() == Some(&b'/') { &[][..] } else { path.get(begin) };
    let mut followed = Buffer::new(before)?;
    followed.push(target)?;
    // What follows the link, if something does, begins with a slash: one at the end of a path would
    // ask for a directory.
    followed.push(path.get(PATH).get(end..).unwrap_or_default())?;
    Ok(Some(followed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    struct Root {
        directory: tempfile::TempDir,
        descriptor: OwnedFd,
    }

    impl Root {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("root")).unwrap();
            let descriptor = rustix::fs::open(
                directory.path().join("root"),
                OFlags::PATH | OFlags::DIRECTORY,
                Mode::empty(),
            )
            .unwrap();
            Self { directory, descriptor }
        }

        fn inside(&self, path: &str) -> std::path::PathBuf {
            self.directory.path().join("root").join(path)
        }

        fn ensure(&self, path: &str, kind: Kind) -> Result<OwnedFd, Errno> {
            ensure(&self.descriptor, &CString::new(path).unwrap(), kind)
        }

        fn outside_is_untouched(&self) -> bool {
            fs::read_dir(self.directory.path()).unwrap().count() == 1
        }
    }

    fn same(descriptor: &OwnedFd, path: &Path) -> bool {
        let (a, b) = (rustix::fs::fstat(descriptor).unwrap(), rustix::fs::stat(path).unwrap());
        (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
    }

    #[test]
    fn directories_and_files_are_made_within_the_root() {
        let root = Root::new();
        let made = root.ensure("/a/b/../c/file", Kind::File).unwrap();
        assert!(same(&made, &root.inside("a/c/file")));
        let made = root.ensure("/../../x//y/", Kind::Directory).unwrap();
        assert!(same(&made, &root.inside("x/y")));
        assert!(root.outside_is_untouched());
    }

    #[test]
    fn links_stay_within_the_root_even_when_what_they_lead_to_is_made() {
        let root = Root::new();
        symlink("/outside", root.inside("absolute")).unwrap();
        symlink("../../../outside", root.inside("relative")).unwrap();
        symlink("absolute", root.inside("chain")).unwrap();
        for link in ["absolute", "relative", "chain"] {
            let made = root.ensure(&format!("/{link}/d"), Kind::Directory).unwrap();
            assert!(same(&made, &root.inside("outside/d")), "{link}");
        }
        let made = root.ensure("/relative", Kind::File).unwrap();
        assert!(same(&made, &root.inside("outside")));
        assert!(root.outside_is_untouched());
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let root = Root::new();
        symlink("b", root.inside("a")).unwrap();
        symlink("a", root.inside("b")).unwrap();
        assert!(root.ensure("/a/x", Kind::Directory).is_err());
        symlink("self/more", root.inside("self")).unwrap();
        assert!(root.ensure("/self/x", Kind::Directory).is_err());
        let long = format!("/{}", "x/".repeat(3000));
        assert_eq!(root.ensure(&long, Kind::Directory).unwrap_err(), Errno::NAMETOOLONG);
    }

    #[test]
    fn where_links_are_not_wanted_they_are_an_error() {
        let root = Root::new();
        fs::create_dir(root.inside("real")).unwrap();
        symlink("real", root.inside("link")).unwrap();
        symlink("nowhere", root.inside("dangling")).unwrap();
        let open = |path: &CStr| open_without_links(&root.descriptor, path, OFlags::PATH);
        assert!(open(c"/real").is_ok());
        assert_eq!(open(c"/link").unwrap_err(), Errno::LOOP);
        let ensure = |path| ensure_without_links(&root.descriptor, path, Kind::File);
        assert!(ensure(c"/real/file").is_ok() && ensure(c"/new/file").is_ok());
        for bad in [c"/link/file", c"/dangling", c"/dangling/file"] {
            assert_eq!(ensure(bad).unwrap_err(), Errno::LOOP, "{bad:?}");
        }
        assert!(!root.inside("nowhere").exists());
    }
}
