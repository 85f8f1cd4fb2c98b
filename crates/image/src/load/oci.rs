//! OCI image layouts: `oci-layout`, `index.json`, `blobs/` (image-layout.md).

use std::collections::HashSet;

use berth_spec::image::{Descriptor, Index};

use super::{LoadError, LoadOptions, Loader, Origin, Stored};
use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::{Json, base_name, describe};

/// How deep indexes may be nested.
const NESTING: usize = 4;

pub(super) fn load(
    loader: &Loader<'_>,
    origin: &Origin,
    options: &LoadOptions,
) -> Result<Vec<Stored>, LoadError> {
    check_version(loader)?;
    let index: Index = serde_json::from_slice(&loader.document("index.json")?)
        .map_err(|source| LoadError::Json { what: "index.json".to_owned(), source })?;
    let wanted = select(index.manifests, options.only.as_deref())?;
    // The same content may stand under several names.
    let mut stored: Vec<Stored> = Vec::new();
    let is_only =
        wanted.iter().all(|entry| Some(&entry.digest) == wanted.first().map(|first| &first.digest));
    let mut seen = HashSet::new();
    for entry in &wanted {
        store_tree(loader, entry, 0, &mut seen)?;
        let name = name(entry, origin, options, is_only)?;
        match stored.iter_mut().find(|stored| stored.descriptor.digest == entry.digest) {
            Some(known) => known.names.extend(name),
            None => {
                stored
                    .push(Stored { descriptor: entry.clone(), names: name.into_iter().collect() });
            }
        }
    }
    for image in &mut stored {
        image.names.sort();
        image.names.dedup();
    }
    Ok(stored)
}

fn check_version(loader: &Loader<'_>) -> Result<(), LoadError> {
    let layout: serde_json::Value = serde_json::from_slice(&loader.document("oci-layout")?)
        .map_err(|source| LoadError::Json { what: "oci-layout".to_owned(), source })?;
    match layout.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
        Some("1.0.0") => Ok(()),
        other => Err(LoadError::Version(other.unwrap_or_default().to_owned())),
    }
}

fn select(entries: Vec<Descriptor>, only: Option<&str>) -> Result<Vec<Descriptor>, LoadError> {
    let Some(wanted) = only else { return Ok(entries) };
    let is_wanted = |entry: &&Descriptor| {
        let tag = entry.annotations.get(berth_spec::image::annotation::REF_NAME);
        tag.is_some_and(|tag| tag == wanted) || base_name(entry) == Some(wanted)
    };
    let selected: Vec<Descriptor> = entries.iter().filter(is_wanted).cloned().collect();
    if selected.is_empty() {
        let available =
            entries.iter().filter_map(base_name).map(|name| format!("`{name}`")).collect();
        return Err(LoadError::NoSuchImage { wanted: wanted.to_owned(), available });
    }
    Ok(selected)
}

/// The name for an entry: the whole reference that it has; or its tag with the repository that
/// was given or that the source's name makes.
fn name(
    entry: &Descriptor,
    origin: &Origin,
    options: &LoadOptions,
    is_only: bool,
) -> Result<Option<Reference>, LoadError> {
    let given = options.name.clone();
    let written = base_name(entry);
    if let Some(text) = written.filter(|text| text.contains(['/', ':'])) {
        return Reference::parse(text)
            .map(|reference| reference.without_digest())
            .map_err(|source| LoadError::Name { name: text.to_owned(), source });
    }
    if is_only && given.is_some() {
        return Ok(given.and_then(|given| given.without_digest()));
    }
    let repository = given.or_else(|| origin.repository());
    match (repository, written) {
        (Some(repository), Some(tag)) => repository
            .with_tag(tag)
            .map(Some)
            .map_err(|source| LoadError::Name { name: tag.to_owned(), source }),
        (Some(repository), None) if is_only => Ok(repository.without_digest()),
        _ => Ok(None),
    }
}

/// Stores everything that a descriptor leads to, what is led to before what leads there.
fn store_tree(
    loader: &Loader<'_>,
    descriptor: &Descriptor,
    depth: usize,
    seen: &mut HashSet<Digest>,
) -> Result<(), LoadError> {
    if depth > NESTING {
        return Err(LoadError::Nesting);
    }
    let digest: Digest = descriptor.digest.parse()?;
    if !seen.insert(digest) {
        return Ok(());
    }
    let member = member(&digest);
    let is_layer =
        descriptor.media_type.contains(".layer.") || descriptor.media_type.contains(".tar");
    if is_layer {
        return loader.store_known(&member, &digest, descriptor.size);
    }
    let bytes = loader.document(&member)?;
    super::check(&digest, descriptor.size, &Digest::of(&bytes), bytes.len() as u64)?;
    match describe(descriptor, &digest, &bytes)? {
        Json::Index(index) => {
            let mut found = 0;
            for child in &index.manifests {
                // An index may come with some of its platforms only.
                if loader.members.has(&self::member(&child.digest.parse()?)) {
                    store_tree(loader, child, depth + 1, seen)?;
                    found += 1;
                }
            }
            if let (0, Some(first)) = (found, index.manifests.first()) {
                return Err(LoadError::Missing(self::member(&first.digest.parse()?)));
            }
        }
        Json::Manifest(manifest) => {
            let mut parts: Vec<&Descriptor> = Vec::new();
            for part in manifest.layers.iter().chain([&manifest.config]) {
                let is_new = seen.insert(part.digest.parse()?);
                // Content that is to be had elsewhere need not be here.
                let is_elsewhere = !part.urls.is_empty()
                    && !loader.members.has(&self::member(&part.digest.parse()?));
                if is_new && !is_elsewhere {
                    parts.push(part);
                }
            }
            super::store_all(&parts, |part| {
                let digest = part.digest.parse()?;
                loader.store_known(&self::member(&digest), &digest, part.size)
            })?;
        }
        Json::Other => {}
    }
    loader.store_known(&member, &digest, descriptor.size)
}

fn member(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
