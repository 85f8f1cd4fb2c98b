//! The store: `<root>/images` (an OCI image layout, image-layout.md) holds content and references,
//! `<root>/layers` unpacked layers by chain ID, `<root>/tmp` what is being made, `<root>/locks` locks.
//!
//! Any number of processes use it at once. What appears under its final name is complete: it was
//! made in a scratch directory and renamed.

mod blobs;
mod collect;
mod index;
mod list;
mod read;
mod remove;
mod resolve;
mod tag;
mod verify;

pub use crate::import::{ImportError, ImportOptions};
pub use crate::load::{LoadError, LoadOptions, Source};
pub use crate::unpack::UnpackError;
pub use blobs::BlobError;
pub(crate) use blobs::{BlobWriter, Spooled};
pub use index::IndexError;
pub(crate) use index::{base_name, set_name};
pub use list::ListError;
pub use read::ReadError;
pub(crate) use read::{Json, describe};
pub use remove::{PruneError, RemoveError, RemoveMode};
pub use resolve::ResolveError;
pub use tag::TagError;
pub use verify::{Problem, ProblemKind, VerifyDepth, VerifyError, VerifyReport};

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, Mode};
use rustix::io::Errno;

use crate::at;
use crate::digest::Digest;
use crate::error::{During as _, ErrorKind, Explain, FileError};
use crate::layer::OverlayForm;
use crate::lock::{Lock, Sharing};
use crate::scratch::{self, Scratch};

/// The file that says that a directory is an image layout.
const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The lock that content in use is kept by.
const LEASE_LOCK: &str = "lease";

/// A store of images.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    pub(crate) images: OwnedFd,
    pub(crate) blobs: OwnedFd,
    pub(crate) layers: OwnedFd,
    pub(crate) tmp: OwnedFd,
    pub(crate) locks: OwnedFd,
    pub(crate) form: OverlayForm,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory holds a layout of another version.
    #[error("{} is no OCI image layout of version 1.0.0", path.display())]
    Layout {
        /// The file that should say so.
        path: PathBuf,
    },
}

impl Explain for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Layout { .. } => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::File(error) => error.hints(),
            Self::Layout { .. } => vec!["choose another directory with `--root`".to_owned()],
        }
    }
}

/// Keeps everything in the store from being collected while it lives: hold one from `resolve` or
/// `load` until the container that uses the image is recorded.
#[derive(Debug)]
pub struct Lease {
    _lock: Lock,
}

/// Why a lease cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LeaseError(#[from] FileError);

impl Explain for LeaseError {
    fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    fn hints(&self) -> Vec<String> {
        self.0.hints()
    }
}

impl Store {
    /// Opens the store below `root`, making it when it is not there, and sweeps what killed
    /// processes left behind.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let root = std::path::absolute(root).during("find the directory", root)?;
        make_root(&root)?;
        let path = |name: &str| root.join(name);
        let below = |at: &OwnedFd, name: &str, mode: u32| {
            at::ensure_directory(at, name.as_bytes(), Mode::from_raw_mode(mode))
        };
        let top = at::open_directory(sys::CWD, root.as_os_str().as_encoded_bytes())
            .during("open", &root)?;
        let images = below(&top, "images", 0o755).during("open", path("images"))?;
        let all_blobs = below(&images, "blobs", 0o755).during("open", path("images/blobs"))?;
        let blobs =
            below(&all_blobs, "sha256", 0o755).during("open", path("images/blobs/sha256"))?;
        // Layers hold other people's set-user-ID programs: nobody else may come near them.
        let layers = below(&top, "layers", 0o700).during("open", path("layers"))?;
        let tmp = below(&top, "tmp", 0o700).during("open", path("tmp"))?;
        let locks = below(&top, "locks", 0o700).during("open", path("locks"))?;
        let store = Self { images, blobs, layers, tmp, locks, form: OverlayForm::detect(), root };
        store.check_layout()?;
        if let Err(error) = scratch::sweep(&store.tmp) {
            tracing::debug!(%error, "scratch directories were not swept");
        }
        Ok(store)
    }

    fn check_layout(&self) -> Result<(), OpenError> {
        let path = self.images_path().join(LAYOUT_FILE);
        let version = match at::open_file(&self.images, LAYOUT_FILE.as_bytes()) {
            Ok(file) => at::read_all(file, 4096).during("read", &path)?,
            Err(Errno::NOENT) => {
                self.make_layout()?;
                return Ok(());
            }
            Err(error) => return Err(error).during("open", &path).map_err(Into::into),
        };
        let version: Option<serde_json::Value> = serde_json::from_slice(&version).ok();
        let version = version.as_ref().and_then(|version| version.get("imageLayoutVersion"));
        if version.and_then(serde_json::Value::as_str) != Some("1.0.0") {
            return Err(OpenError::Layout { path });
        }
        Ok(())
    }

    fn make_layout(&self) -> Result<(), FileError> {
        let _lock = self.lock_index()?;
        let present = |name: &str| sys::statat(&self.images, name, AtFlags::empty()).is_ok();
        if !present(index::FILE) {
            self.write_index(&index::empty())?;
        }
        if !present(LAYOUT_FILE) {
            let path = self.images_path().join(LAYOUT_FILE);
            at::replace_file(&self.images, LAYOUT_FILE.as_bytes(), LAYOUT).during("write", path)?;
        }
        Ok(())
    }

    /// The root directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image layout: what other tools call `oci:PATH`.
    pub fn images_path(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn layers_path(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The directory that the layer's content is in, whether it is unpacked or not.
    pub(crate) fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.layers_path().join(chain_id.hex()).join("fs")
    }

    /// Keeps content from being collected while the lease lives. Leases do not exclude each other.
    pub fn lease(&self) -> Result<Lease, LeaseError> {
        let lock = Lock::take(&self.locks, LEASE_LOCK, Sharing::Shared)
            .during("lock", self.root.join("locks").join(LEASE_LOCK))?;
        Ok(Lease { _lock: lock })
    }

    pub(crate) fn scratch(&self) -> Result<Scratch, FileError> {
        Scratch::create(&self.tmp, &self.root.join("tmp"))
    }

    fn lock_index(&self) -> Result<Lock, FileError> {
        Lock::take(&self.locks, "index", Sharing::Exclusive)
            .during("lock", self.root.join("locks/index"))
    }

    /// Extra options that overlay needs to understand this store's layers.
    pub fn overlay_options(&self) -> Vec<String> {
        match self.form {
            OverlayForm::Trusted => Vec::new(),
            OverlayForm::User => vec!["userxattr".to_owned()],
        }
    }
}

/// Makes the root and what is above it; others may pass through it, but not look.
fn make_root(root: &Path) -> Result<(), FileError> {
    if sys::stat(root).is_ok() {
        return Ok(());
    }
    if let Some(parent) = root.parent() {
        std::fs::create_dir_all(parent).during("make the directory", parent)?;
    }
    match sys::mkdir(root, Mode::from_raw_mode(0o711)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).during("make the directory", root),
    }
}
