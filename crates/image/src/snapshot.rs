//! Snapshots: how a container's writable root file system is put on top of an image's layers.
//!
//! A driver makes directories and a description ([`RootfsMount`]); it mounts nothing.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_spec::rootfs::{OverlayMount, RootfsMount};
use rustix::fs::{self as sys, Mode};

use crate::at;
use crate::error::{During as _, ErrorKind, Explain, FileError, io_hints, io_kind};
use crate::layer::copy::{self, CopyError};
use crate::layer::{OverlayForm, View, copy_root_metadata};

const UPPER: &str = "upper";
const WORK: &str = "work";
const ROOTFS: &str = "rootfs";

/// Why a snapshot could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The layers could not be copied.
    #[error("cannot copy the image's layers to {}", directory.display())]
    Copy {
        /// Where to.
        directory: PathBuf,
        /// What and why.
        #[source]
        source: CopyError,
    },
    /// There is nothing to put a container on.
    #[error("a snapshot needs at least one layer")]
    NoLayers,
}

impl Explain for SnapshotError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Copy { source, .. } => io_kind(&source.source),
            Self::NoLayers => ErrorKind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::File(error) => error.hints(),
            Self::Copy { source, .. } => io_hints(&source.source),
            Self::NoLayers => Vec::new(),
        }
    }
}

/// A way to make a writable root file system of read-only layers.
pub trait SnapshotDriver: Send + Sync {
    /// The driver's name, as recorded with a container: `overlay`, `copy`.
    fn name(&self) -> &'static str;

    /// Makes a snapshot in `directory` (the container's own, which exists). `layers` are
    /// directories, topmost first, as `Store::unpack` gives them.
    fn prepare(&self, layers: &[PathBuf], directory: &Path) -> Result<RootfsMount, SnapshotError>;

    /// Removes what `prepare` made in `directory`, and all that the container wrote there. What
    /// is gone already is no error.
    fn remove(&self, directory: &Path) -> Result<(), SnapshotError>;
}

/// The driver of that name.
pub fn driver(name: &str) -> Option<Box<dyn SnapshotDriver>> {
    match name {
        "overlay" => Some(Box::new(Overlay::default())),
        "copy" => Some(Box::new(Copy::default())),
        _ => None,
    }
}

/// The kernel's overlay file system: nothing is copied until it is written to.
#[derive(Debug, Clone)]
pub struct Overlay {
    options: Vec<String>,
}

impl Default for Overlay {
    /// With the options that this process's user namespace needs.
    fn default() -> Self {
        let options = match OverlayForm::detect() {
            OverlayForm::Trusted => Vec::new(),
            OverlayForm::User => vec!["userxattr".to_owned()],
        };
        Self { options }
    }
}

impl Overlay {
    /// Adds an option for the mount, such as `volatile`.
    pub fn with_option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }
}

impl SnapshotDriver for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn prepare(&self, layers: &[PathBuf], directory: &Path) -> Result<RootfsMount, SnapshotError> {
        let topmost = layers.first().ok_or(SnapshotError::NoLayers)?;
        let container = open(directory)?;
        let (upper, work) = (directory.join(UPPER), directory.join(WORK));
        sys::mkdirat(&container, UPPER, Mode::RWXU).during("make the directory", &upper)?;
        sys::mkdirat(&container, WORK, Mode::RWXU).during("make the directory", &work)?;
        // The root that a container sees has the writable layer's owner, mode and attributes.
        let made = at::open_directory(&container, UPPER.as_bytes()).during("open", &upper)?;
        copy_root_metadata(&open(topmost)?, &made).during("set owner and mode of", &upper)?;
        Ok(RootfsMount::Overlay(OverlayMount {
            lower: layers.to_vec(),
            upper: Some(upper),
            work: Some(work),
            options: self.options.clone(),
        }))
    }

    fn remove(&self, directory: &Path) -> Result<(), SnapshotError> {
        remove(directory, &[UPPER, WORK])
    }
}

