//! A tar stream to files. The archive is foreign: its names and links are resolved within the root
//! that they are extracted to, and what is there already is replaced rather than written through.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::{CopyOptions, open_in, step, tree};
use crate::error::PathError;

/// What is set on a file once its content is there.
struct Metadata {
    mode: Mode,
    owner: (u32, u32),
    modified: i64,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Extracts an archive below `directory`.
pub(super) fn read(
    root: BorrowedFd<'_>,
    directory: &Path,
    input: &mut dyn Read,
    options: CopyOptions,
    owner: Option<(u32, u32)>,
) -> Result<(), PathError> {
    let mut archive = tar::Archive::new(input);
    let mut extractor = Extractor { root, directory, options, owner, directories: Vec::new() };
    for entry in archive.entries().map_err(failed)? {
        extractor.entry(entry.map_err(failed)?)?;
    }
    extractor.finish()?;
    // What follows the end of the archive is read, so that its writer ends well.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(failed)?;
    Ok(())
}

fn failed(source: io::Error) -> PathError {
    PathError::Archive { action: "read", source }
}

struct Extractor<'a> {
    root: BorrowedFd<'a>,
    directory: &'a Path,
    options: CopyOptions,
    owner: Option<(u32, u32)>,
    /// Directories get their permissions and times last: files may yet come into them.
    directories: Vec<(OwnedFd, PathBuf, Metadata)>,
}

/// A name from the archive without `.`, `..` and a root.
fn harmless(name: &[u8]) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(name));
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part),
        _ => None,
    });
    parts.collect()
}

impl Extractor<'_> {
    fn entry(&mut self, mut entry: tar::Entry<'_, &mut dyn Read>) -> Result<(), PathError> {
        let metadata = self.metadata(&mut entry)?;
        let name = harmless(&entry.path_bytes());
        let kind = entry.header().entry_type();
        let Some(last) = name.file_name() else {
            // The directory itself.
            let directory = self.open_directory(Path::new(""))?;
            self.directories.push((directory, name, metadata));
            return Ok(());
        };
        let parent = self.parent(&name)?;
        if kind.is_dir() {
            let directory = self.make_directory(parent.as_fd(), last, &name)?;
            self.directories.push((directory, name, metadata));
            return Ok(());
        }
        self.make_room(parent.as_fd(), last, &name)?;
        match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(
                    &parent,
                    last,
                    flags | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o600),
                )
                .map_err(step("make", &name))?;
                let mut file = File::from(file);
                io::copy(&mut entry, &mut file).map_err(failed)?;
                set(file.as_fd(), &metadata).map_err(step("set the metadata of", &name))
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, last)
                    .map_err(step("make the link", &name))?;
                chown(parent.as_fd(), last, metadata.owner).map_err(step("set the owner of", &name))
            }
            tar::EntryType::Link => {
                let target = harmless(&entry.link_name_bytes().unwrap_or_default());
                let from = self.parent(&target)?;
                let target_name = target.file_name().unwrap_or_default();
                rustix::fs::linkat(&from, target_name, &parent, last, AtFlags::empty())
                    .map_err(step("make the link", &name))
            }
            tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {
                make_node(parent.as_fd(), last, &name, entry.header(), &metadata)
            }
            // Extensions that describe other members have been taken in with them.
            _ => Ok(()),
        }
    }

    fn metadata(&self, entry: &mut tar::Entry<'_, &mut dyn Read>) -> Result<Metadata, PathError> {
        let mut attributes = Vec::new();
        if let Some(extensions) = entry.pax_extensions().map_err(failed)? {
            for extension in extensions {
                let extension = extension.map_err(failed)?;
                if let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                    attributes.push((name.to_vec(), extension.value_bytes().to_vec()));
                }
            }
        }
        let header = entry.header();
        let id = |id: u64| u32::try_from(id).unwrap_or_default();
        let owner = match self.owner {
            Some(owner) => owner,
            None => (id(header.uid().map_err(failed)?), id(header.gid().map_err(failed)?)),
        };
        Ok(Metadata {
            mode: Mode::from_raw_mode(header.mode().map_err(failed)? & 0o7777),
            owner,
            modified: i64::try_from(header.mtime().map_err(failed)?).unwrap_or_default(),
            attributes,
        })
    }

    /// The directory that a member goes into, made where the archive does not have it.
    fn parent(&self, name: &Path) -> Result<OwnedFd, PathError> {
        let parent = name.parent().unwrap_or(Path::new(""));
        match self.open_directory(parent) {
            Err(PathError::NotFound(_)) => {}
            result => return result,
        }
        let mut path = PathBuf::new();
        for part in parent.components() {
            let above = self.open_directory(&path)?;
            path.push(part);
            match rustix::fs::mkdirat(&above, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(step("make the directory", &path)(errno)),
            }
        }
        self.open_directory(parent)
    }

    fn open_directory(&self, name: &Path) -> Result<OwnedFd, PathError> {
        let path = self.directory.join(name);
        open_in(self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(step("open", &path))
    }

    fn make_directory(
        &self,
        parent: BorrowedFd<'_>,
        last: &OsStr,
        name: &Path,
    ) -> Result<OwnedFd, PathError> {
        match rustix::fs::mkdirat(parent, last, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                // A directory is merged into, and so is one that a link points to.
                match self.open_directory(name) {
                    Ok(directory) => return Ok(directory),
                    Err(_) if self.options.overwrite => {
                        rustix::fs::unlinkat(parent, last, AtFlags::empty())
                            .map_err(step("replace", name))?;
                        rustix::fs::mkdirat(parent, last, Mode::from_raw_mode(0o700))
                            .map_err(step("make the directory", name))?;
                    }
                    Err(_) => return Err(in_the_way(name)),
                }
            }
            Err(errno) => return Err(step("make the directory", name)(errno)),
        }
        tree::open_entry(parent, last).map_err(step("open", name))
    }

    /// Takes away what is where a file is to come.
    fn make_room(
        &self,
        parent: BorrowedFd<'_>,
        last: &OsStr,
        name: &Path,
    ) -> Result<(), PathError> {
        match rustix::fs::unlinkat(parent, last, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) if self.options.overwrite => remove_tree(parent, last, name),
            Err(Errno::ISDIR) => Err(in_the_way(name)),
            Err(errno) => Err(step("replace", name)(errno)),
        }
    }

    fn finish(self) -> Result<(), PathError> {
        for (directory, name, metadata) in self.directories.into_iter().rev() {
            set(directory.as_fd(), &metadata).map_err(step("set the metadata of", &name))?;
        }
        Ok(())
    }
}

