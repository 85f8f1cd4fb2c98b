//! Reading tar archives: v7, ustar, pax (IEEE 1003.1, pax "Interchange Format") and GNU, with every
//! form of sparse file that GNU tar writes. Layers (layer.md) are such archives.
//!
//! This module turns bytes into entries and touches no file system.

mod header;
mod pax;
mod reader;
mod sparse;

pub(crate) use reader::TarReader;

use std::io;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharacterDevice,
    BlockDevice,
    Fifo,
}

/// A point in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// A run of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The description of one member of an archive; its data follows in the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as written, without its NUL.
    pub(crate) path: Vec<u8>,
    /// Target of a symbolic or hard link as written.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Permission bits, with set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The file's size when it is extracted (holes included).
    pub(crate) size: u64,
    pub(crate) mtime: Time,
    pub(crate) atime: Option<Time>,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored data belongs; `None` for a file without holes.
    pub(crate) sparse: Option<Vec<Extent>>,
}

impl Entry {
    /// The name for messages.
    pub(crate) fn display(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The bytes could not be had.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive ends within an entry.
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    /// A header's checksum is wrong: this is no tar archive, or it is damaged.
    #[error("the header at byte {0} has a wrong checksum: not a tar archive, or a damaged one")]
    Checksum(u64),
    /// A field cannot be read.
    #[error("the header at byte {position} has a bad {field}")]
    Field {
        /// Where the header is.
        position: u64,
        /// Which field.
        field: &'static str,
    },
    /// An extended header cannot be read.
    #[error("the extended header at byte {position} is malformed: {problem}")]
    Extended {
        /// Where the header is.
        position: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A sparse file's map makes no sense.
    #[error("the sparse file `{path}` has a bad map: {problem}")]
    Sparse {
        /// The entry.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A kind of entry that cannot be extracted.
    #[error("`{path}` is {what}, which is not supported")]
    Unsupported {
        /// The entry.
        path: String,
        /// What it is.
        what: &'static str,
    },
}
