//! The files of a source by name: in a directory, at offsets of an archive file, or spooled from
//! a stream that can be read only once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{LoadError, Origin, Source};
use crate::compression::{Compression, Decoder, buffered, sniff};
use crate::digest::Digest;
use crate::error::During as _;
use crate::progress::{Counted, Progress, Running, Step, StepKind};
use crate::scratch::Scratch;
use crate::store::{BlobWriter, Spooled, Store};
use crate::tar::{Entry, EntryKind, TarReader};

/// The largest document (manifest, index, configuration).
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// How many links a name may pass through.
const LINK_LIMIT: usize = 16;

/// A source's files.
pub(super) enum Members {
    Directory(OwnedFd),
    Archive { file: Arc<File>, places: HashMap<String, Place> },
    Spool { places: HashMap<String, Place> },
}

/// Where a member is.
pub(super) enum Place {
    /// At an offset of the archive.
    Range { offset: u64, size: u64 },
    /// In the scratch directory.
    Spooled { spooled: Spooled, size: u64 },
    /// In the store: it was not spooled because it had been there before.
    Present { digest: Digest, size: u64 },
    /// Where another name leads.
    Link(String),
}

/// A member's bytes.
pub(super) enum Content<'a> {
    Stream { reader: Box<dyn Read + Send + 'a>, size: u64 },
    Spooled { spooled: Spooled, size: u64 },
    Present { digest: Digest, size: u64 },
}

