//! Unpacking: an image's layers become directories that overlay can stack.
//!
//! Layers that are missing are decompressed, hashed and written several at once; then, from the
//! lowest up, each takes from those below what its archive left to them, and is renamed to its
//! place. What has its final name is therefore complete and was verified.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use rustix::fs::{self as sys, AtFlags, Mode};
use serde::{Deserialize, Serialize};

use crate::at;
use crate::digest::Digest;
use crate::error::{During as _, ErrorKind, Explain, FileError, io_kind};
use crate::image::{Image, ImageLayer, LayersError};
use crate::layer::pipeline::{self, PipeError};
use crate::layer::{ApplyError, LayerWriter};
use crate::lock::{Lock, Sharing};
use crate::progress::{Counted, Progress, Running, Step, StepKind};
use crate::scratch::Scratch;
use crate::store::{BlobError, LeaseError, Store};
use crate::tar::TarReader;

/// The file beside a layer's content that says what it is.
const RECORD: &str = "layer.json";
/// How many layers are unpacked at once, at most.
const PARALLEL: usize = 4;

/// Why an image cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The layers cannot be told.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// A layer's content cannot be had.
    #[error("cannot unpack the layer {}", layer.short())]
    Blob {
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// A layer is of a kind that cannot be unpacked.
    #[error("the layer {} is `{media_type}`, which cannot be unpacked", layer.short())]
    MediaType {
        /// The layer.
        layer: Digest,
        /// Its media type.
        media_type: String,
    },
    /// A layer cannot be read or decompressed.
    #[error("cannot read or decompress the layer {}", layer.short())]
    Read {
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer cannot be written out.
    #[error("cannot unpack the layer {}", layer.short())]
    Apply {
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// A layer is not what the configuration says.
    #[error(
        "the layer {} has the uncompressed digest {actual}, but the image's configuration says \
         {expected}", layer.short()
    )]
    DiffId {
        /// The layer.
        layer: Digest,
        /// As the configuration says.
        expected: Digest,
        /// As it is.
        actual: Digest,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store cannot be locked.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Explain for UnpackError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Blob { source, .. } => source.kind(),
            Self::Read { source, .. } => io_kind(source),
            Self::Apply { source, .. } => source.kind(),
            Self::File(error) => error.kind(),
            Self::Lease(error) => error.kind(),
            Self::Layers(_) | Self::MediaType { .. } | Self::DiffId { .. } => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Blob { source, .. } => source.hints(),
            Self::Apply { source, .. } => source.hints(),
            Self::File(error) => error.hints(),
            Self::Lease(error) => error.hints(),
            Self::Read { .. } | Self::DiffId { .. } => {
                vec![
                    "the layer is damaged, in the store or from the start: remove the image and \
                     load it again from a good source"
                        .to_owned(),
                ]
            }
            Self::MediaType { media_type, .. } if media_type.contains("encrypted") => {
                vec!["decrypt the image first".to_owned()]
            }
            Self::Layers(_) | Self::MediaType { .. } => Vec::new(),
        }
    }
}

/// What is noted of an unpacked layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
    /// Bytes of file content.
    pub(crate) size: u64,
}

impl Store {
    /// The image's layers as directories, topmost first, unpacking those that are missing.
    pub fn unpack(
        &self,
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<Vec<PathBuf>, UnpackError> {
        let layers = image.layers()?;
        if layers.is_empty() {
            return Ok(vec![self.empty_layer()?]);
        }
        let is_missing = |layer: &&ImageLayer| !self.is_unpacked(&layer.chain_id);
        if layers.iter().any(|layer| is_missing(&layer)) {
            let _lease = self.lease()?;
            let _locks = self.lock_layers(layers.iter().filter(is_missing))?;
            // Somebody else may have unpacked them while this process waited.
            if layers.iter().any(|layer| is_missing(&layer)) {
                self.unpack_missing(&layers, progress)?;
            }
        }
        Ok(layers.iter().rev().map(|layer| self.layer_path(&layer.chain_id)).collect())
    }

    /// Whether all layers of an image are unpacked.
    pub fn is_image_unpacked(&self, image: &Image) -> Result<bool, LayersError> {
        Ok(image.layers()?.iter().all(|layer| self.is_unpacked(&layer.chain_id)))
    }

    fn is_unpacked(&self, chain_id: &Digest) -> bool {
        let record = format!("{}/{RECORD}", chain_id.hex());
        sys::statat(&self.layers, record, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(crate) fn layer_record(&self, chain_id: &Digest) -> Option<LayerRecord> {
        let layer = at::open_directory(&self.layers, chain_id.hex().as_bytes()).ok()?;
        let file = at::open_file(&layer, RECORD.as_bytes()).ok()?;
        serde_json::from_slice(&at::read_all(file, 4096).ok()?).ok()
    }

    /// A directory for images without layers: overlay needs one.
    fn empty_layer(&self) -> Result<PathBuf, FileError> {
        let path = self.layers_path().join("empty/fs");
        let mode = Mode::from_raw_mode(0o755);
        let holder = at::ensure_directory(&self.layers, b"empty", mode).during("make", &path)?;
        at::ensure_directory(&holder, b"fs", mode).during("make", &path)?;
        Ok(path)
    }

    /// Locks against others who unpack the same layers. The locks are shared by all layers whose
    /// IDs begin alike, and taken in order, so that nobody waits for each other.
    fn lock_layers<'a>(
        &self,
        layers: impl Iterator<Item = &'a ImageLayer>,
    ) -> Result<Vec<Lock>, FileError> {
        let mut shards: Vec<u8> = layers.map(|layer| layer.chain_id.shard()).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
            .into_iter()
            .map(|shard| {
                let name = format!("layers-{shard:02x}");
                Lock::take(&self.locks, &name, Sharing::Exclusive)
                    .during("lock", self.root().join("locks").join(&name))
            })
            .collect()
    }

    fn unpack_missing(
        &self,
        layers: &[ImageLayer],
        progress: &dyn Progress,
    ) -> Result<(), UnpackError> {
        let scratch = self.scratch()?;
        let missing: Vec<usize> = layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| !self.is_unpacked(&layer.chain_id))
            .map(|(index, _)| index)
            .collect();
        let mut written = self.write_layers(layers, &missing, &scratch, progress)?;
        let mut below: Vec<Arc<OwnedFd>> = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let own = match written.get_mut(index).and_then(Option::take) {
                None => {
                    let path = self.layer_path(&layer.chain_id);
                    let name = format!("{}/fs", layer.chain_id.hex());
                    at::open_directory(&self.layers, name.as_bytes()).during("open", path)?
                }
                Some(writer) => {
                    let apply = |source| UnpackError::Apply { layer: layer.digest, source };
                    let size = writer.settle(&below).map_err(apply)?;
                    let holder = scratch_layer(&scratch, index)?;
                    let record = LayerRecord { diff_id: layer.diff_id, parent: layer.parent, size };
                    write_record(&holder, &scratch.path().join(layer_name(index)), &record)?;
                    at::open_directory(&holder, b"fs").during("open", scratch.path())?
                }
            };
            below.insert(0, Arc::new(own));
        }
        // One flush for all, before anything has its name: a crash leaves no half layer.
        sys::syncfs(&scratch).during("write out", scratch.path())?;
        for index in missing {
            let Some(layer) = layers.get(index) else { continue };
            let (name, target) = (layer_name(index), layer.chain_id.hex());
            let path = self.layers_path().join(&target);
            scratch.discard(&self.layers, target.as_bytes()).during("replace", &path)?;
            sys::renameat(&scratch, name.as_str(), &self.layers, target.as_str())
                .during("rename to its place", &path)?;
        }
        sys::fsync(&self.layers).during("write out", self.layers_path())?;
        Ok(())
    }

