//! Loading images: from OCI image layouts (image-layout.md) as directories or archives, and from
//! archives that `docker save` and its like write; plain, gzip or zstd; from a file or a stream.
//!
//! - `members`: the files of a source by name, wherever they are.
//! - `oci`, `docker`: the two formats, in terms of members.
//!
//! Names are given last, when all content is stored and verified.

mod docker;
mod members;
mod oci;

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_spec::image::Descriptor;

use crate::digest::{Digest, DigestError};
use crate::error::{ErrorKind, Explain, FileError, io_kind};
use crate::image::LoadedImage;
use crate::progress::{Progress, Running, Step, StepKind};
use crate::reference::{Reference, ReferenceError};
use crate::scratch::Scratch;
use crate::store::{
    BlobError, BlobWriter, IndexError, LeaseError, ReadError, Spooled, Store, set_name,
};
use crate::tar::TarError;
use members::{Content, Members};

/// How many blobs are copied at once.
const PARALLEL: usize = 4;

/// Where an image comes from.
pub enum Source<'a> {
    /// A layout directory, or an archive file.
    Path(&'a Path),
    /// A stream, such as standard input.
    Reader(&'a mut (dyn Read + Send)),
}

/// Options of `load`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Name for what has none of its own, instead of one made of the file's name. Where the source
    /// has several tags, its repository with each of them.
    pub name: Option<Reference>,
    /// Loads only the image that the source calls by this name or tag.
    pub only: Option<String>,
}

