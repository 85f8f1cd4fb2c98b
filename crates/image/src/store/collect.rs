//! Garbage collection: content and layers that no reference leads to go.
//!
//! The caller holds the lease lock alone, so nobody is adding or using anything meanwhile.

use std::collections::HashSet;

use berth_spec::image::{Descriptor, ImageConfig, Index};
use rustix::fs::{self as sys, AtFlags};

use super::read::{JSON_LIMIT, Json, ReadError, describe, parse};
use super::{Store, index};
use crate::at;
use crate::digest::{self, Digest};
use crate::error::{During as _, FileError};
use crate::image::Removed;
use crate::unpack::LayerRecord;

/// What references lead to.
#[derive(Default)]
pub(super) struct Reachable {
    pub(super) blobs: HashSet<Digest>,
    /// Chain IDs.
    pub(super) layers: HashSet<Digest>,
    /// IDs of images, for every platform.
    pub(super) images: Vec<Digest>,
}

impl Store {
    /// Everything that a descriptor leads to. What is not in the store leads no further.
    pub(super) fn reach(
        &self,
        descriptor: &Descriptor,
        reachable: &mut Reachable,
    ) -> Result<(), ReadError> {
        let mut queue = vec![descriptor.clone()];
        while let Some(descriptor) = queue.pop() {
            let digest: Digest = descriptor.digest.parse()?;
            if !reachable.blobs.insert(digest) || self.blob_size(&digest).is_none() {
                continue;
            }
            let is_document = descriptor.size <= JSON_LIMIT
                && !descriptor.media_type.contains(".tar")
                && !descriptor.media_type.contains(".layer.");
            if !is_document {
                continue;
            }
            let bytes = self.read_blob(&digest, JSON_LIMIT)?;
            match describe(&descriptor, &digest, &bytes)? {
                Json::Index(index) => {
                    queue.extend(index.manifests);
                    queue.extend(index.subject);
                }
                Json::Manifest(manifest) => {
                    for layer in &manifest.layers {
                        reachable.blobs.insert(layer.digest.parse()?);
                    }
                    let id: Digest = manifest.config.digest.parse()?;
                    reachable.blobs.insert(id);
                    reachable.images.push(id);
                    queue.extend(manifest.subject);
                    self.reach_layers(&id, reachable)?;
                }
                Json::Other => {}
            }
        }
        Ok(())
    }

    fn reach_layers(&self, id: &Digest, reachable: &mut Reachable) -> Result<(), ReadError> {
        if self.blob_size(id).is_none() {
            return Ok(());
        }
        let bytes = self.read_blob(id, JSON_LIMIT)?;
        // An artifact's configuration may be anything.
        let Ok(config) = parse::<ImageConfig>(id, "an image configuration", &bytes) else {
            return Ok(());
        };
        let mut chain = None;
        for diff_id in &config.rootfs.diff_ids {
            let Ok(diff_id) = diff_id.parse::<Digest>() else { break };
            let chain_id = digest::chain(chain.as_ref(), &diff_id);
            reachable.layers.insert(chain_id);
            chain = Some(chain_id);
        }
        Ok(())
    }

    /// Removes what the index does not lead to. Where an image of the index cannot be read, what
    /// it leads to is unknown, and nothing is removed.
    pub(super) fn collect(&self, index: &Index, removed: &mut Removed) -> Result<(), FileError> {
        let mut reachable = Reachable::default();
        for entry in &index.manifests {
            if let Err(error) = self.reach(entry, &mut reachable) {
                tracing::warn!(
                    name = index::base_name(entry).unwrap_or_default(),
                    error = %error,
                    "an image cannot be read, so nothing is collected: remove it or load it again"
                );
                return Ok(());
            }
        }
        self.collect_blobs(&reachable, removed)?;
        self.collect_layers(&reachable, removed)
    }

    fn collect_blobs(&self, reachable: &Reachable, removed: &mut Removed) -> Result<(), FileError> {
        let path = self.images_path().join("blobs/sha256");
        for (name, _) in at::list(&self.blobs).during("list", &path)? {
            let digest = std::str::from_utf8(&name).ok().and_then(Digest::from_hex);
            let Some(digest) = digest.filter(|digest| !reachable.blobs.contains(digest)) else {
                continue;
            };
            let size = self.blob_size(&digest).unwrap_or(0);
            sys::unlinkat(&self.blobs, name.as_slice(), AtFlags::empty())
                .during("remove", self.blob_path(&digest))?;
            removed.reclaimed += size;
            removed.deleted.push(digest);
        }
        Ok(())
    }

    fn collect_layers(
        &self,
        reachable: &Reachable,
        removed: &mut Removed,
    ) -> Result<(), FileError> {
        let mut scratch = None;
        for (name, _) in at::list(&self.layers).during("list", self.layers_path())? {
            let chain_id = std::str::from_utf8(&name).ok().and_then(Digest::from_hex);
            let Some(chain_id) = chain_id.filter(|id| !reachable.layers.contains(id)) else {
                continue;
            };
            let path = self.layers_path().join(chain_id.hex());
            let size = self.layer_record(&chain_id).map_or(0, |record: LayerRecord| record.size);
            let scratch = match &scratch {
                Some(scratch) => scratch,
                None => scratch.insert(self.scratch()?),
            };
            scratch.discard(&self.layers, &name).during("remove", path)?;
            removed.reclaimed += size;
        }
        Ok(())
    }
}
