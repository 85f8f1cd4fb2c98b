//! Files of an image's root without mounting it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::RootLookup;
use crate::at;
use crate::error::{During as _, FileError};
use crate::layer::{Found, LastLink, View};

/// The largest file that is read.
const LIMIT: u64 = 16 << 20;

/// A root that is a plain directory.
#[derive(Debug)]
pub struct DirectoryRoot {
    directory: OwnedFd,
    path: PathBuf,
}

impl DirectoryRoot {
    /// A directory, which links within cannot lead out of.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let directory = at::open_directory(sys::CWD, path.as_os_str().as_encoded_bytes())
            .during("open the directory", path)?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// A directory that is open, such as a detached mount; `path` is what messages call it.
    pub fn from_fd(directory: OwnedFd, path: &Path) -> Self {
        Self { directory, path: path.to_owned() }
    }
}

impl RootLookup for DirectoryRoot {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let shown = self.path.join(path.trim_start_matches('/'));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = match sys::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
            result => result.during("open", &shown)?,
        };
        let stat = sys::fstat(&file).during("look at", &shown)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        at::read_all(file, LIMIT).map(Some).during("read", &shown)
    }
}

/// A root that is in layers, seen as overlay would show them.
pub struct LayersRoot {
    view: View,
}

impl LayersRoot {
    /// Layers, topmost first, as `Store::unpack` gives them.
    pub fn open(layers: &[PathBuf]) -> Result<Self, FileError> {
        Ok(Self { view: View::open(layers)? })
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }
}

impl std::fmt::Debug for LayersRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayersRoot").finish_non_exhaustive()
    }
}

impl RootLookup for LayersRoot {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let found = match self.view.resolve(path.as_bytes(), LastLink::Follow) {
            Err(Errno::LOOP) => return Ok(None),
            result => result.during("find in the image", path)?,
        };
        let Found::Other { part, name, stat, .. } = found else { return Ok(None) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let file = at::open_file(part.directory(), &name).during("open in the image", path)?;
        at::read_all(file, LIMIT).map(Some).during("read in the image", path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_do_not_lead_out_of_a_root() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::write(root.join("real/passwd"), "inside").unwrap();
        std::fs::write(scratch.path().join("secret"), "outside").unwrap();
        symlink("/real/passwd", root.join("etc/passwd")).unwrap();
        symlink("../../../../real/passwd", root.join("etc/up")).unwrap();
        symlink("../../secret", root.join("etc/out")).unwrap();
        symlink("loop", root.join("etc/loop")).unwrap();
        let directory = DirectoryRoot::open(&root).unwrap();
        let layers = LayersRoot::open(std::slice::from_ref(&root)).unwrap();
        for lookup in [&directory as &dyn RootLookup, &layers] {
            assert_eq!(lookup.read("/etc/passwd").unwrap().unwrap(), b"inside");
            assert_eq!(lookup.read("/etc/up").unwrap().unwrap(), b"inside");
            for absent in ["/etc/out", "/etc/loop", "/etc", "/none", "/etc/passwd/x"] {
                assert!(lookup.read(absent).unwrap().is_none(), "{absent}");
            }
        }
    }
}
