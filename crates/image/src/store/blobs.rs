//! Content by digest: `blobs/sha256/<hex>` (image-layout.md, "Blobs").

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, Mode};
use rustix::io::Errno;

use super::Store;
use crate::at;
use crate::digest::{Digest, Hasher};
use crate::error::{During as _, ErrorKind, Explain, FileError, io_kind};
use crate::scratch::Scratch;

/// Why content cannot be had or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// It is not in the store.
    #[error("{digest} is not in the store")]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// What is stored is something else.
    #[error("the content stored as {expected} has the digest {actual}: it is damaged")]
    Damaged {
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// What came has another digest than was said.
    #[error("content that should be {expected} is {actual}")]
    Mismatch {
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// What came has another size than was said.
    #[error("content {digest} should have {expected} bytes, but has {actual}")]
    Size {
        /// Which.
        digest: Digest,
        /// As described.
        expected: u64,
        /// As it is.
        actual: u64,
    },
    /// The source of the content failed.
    #[error("cannot read the content {subject}")]
    Source {
        /// A digest or a name.
        subject: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for BlobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Damaged { .. } | Self::Mismatch { .. } | Self::Size { .. } => ErrorKind::Invalid,
            Self::Source { source, .. } => io_kind(source),
            Self::File(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { .. } | Self::Damaged { .. } => {
                vec!["load the image again: what is there and right is kept".to_owned()]
            }
            Self::Mismatch { .. } | Self::Size { .. } => {
                vec!["the source is damaged or was changed: get it again".to_owned()]
            }
            Self::Source { .. } => Vec::new(),
            Self::File(error) => error.hints(),
        }
    }
}

impl Store {
    /// Where content of that digest is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.images_path().join("blobs/sha256").join(digest.hex())
    }

    /// Opens content without checking it.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, BlobError> {
        match at::open_file(&self.blobs, digest.hex().as_bytes()) {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::NOENT) => Err(BlobError::Missing { digest: *digest }),
            Err(error) => {
                Err(error).during("open", self.blob_path(digest)).map_err(BlobError::from)
            }
        }
    }

    /// Reads small content (a manifest, a configuration) of at most `limit` bytes and checks it.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let file = OwnedFd::from(self.open_blob(digest)?);
        let bytes = at::read_all(file, limit).during("read", self.blob_path(digest))?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(BlobError::Damaged { expected: *digest, actual });
        }
        Ok(bytes)
    }

    /// Size of stored content, if it is there.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let stat = sys::statat(&self.blobs, digest.hex(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(stat.st_size as u64)
    }

    /// Whether content is there with the right size.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        self.blob_size(digest) == Some(size)
    }

    /// Writes small content to the scratch directory.
    pub(crate) fn spool(&self, scratch: &Scratch, bytes: &[u8]) -> Result<Spooled, FileError> {
        let mut writer = BlobWriter::new(self, scratch)?;
        writer.write(bytes)?;
        Ok(writer.finish().0)
    }
}

/// Content on its way into the store: written to a scratch directory and hashed.
pub(crate) struct BlobWriter {
    file: OwnedFd,
    name: String,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
}

/// Content in a scratch directory whose digest is known.
#[derive(Debug, Clone)]
pub(crate) struct Spooled {
    pub(crate) name: String,
    pub(crate) digest: Digest,
}

impl BlobWriter {
    pub(crate) fn new(store: &Store, scratch: &Scratch) -> Result<Self, FileError> {
        debug_assert!(scratch.path().starts_with(store.root()));
        let name = scratch.fresh("blob");
        let path = scratch.path().join(&name);
        let file = at::create_file(scratch, name.as_bytes()).during("create", &path)?;
        Ok(Self { file, name, path, hasher: Hasher::new(), size: 0 })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        at::write_all(&self.file, bytes).during("write", &self.path)
    }

    /// The content with its digest, and its size.
    pub(crate) fn finish(self) -> (Spooled, u64) {
        (Spooled { name: self.name, digest: self.hasher.finish() }, self.size)
    }
}

impl Spooled {
    /// Gives content its place in the store, once it is safe on the disk.
    pub(crate) fn publish(&self, store: &Store, scratch: &Scratch) -> Result<(), FileError> {
        let path = scratch.path().join(&self.name);
        let file = at::open_file(scratch, self.name.as_bytes()).during("open", &path)?;
        sys::fchmod(&file, Mode::from_raw_mode(0o644)).during("change the mode of", &path)?;
        sys::fdatasync(&file).during("write out", &path)?;
        sys::renameat(scratch, self.name.as_str(), &store.blobs, self.digest.hex())
            .during("rename to its place", &path)
    }

    /// Opens the content where it is now.
    pub(crate) fn open(&self, scratch: &Scratch) -> Result<File, FileError> {
        let path: &Path = &scratch.path().join(&self.name);
        at::open_file(scratch, self.name.as_bytes()).map(File::from).during("open", path)
    }
}
