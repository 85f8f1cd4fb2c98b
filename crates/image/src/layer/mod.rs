//! Layers (image-spec layer.md): an archive of changes becomes a directory in the form that the
//! kernel's overlay file system takes as a lower layer.
//!
//! - `names`: an entry's name as a path below the root, or the reason why it cannot be one.
//! - `write`: entries become files, all relative to descriptors below the layer's own directory.
//! - `settle`: what an entry leaves to the layers below (the metadata of directories that the
//!   archive only passes through, links to files of lower layers) is taken from them.
//! - `view`: several layers seen as the one tree that overlay would show.
//! - `copy`: that tree as a plain directory.
//! - `pipeline`: reading, hashing and writing side by side.

pub(crate) mod copy;
mod metadata;
mod names;
pub(crate) mod pipeline;
mod settle;
mod view;
mod write;

pub(crate) use metadata::copy_root_metadata;
pub(crate) use view::{Found, LastLink, View};
pub(crate) use write::LayerWriter;

use std::io;

use crate::error::{ErrorKind, Explain, io_hints, io_kind};
use crate::tar::TarError;

/// The name that overlay knows a whiteout's kind by: whether the kernel takes its marks in the
/// `trusted` or the `user` namespace of extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverlayForm {
    /// `trusted.overlay.*`: for the initial user namespace.
    Trusted,
    /// `user.overlay.*`, which the mount option `userxattr` turns on: for any other.
    User,
}

impl OverlayForm {
    /// What suits this process.
    pub(crate) fn detect() -> Self {
        let initial = std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]));
        if initial && rustix::process::geteuid().is_root() { Self::Trusted } else { Self::User }
    }

    /// The attribute of an opaque directory.
    pub(crate) fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// Why an archive cannot become a layer's directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The archive cannot be read.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A file operation failed.
    #[error("cannot {action} `{entry}`")]
    Entry {
        /// The entry's name.
        entry: String,
        /// What was being done, as a verb.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The name leads out of the root.
    #[error("`{0}` leads out of the root of the layer")]
    Escape(String),
    /// The name cannot be a path.
    #[error("the entry name `{entry}` {problem}")]
    Name {
        /// The entry's name.
        entry: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A parent is not a directory.
    #[error("`{entry}` is below `{parent}`, which is not a directory")]
    BelowFile {
        /// The entry's name.
        entry: String,
        /// The parent.
        parent: String,
    },
    /// The target of a hard link is nowhere.
    #[error(
        "`{entry}` is a hard link to `{target}`, which is in neither this layer nor those below"
    )]
    LinkTarget {
        /// The entry's name.
        entry: String,
        /// What it links to.
        target: String,
    },
}

impl ApplyError {
    /// For `map_err` on a system call for an entry.
    fn at<'a, E: Into<io::Error>>(
        action: &'static str,
        entry: &'a [u8],
    ) -> impl FnOnce(E) -> ApplyError + use<'a, E> {
        move |source| Self::Entry {
            entry: String::from_utf8_lossy(entry).into_owned(),
            action,
            source: source.into(),
        }
    }
}

impl Explain for ApplyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Entry { source, .. } => io_kind(source),
            Self::Tar(TarError::Read(source)) => io_kind(source),
            _ => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            // What the kernel says of an owner that the user namespace has no place for.
            Self::Entry { source, action, .. }
                if action.starts_with("set owner") && source.raw_os_error() == Some(INVALID) =>
            {
                vec![
                    "the image has files of users or groups beyond those that are mapped here: \
                     give this user more of them in /etc/subuid and /etc/subgid"
                        .to_owned(),
                ]
            }
            Self::Entry { source, .. } => io_hints(source),
            _ => Vec::new(),
        }
    }
}

const INVALID: i32 = rustix::io::Errno::INVAL.raw_os_error();
