//! Importing: a tarball of a root file system becomes an image of one layer.

use std::io::{self, Read};
use std::path::Path;

use berth_spec::image::{
    Descriptor, ExecutionConfig, History, ImageConfig, Manifest, RootFs, media_type,
};

use crate::changes::{self, ChangeError};
use crate::compression::{Compression, sniff};
use crate::digest::Digest;
use crate::error::{During as _, ErrorKind, Explain, FileError, io_kind};
use crate::image::Image;
use crate::layer::pipeline::{self, PipeError};
use crate::load::Source;
use crate::platform;
use crate::progress::{Progress, Running, Step, StepKind};
use crate::reference::Reference;
use crate::store::{BlobError, BlobWriter, IndexError, LeaseError, ReadError, Store, set_name};
use crate::tar::{TarError, TarReader};

/// Options of `import`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// The name to give; without one the image has only its ID.
    pub reference: Option<Reference>,
    /// Instructions as in a Dockerfile: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// A remark for the history.
    pub message: Option<String>,
    /// The platform that it is for; this machine's by default.
    pub platform: Option<berth_spec::image::Platform>,
}

/// Why a tarball cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A change is wrong.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The tarball cannot be read or decompressed.
    #[error("cannot read the tarball")]
    Read(#[source] io::Error),
    /// It is no tarball, or a damaged one.
    #[error("cannot import the tarball")]
    Archive(#[source] TarError),
    /// There is nothing in it.
    #[error("the tarball is empty")]
    Empty,
    /// Content cannot be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The configuration cannot be written as JSON.
    #[error("cannot make the image's configuration")]
    Json(#[source] serde_json::Error),
    /// The references cannot be changed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// What was stored cannot be read.
    #[error(transparent)]
    Document(#[from] ReadError),
    /// The store cannot be locked.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for ImportError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Change(_) | Self::Archive(_) | Self::Empty => ErrorKind::Invalid,
            Self::Read(source) => io_kind(source),
            Self::Blob(error) => error.kind(),
            Self::Json(_) => ErrorKind::Internal,
            Self::Index(error) => error.kind(),
            Self::Document(error) => error.kind(),
            Self::Lease(error) => error.kind(),
            Self::File(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Archive(_) => vec!["a saved image is added with `berth load`".to_owned()],
            Self::Blob(error) => error.hints(),
            Self::Index(error) => error.hints(),
            Self::Document(error) => error.hints(),
            Self::Lease(error) => error.hints(),
            Self::File(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

impl Store {
    /// Makes an image of a tarball of a root file system (plain, gzip or zstd), which is stored as
    /// it is. The whole archive is read and must be sound.
    pub fn import(
        &self,
        source: Source<'_>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Image, ImportError> {
        let mut execution = ExecutionConfig::default();
        for change in &options.changes {
            changes::apply(&mut execution, change)?;
        }
        let _lease = self.lease()?;
        let scratch = self.scratch()?;
        let writer = BlobWriter::new(self, &scratch)?;
        let mut from = String::from("-");
        let layer = match source {
            Source::Reader(reader) => receive(reader, writer, progress, None)?,
            Source::Path(path) => {
                from = path.display().to_string();
                let file = std::fs::File::open(path).during("open", path)?;
                let size = file.metadata().during("look at", path)?.len();
                receive(file, writer, progress, Some((path, size)))?
            }
        };
        let created = jiff::Timestamp::now().to_string();
        let config = ImageConfig {
            created: Some(created.clone()),
            platform: options.platform.clone().unwrap_or_else(platform::host),
            config: Some(execution),
            rootfs: RootFs { typ: "layers".to_owned(), diff_ids: vec![layer.diff_id.to_string()] },
            history: Some(vec![History {
                created: Some(created),
                created_by: Some(format!("berth import {from}")),
                comment: options.message.clone(),
                ..History::default()
            }]),
            ..ImageConfig::default()
        };
        let config = serde_json::to_vec(&config).map_err(ImportError::Json)?;
        let describe = |media_type: &str, digest: Digest, size: u64| Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_string(),
            size,
            ..Descriptor::default()
        };
        let spooled_config = self.spool(&scratch, &config)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            config: describe(media_type::CONFIG, spooled_config.digest, config.len() as u64),
            layers: vec![describe(layer.media_type, layer.spooled.digest, layer.size)],
            ..Manifest::default()
        };
        let manifest = serde_json::to_vec(&manifest).map_err(ImportError::Json)?;
        let spooled_manifest = self.spool(&scratch, &manifest)?;
        for content in [&layer.spooled, &spooled_config, &spooled_manifest] {
            content.publish(self, &scratch)?;
        }
        let mut descriptor =
            describe(media_type::MANIFEST, spooled_manifest.digest, manifest.len() as u64);
        self.annotate(&mut descriptor);
        let reference = options.reference.as_ref().and_then(Reference::without_digest);
        self.change_index(|index| {
            set_name(index, reference.as_ref(), descriptor.clone());
            Ok::<_, ImportError>(())
        })?;
        Ok(self.read_image(&descriptor, reference, &platform::host())?)
    }
}

/// A layer that was received.
struct Received {
    spooled: crate::store::Spooled,
    size: u64,
    diff_id: Digest,
    media_type: &'static str,
}

/// Stores a tarball and looks it through in one pass.
fn receive(
    source: impl Read + Send,
    writer: BlobWriter,
    progress: &dyn Progress,
    file: Option<(&Path, u64)>,
) -> Result<Received, ImportError> {
    let subject =
        file.map_or_else(|| "the input".to_owned(), |(path, _)| path.display().to_string());
    let total = file.map(|(_, size)| size);
    let step = Step { kind: StepKind::Copying, subject: &subject, total };
    let running = Running::start(progress, step);
    let mut tee = Tee { source, writer, running: &running, start: Vec::new(), failed: None };
    let piped = pipeline::run(&mut tee, |chunks| {
        let mut tar = TarReader::new(chunks);
        let mut entries = 0u64;
        while tar.next()?.is_some() {
            entries += 1;
        }
        Ok::<_, TarError>(entries)
    });
    if let Some(error) = tee.failed {
        return Err(error.into());
    }
    let piped = match piped {
        Ok(piped) => piped,
        Err(PipeError::Read(source)) => return Err(ImportError::Read(source)),
        Err(PipeError::Write(source)) => return Err(ImportError::Archive(source)),
    };
    if piped.value == 0 {
        return Err(ImportError::Empty);
    }
    let media_type = match sniff(&tee.start) {
        Ok(Compression::Gzip) => media_type::LAYER_GZIP,
        Ok(Compression::Zstd) => media_type::LAYER_ZSTD,
        _ => media_type::LAYER,
    };
    let (spooled, size) = tee.writer.finish();
    Ok(Received { spooled, size, diff_id: piped.digest, media_type })
}

/// Passes on what it reads, and stores it.
struct Tee<'a, R> {
    source: R,
    writer: BlobWriter,
    running: &'a Running<'a>,
    start: Vec<u8>,
    failed: Option<FileError>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if self.start.len() < 16 {
            self.start.extend(bytes.iter().take(16 - self.start.len()));
        }
        if let Err(error) = self.writer.write(bytes) {
            let again = io::Error::from(error.source.kind());
            self.failed = Some(error);
            return Err(again);
        }
        self.running.advance(read as u64);
        Ok(read)
    }
}
