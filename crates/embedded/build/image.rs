//! The image around the layer: configuration, manifest, index, and the layout as one archive
//! (image-spec: config.md, manifest.md, image-layout.md).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::BuildError;
use crate::rootfs::TIME;

/// When the image was made, as `TIME` says it in seconds.
const CREATED: &str = "2026-01-01T00:00:00Z";
/// The full reference; the crate's library has the same.
const REFERENCE: &str = "berth.local/demo:latest";
/// Media types of the image specification.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The digest of some bytes.
fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The blobs of a layout, by digest.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds a blob and gives its descriptor.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.0.insert(digest, bytes);
        descriptor
    }
}

/// Go's name for a CPU architecture, which the image specification uses.
fn go_architecture(architecture: &str) -> Result<&'static str, BuildError> {
    Ok(match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "arm" => "arm",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "s390x" => "s390x",
        "loongarch64" => "loong64",
        other => return Err(BuildError::Architecture(other.to_owned())),
    })
}

/// A document as bytes.
fn bytes(document: &Value) -> Result<Vec<u8>, BuildError> {
    serde_json::to_vec(document).map_err(BuildError::Json)
}

/// The OCI archive of an image with one layer.
pub fn archive(layer: &[u8], architecture: &str) -> Result<Vec<u8>, BuildError> {
    let mut blobs = Blobs::default();
    let mut packer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    packer.write_all(layer).map_err(BuildError::Archive)?;
    let packed = packer.finish().map_err(BuildError::Archive)?;
    let architecture = go_architecture(architecture)?;
    let layer_descriptor = blobs.add(LAYER, packed);
    let config = blobs.add(CONFIG, bytes(&configuration(architecture, &digest(layer)))?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer_descriptor],
        "annotations": {"org.opencontainers.image.created": CREATED},
    });
    let mut descriptor = blobs.add(MANIFEST, bytes(&manifest)?);
    descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": REFERENCE});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
    pack(&blobs, &bytes(&index)?).map_err(BuildError::Archive)
}

/// The image's configuration.
fn configuration(architecture: &str, diff_id: &str) -> Value {
    json!({
        "created": CREATED,
        "author": "berth",
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "BERTH_IMAGE=demo",
            ],
            "Cmd": ["/bin/hello"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "berth demo",
                "org.opencontainers.image.description":
                    "berth's applets, for first steps and tests",
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            },
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [
            {
                "created": CREATED,
                "author": "berth",
                "created_by": "berth-applets and its files, assembled at build time",
            },
            {
                "created": CREATED,
                "author": "berth",
                "created_by": "CMD [\"/bin/hello\"]",
                "empty_layer": true,
            },
        ],
    })
}

/// Writes the layout as a tar archive.
fn pack(blobs: &Blobs, index: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let header = |entry_type: EntryType, mode: u32, size: usize| {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry_type);
        header.set_mode(mode);
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size as u64);
        header
    };
    let directory = || header(EntryType::Directory, 0o755, 0);
    let file = |size: usize| header(EntryType::Regular, 0o644, size);
    archive.append_data(&mut directory(), "blobs/", io::empty())?;
    archive.append_data(&mut directory(), "blobs/sha256/", io::empty())?;
    for (digest, bytes) in &blobs.0 {
        let path = format!("blobs/{}", digest.replace(':', "/"));
        archive.append_data(&mut file(bytes.len()), path, bytes.as_slice())?;
    }
    archive.append_data(&mut file(index.len()), "index.json", index)?;
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    archive.append_data(&mut file(layout.len()), "oci-layout", layout.as_slice())?;
    archive.into_inner()
}
