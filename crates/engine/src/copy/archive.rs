//! Files to a tar stream.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::{open_in, step, tree};
use crate::error::PathError;
use crate::view::PathStat;

/// The directory that holds a path's last component, and that component. A path that ends with a
/// slash, or that is a root, is opened itself and named `.`.
fn parent(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, std::ffi::OsString), PathError> {
    let ends_with_slash = path.as_os_str().as_bytes().ends_with(b"/");
    let (directory, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !ends_with_slash => {
            (if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, name.to_owned())
        }
        _ => (path, ".".into()),
    };
    let directory = open_in(root, directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .map_err(step("open", directory))?;
    Ok((directory, name))
}

/// What a path is; a link at its end is not followed.
pub(super) fn stat(root: BorrowedFd<'_>, path: &Path) -> Result<PathStat, PathError> {
    let (directory, name) = parent(root, path)?;
    let stat = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(step("look at", path))?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            Some(tree::link_target(&directory, &name).map_err(step("read the link", path))?.into())
        }
        _ => None,
    };
    Ok(PathStat {
        name: tree::last(path).to_string_lossy().into_owned(),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mode: stat.st_mode,
        modified: Timestamp::new(stat.st_mtime, i32::try_from(stat.st_mtime_nsec).unwrap_or(0))
            .unwrap_or(Timestamp::UNIX_EPOCH),
        link_target,
    })
}

/// Writes what is at a path as an archive whose members begin with `name`.
pub(super) fn write(
    root: BorrowedFd<'_>,
    path: &Path,
    name: &Path,
    output: &mut dyn Write,
) -> Result<(), PathError> {
    let (directory, entry) = parent(root, path)?;
    let mut writer = Writer { builder: tar::Builder::new(output), links: BTreeMap::new() };
    writer.builder.sparse(false);
    writer.add(directory.as_fd(), &entry, name)?;
    writer.builder.finish().map_err(failed)
}

fn failed(source: io::Error) -> PathError {
    PathError::Archive { action: "write", source }
}

struct Writer<'a> {
    builder: tar::Builder<&'a mut dyn Write>,
    /// Files with several names, by device and inode: the first name in the archive.
    links: BTreeMap<(u64, u64), PathBuf>,
}

impl Writer<'_> {
    fn add(
        &mut self,
        directory: BorrowedFd<'_>,
        entry: &OsStr,
        name: &Path,
    ) -> Result<(), PathError> {
        let stat = rustix::fs::statat(directory, entry, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(step("look at", name))?;
        let mut header = header(&stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.add_directory(directory, entry, name, &mut header),
            FileType::RegularFile => self.add_file(directory, entry, name, &mut header, &stat),
            FileType::Symlink => {
                let target =
                    tree::link_target(directory, entry).map_err(step("read the link", name))?;
                header.set_entry_type(tar::EntryType::Symlink);
                self.builder.append_link(&mut header, name, Path::new(&target)).map_err(failed)
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo) => {
                header.set_entry_type(match kind {
                    FileType::CharacterDevice => tar::EntryType::Char,
                    FileType::BlockDevice => tar::EntryType::Block,
                    _ => tar::EntryType::Fifo,
                });
                let (major, minor) =
                    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                header.set_device_major(major).map_err(failed)?;
                header.set_device_minor(minor).map_err(failed)?;
                self.builder.append_data(&mut header, name, io::empty()).map_err(failed)
            }
            // A socket is nothing without the process that listens.
            _ => Ok(()),
        }
    }

    fn add_directory(
        &mut self,
        directory: BorrowedFd<'_>,
        entry: &OsStr,
        name: &Path,
        header: &mut tar::Header,
    ) -> Result<(), PathError> {
        let opened = tree::open_entry(directory, entry).map_err(step("open", name))?;
        self.add_attributes(opened.as_fd())?;
        header.set_entry_type(tar::EntryType::Directory);
        self.builder.append_data(header, with_slash(name), io::empty()).map_err(failed)?;
        for child in tree::names(&opened).map_err(step("read", name))? {
            match self.add(opened.as_fd(), &child, &name.join(&child)) {
                // It vanished while the directory was read.
                Err(PathError::NotFound(_)) => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn add_file(
        &mut self,
        directory: BorrowedFd<'_>,
        entry: &OsStr,
        name: &Path,
        header: &mut tar::Header,
        stat: &Stat,
    ) -> Result<(), PathError> {
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                return self.builder.append_link(header, name, first).map_err(failed);
            }
            self.links.insert(key, name.to_owned());
        }
        let file = tree::open_entry(directory, entry).map_err(step("open", name))?;
        self.add_attributes(file.as_fd())?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        header.set_size(size);
        header.set_entry_type(tar::EntryType::Regular);
        // A file that shrinks meanwhile is filled up, one that grows is cut: the header stands.
        let content = File::from(file).chain(io::repeat(0)).take(size);
        self.builder.append_data(header, name, content).map_err(failed)
    }

    fn add_attributes(&mut self, file: BorrowedFd<'_>) -> Result<(), PathError> {
        let attributes = tree::attributes(file);
        let attributes: Vec<(String, Vec<u8>)> = attributes
            .into_iter()
            .map(|(name, value)| {
                (format!("SCHILY.xattr.{}", String::from_utf8_lossy(&name)), value)
            })
            .collect();
        if attributes.is_empty() {
            return Ok(());
        }
        let pairs = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(pairs).map_err(failed)
    }
}

fn with_slash(name: &Path) -> PathBuf {
    let mut text = name.as_os_str().to_owned();
    text.push("/");
    PathBuf::from(text)
}

fn header(stat: &Stat) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}