impl Members {
    /// Opens a source. A stream, or a compressed archive, is read to its end.
    pub(super) fn open(
        source: Source<'_>,
        origin: &Origin,
        store: &Store,
        scratch: &Scratch,
        progress: &dyn Progress,
    ) -> Result<Self, LoadError> {
        let path = match source {
            Source::Path(path) => path,
            Source::Reader(reader) => return spool(reader, origin, store, scratch, progress, None),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = sys::open(path, flags, Mode::empty()).during("open", path)?;
        let stat = sys::fstat(&file).during("look at", path)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(Self::Directory(file));
        }
        let file = File::from(file);
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            let mut start = [0; 16];
            let read = file.read_at(&mut start, 0).during("read", path)?;
            let start = start.get(..read).unwrap_or_default();
            if sniff(start) == Ok(Compression::None) {
                let file = Arc::new(file);
                let places = index(&file, origin)?;
                return Ok(Self::Archive { file, places });
            }
        }
        spool(file, origin, store, scratch, progress, Some(stat.st_size as u64))
    }

    /// Whether there is such a member.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(directory) => sys::statat(directory, name, AtFlags::empty()).is_ok(),
            Self::Archive { places, .. } | Self::Spool { places } => find(places, name).is_some(),
        }
    }

    /// A member's bytes.
    pub(super) fn content(&self, name: &str) -> Result<Content<'_>, LoadError> {
        let missing = || LoadError::Missing(name.to_owned());
        match self {
            Self::Directory(directory) => {
                // Links within a layout are its own affair; none may lead out of it.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let file = match sys::openat2(directory, name, flags, Mode::empty(), resolve) {
                    Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
                    result => result.during("open", name)?,
                };
                let stat = sys::fstat(&file).during("look at", name)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(missing());
                }
                let size = stat.st_size as u64;
                Ok(Content::Stream { reader: Box::new(File::from(file)), size })
            }
            Self::Archive { file, places } => match find(places, name).ok_or_else(missing)? {
                Place::Range { offset, size } => {
                    let reader = Window { file: Arc::clone(file), position: *offset, left: *size };
                    Ok(Content::Stream { reader: Box::new(reader), size: *size })
                }
                _ => Err(missing()),
            },
            Self::Spool { places } => match find(places, name).ok_or_else(missing)? {
                Place::Spooled { spooled, size } => {
                    Ok(Content::Spooled { spooled: spooled.clone(), size: *size })
                }
                Place::Present { digest, size } => {
                    Ok(Content::Present { digest: *digest, size: *size })
                }
                _ => Err(missing()),
            },
        }
    }

    /// Reads a document.
    pub(super) fn read(&self, name: &str, scratch: &Scratch) -> Result<Vec<u8>, LoadError> {
        let (reader, size): (Box<dyn Read + Send + '_>, u64) = match self.content(name)? {
            Content::Stream { reader, size } => (reader, size),
            Content::Spooled { spooled, size } => (Box::new(spooled.open(scratch)?), size),
            Content::Present { .. } => return Err(LoadError::Missing(name.to_owned())),
        };
        let failed = |source| LoadError::Read { origin: format!("`{name}`"), source };
        if size > DOCUMENT_LIMIT {
            let problem = format!("it has {size} bytes, more than a document may have");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        let mut bytes = Vec::new();
        reader.take(DOCUMENT_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

/// Follows links to a member.
fn find<'a>(places: &'a HashMap<String, Place>, name: &str) -> Option<&'a Place> {
    let mut name = clean("", name)?;
    for _ in 0..LINK_LIMIT {
        match places.get(&name)? {
            Place::Link(target) => name.clone_from(target),
            place => return Some(place),
        }
    }
    None
}

/// A name without dots and leading slashes, relative to the directory `base`; `None` when it leads
/// out of the archive.
fn clean(base: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    let base = if name.starts_with('/') { "" } else { base };
    for part in base.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The name of an archive's entry, and for a link where it leads.
fn name_and_link(entry: &Entry) -> Option<(String, Option<String>)> {
    let name = clean("", std::str::from_utf8(&entry.path).ok()?)?;
    let target = std::str::from_utf8(&entry.link).ok();
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    let link = match entry.kind {
        EntryKind::File => None,
        EntryKind::Symlink => Some(clean(directory, target?)?),
        EntryKind::HardLink => Some(clean("", target?)?),
        _ => return None,
    };
    Some((name, link))
}

/// Finds the members of an archive that is not compressed, without reading their data.
fn index(file: &Arc<File>, origin: &Origin) -> Result<HashMap<String, Place>, LoadError> {
    let archive = |source| LoadError::Archive { origin: origin.to_string(), source };
    let mut places = HashMap::new();
    let mut offset = 0;
    loop {
        let window = Window { file: Arc::clone(file), position: offset, left: u64::MAX };
        let mut tar = TarReader::new(BufReader::with_capacity(4096, window));
        let Some(entry) = tar.next().map_err(archive)? else { return Ok(places) };
        let (start, stored) = (offset + tar.position(), tar.remaining());
        offset = start + stored.next_multiple_of(512);
        let Some((name, link)) = name_and_link(&entry) else { continue };
        let place = match link {
            Some(target) => Place::Link(target),
            None if entry.sparse.is_some() => continue,
            None => Place::Range { offset: start, size: stored },
        };
        places.insert(name, place);
    }
}

/// Reads a stream to its end; what the store has not yet goes to the scratch directory.
fn spool(
    source: impl Read + Send,
    origin: &Origin,
    store: &Store,
    scratch: &Scratch,
    progress: &dyn Progress,
    total: Option<u64>,
) -> Result<Members, LoadError> {
    let read = |source| LoadError::Read { origin: origin.to_string(), source };
    let archive = |source| LoadError::Archive { origin: origin.to_string(), source };
    let subject = origin.to_string();
    let step = Step { kind: StepKind::Copying, subject: &subject, total };
    let running = Running::start(progress, step);
    let decoder =
        Decoder::new(buffered(Counted { inner: source, running: &running }).map_err(read)?)
            .map_err(read)?;
    let mut tar = TarReader::new(BufReader::with_capacity(256 * 1024, decoder));
    let mut places = HashMap::new();
    while let Some(entry) = tar.next().map_err(archive)? {
        let Some((name, link)) = name_and_link(&entry) else { continue };
        if entry.sparse.is_some() {
            continue;
        }
        let place = match link {
            Some(target) => Place::Link(target),
            None => match present(store, &name, entry.size) {
                Some(digest) => Place::Present { digest, size: entry.size },
                None => {
                    let mut writer = BlobWriter::new(store, scratch)?;
                    loop {
                        let chunk = tar.chunk(u64::MAX).map_err(archive)?;
                        if chunk.is_empty() {
                            break;
                        }
                        writer.write(chunk)?;
                        let used = chunk.len();
                        tar.consume(used);
                    }
                    let (spooled, size) = writer.finish();
                    Place::Spooled { spooled, size }
                }
            },
        };
        places.insert(name, place);
    }
    // The rest must be read for the sender's sake, and for a checksum at the end.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(read)?;
    Ok(Members::Spool { places })
}

/// The digest of a blob of a layout that the store has already. Documents are spooled all the
/// same, because they are read again.
fn present(store: &Store, name: &str, size: u64) -> Option<Digest> {
    let digest = Digest::from_hex(name.strip_prefix("blobs/sha256/")?)?;
    (size > 64 * 1024 && store.has_blob(&digest, size)).then_some(digest)
}

/// A part of a file as a stream.
struct Window {
    file: Arc<File>,
    position: u64,
    left: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..limit).unwrap_or_default(), self.position)?;
        self.position += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
