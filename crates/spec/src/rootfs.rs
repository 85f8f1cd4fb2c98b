//! How a container's root file system is put together when it is not a plain directory.
//!
//! This is berth's own description, not a specification's. It stands beside `config.json` in a
//! bundle as `rootfs.json`; a worker turns it into a detached mount, so that a container's root
//! never appears in the host's mount table and cannot be left behind there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A root file system to mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum RootfsMount {
    /// An overlay of directories.
    Overlay(OverlayMount),
    /// One directory, used as it is (a private copy, or a foreign root).
    Directory {
        /// The directory's absolute path.
        path: PathBuf,
    },
}

/// An overlay of directories (the kernel's `overlay` file system).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverlayMount {
    /// The read-only layers, topmost first. Never empty.
    pub lower: Vec<PathBuf>,
    /// The writable layer; `None` gives a read-only mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<PathBuf>,
    /// The kernel's work directory, on the file system of `upper`; present when `upper` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<PathBuf>,
    /// More `key=value` (or bare `key`) options for the file system, e.g. `volatile`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}
