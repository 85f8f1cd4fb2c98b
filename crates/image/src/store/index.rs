//! References: the layout's `index.json` (image-layout.md, "index.json file") is their record.
//!
//! Each name is one descriptor with the whole reference in `org.opencontainers.image.ref.name`; an
//! image without a name is a descriptor without that annotation. What a listing shows is noted in
//! further annotations, so that it need not open every image.

use std::path::PathBuf;

use berth_spec::image::{Descriptor, Index, annotation, media_type};

use super::Store;
use crate::at;
use crate::error::{During as _, ErrorKind, Explain, FileError};
use crate::reference::Reference;

pub(super) const FILE: &str = "index.json";
/// The largest index that is read: room for a hundred thousand references.
const LIMIT: u64 = 64 << 20;

/// Where containerd and others look for the whole reference.
const FULL_NAME: &str = "io.containerd.image.name";
/// Notes of this store for its own listing.
pub(super) const ID: &str = "io.berth.image.id";
pub(super) const SIZE: &str = "io.berth.image.size";
pub(super) const PLATFORM: &str = "io.berth.image.platform";

/// Why the references cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not an image index.
    #[error("{} is not an image index", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

impl Explain for IndexError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Parse { .. } => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::File(error) => error.hints(),
            Self::Parse { .. } => vec![
                "the layout was changed by something else, or the disk is failing: move the file \
                 away and load the images again"
                    .to_owned(),
            ],
        }
    }
}

/// An index without images.
pub(super) fn empty() -> Index {
    Index { schema_version: 2, media_type: Some(media_type::INDEX.to_owned()), ..Index::default() }
}

impl Store {
    /// The references as they are now.
    pub(crate) fn index(&self) -> Result<Index, IndexError> {
        let path = self.images_path().join(FILE);
        let file = match at::open_file(&self.images, FILE.as_bytes()) {
            Err(rustix::io::Errno::NOENT) => return Ok(empty()),
            result => result.during("open", &path)?,
        };
        let bytes = at::read_all(file, LIMIT).during("read", &path)?;
        serde_json::from_slice(&bytes).map_err(|source| IndexError::Parse { path, source })
    }

    /// Changes the references, alone among all processes. Nothing is written when `change` fails.
    pub(crate) fn change_index<T, E: From<IndexError>>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = self.lock_index().map_err(IndexError::from)?;
        let mut index = self.index()?;
        let before = index.clone();
        let value = change(&mut index)?;
        if index != before {
            self.write_index(&index).map_err(IndexError::from)?;
        }
        Ok(value)
    }

    pub(super) fn write_index(&self, index: &Index) -> Result<(), FileError> {
        let path = self.images_path().join(FILE);
        let bytes =
            serde_json::to_vec(index).map_err(std::io::Error::from).during("serialise", &path)?;
        at::replace_file(&self.images, FILE.as_bytes(), &bytes).during("write", &path)
    }
}

/// The name of an entry of a layout, as somebody wrote it there: the whole reference where there
/// is one, else perhaps only a tag.
pub(crate) fn base_name(descriptor: &Descriptor) -> Option<&str> {
    let annotations = &descriptor.annotations;
    annotations.get(FULL_NAME).or_else(|| annotations.get(annotation::REF_NAME)).map(String::as_str)
}

/// The reference of an entry of this store.
pub(crate) fn name(descriptor: &Descriptor) -> Option<Reference> {
    Reference::parse(base_name(descriptor)?).ok()
}

/// Makes `reference` stand for `descriptor` alone, or without a reference keeps the descriptor as
/// an image without a name. What had the name before keeps a place without it.
pub(crate) fn set_name(
    index: &mut Index,
    reference: Option<&Reference>,
    mut descriptor: Descriptor,
) {
    descriptor.annotations.remove(annotation::REF_NAME);
    descriptor.annotations.remove(FULL_NAME);
    let Some(reference) = reference else {
        if !index.manifests.iter().any(|entry| entry.digest == descriptor.digest) {
            index.manifests.push(descriptor);
        }
        return;
    };
    remove_name(index, reference);
    index.manifests.retain(|entry| entry.digest != descriptor.digest || base_name(entry).is_some());
    let text = reference.to_string();
    descriptor.annotations.insert(annotation::REF_NAME.to_owned(), text.clone());
    descriptor.annotations.insert(FULL_NAME.to_owned(), text);
    index.manifests.push(descriptor);
}

/// Takes a name away; an image that has no other keeps a place without one. Says whether there
/// was such a name.
pub(crate) fn remove_name(index: &mut Index, reference: &Reference) -> bool {
    let (named, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut index.manifests)
        .into_iter()
        .partition(|entry| name(entry).as_ref() == Some(reference));
    index.manifests = rest;
    let found = !named.is_empty();
    for entry in named {
        set_name(index, None, entry);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(digest: &str) -> Descriptor {
        Descriptor { digest: digest.to_owned(), ..Descriptor::default() }
    }

    fn names(index: &Index) -> Vec<(String, Option<String>)> {
        let row =
            |entry: &Descriptor| (entry.digest.clone(), name(entry).map(|name| name.to_string()));
        index.manifests.iter().map(row).collect()
    }

    #[test]
    fn a_name_moves_and_leaves_an_image_without_one() {
        let mut index = empty();
        let debian = Reference::parse("debian").unwrap();
        let other = Reference::parse("other").unwrap();
        set_name(&mut index, Some(&debian), descriptor("a"));
        set_name(&mut index, Some(&debian), descriptor("b"));
        let debian_name = Some("docker.io/library/debian:latest".to_owned());
        assert_eq!(names(&index), [("a".into(), None), ("b".into(), debian_name.clone())]);
        set_name(&mut index, Some(&other), descriptor("a"));
        assert_eq!(names(&index).len(), 2);
        assert!(names(&index).iter().all(|(_, name)| name.is_some()));
        set_name(&mut index, Some(&other), descriptor("b"));
        assert!(remove_name(&mut index, &debian));
        assert!(!remove_name(&mut index, &debian));
        assert_eq!(index.manifests.len(), 2);
    }
}
