//! The listing of images.

use std::collections::BTreeMap;

use berth_spec::image::{Descriptor, annotation};

use super::Store;
use super::index::{self, IndexError};
use crate::digest::Digest;
use crate::error::{ErrorKind, Explain};
use crate::image::ImageSummary;
use crate::platform;

/// Why images cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the images")]
pub struct ListError(#[from] IndexError);

impl Explain for ListError {
    fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    fn hints(&self) -> Vec<String> {
        self.0.hints()
    }
}

impl Store {
    /// All images, one row for each digest, in the order of their names; those without a name last.
    ///
    /// An image that cannot be read is listed with what is known of it.
    pub fn images(&self) -> Result<Vec<ImageSummary>, ListError> {
        let index = self.index()?;
        let mut rows: BTreeMap<Digest, ImageSummary> = BTreeMap::new();
        for entry in index.manifests {
            let Ok(digest) = entry.digest.parse::<Digest>() else { continue };
            let name = index::name(&entry);
            let row = rows.entry(digest).or_insert_with(|| self.summary(entry, digest));
            row.names.extend(name);
        }
        let mut rows: Vec<ImageSummary> = rows.into_values().collect();
        for row in &mut rows {
            row.names.sort();
        }
        rows.sort_by(|a, b| {
            (a.names.is_empty(), &a.names, a.digest).cmp(&(b.names.is_empty(), &b.names, b.digest))
        });
        Ok(rows)
    }

    fn summary(&self, mut entry: Descriptor, digest: Digest) -> ImageSummary {
        if !entry.annotations.contains_key(index::ID) {
            self.annotate(&mut entry);
        }
        let note = |key: &str| entry.annotations.get(key).cloned();
        ImageSummary {
            names: Vec::new(),
            digest,
            id: note(index::ID).and_then(|id| id.parse().ok()),
            created: note(annotation::CREATED),
            size: note(index::SIZE).and_then(|size| size.parse().ok()).unwrap_or(entry.size),
            platform: note(index::PLATFORM)
                .or_else(|| entry.platform.as_ref().map(platform::display)),
        }
    }
}
