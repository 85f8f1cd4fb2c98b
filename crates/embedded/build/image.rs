//! The image around the layer: configuration, manifest, index, and the layout as one archive
//! (image-spec: config.md, manifest.md, image-layout.md).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use berth_spec::image::{
    Descriptor, ExecutionConfig, History, ImageConfig, Index, Manifest, Platform, RootFs,
    annotation, media_type,
};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::BuildError;
use crate::rootfs::TIME;

/// When the image was made, as `TIME` says it in seconds.
const CREATED: &str = "2026-01-01T00:00:00Z";
/// The full reference; the crate's library has the same.
const REFERENCE: &str = "berth.local/demo:latest";

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
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let digest = digest(&bytes);
        let size = bytes.len() as u64;
        self.0.insert(digest.clone(), bytes);
        Descriptor { media_type: media_type.to_owned(), digest, size, ..Descriptor::default() }
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

/// The OCI archive of an image with one layer.
pub fn archive(layer: &[u8], architecture: &str) -> Result<Vec<u8>, BuildError> {
    let mut blobs = Blobs::default();
    let mut packer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    packer.write_all(layer).map_err(BuildError::Archive)?;
    let packed = packer.finish().map_err(BuildError::Archive)?;
    let layer_descriptor = blobs.add(media_type::LAYER_GZIP, packed);
    let platform = Platform {
        architecture: go_architecture(architecture)?.to_owned(),
        os: "linux".to_owned(),
        ..Platform::default()
    };
    let config = configuration(platform.clone(), digest(layer));
    let config = serde_json::to_vec(&config).map_err(BuildError::Json)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        config: blobs.add(media_type::CONFIG, config),
        layers: vec![layer_descriptor],
        annotations: pairs(&[(annotation::CREATED, CREATED)]),
        ..Manifest::default()
    };
    let manifest = serde_json::to_vec(&manifest).map_err(BuildError::Json)?;
    let mut descriptor = blobs.add(media_type::MANIFEST, manifest);
    descriptor.platform = Some(platform);
    descriptor.annotations = pairs(&[(annotation::REF_NAME, REFERENCE)]);
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.to_owned()),
        manifests: vec![descriptor],
        ..Index::default()
    };
    let index = serde_json::to_vec(&index).map_err(BuildError::Json)?;
    pack(&blobs, &index).map_err(BuildError::Archive)
}

/// A map of strings.
fn pairs(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The image's configuration.
fn configuration(platform: Platform, diff_id: String) -> ImageConfig {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let history = |created_by: &str, empty_layer: bool| History {
        created: Some(CREATED.to_owned()),
        author: Some("berth".to_owned()),
        created_by: Some(created_by.to_owned()),
        comment: None,
        empty_layer,
    };
    ImageConfig {
        created: Some(CREATED.to_owned()),
        author: Some("berth".to_owned()),
        platform,
        config: Some(ExecutionConfig {
            env: words(&[
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "BERTH_IMAGE=demo",
            ]),
            cmd: words(&["/bin/hello"]),
            working_dir: Some("/".to_owned()),
            labels: pairs(&[
                ("org.opencontainers.image.title", "berth demo"),
                (
                    "org.opencontainers.image.description",
                    "berth's applets, for first steps and tests",
                ),
                ("org.opencontainers.image.licenses", "Apache-2.0"),
                ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
            ]),
            stop_signal: Some("SIGTERM".to_owned()),
            ..ExecutionConfig::default()
        }),
        rootfs: RootFs { typ: "layers".to_owned(), diff_ids: vec![diff_id] },
        history: Some(vec![
            history("berth-applets and its files, assembled at build time", false),
            history("CMD [\"/bin/hello\"]", true),
        ]),
    }
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
