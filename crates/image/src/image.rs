//! What the store gives out: one image for one platform, and the rows of a listing.

use berth_spec::image::{Descriptor, ExecutionConfig, ImageConfig, Manifest};

use crate::digest::{self, Digest, DigestError};
use crate::reference::Reference;

/// An image for one platform: its manifest and configuration, checked against their digests.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The name that it was found by; absent when found by ID or digest.
    pub reference: Option<Reference>,
    /// Digest of what the name stands for: the manifest, or the index that holds it.
    pub target: Digest,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// The image's ID: digest of the configuration.
    pub id: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// Bytes of configuration and layers as they are stored.
    pub size: u64,
}

impl Image {
    /// The execution parameters; defaults when the image has none.
    pub fn execution(&self) -> ExecutionConfig {
        self.config.config.clone().unwrap_or_default()
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> Result<Vec<ImageLayer>, LayersError> {
        let (layers, diff_ids) = (&self.manifest.layers, &self.config.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            return Err(LayersError::Count {
                image: self.id,
                layers: layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        let mut chain = None;
        layers
            .iter()
            .zip(diff_ids)
            .map(|(descriptor, diff_id)| {
                let read = |text: &str| {
                    text.parse::<Digest>()
                        .map_err(|source| LayersError::Digest { image: self.id, source })
                };
                let (digest, diff_id) = (read(&descriptor.digest)?, read(diff_id)?);
                let parent = chain;
                let chain_id = digest::chain(chain.as_ref(), &diff_id);
                chain = Some(chain_id);
                Ok(ImageLayer { descriptor: descriptor.clone(), digest, diff_id, chain_id, parent })
            })
            .collect()
    }
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// Where its content is described.
    pub descriptor: Descriptor,
    /// Digest of the layer as it is stored.
    pub digest: Digest,
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Identifies this layer upon those below it.
    pub chain_id: Digest,
    /// The chain ID of the layers below.
    pub parent: Option<Digest>,
}

/// Why an image's layers cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayersError {
    /// Manifest and configuration disagree.
    #[error(
        "image {}: the manifest has {layers} layers, but the configuration's `rootfs.diff_ids` has \
         {diff_ids}", image.short()
    )]
    Count {
        /// The image.
        image: Digest,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A digest is not one.
    #[error("image {}: a layer's digest cannot be used", image.short())]
    Digest {
        /// The image.
        image: Digest,
        /// Why.
        #[source]
        source: DigestError,
    },
}

/// A row of the listing: everything that is stored under one digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// All its names, in order; none for a dangling image.
    pub names: Vec<Reference>,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// The image's ID; absent when the index holds nothing for this machine, or an artifact.
    pub id: Option<Digest>,
    /// When it was created (RFC 3339), if it says so.
    pub created: Option<String>,
    /// Bytes of configuration and layers as they are stored, for this machine's platform.
    pub size: u64,
    /// The platform, as `os/architecture[/variant]`.
    pub platform: Option<String>,
}

/// An image that came in by `load` or `import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// The names that it has now; none when the source had none.
    pub names: Vec<Reference>,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// The image's ID, where the index holds something for this machine.
    pub id: Option<Digest>,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// Digests of manifests, indexes, configurations and layers that are gone.
    pub deleted: Vec<Digest>,
    /// Images (by ID) whose last name is gone and whose content went with it.
    pub images: Vec<Digest>,
    /// Bytes that became free: blobs, and what unpacked layers had in them.
    pub reclaimed: u64,
}