/// Why images cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The source cannot be read or decompressed.
    #[error("cannot read {origin}")]
    Read {
        /// What was being read.
        origin: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The source is no tar archive, or a damaged one.
    #[error("cannot read {origin}")]
    Archive {
        /// What was being read.
        origin: String,
        /// Why.
        #[source]
        source: TarError,
    },
    /// Neither layout nor Docker archive.
    #[error(
        "{origin} is neither an OCI image layout nor a Docker archive: it has no index.json and no manifest.json"
    )]
    Unknown {
        /// What was being read.
        origin: String,
    },
    /// A format of old.
    #[error(
        "{origin} is a Docker archive in the format of before 1.10 (it has no manifest.json), which is not supported"
    )]
    Ancient {
        /// What was being read.
        origin: String,
    },
    /// The layout's version.
    #[error("the image layout has the version `{0}`; only 1.0.0 is supported")]
    Version(String),
    /// A document of the source is malformed.
    #[error("{what} of the source is malformed")]
    Json {
        /// Which.
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A member is missing.
    #[error("the source has no `{0}`, though it refers to it")]
    Missing(String),
    /// A digest in the source cannot be used.
    #[error("a digest of the source cannot be used")]
    Digest(#[from] DigestError),
    /// A layer is not what the configuration says.
    #[error(
        "the layer `{member}` has the digest {actual}, but the image's configuration says {expected}"
    )]
    DiffId {
        /// The layer's name in the archive.
        member: String,
        /// As the configuration says.
        expected: Digest,
        /// As it is.
        actual: Digest,
    },
    /// The configuration does not fit.
    #[error("the configuration of `{image}` has {diff_ids} layers, but the archive lists {layers}")]
    Layers {
        /// The configuration's name in the archive.
        image: String,
        /// In the archive.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A name in the source is none.
    #[error("the source names an image `{name}`")]
    Name {
        /// The name.
        name: String,
        /// Why it is none.
        #[source]
        source: ReferenceError,
    },
    /// Nothing has the name that was asked for.
    #[error("the source has no image `{wanted}`, only {}", available.join(", "))]
    NoSuchImage {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// Nothing is in the source.
    #[error("{origin} holds no image")]
    Empty {
        /// What was being read.
        origin: String,
    },
    /// Indexes within indexes without end.
    #[error("the source's indexes are nested too deep")]
    Nesting,
    /// Content cannot be stored, or is not what it should be.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A manifest or index is malformed.
    #[error(transparent)]
    Document(#[from] ReadError),
    /// The references cannot be changed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be locked.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Explain for LoadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Read { source, .. } => io_kind(source),
            Self::Blob(error) => error.kind(),
            Self::Document(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Lease(error) => error.kind(),
            Self::NoSuchImage { .. } => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::File(error) => return error.hints(),
            Self::Blob(error) => return error.hints(),
            Self::Document(error) => return error.hints(),
            Self::Index(error) => return error.hints(),
            Self::Lease(error) => return error.hints(),
            Self::Unknown { .. } => {
                "a tarball of a root file system becomes an image with `berth import`"
            }
            Self::Ancient { .. } => "save it again with a newer Docker, or convert it with skopeo",
            Self::Read { source, .. } if source.to_string().contains("xz") => {
                "decompress it on the way: `xz -dc FILE | berth load`"
            }
            Self::Read { source, .. } if source.to_string().contains("bzip2") => {
                "decompress it on the way: `bzip2 -dc FILE | berth load`"
            }
            Self::Archive { .. } | Self::Read { .. } | Self::DiffId { .. } | Self::Missing(_) => {
                "the source is damaged or incomplete: get it again"
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// An image that is stored and waits for its names.
struct Stored {
    descriptor: Descriptor,
    names: Vec<Reference>,
}

impl Store {
    /// Loads every image of a layout directory, OCI archive or Docker archive.
    ///
    /// Everything is checked against its digest as it is copied; what is in the store already is
    /// not copied again. Nothing has a name until all is there.
    pub fn load(
        &self,
        source: Source<'_>,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<LoadedImage>, LoadError> {
        let _lease = self.lease()?;
        let scratch = self.scratch()?;
        let origin = Origin::of(&source);
        let members = Members::open(source, &origin, self, &scratch, progress)?;
        let loader = Loader {
            store: self,
            scratch: &scratch,
            members: &members,
            progress,
            kept: Mutex::default(),
        };
        let stored = if members.has("index.json") {
            oci::load(&loader, &origin, options)?
        } else if members.has("manifest.json") {
            docker::load(&loader, options)?
        } else if members.has("repositories") {
            return Err(LoadError::Ancient { origin: origin.to_string() });
        } else {
            return Err(LoadError::Unknown { origin: origin.to_string() });
        };
        if stored.is_empty() {
            return Err(LoadError::Empty { origin: origin.to_string() });
        }
        loader.publish()?;
        self.name_all(stored)
    }

    /// Records images under their names.
    fn name_all(&self, stored: Vec<Stored>) -> Result<Vec<LoadedImage>, LoadError> {
        let mut loaded = Vec::new();
        self.change_index(|index| {
            for Stored { mut descriptor, names } in stored {
                descriptor.annotations.clear();
                self.annotate(&mut descriptor);
                let digest: Digest = descriptor.digest.parse()?;
                let id = Store::noted_id(&descriptor);
                if names.is_empty() {
                    set_name(index, None, descriptor.clone());
                }
                for name in &names {
                    set_name(index, Some(name), descriptor.clone());
                }
                loaded.push(LoadedImage { names, digest, id });
            }
            Ok::<_, LoadError>(())
        })?;
        Ok(loaded)
    }
}

/// What a source is called in messages, and what names may be made of it.
struct Origin {
    path: Option<PathBuf>,
}

impl Origin {
    fn of(source: &Source<'_>) -> Self {
        match source {
            Source::Path(path) => Self { path: Some((*path).to_owned()) },
            Source::Reader(_) => Self { path: None },
        }
    }

    /// A repository's name made of the file's: `localhost/` and its stem.
    fn repository(&self) -> Option<Reference> {
        let path = std::path::absolute(self.path.as_ref()?).ok()?;
        let mut stem = path.file_name()?.to_str()?.to_ascii_lowercase();
        loop {
            let shorter = [".gz", ".zst", ".zstd", ".tgz", ".tar", ".oci", ".docker"]
                .iter()
                .find_map(|end| stem.strip_suffix(end))
                .map(str::to_owned);
            match shorter {
                Some(shorter) => stem = shorter,
                None => break,
            }
        }
        let valid = |c: char| c.is_ascii_alphanumeric();
        let name: String = stem.chars().map(|c| if valid(c) { c } else { '-' }).collect();
        Reference::parse(&format!("localhost/{}", name.trim_matches('-'))).ok()
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}", path.display()),
            None => f.write_str("the input"),
        }
    }
}

/// What the formats have in common: getting content into the store.
///
/// Content is kept in the scratch directory until all of it is there and right, so that a load
/// that fails leaves nothing.
struct Loader<'a> {
    store: &'a Store,
    scratch: &'a Scratch,
    members: &'a Members,
    progress: &'a dyn Progress,
    kept: Mutex<HashMap<Digest, Spooled>>,
}

impl Loader<'_> {
    /// A small document of the source.
    fn document(&self, name: &str) -> Result<Vec<u8>, LoadError> {
        self.members.read(name, self.scratch)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Digest, Spooled>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, spooled: Spooled) {
        self.kept().insert(spooled.digest, spooled);
    }

    /// Gives everything its place in the store.
    fn publish(&self) -> Result<(), LoadError> {
        let kept: Vec<Spooled> = self.kept().drain().map(|(_, spooled)| spooled).collect();
        store_all(&kept, |spooled| Ok(spooled.publish(self.store, self.scratch)?))?;
        Ok(())
    }

    /// Keeps a document that was made here.
    fn keep_bytes(&self, bytes: &[u8]) -> Result<Digest, LoadError> {
        let digest = Digest::of(bytes);
        if !self.store.has_blob(&digest, bytes.len() as u64) {
            self.keep(self.store.spool(self.scratch, bytes)?);
        }
        Ok(digest)
    }

    /// The first bytes of content that is kept or stored.
    fn start(&self, digest: &Digest) -> Result<Vec<u8>, LoadError> {
        let kept = self.kept().get(digest).cloned();
        let file = match kept {
            Some(spooled) => spooled.open(self.scratch)?,
            None => self.store.open_blob(digest)?,
        };
        let mut start = Vec::new();
        let failed = |source| BlobError::Source { subject: digest.to_string(), source };
        file.take(16).read_to_end(&mut start).map_err(failed)?;
        Ok(start)
    }

    /// Keeps a member whose digest and size are known beforehand.
    fn store_known(&self, name: &str, digest: &Digest, size: u64) -> Result<(), LoadError> {
        if self.store.has_blob(digest, size) || self.kept().contains_key(digest) {
            return Ok(());
        }
        let (spooled, actual_size) = match self.members.content(name)? {
            Content::Present { digest: actual, size: actual_size } => {
                return Ok(check(digest, size, &actual, actual_size)?);
            }
            Content::Spooled { spooled, size } => (spooled, size),
            Content::Stream { reader, .. } => self.copy(&digest.to_string(), reader, Some(size))?,
        };
        check(digest, size, &spooled.digest, actual_size)?;
        self.keep(spooled);
        Ok(())
    }

    /// Keeps a member of unknown digest, and gives that and its size.
    fn store_unknown(&self, name: &str) -> Result<(Digest, u64), LoadError> {
        let (spooled, size) = match self.members.content(name)? {
            Content::Present { digest, size } => return Ok((digest, size)),
            Content::Spooled { spooled, size } => (spooled, size),
            Content::Stream { reader, size } => self.copy(name, reader, Some(size))?,
        };
        let digest = spooled.digest;
        if !self.store.has_blob(&digest, size) {
            self.keep(spooled);
        }
        Ok((digest, size))
    }

    fn copy(
        &self,
        subject: &str,
        mut reader: Box<dyn Read + Send + '_>,
        total: Option<u64>,
    ) -> Result<(Spooled, u64), LoadError> {
        let step = Step { kind: StepKind::Copying, subject, total };
        let running = Running::start(self.progress, step);
        let mut writer = BlobWriter::new(self.store, self.scratch)?;
        let mut buffer = vec![0; 256 * 1024];
        // One byte more than it should be tells that it is too long; no need to copy the rest.
        let limit = total.map_or(u64::MAX, |total| total.saturating_add(1));
        let mut reader = (&mut reader).take(limit);
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(BlobError::Source { subject: subject.to_owned(), source }.into());
                }
            };
            writer.write(buffer.get(..read).unwrap_or_default())?;
            running.advance(read as u64);
        }
        Ok(writer.finish())
    }
}

