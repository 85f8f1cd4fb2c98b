//! Bundles on disk (runtime-spec bundle.md): `config.json` and the root file system as a plain
//! directory, for any runtime to run as it is.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_spec::runtime::Mount;
use rustix::fs::{self as sys, Mode};
use rustix::io::Errno;

use super::convert::{ConvertError, Overrides, runtime_spec};
use super::root::LayersRoot;
use crate::at;
use crate::error::{During as _, ErrorKind, Explain, FileError, io_hints, io_kind};
use crate::image::Image;
use crate::layer::copy::{self, CopyError};
use crate::layer::{Found, LastLink};
use crate::progress::{Progress, Running, Step, StepKind};
use crate::store::{LeaseError, Store};
use crate::unpack::UnpackError;

/// Where a bundle keeps what stands for the image's volumes.
const VOLUMES: &str = "volumes";

/// Why a bundle cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The image cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Its configuration cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// Something is there already.
    #[error("{} is not empty", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// The root file system could not be copied.
    #[error("cannot write the root file system to {}", directory.display())]
    Copy {
        /// Where to.
        directory: PathBuf,
        /// What and why.
        #[source]
        source: CopyError,
    },
    /// The configuration cannot be written as JSON.
    #[error("cannot make config.json")]
    Json(#[source] serde_json::Error),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store cannot be locked.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Explain for BundleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unpack(error) => error.kind(),
            Self::Convert(error) => error.kind(),
            Self::NotEmpty { .. } => ErrorKind::Conflict,
            Self::Copy { source, .. } => io_kind(&source.source),
            Self::Json(_) => ErrorKind::Internal,
            Self::File(error) => error.kind(),
            Self::Lease(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unpack(error) => error.hints(),
            Self::Convert(error) => error.hints(),
            Self::NotEmpty { .. } => vec!["choose a new or an empty directory".to_owned()],
            Self::Copy { source, .. } => io_hints(&source.source),
            Self::Json(_) => Vec::new(),
            Self::File(error) => error.hints(),
            Self::Lease(error) => error.hints(),
        }
    }
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenBundle {
    /// Where it is.
    pub directory: PathBuf,
    /// Labels that were left out because a runtime could take them for orders.
    pub omitted_labels: Vec<String>,
}

/// Writes a bundle of an image into `directory`, which is made, or is there and empty. On failure
/// nothing of it is left.
///
/// The image's volumes become directories of the bundle, with what the image has in their places.
pub fn write_bundle(
    store: &Store,
    image: &Image,
    directory: &Path,
    overrides: &Overrides,
    progress: &dyn Progress,
) -> Result<WrittenBundle, BundleError> {
    let _lease = store.lease()?;
    let layers = store.unpack(image, progress)?;
    let root = LayersRoot::open(&layers)?;
    let converted = runtime_spec(&image.config, &root, overrides)?;
    let is_new = match sys::mkdir(directory, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => {
            return Err(error).during("make the directory", directory).map_err(Into::into);
        }
    };
    let bundle = at::open_directory(sys::CWD, directory.as_os_str().as_encoded_bytes())
        .during("open the directory", directory)?;
    if !at::list(&bundle).during("list", directory)?.is_empty() {
        return Err(BundleError::NotEmpty { directory: directory.to_owned() });
    }
    let mut spec = converted.spec;
    let mut fill = || -> Result<(), BundleError> {
        write_root(&root, &bundle, directory, image, progress)?;
        spec.mounts.extend(write_volumes(&root, &bundle, directory, &converted.volumes)?);
        let path = directory.join("config.json");
        let mut bytes = serde_json::to_vec_pretty(&spec).map_err(BundleError::Json)?;
        bytes.push(b'\n');
        let file = at::create_file(&bundle, b"config.json").during("create", &path)?;
        at::write_all(&file, &bytes).during("write", &path)?;
        sys::fchmod(&file, Mode::from_raw_mode(0o644)).during("change the mode of", &path)?;
        Ok(())
    };
    if let Err(error) = fill() {
        take_back(&bundle, directory, is_new);
        return Err(error);
    }
    Ok(WrittenBundle { directory: directory.to_owned(), omitted_labels: converted.omitted_labels })
}

fn write_root(
    root: &LayersRoot,
    bundle: &OwnedFd,
    directory: &Path,
    image: &Image,
    progress: &dyn Progress,
) -> Result<(), BundleError> {
    let path = directory.join("rootfs");
    sys::mkdirat(bundle, "rootfs", Mode::RWXU).during("make the directory", &path)?;
    let to = at::open_directory(bundle, b"rootfs").during("open", &path)?;
    let subject = image.id.to_string();
    let step = Step { kind: StepKind::Assembling, subject: &subject, total: None };
    let running = Running::start(progress, step);
    copy::copy_view(root.view(), &to, &|bytes| running.advance(bytes))
        .map_err(|source| BundleError::Copy { directory: path, source })
}

fn write_volumes(
    root: &LayersRoot,
    bundle: &OwnedFd,
    directory: &Path,
    volumes: &[String],
) -> Result<Vec<Mount>, BundleError> {
    if volumes.is_empty() {
        return Ok(Vec::new());
    }
    let path = directory.join(VOLUMES);
    let holder = at::ensure_directory(bundle, VOLUMES.as_bytes(), Mode::RWXU)
        .during("make the directory", &path)?;
    let mut mounts = Vec::new();
    for (index, destination) in volumes.iter().enumerate() {
        let name = index.to_string();
        let path = path.join(&name);
        let to = at::ensure_directory(&holder, name.as_bytes(), Mode::from_raw_mode(0o755))
            .during("make the directory", &path)?;
        let found = root.view().resolve(destination.as_bytes(), LastLink::Follow);
        if let Found::Directory { merged } = found.during("find in the image", destination)? {
            copy::copy_merged(root.view(), &merged, &to)
                .map_err(|source| BundleError::Copy { directory: path, source })?;
        }
        mounts.push(Mount {
            destination: PathBuf::from(destination),
            typ: Some("bind".to_owned()),
            source: Some(PathBuf::from(format!("{VOLUMES}/{name}"))),
            options: ["rbind", "rprivate", "rw"].map(str::to_owned).to_vec(),
            ..Mount::default()
        });
    }
    Ok(mounts)
}

/// Removes a bundle that could not be finished.
fn take_back(bundle: &OwnedFd, directory: &Path, is_new: bool) {
    for name in ["rootfs", VOLUMES, "config.json"] {
        if let Err(error) = at::remove_tree(bundle, name.as_bytes()) {
            tracing::warn!(path = %directory.display(), name, %error, "part of a bundle left behind");
        }
    }
    if is_new && let Err(error) = sys::rmdir(directory) {
        tracing::warn!(path = %directory.display(), %error, "a bundle's directory left behind");
    }
}
