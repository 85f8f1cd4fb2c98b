//! Several layers seen as the one tree that the kernel's overlay would show of them.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{self as sys, AtFlags, CWD, FileType, Stat};
use rustix::io::Errno;

use super::OverlayForm;
use super::metadata::xattr_is;
use super::names::{LINK_LIMIT, components, join};
use crate::at;
use crate::error::{During as _, FileError};

/// Layers, topmost first.
pub(crate) struct View {
    root: Merged,
    form: OverlayForm,
}

/// A directory in all the layers that have a part in it, topmost first.
#[derive(Clone)]
pub(crate) struct Merged {
    pub(super) parts: Vec<Part>,
}

/// One layer's part of a merged directory.
#[derive(Clone)]
pub(crate) struct Part {
    pub(super) layer: usize,
    pub(super) directory: Arc<OwnedFd>,
}

impl Part {
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }
}

/// What a name in a merged directory stands for.
pub(crate) enum Child {
    Absent,
    Directory(Merged),
    /// Anything else, in the topmost layer that has it.
    Other {
        part: Part,
        stat: Stat,
    },
}

/// What a path leads to.
pub(crate) enum Found {
    Absent,
    Directory { merged: Merged },
    Other { part: Part, name: Vec<u8>, stat: Stat, path: Vec<u8> },
}

/// What happens to a symbolic link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLink {
    Follow,
    Keep,
}

impl View {
    pub(crate) fn new(layers: Vec<Arc<OwnedFd>>, form: OverlayForm) -> Self {
        let parts = layers
            .into_iter()
            .enumerate()
            .map(|(layer, directory)| Part { layer, directory })
            .collect();
        Self { root: Merged { parts }, form }
    }

    /// Of directories, topmost first, in the form that this process makes layers in.
    pub(crate) fn open(layers: &[PathBuf]) -> Result<Self, FileError> {
        let layers = layers
            .iter()
            .map(|path| {
                at::open_directory(CWD, path.as_os_str().as_encoded_bytes())
                    .map(Arc::new)
                    .during("open the layer", path)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::new(layers, OverlayForm::detect()))
    }

    pub(crate) fn root(&self) -> &Merged {
        &self.root
    }

    pub(crate) fn form(&self) -> OverlayForm {
        self.form
    }

    /// Follows a path from the root, links included, never out of the root.
    pub(crate) fn resolve(&self, path: &[u8], last: LastLink) -> rustix::io::Result<Found> {
        let mut queue: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut stack: Vec<(Merged, Vec<u8>)> = Vec::new();
        let mut links = 0;
        while let Some(name) = queue.pop_front() {
            if name == b".." {
                stack.pop();
                continue;
            }
            let here = stack.last().map_or(&self.root, |(merged, _)| merged);
            let place = stack.last().map_or(b"".as_slice(), |(_, path)| path);
            match here.child(&name, self.form)? {
                Child::Absent => return Ok(Found::Absent),
                Child::Directory(merged) => {
                    let path = join(place, &name);
                    stack.push((merged, path));
                }
                Child::Other { part, stat } => {
                    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                    if !is_link || (queue.is_empty() && last == LastLink::Keep) {
                        if !queue.is_empty() {
                            return Ok(Found::Absent);
                        }
                        let path = join(place, &name);
                        return Ok(Found::Other { part, name, stat, path });
                    }
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(Errno::LOOP);
                    }
                    let target = sys::readlinkat(&part.directory, name.as_slice(), Vec::new())?;
                    let target = target.to_bytes();
                    if target.starts_with(b"/") {
                        stack.clear();
                    }
                    for part in components(target).rev() {
                        queue.push_front(part.to_vec());
                    }
                }
            }
        }
        let merged = stack.pop().map_or_else(|| self.root.clone(), |(merged, _)| merged);
        Ok(Found::Directory { merged })
    }
}

impl Merged {
    /// What a name in here stands for.
    pub(crate) fn child(&self, name: &[u8], form: OverlayForm) -> rustix::io::Result<Child> {
        let mut parts = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            match at::open_directory(&part.directory, name) {
                Ok(directory) => {
                    let is_last = index + 1 == self.parts.len();
                    let opaque = !is_last && xattr_is(&directory, form.opaque(), b"y")?;
                    parts.push(Part { layer: part.layer, directory: Arc::new(directory) });
                    if opaque {
                        break;
                    }
                }
                Err(Errno::NOENT) => {}
                // Something else in a lower layer ends what is merged.
                Err(Errno::NOTDIR | Errno::LOOP) if !parts.is_empty() => break,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let stat = sys::statat(&part.directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if is_whiteout(&stat) {
                        return Ok(Child::Absent);
                    }
                    return Ok(Child::Other { part: part.clone(), stat });
                }
                Err(error) => return Err(error),
            }
        }
        if parts.is_empty() {
            return Ok(Child::Absent);
        }
        Ok(Child::Directory(Self { parts }))
    }

    /// The same without the part of layer 0.
    pub(super) fn below_first_layer(&self) -> Self {
        Self { parts: self.parts.iter().filter(|part| part.layer != 0).cloned().collect() }
    }
}

/// Whether this is the character device 0:0 that hides a name.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
