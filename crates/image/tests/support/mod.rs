//! Fixtures made in code: tar archives written byte by byte (so that they can be as wrong as one
//! likes), image layouts and Docker archives; and a look at a tree with all that belongs to it.
#![expect(dead_code, reason = "each test program uses its part")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail and speak as tests do"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_image::{Digest, Image, LoadOptions, Silent, Source, Store};
use serde_json::{Value, json};

/// A tar archive in the making.
#[derive(Default, Clone)]
pub struct Archive {
    bytes: Vec<u8>,
}

/// One entry; unset fields are those of a plain file of root's.
#[derive(Clone)]
pub struct Entry<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub link: &'a [u8],
    pub device: (u32, u32),
    pub data: &'a [u8],
    pub pax: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Entry<'a> {
    pub fn new(name: &'a str, kind: u8) -> Self {
        Self {
            name: name.as_bytes(),
            kind,
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            link: b"",
            device: (0, 0),
            data: b"",
            pax: Vec::new(),
        }
    }
}

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, name: &str, data: &str) -> Self {
        self.entry(&Entry { data: data.as_bytes(), ..Entry::new(name, b'0') })
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(&Entry::new(name, b'5'))
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(&Entry { link: target.as_bytes(), mode: 0o777, ..Entry::new(name, b'2') })
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(&Entry { link: target.as_bytes(), ..Entry::new(name, b'1') })
    }

    pub fn entry(mut self, entry: &Entry<'_>) -> Self {
        if !entry.pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in &entry.pax {
                let rest = key.len() + value.len() + 3;
                let mut length = rest + 1;
                while length != rest + length.to_string().len() {
                    length = rest + length.to_string().len();
                }
                records.extend_from_slice(format!("{length} {key}=").as_bytes());
                records.extend_from_slice(value);
                records.push(b'\n');
            }
            self.block(b"pax", b'x', entry, records.len() as u64, b"");
            self.data(&records);
        }
        for (kind, text) in [(b'L', entry.name), (b'K', entry.link)] {
            if text.len() > 100 {
                let data = [text, b"\0"].concat();
                self.block(b"././@LongLink", kind, entry, data.len() as u64, b"");
                self.data(&data);
            }
        }
        self.block(entry.name, entry.kind, entry, entry.data.len() as u64, entry.link);
        let data = entry.data.to_vec();
        self.data(&data);
        self
    }

    fn block(&mut self, name: &[u8], kind: u8, entry: &Entry<'_>, size: u64, link: &[u8]) {
        let mut block = [0u8; 512];
        let mut put = |offset: usize, bytes: &[u8], limit: usize| {
            let bytes = &bytes[..bytes.len().min(limit)];
            block[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, name, 100);
        put(100, format!("{:07o}\0", entry.mode).as_bytes(), 8);
        put(108, &number(entry.uid, 8), 8);
        put(116, &number(entry.gid, 8), 8);
        put(124, &number(size, 12), 12);
        put(136, &number(entry.mtime, 12), 12);
        put(148, b"        ", 8);
        put(156, &[kind], 1);
        put(157, link, 100);
        put(257, b"ustar  \0", 8);
        put(329, format!("{:07o}\0", entry.device.0).as_bytes(), 8);
        put(337, format!("{:07o}\0", entry.device.1).as_bytes(), 8);
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&block);
    }

    fn data(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        let padded = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(padded, 0);
    }

    /// The archive with its end.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    /// The archive without its end.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

fn number(value: u64, width: usize) -> Vec<u8> {
    let octal = format!("{value:0>width$o}\0", width = width - 1);
    if octal.len() == width {
        return octal.into_bytes();
    }
    let mut bytes = vec![0; width];
    bytes[width - 8..].copy_from_slice(&value.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}

/// How a layer is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    /// Two gzip members.
    GzipMembers,
    Zstd,
    /// Two zstd frames.
    ZstdFrames,
}

pub fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => gzip(bytes),
        Packing::GzipMembers => [gzip(first), gzip(second)].concat(),
        Packing::Zstd => zstd(bytes),
        Packing::ZstdFrames => [zstd(first), zstd(second)].concat(),
    }
}