/// Does several tasks at once, and gives their results in order; the first failure ends it.
fn store_all<T: Sync, R: Send>(
    tasks: &[T],
    store: impl Fn(&T) -> Result<R, LoadError> + Sync,
) -> Result<Vec<R>, LoadError> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.min(PARALLEL).min(tasks.len());
    if workers <= 1 {
        return tasks.iter().map(store).collect();
    }
    let next = AtomicUsize::new(0);
    let (sender, results) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, store) = (sender.clone(), &next, &store);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(index) else { break };
                    let result = store(task);
                    if result.is_err() {
                        next.store(tasks.len(), Ordering::Relaxed);
                    }
                    if sender.send((index, result)).is_err() {
                        break;
                    }
                }
            });
        }
    });
    drop(sender);
    let mut all: Vec<(usize, R)> = results
        .into_iter()
        .map(|(index, result)| result.map(|value| (index, value)))
        .collect::<Result<_, _>>()?;
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, value)| value).collect())
}

/// Compares what came with what was said.
fn check(digest: &Digest, size: u64, actual: &Digest, actual_size: u64) -> Result<(), BlobError> {
    if size != actual_size {
        return Err(BlobError::Size { digest: *digest, expected: size, actual: actual_size });
    }
    if digest != actual {
        return Err(BlobError::Mismatch { expected: *digest, actual: *actual });
    }
    Ok(())
}
