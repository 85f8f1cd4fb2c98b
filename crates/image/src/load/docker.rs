//! Archives of `docker save`: `manifest.json` lists images by their configuration, tags and layers.
//!
//! Layers are uncompressed tars as a rule (`ID/layer.tar`, links between them where they are the
//! same, or `DIGEST.tar`); some programs compress them. The image gets an OCI manifest, and keeps
//! its configuration byte for byte and so its ID.

use std::collections::HashMap;
use std::sync::Mutex;

use berth_spec::image::{Descriptor, ImageConfig, Manifest, media_type};
use serde::Deserialize;

use super::{LoadError, LoadOptions, Loader, Stored};
use crate::compression::{Compression, sniff};
use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::BlobError;

/// An image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn load(loader: &Loader<'_>, options: &LoadOptions) -> Result<Vec<Stored>, LoadError> {
    let items: Vec<Item> = serde_json::from_slice(&loader.document("manifest.json")?)
        .map_err(|source| LoadError::Json { what: "manifest.json".to_owned(), source })?;
    let items = select(items, options.only.as_deref())?;
    let is_only = items.len() == 1;
    let layers = Mutex::new(HashMap::new());
    items
        .iter()
        .map(|item| {
            let mut names = names(item)?;
            if names.is_empty() && is_only {
                names.extend(options.name.as_ref().and_then(Reference::without_digest));
            }
            Ok(Stored { descriptor: store_image(loader, item, &layers)?, names })
        })
        .collect()
}

fn select(items: Vec<Item>, only: Option<&str>) -> Result<Vec<Item>, LoadError> {
    let Some(wanted) = only else { return Ok(items) };
    let reference = Reference::parse(wanted).ok();
    let is_wanted = |tag: &String| tag == wanted || Reference::parse(tag).ok() == reference;
    let available: Vec<String> = items
        .iter()
        .flat_map(|item| item.repo_tags.iter().flatten())
        .map(|tag| format!("`{tag}`"))
        .collect();
    let selected: Vec<Item> = items
        .into_iter()
        .filter_map(|mut item| {
            let tags: Vec<String> = item.repo_tags.take()?.into_iter().filter(is_wanted).collect();
            (!tags.is_empty()).then_some(Item { repo_tags: Some(tags), ..item })
        })
        .collect();
    if selected.is_empty() {
        return Err(LoadError::NoSuchImage { wanted: wanted.to_owned(), available });
    }
    Ok(selected)
}

fn names(item: &Item) -> Result<Vec<Reference>, LoadError> {
    item.repo_tags
        .iter()
        .flatten()
        .filter(|tag| !tag.contains("<none>"))
        .map(|tag| {
            Reference::parse(tag).map_err(|source| LoadError::Name { name: tag.clone(), source })
        })
        .collect()
}

/// What is known of the layers that came by already, by their names in the archive.
type Known = Mutex<HashMap<String, (Descriptor, Digest)>>;

fn store_image(loader: &Loader<'_>, item: &Item, known: &Known) -> Result<Descriptor, LoadError> {
    let config_bytes = loader.document(&item.config)?;
    let config: ImageConfig = serde_json::from_slice(&config_bytes).map_err(|source| {
        LoadError::Json { what: format!("the configuration `{}`", item.config), source }
    })?;
    let members = item.layers.as_deref().unwrap_or_default();
    let diff_ids = &config.rootfs.diff_ids;
    if members.len() != diff_ids.len() {
        return Err(LoadError::Layers {
            image: item.config.clone(),
            layers: members.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let stored = super::store_all(members, |member| store_layer(loader, member, known))?;
    let mut layers = Vec::new();
    for ((member, diff_id), (descriptor, digest)) in members.iter().zip(diff_ids).zip(stored) {
        let expected: Digest = diff_id.parse()?;
        if descriptor.media_type == media_type::LAYER && digest != expected {
            return Err(LoadError::DiffId { member: member.clone(), expected, actual: digest });
        }
        layers.push(descriptor);
    }
    let id = loader.keep_bytes(&config_bytes)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        config: Descriptor {
            media_type: media_type::CONFIG.to_owned(),
            digest: id.to_string(),
            size: config_bytes.len() as u64,
            ..Descriptor::default()
        },
        layers,
        ..Manifest::default()
    };
    let bytes = serde_json::to_vec(&manifest)
        .map_err(|source| LoadError::Json { what: "the manifest".to_owned(), source })?;
    let digest = loader.keep_bytes(&bytes)?;
    Ok(Descriptor {
        media_type: media_type::MANIFEST.to_owned(),
        digest: digest.to_string(),
        size: bytes.len() as u64,
        ..Descriptor::default()
    })
}

fn store_layer(
    loader: &Loader<'_>,
    member: &String,
    known: &Known,
) -> Result<(Descriptor, Digest), LoadError> {
    let lock = || known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(layer) = lock().get(member) {
        return Ok(layer.clone());
    }
    let (digest, size) = loader.store_unknown(member)?;
    let start = loader.start(&digest)?;
    let compression = sniff(&start).map_err(|format| {
        let problem = format!("it is compressed with {}, which is not supported", format.0);
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, problem);
        BlobError::Source { subject: member.clone(), source }
    })?;
    let media_type = match compression {
        Compression::None => media_type::LAYER,
        Compression::Gzip => media_type::LAYER_GZIP,
        Compression::Zstd => media_type::LAYER_ZSTD,
    };
    let descriptor = Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size,
        ..Descriptor::default()
    };
    lock().insert(member.clone(), (descriptor.clone(), digest));
    Ok((descriptor, digest))
}