/// A full copy of the layers, for file systems that overlay cannot use.
#[derive(Debug, Clone, Default)]
pub struct Copy {
    _private: (),
}

impl SnapshotDriver for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn prepare(&self, layers: &[PathBuf], directory: &Path) -> Result<RootfsMount, SnapshotError> {
        if layers.is_empty() {
            return Err(SnapshotError::NoLayers);
        }
        let container = open(directory)?;
        let path = directory.join(ROOTFS);
        sys::mkdirat(&container, ROOTFS, Mode::RWXU).during("make the directory", &path)?;
        let made = at::open_directory(&container, ROOTFS.as_bytes()).during("open", &path)?;
        let view = View::open(layers)?;
        if let Err(source) = copy::copy_view(&view, &made, &|_| ()) {
            // The failure is told; a part of a root is of no use to anybody.
            if let Err(error) = at::remove_tree(&container, ROOTFS.as_bytes()) {
                tracing::warn!(path = %path.display(), %error, "part of a copy left behind");
            }
            return Err(SnapshotError::Copy { directory: path, source });
        }
        Ok(RootfsMount::Directory { path })
    }

    fn remove(&self, directory: &Path) -> Result<(), SnapshotError> {
        remove(directory, &[ROOTFS])
    }
}

fn open(directory: &Path) -> Result<OwnedFd, FileError> {
    at::open_directory(sys::CWD, directory.as_os_str().as_encoded_bytes())
        .during("open the directory", directory)
}

fn remove(directory: &Path, names: &[&str]) -> Result<(), SnapshotError> {
    let container = match open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    for name in names {
        at::remove_tree(&container, name.as_bytes()).during("remove", directory.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn layers(at: &Path) -> Vec<PathBuf> {
        let (top, bottom) = (at.join("top"), at.join("bottom"));
        fs::create_dir_all(bottom.join("d")).unwrap();
        fs::write(bottom.join("d/below"), "below").unwrap();
        fs::write(bottom.join("both"), "bottom").unwrap();
        fs::create_dir_all(top.join("d")).unwrap();
        fs::write(top.join("d/above"), "above").unwrap();
        fs::write(top.join("both"), "top").unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o711)).unwrap();
        vec![top, bottom]
    }

    #[test]
    fn overlay_describes_a_mount_with_the_images_root_attributes() {
        let scratch = tempfile::tempdir().unwrap();
        let layers = layers(scratch.path());
        let container = scratch.path().join("container");
        fs::create_dir(&container).unwrap();
        let driver = Overlay::default().with_option("volatile");
        let RootfsMount::Overlay(mount) = driver.prepare(&layers, &container).unwrap() else {
            panic!("not an overlay")
        };
        assert_eq!(mount.lower, layers);
        assert!(mount.options.contains(&"volatile".to_owned()));
        let mode = fs::metadata(mount.upper.unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o711);
        driver.remove(&container).unwrap();
        driver.remove(&container).unwrap();
        assert_eq!(fs::read_dir(&container).unwrap().count(), 0);
        driver.remove(&scratch.path().join("nowhere")).unwrap();
    }

    #[test]
    fn copy_makes_the_merged_tree() {
        let scratch = tempfile::tempdir().unwrap();
        let layers = layers(scratch.path());
        let container = scratch.path().join("container");
        fs::create_dir(&container).unwrap();
        let RootfsMount::Directory { path } = Copy::default().prepare(&layers, &container).unwrap()
        else {
            panic!("not a directory")
        };
        assert_eq!(fs::read_to_string(path.join("both")).unwrap(), "top");
        assert_eq!(fs::read_to_string(path.join("d/below")).unwrap(), "below");
        assert_eq!(fs::read_to_string(path.join("d/above")).unwrap(), "above");
        Copy::default().remove(&container).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn drivers_are_found_by_name() {
        for name in ["overlay", "copy"] {
            assert_eq!(driver(name).unwrap().name(), name);
        }
        assert!(driver("erofs").is_none());
    }
}
