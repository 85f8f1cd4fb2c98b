//! OCI images: content store, references, layers, snapshots, bundle conversion.
//!
//! The store is an OCI image layout (image-spec image-layout.md) that other tools read as it is,
//! and beside it the layers as directories. This crate never touches namespaces, mounts nothing
//! and knows no container: it is told by closures what is in use.
#![forbid(unsafe_code)]

mod at;
pub mod bundle;
mod changes;
mod compression;
pub mod default_spec;
pub mod digest;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod image;
mod import;
mod layer;
mod load;
mod lock;
pub mod platform;
pub mod progress;
pub mod reference;
mod scratch;
pub mod snapshot;
pub mod store;
mod tar;
mod unpack;

pub use changes::ChangeError;
pub use digest::Digest;
pub use error::{ErrorKind, Explain, FileError};
pub use image::{Image, ImageLayer, ImageSummary, LoadedImage, Removed};
pub use import::{ImportError, ImportOptions};
pub use layer::{ApplyError, copy::CopyError};
pub use load::{LoadError, LoadOptions, Source};
pub use progress::{Progress, Silent, Step, StepKind};
pub use reference::{Reference, ReferenceError};
pub use snapshot::{Copy, Overlay, SnapshotDriver, SnapshotError};
pub use store::{
    BlobError, IndexError, Lease, LeaseError, ListError, OpenError, Problem, ProblemKind,
    PruneError, ReadError, RemoveError, RemoveMode, ResolveError, Store, TagError, VerifyDepth,
    VerifyError, VerifyReport,
};
pub use tar::TarError;
pub use unpack::UnpackError;
