//! Copies: one file with all that belongs to it, and a whole merged tree as a plain directory.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self as sys, AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::metadata::{Metadata, Special};
use super::names::{base, join, parent};
use super::view::{Child, Merged, View};
use super::write::make_directory;
use crate::at;

/// Copies a file of any kind but a directory, with owner, mode, times and attributes.
pub(super) fn copy_file(
    from: impl AsFd,
    name: &[u8],
    stat: &Stat,
    to: impl AsFd,
    new_name: &[u8],
) -> io::Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let source = at::open_file(from, name)?;
            let file = at::create_file(to, new_name)?;
            at::copy_content(&source, &file, stat.st_size as u64)?;
            Metadata::of_file(&source, stat)?.apply_to(&file)?;
        }
        FileType::Symlink => {
            let target = sys::readlinkat(from, name, Vec::new())?;
            sys::symlinkat(target.as_c_str(), to, new_name)?;
            Metadata::of_stat(stat).apply_at(to, new_name, Special::Symlink)?;
        }
        kind => {
            sys::mknodat(to, new_name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
            Metadata::of_stat(stat).apply_at(to, new_name, Special::Node)?;
        }
    }
    Ok(())
}

/// A failure of a copy, and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy `{path}`")]
pub struct CopyError {
    /// The path within the image's root.
    pub path: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Copies what overlay would show of the layers into the empty directory `to`. `copied` is told of
/// each file's bytes.
pub(crate) fn copy_view(view: &View, to: &OwnedFd, copied: &dyn Fn(u64)) -> Result<(), CopyError> {
    let mut copier = Copier { view, top: to, links: HashMap::new(), copied };
    let to = at::open_directory(to, b".").map_err(|error| failed(b"", error))?;
    copier.directory(view.root(), &to, b"")
}

/// Copies one directory of the layers, with what is below it, into the empty directory `to`.
pub(crate) fn copy_merged(view: &View, from: &Merged, to: &OwnedFd) -> Result<(), CopyError> {
    let mut copier = Copier { view, top: to, links: HashMap::new(), copied: &|_| () };
    let to = at::open_directory(to, b".").map_err(|error| failed(b"", error))?;
    copier.directory(from, &to, b"")
}

fn failed(path: &[u8], error: impl Into<io::Error>) -> CopyError {
    CopyError { path: format!("/{}", String::from_utf8_lossy(path)), source: error.into() }
}

struct Copier<'a> {
    view: &'a View,
    top: &'a OwnedFd,
    /// Files with several names: where the first one was copied to, by layer and inode.
    links: HashMap<(usize, u64), Vec<u8>>,
    copied: &'a dyn Fn(u64),
}

impl Copier<'_> {
    fn directory(&mut self, from: &Merged, to: &OwnedFd, path: &[u8]) -> Result<(), CopyError> {
        let mut names = BTreeMap::new();
        for part in &from.parts {
            for (name, kind) in at::list(&part.directory).map_err(|error| failed(path, error))? {
                names.entry(name).or_insert(kind);
            }
        }
        for name in names.into_keys() {
            let path = join(path, &name);
            self.child(from, &name, to, &path)?;
        }
        let Some(topmost) = from.parts.first() else { return Ok(()) };
        let put = || {
            let stat = sys::fstat(&topmost.directory)?;
            Metadata::of_file(&topmost.directory, &stat)?.apply_to(to)
        };
        put().map(drop).map_err(|error: Errno| failed(path, error))
    }

    fn child(
        &mut self,
        from: &Merged,
        name: &[u8],
        to: &OwnedFd,
        path: &[u8],
    ) -> Result<(), CopyError> {
        let at_path = |error: Errno| failed(path, error);
        match from.child(name, self.view.form()).map_err(at_path)? {
            Child::Absent => Ok(()),
            Child::Directory(merged) => {
                drop(make_directory(to, name).map_err(at_path)?);
                let below = at::open_directory(to, name).map_err(at_path)?;
                self.directory(&merged, &below, path)
            }
            Child::Other { part, stat } => {
                if stat.st_nlink > 1 {
                    let key = (part.layer, stat.st_ino);
                    if let Some(first) = self.links.get(&key) {
                        let holder = at::open_path(self.top, parent(first)).map_err(at_path)?;
                        return sys::linkat(&holder, base(first), to, name, AtFlags::empty())
                            .map_err(at_path);
                    }
                    self.links.insert(key, path.to_vec());
                }
                copy_file(&part.directory, name, &stat, to, name)
                    .map_err(|error| failed(path, error))?;
                (self.copied)(stat.st_size as u64);
                Ok(())
            }
        }
    }
}
