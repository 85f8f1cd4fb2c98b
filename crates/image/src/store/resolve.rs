//! Finding an image by what a person calls it.

use berth_spec::image::{Descriptor, Index, Platform};

use super::Store;
use super::index::{self, IndexError};
use super::read::ReadError;
use crate::digest::Digest;
use crate::error::{ErrorKind, Explain};
use crate::image::Image;
use crate::platform;
use crate::reference::{Reference, ReferenceError};

/// The shortest beginning of an ID that is taken for one.
const SHORTEST: usize = 3;

/// Why an image is not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The references cannot be read.
    #[error("cannot look for the image `{name}`")]
    Index {
        /// What was looked for.
        name: String,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// There is no such image.
    #[error("no image `{name}` in the store")]
    NotFound {
        /// What was looked for.
        name: String,
        /// Names that are like it.
        similar: Vec<String>,
    },
    /// It is no name at all.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Several images' IDs begin so.
    #[error("`{name}` is the beginning of the IDs of {} images", ids.len())]
    Ambiguous {
        /// What was looked for.
        name: String,
        /// The IDs.
        ids: Vec<Digest>,
    },
    /// It is there and cannot be read.
    #[error("cannot read the image `{name}`")]
    Read {
        /// What was looked for.
        name: String,
        /// Why.
        #[source]
        source: ReadError,
    },
}

impl Explain for ResolveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Index { source, .. } => source.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Reference(_) | Self::Ambiguous { .. } => ErrorKind::Invalid,
            Self::Read { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Index { source, .. } => source.hints(),
            Self::NotFound { similar, .. } if similar.is_empty() => vec![
                "`berth images` lists what there is; `berth load -i FILE` adds an image".to_owned(),
            ],
            Self::NotFound { similar, .. } => {
                vec![format!("did you mean {}?", similar.join(" or "))]
            }
            Self::Reference(_) => Vec::new(),
            Self::Ambiguous { ids, .. } => {
                let ids: Vec<String> = ids.iter().map(Digest::short).collect();
                vec![format!("give more digits: {}", ids.join(", "))]
            }
            Self::Read { source, .. } => source.hints(),
        }
    }
}

/// What a name led to.
pub(crate) struct Target {
    pub(crate) descriptor: Descriptor,
    /// The name that it was found by; absent when found by ID or digest.
    pub(crate) reference: Option<Reference>,
}

impl Store {
    /// Finds an image by `name[:tag]`, `name@digest`, digest, ID, or a unique beginning of an ID
    /// (three digits or more), for this machine's platform.
    pub fn resolve(&self, name: &str) -> Result<Image, ResolveError> {
        self.resolve_for(name, &platform::host())
    }

    /// The same for another platform.
    pub fn resolve_for(&self, name: &str, wanted: &Platform) -> Result<Image, ResolveError> {
        let index =
            self.index().map_err(|source| ResolveError::Index { name: name.to_owned(), source })?;
        let target = self.find(&index, name)?;
        self.read_image(&target.descriptor, target.reference, wanted)
            .map_err(|source| ResolveError::Read { name: name.to_owned(), source })
    }

    /// Finds the entry that a person means.
    pub(crate) fn find(&self, index: &Index, name: &str) -> Result<Target, ResolveError> {
        let candidates = Reference::candidates(name);
        for candidate in candidates.iter().flatten() {
            let found = index.manifests.iter().find(|entry| matches(entry, candidate));
            if let Some(entry) = found {
                let reference = candidate.without_digest().or_else(|| index::name(entry));
                return Ok(Target { descriptor: entry.clone(), reference });
            }
        }
        if let Some(target) = self.find_by_id(index, name)? {
            return Ok(target);
        }
        // A name that is none is told so, unless it looks like an ID.
        let looks_like_id = hex_part(name).is_some();
        match candidates {
            Err(error) if !looks_like_id => Err(error.into()),
            _ => {
                Err(ResolveError::NotFound { name: name.to_owned(), similar: similar(index, name) })
            }
        }
    }

    fn find_by_id(&self, index: &Index, name: &str) -> Result<Option<Target>, ResolveError> {
        let Some(hex) = hex_part(name) else { return Ok(None) };
        let mut found: Vec<(Digest, &Descriptor)> = Vec::new();
        for entry in &index.manifests {
            let target = entry.digest.strip_prefix("sha256:") == Some(hex);
            let id = self.entry_id(entry);
            if !target && !id.is_some_and(|id| id.hex().starts_with(hex)) {
                continue;
            }
            let Some(key) = id.or_else(|| entry.digest.parse().ok()) else { continue };
            if !found.iter().any(|(known, _)| *known == key) {
                found.push((key, entry));
            }
        }
        match found.as_slice() {
            [] => Ok(None),
            [(_, entry)] => Ok(Some(Target { descriptor: (*entry).clone(), reference: None })),
            several => Err(ResolveError::Ambiguous {
                name: name.to_owned(),
                ids: several.iter().map(|(id, _)| *id).collect(),
            }),
        }
    }

    /// The ID that is noted on a descriptor.
    pub(crate) fn noted_id(entry: &Descriptor) -> Option<Digest> {
        entry.annotations.get(index::ID).and_then(|id| id.parse().ok())
    }

    /// The image's ID: as noted, or read from an image that another tool put here.
    pub(super) fn entry_id(&self, entry: &Descriptor) -> Option<Digest> {
        if let Some(id) = Self::noted_id(entry) {
            return Some(id);
        }
        self.read_image(entry, None, &platform::host()).ok().map(|image| image.id)
    }
}

/// Whether an entry has the candidate's name (and digest, where it has one).
fn matches(entry: &Descriptor, candidate: &Reference) -> bool {
    let Some(name) = index::name(entry) else { return false };
    match candidate.digest() {
        None => name == *candidate,
        Some(digest) => {
            name.name() == candidate.name()
                && entry.digest == digest.to_string()
                && candidate.tag().is_none_or(|tag| name.tag() == Some(tag))
        }
    }
}

/// The digits of something that may be an ID.
fn hex_part(name: &str) -> Option<&str> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let digits = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ((SHORTEST..=64).contains(&hex.len()) && digits).then_some(hex)
}

/// Names whose last part is like the one that was looked for.
fn similar(index: &Index, name: &str) -> Vec<String> {
    let last = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or_default();
        name.split([':', '@']).next().unwrap_or_default().to_owned()
    };
    let wanted = last(name);
    let mut names: Vec<String> = index
        .manifests
        .iter()
        .filter_map(index::name)
        .filter(|reference| {
            let have = last(reference.repository());
            !wanted.is_empty()
                && (have == wanted || have.starts_with(&wanted) || wanted.starts_with(&have))
        })
        .map(|reference| format!("`{reference}`"))
        .collect();
    names.truncate(3);
    names
}
