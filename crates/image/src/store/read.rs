//! Reading manifests, indexes and configurations from the store (manifest.md, image-index.md,
//! config.md), for one platform.

use berth_spec::image::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};
use serde::de::DeserializeOwned;

use super::blobs::BlobError;
use super::{Store, index};
use crate::digest::{Digest, DigestError};
use crate::error::{ErrorKind, Explain};
use crate::image::Image;
use crate::platform;
use crate::reference::Reference;

/// The largest manifest, index or configuration.
pub(crate) const JSON_LIMIT: u64 = 8 << 20;
/// How deep indexes may be nested.
const NESTING: usize = 4;

/// Why an image in the store cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Its content cannot be had.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A digest in it cannot be used.
    #[error("a descriptor's digest cannot be used")]
    Digest(#[from] DigestError),
    /// Content is not what its media type says.
    #[error("{digest} is not {what}")]
    Json {
        /// Which content.
        digest: Digest,
        /// What it should be.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A media type that is no image's.
    #[error("{digest} is not an image: its media type is `{media_type}`")]
    MediaType {
        /// Which content.
        digest: Digest,
        /// The media type.
        media_type: String,
    },
    /// The index has nothing for the platform.
    #[error("the image has nothing for {wanted}, only for {offered}")]
    Platform {
        /// What was looked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// Indexes within indexes without end.
    #[error("the image's indexes are nested too deep")]
    Nesting,
}

impl Explain for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Blob(error) => error.kind(),
            Self::Platform { .. } => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Blob(error) => error.hints(),
            Self::MediaType { .. } => {
                vec!["it may be an artifact, which can be stored but not run".to_owned()]
            }
            Self::Platform { .. } => {
                vec!["get a variant of the image that was made for this machine".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// What a document with a descriptor is.
pub(crate) enum Json {
    Index(Box<Index>),
    Manifest(Box<Manifest>),
    Other,
}

/// Parses a manifest or index by its media type, or without one by its form.
pub(crate) fn describe(
    descriptor: &Descriptor,
    digest: &Digest,
    bytes: &[u8],
) -> Result<Json, ReadError> {
    match descriptor.media_type.as_str() {
        media_type::INDEX | media_type::DOCKER_LIST => {
            parse(digest, "an image index", bytes).map(|index| Json::Index(Box::new(index)))
        }
        media_type::MANIFEST | media_type::DOCKER_MANIFEST => {
            parse(digest, "an image manifest", bytes)
                .map(|manifest| Json::Manifest(Box::new(manifest)))
        }
        "" => {
            let value: serde_json::Value = parse(digest, "JSON", bytes)?;
            if value.get("manifests").is_some() {
                parse(digest, "an image index", bytes).map(|index| Json::Index(Box::new(index)))
            } else if value.get("config").is_some() {
                parse(digest, "an image manifest", bytes)
                    .map(|manifest| Json::Manifest(Box::new(manifest)))
            } else {
                Ok(Json::Other)
            }
        }
        _ => Ok(Json::Other),
    }
}

pub(crate) fn parse<T: DeserializeOwned>(
    digest: &Digest,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|source| ReadError::Json {
        digest: *digest,
        what,
        source,
    })
}

impl Store {
    /// Reads the image that an entry of the index stands for, for a platform.
    pub(crate) fn read_image(
        &self,
        descriptor: &Descriptor,
        reference: Option<Reference>,
        wanted: &Platform,
    ) -> Result<Image, ReadError> {
        let target: Digest = descriptor.digest.parse()?;
        let mut descriptor = descriptor.clone();
        for _ in 0..NESTING {
            let digest: Digest = descriptor.digest.parse()?;
            let bytes = self.read_blob(&digest, JSON_LIMIT)?;
            match describe(&descriptor, &digest, &bytes)? {
                Json::Manifest(manifest) => {
                    return self.with_config(reference, target, digest, *manifest);
                }
                Json::Index(index) => {
                    descriptor = choose(*index, wanted)?;
                }
                Json::Other => {
                    let media_type = descriptor.media_type;
                    return Err(ReadError::MediaType { digest, media_type });
                }
            }
        }
        Err(ReadError::Nesting)
    }

    fn with_config(
        &self,
        reference: Option<Reference>,
        target: Digest,
        manifest_digest: Digest,
        manifest: Manifest,
    ) -> Result<Image, ReadError> {
        let id: Digest = manifest.config.digest.parse()?;
        let kinds = [media_type::CONFIG, media_type::DOCKER_CONFIG, ""];
        if !kinds.contains(&manifest.config.media_type.as_str()) {
            let media_type = manifest
                .artifact_type
                .clone()
                .unwrap_or_else(|| manifest.config.media_type.clone());
            return Err(ReadError::MediaType { digest: manifest_digest, media_type });
        }
        let config: ImageConfig =
            parse(&id, "an image configuration", &self.read_blob(&id, JSON_LIMIT)?)?;
        let size = manifest.config.size
            + manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
        Ok(Image { reference, target, manifest_digest, id, manifest, config, size })
    }

    /// Notes on a descriptor what a listing shows of the image, as far as it can be told.
    pub(crate) fn annotate(&self, descriptor: &mut Descriptor) {
        for key in [index::ID, index::SIZE, index::PLATFORM] {
            descriptor.annotations.remove(key);
        }
        let Ok(image) = self.read_image(descriptor, None, &platform::host()) else { return };
        let mut note = |key: &str, value: String| {
            descriptor.annotations.insert(key.to_owned(), value);
        };
        note(index::ID, image.id.to_string());
        note(index::SIZE, image.size.to_string());
        note(index::PLATFORM, platform::display(&image.config.platform));
        if let Some(created) = image.config.created {
            note(berth_spec::image::annotation::CREATED, created);
        }
    }
}

/// The entry of an index for a platform; an only entry that names none will do.
fn choose(index: Index, wanted: &Platform) -> Result<Descriptor, ReadError> {
    if let Some(chosen) = platform::choose(wanted, &index.manifests) {
        return Ok(chosen.clone());
    }
    let images: Vec<Descriptor> = index
        .manifests
        .into_iter()
        .filter(|entry| {
            let kinds = [
                media_type::MANIFEST,
                media_type::DOCKER_MANIFEST,
                media_type::INDEX,
                media_type::DOCKER_LIST,
            ];
            kinds.contains(&entry.media_type.as_str())
        })
        .collect();
    if let [only] = images.as_slice()
        && only.platform.is_none()
    {
        return Ok(only.clone());
    }
    let offered: Vec<String> =
        images.iter().filter_map(|entry| entry.platform.as_ref()).map(platform::display).collect();
    Err(ReadError::Platform {
        wanted: platform::display(wanted),
        offered: if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") },
    })
}