fn media_type(packing: Packing) -> &'static str {
    match packing {
        Packing::Plain => "application/vnd.oci.image.layer.v1.tar",
        Packing::Gzip | Packing::GzipMembers => "application/vnd.oci.image.layer.v1.tar+gzip",
        Packing::Zstd | Packing::ZstdFrames => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// An OCI image layout on disk.
pub struct Layout {
    pub path: PathBuf,
    entries: Vec<Value>,
}

impl Layout {
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { path: path.to_owned(), entries: Vec::new() }
    }

    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.path.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Adds an image; the layers are uncompressed archives, lowest first.
    pub fn image(&mut self, tag: &str, layers: &[(Vec<u8>, Packing)], config: Value) -> &mut Self {
        let descriptor = self.manifest(layers, config, "amd64");
        self.tag(tag, descriptor)
    }

    pub fn tag(&mut self, tag: &str, mut descriptor: Value) -> &mut Self {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.entries.push(descriptor);
        self.write();
        self
    }

    pub fn manifest(
        &self,
        layers: &[(Vec<u8>, Packing)],
        config: Value,
        architecture: &str,
    ) -> Value {
        let diff_ids: Vec<String> =
            layers.iter().map(|(bytes, _)| Digest::of(bytes).to_string()).collect();
        let blobs: Vec<Value> = layers
            .iter()
            .map(|(bytes, packing)| self.blob(media_type(*packing), &pack(bytes, *packing)))
            .collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            &serde_json::to_vec(&config).unwrap(),
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": blobs,
        });
        let mut descriptor = self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            &serde_json::to_vec(&manifest).unwrap(),
        );
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    }

    fn write(&self) {
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.entries,
        });
        fs::write(self.path.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    }

    /// The layout as an archive, `index.json` last.
    pub fn archive(&self) -> Vec<u8> {
        let mut archive = Archive::new();
        let blobs = self.path.join("blobs/sha256");
        let mut names: Vec<_> =
            fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let data = fs::read(blobs.join(&name)).unwrap();
            let name = format!("blobs/sha256/{}", name.to_str().unwrap());
            archive = archive.entry(&Entry { data: &data, ..Entry::new(&name, b'0') });
        }
        for name in ["oci-layout", "index.json"] {
            let data = fs::read(self.path.join(name)).unwrap();
            archive = archive.entry(&Entry { data: &data, ..Entry::new(name, b'0') });
        }
        archive.finish()
    }
}

/// A store and a place for sources, below one temporary directory.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub store: Store,
}

/// A temporary directory, in memory where that can be had.
pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Place {
    pub fn new() -> Self {
        let directory = temporary();
        let store = Store::open(&directory.path().join("root")).unwrap();
        Self { directory, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn layout(&self, name: &str) -> Layout {
        Layout::new(&self.path(name))
    }

    /// Loads an image of uncompressed archives, lowest first, and unpacks it.
    pub fn unpacked(&self, layers: &[Vec<u8>]) -> (Image, Vec<PathBuf>) {
        let image = self.loaded(layers);
        let layers = self.store.unpack(&image, &Silent).unwrap();
        (image, layers)
    }

    pub fn loaded(&self, layers: &[Vec<u8>]) -> Image {
        let name = format!("layout-{}", Digest::of(&layers.concat()).short());
        let layers: Vec<_> = layers.iter().map(|layer| (layer.clone(), Packing::Plain)).collect();
        let mut layout = self.layout(&name);
        layout.image("latest", &layers, json!({"Cmd": ["sh"]}));
        let loaded =
            self.store.load(Source::Path(&layout.path), &LoadOptions::default(), &Silent).unwrap();
        self.store.resolve(&loaded[0].digest.to_string()).unwrap()
    }

    /// The merged tree of an image as a plain directory.
    pub fn tree(&self, image: &Image) -> PathBuf {
        let path = self.path(&format!("bundle-{}", image.id.short()));
        berth_image::bundle::write_bundle(
            &self.store,
            image,
            &path,
            &berth_image::bundle::Overrides::default(),
            &Silent,
        )
        .unwrap();
        path.join("rootfs")
    }

    /// What is left in the store's scratch directories.
    pub fn scratch(&self) -> Vec<PathBuf> {
        let tmp = self.store.root().join("tmp");
        fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// Everything about a file but its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub device: u64,
    pub links: u64,
    /// A digest, or a link's target.
    pub content: String,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// A whole tree by path.
pub fn look(root: &Path) -> BTreeMap<PathBuf, Look> {
    let mut found = BTreeMap::new();
    let mut queue = vec![PathBuf::new()];
    while let Some(path) = queue.pop() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).unwrap();
        let kind = metadata.file_type();
        let (letter, content) = if kind.is_dir() {
            queue.extend(
                fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())),
            );
            ('d', String::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&full).unwrap();
            ('l', String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned())
        } else if kind.is_file() {
            ('f', Digest::of(&fs::read(&full).unwrap()).to_string())
        } else if kind.is_fifo() {
            ('p', String::new())
        } else if kind.is_block_device() {
            ('b', String::new())
        } else {
            ('c', String::new())
        };
        let look = Look {
            kind: letter,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            device: if matches!(letter, 'b' | 'c') { metadata.rdev() } else { 0 },
            links: if letter == 'd' { 0 } else { metadata.nlink() },
            content,
            xattrs: xattrs(&full),
        };
        found.insert(path, look);
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let size = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    names[..size]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let size = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..size].to_vec())
        })
        .filter(|(name, _)| !name.starts_with("security.selinux"))
        .collect()
}

/// Says why a test, or a part of it, does nothing.
pub fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
}

/// Whether a program is there; says so where it is not.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// Whether this is root with all it takes to make devices; says so where it is not.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("not root");
    }
    root
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
