//! Removing names and images.

use std::time::Duration;

use berth_spec::image::{Descriptor, Index};

use super::collect::Reachable;
use super::index::{self, IndexError};
use super::resolve::ResolveError;
use super::{LEASE_LOCK, Store};
use crate::digest::Digest;
use crate::error::{During as _, ErrorKind, Explain, FileError};
use crate::image::Removed;
use crate::lock::Lock;

/// How long a removal waits for those who add or use content.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a removal may go against what is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RemoveMode {
    /// Refuse when the image has further names (by ID), or when a container uses it.
    #[default]
    Careful,
    /// Remove all names; content in use stays, without a name.
    Force,
}

/// Why an image cannot be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The image is not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Containers use it.
    #[error("the image `{name}` is used by {}", users.join(", "))]
    InUse {
        /// What was to be removed.
        name: String,
        /// The containers.
        users: Vec<String>,
    },
    /// By ID, and the image has several names.
    #[error("the image {id} has several names: {}", names.join(", "))]
    SeveralNames {
        /// What was to be removed.
        id: String,
        /// Its names.
        names: Vec<String>,
    },
    /// The references cannot be changed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Others were adding or using images all the time.
    #[error("other commands are adding or using images, and have been for 30 seconds")]
    Busy,
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for RemoveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::InUse { .. } | Self::SeveralNames { .. } => ErrorKind::Conflict,
            Self::Index(error) => error.kind(),
            Self::Busy => ErrorKind::Unavailable,
            Self::File(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Resolve(error) => error.hints(),
            Self::InUse { .. } => vec!["remove the containers first, or use --force".to_owned()],
            Self::SeveralNames { .. } => {
                vec!["remove one name by that name, or all of them with --force".to_owned()]
            }
            Self::Index(error) => error.hints(),
            Self::Busy => vec!["try again when they are done".to_owned()],
            Self::File(error) => error.hints(),
        }
    }
}

/// Why a prune failed: as a removal can.
pub type PruneError = RemoveError;

impl Store {
    /// Removes a name, and with the last one the image; by ID or digest, all that it has.
    ///
    /// `in_use` says which containers use an image, by its ID (`sha256:…`). It is called while no
    /// lease is held, so a container that holds one until it is recorded is not overlooked.
    pub fn remove(
        &self,
        name: &str,
        mode: RemoveMode,
        in_use: &dyn Fn(&str) -> Vec<String>,
    ) -> Result<Removed, RemoveError> {
        let _alone = self.alone()?;
        let mut removed = Removed::default();
        let index = self.change_index(|index| {
            let target = self.find(index, name)?;
            let digest = &target.descriptor.digest;
            let mut names: Vec<_> = index
                .manifests
                .iter()
                .filter(|entry| entry.digest == *digest)
                .filter_map(index::name)
                .collect();
            if let Some(reference) = &target.reference
                && let [_, _, ..] = names.as_slice()
            {
                names.retain(|name| name == reference);
                index::remove_name(index, reference);
                removed.untagged.push(reference.to_string());
                return Ok::<_, RemoveError>(index.clone());
            }
            if names.len() > 1 && mode == RemoveMode::Careful {
                return Err(RemoveError::SeveralNames {
                    id: name.to_owned(),
                    names: names.iter().map(ToString::to_string).collect(),
                });
            }
            let ids = self.ids(&target.descriptor);
            let users: Vec<String> = ids.iter().flat_map(|id| in_use(&id.to_string())).collect();
            if !users.is_empty() && mode == RemoveMode::Careful {
                return Err(RemoveError::InUse { name: name.to_owned(), users });
            }
            for name in &names {
                index::remove_name(index, name);
                removed.untagged.push(name.to_string());
            }
            if users.is_empty() {
                index.manifests.retain(|entry| entry.digest != *digest);
                removed.images.extend(ids);
            }
            Ok(index.clone())
        })?;
        self.collect(&index, &mut removed)?;
        Ok(removed)
    }

    /// Removes images without a name that nothing uses, and content that nothing leads to.
    pub fn prune(&self, in_use: &dyn Fn(&str) -> Vec<String>) -> Result<Removed, PruneError> {
        self.prune_where(in_use, &|entry| index::base_name(entry).is_none())
    }

    /// Removes every image that nothing uses, with or without a name.
    pub fn prune_unused(
        &self,
        in_use: &dyn Fn(&str) -> Vec<String>,
    ) -> Result<Removed, PruneError> {
        self.prune_where(in_use, &|_| true)
    }

    fn prune_where(
        &self,
        in_use: &dyn Fn(&str) -> Vec<String>,
        wanted: &dyn Fn(&Descriptor) -> bool,
    ) -> Result<Removed, PruneError> {
        let _alone = self.alone()?;
        let mut removed = Removed::default();
        let index = self.change_index(|index| {
            let all = std::mem::take(&mut index.manifests);
            for entry in all {
                let goes = wanted(&entry) && {
                    let ids = self.ids(&entry);
                    let free = ids.iter().all(|id| in_use(&id.to_string()).is_empty());
                    if free {
                        removed.images.extend(ids);
                    }
                    free
                };
                if goes {
                    removed.untagged.extend(index::name(&entry).map(|name| name.to_string()));
                } else {
                    index.manifests.push(entry);
                }
            }
            Ok::<Index, RemoveError>(index.clone())
        })?;
        removed.images.sort();
        removed.images.dedup();
        self.collect(&index, &mut removed)?;
        Ok(removed)
    }

    /// Waits until no lease is held, and keeps new ones waiting.
    fn alone(&self) -> Result<Lock, RemoveError> {
        Lock::take_within(&self.locks, LEASE_LOCK, PATIENCE)
            .during("lock", self.root().join("locks").join(LEASE_LOCK))?
            .ok_or(RemoveError::Busy)
    }

    /// IDs of an entry's images for all platforms, as far as they can be read.
    fn ids(&self, entry: &Descriptor) -> Vec<Digest> {
        let mut reachable = Reachable::default();
        if self.reach(entry, &mut reachable).is_err() {
            reachable.images.extend(self.entry_id(entry));
        }
        reachable.images
    }
}
