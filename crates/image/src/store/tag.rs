//! Giving an image a further name.

use super::index::{self, IndexError};
use super::resolve::ResolveError;
use super::{LeaseError, Store};
use crate::error::{ErrorKind, Explain};
use crate::reference::{Reference, ReferenceError};

/// Why an image cannot be given a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The image is not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The new name is none.
    #[error("cannot give the image the name `{name}`")]
    Reference {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// The new name has a digest.
    #[error(
        "cannot give the image the name `{0}`: a name that has a digest stands for that already"
    )]
    Digest(String),
    /// The references cannot be changed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be locked.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Explain for TagError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::Reference { .. } | Self::Digest(_) => ErrorKind::Invalid,
            Self::Index(error) => error.kind(),
            Self::Lease(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Resolve(error) => error.hints(),
            Self::Index(error) => error.hints(),
            Self::Lease(error) => error.hints(),
            Self::Reference { .. } | Self::Digest(_) => Vec::new(),
        }
    }
}

impl Store {
    /// Gives the image `name` the further name `new`, which is taken from whatever had it.
    pub fn tag(&self, name: &str, new: &str) -> Result<Reference, TagError> {
        let reference = Reference::parse(new)
            .map_err(|source| TagError::Reference { name: new.to_owned(), source })?;
        if reference.digest().is_some() {
            return Err(TagError::Digest(new.to_owned()));
        }
        let _lease = self.lease()?;
        self.change_index(|index| {
            let target = self.find(index, name)?;
            index::set_name(index, Some(&reference), target.descriptor);
            Ok::<_, TagError>(())
        })?;
        Ok(reference)
    }
}
