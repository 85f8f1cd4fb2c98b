//! Bundles: an image as a runtime takes it (image-spec conversion.md, runtime-spec bundle.md).

mod convert;
mod root;
mod user;
mod write;

pub use convert::{
    ConvertError, Converted, Overrides, annotations, process_from_image, runtime_spec, volumes,
};
pub use root::{DirectoryRoot, LayersRoot};
pub use user::{ImageUser, UserError, resolve_groups, resolve_user};
pub use write::{BundleError, WrittenBundle, write_bundle};

use crate::error::FileError;

/// Reads files of an image's root file system without mounting it. Symbolic links are followed
/// within that root and never lead out of it.
pub trait RootLookup {
    /// The content of the file at an absolute path; `None` when there is no such file.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError>;
}