fn make_node(
    parent: BorrowedFd<'_>,
    last: &OsStr,
    name: &Path,
    header: &tar::Header,
    metadata: &Metadata,
) -> Result<(), PathError> {
    let kind = match header.entry_type() {
        tar::EntryType::Char => FileType::CharacterDevice,
        tar::EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or_default();
    let device = rustix::fs::makedev(number(header.device_major()), number(header.device_minor()));
    rustix::fs::mknodat(parent, last, kind, metadata.mode, device)
        .map_err(step("make the device", name))?;
    chown(parent, last, metadata.owner).map_err(step("set the owner of", name))?;
    rustix::fs::chmodat(parent, last, metadata.mode, AtFlags::empty())
        .map_err(step("set the permissions of", name))
}

fn in_the_way(name: &Path) -> PathError {
    PathError::InTheWay { there: name.to_owned(), new: name.to_owned() }
}

fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<(), PathError> {
    let directory = tree::open_entry(parent, name).map_err(step("open", shown))?;
    for child in tree::names(&directory).map_err(step("read", shown))? {
        match rustix::fs::unlinkat(&directory, &child, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => remove_tree(directory.as_fd(), &child, &shown.join(&child))?,
            Err(errno) => return Err(step("remove", &shown.join(&child))(errno)),
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(step("remove", shown))
}

fn chown(parent: BorrowedFd<'_>, name: &OsStr, owner: (u32, u32)) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner first: a change of it clears the set-user-ID bit and file capabilities.
fn set(file: BorrowedFd<'_>, metadata: &Metadata) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(metadata.owner.0), Gid::from_raw(metadata.owner.1));
    rustix::fs::fchown(file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(file, metadata.mode)?;
    for (name, value) in &metadata.attributes {
        tree::set_attribute(file, name, value)?;
    }
    let time = Timespec { tv_sec: metadata.modified, tv_nsec: 0 };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })
}