    /// Writes layers side by side; the result has a writer where a layer was missing.
    fn write_layers<'a>(
        &'a self,
        layers: &'a [ImageLayer],
        missing: &[usize],
        scratch: &'a Scratch,
        progress: &'a dyn Progress,
    ) -> Result<Vec<Option<LayerWriter<'a>>>, UnpackError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = processors.clamp(1, PARALLEL).min(missing.len());
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let sender = sender.clone();
                let (next, failed) = (&next, &failed);
                scope.spawn(move || {
                    while !failed.load(Ordering::Relaxed) {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        let Some(index) = missing.get(turn).copied() else { break };
                        let Some(layer) = layers.get(index) else { break };
                        let result = self.write_layer(layer, index, scratch, progress);
                        failed.fetch_or(result.is_err(), Ordering::Relaxed);
                        if sender.send((index, result)).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        drop(sender);
        let mut written: Vec<Option<LayerWriter<'a>>> = layers.iter().map(|_| None).collect();
        for (index, result) in results {
            let writer = result?;
            if let Some(place) = written.get_mut(index) {
                *place = Some(writer);
            }
        }
        Ok(written)
    }

    fn write_layer<'a>(
        &'a self,
        layer: &ImageLayer,
        index: usize,
        scratch: &'a Scratch,
        progress: &'a dyn Progress,
    ) -> Result<LayerWriter<'a>, UnpackError> {
        let media_type = &layer.descriptor.media_type;
        if !media_type.contains(".tar") || media_type.ends_with("+encrypted") {
            return Err(UnpackError::MediaType {
                layer: layer.digest,
                media_type: media_type.clone(),
            });
        }
        let blob = self
            .open_blob(&layer.digest)
            .map_err(|source| UnpackError::Blob { layer: layer.digest, source })?;
        let subject = layer.digest.to_string();
        let total = Some(layer.descriptor.size);
        let step = Step { kind: StepKind::Unpacking, subject: &subject, total };
        let running = Running::start(progress, step);
        let holder = scratch_layer(scratch, index)?;
        let root = at::ensure_directory(&holder, b"fs", Mode::RWXU)
            .during("make a directory in", scratch.path())?;
        let source = Counted { inner: blob, running: &running };
        let piped = pipeline::run(source, |chunks| {
            let mut writer = LayerWriter::new(root, scratch, self.form, progress);
            writer.write(&mut TarReader::new(chunks)).map(|()| writer)
        });
        let piped = match piped {
            Ok(piped) => piped,
            Err(PipeError::Read(source)) => {
                return Err(UnpackError::Read { layer: layer.digest, source });
            }
            Err(PipeError::Write(source)) => {
                return Err(UnpackError::Apply { layer: layer.digest, source });
            }
        };
        if piped.digest != layer.diff_id {
            return Err(UnpackError::DiffId {
                layer: layer.digest,
                expected: layer.diff_id,
                actual: piped.digest,
            });
        }
        Ok(piped.value)
    }
}

fn layer_name(index: usize) -> String {
    format!("layer-{index}")
}

fn scratch_layer(scratch: &Scratch, index: usize) -> Result<OwnedFd, FileError> {
    at::ensure_directory(scratch, layer_name(index).as_bytes(), Mode::RWXU)
        .during("make a directory in", scratch.path())
}

fn write_record(
    holder: &OwnedFd,
    path: &std::path::Path,
    record: &LayerRecord,
) -> Result<(), FileError> {
    let path = path.join(RECORD);
    let bytes = serde_json::to_vec(record).map_err(io::Error::from).during("serialise", &path)?;
    let file = at::create_file(holder, RECORD.as_bytes()).during("create", &path)?;
    at::write_all(&file, &bytes).during("write", &path)
}
