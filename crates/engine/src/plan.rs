//! What a container was made with: the part of its record that says how to start it again.
//!
//! It holds all that is needed to write the bundle anew (tmpfs forgets it at a reboot), without the
//! image's configuration: an image may be untagged while a container made of it lives on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::request::ContainerRequest;

/// The details of a container's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Details {
    /// What was asked for.
    pub(crate) request: ContainerRequest,
    /// The configuration, but for what is found out at each start: namespaces of other containers,
    /// and the default system call filter, which would be most of the record.
    pub(crate) spec: Spec,
    /// Whether the default system call filter is put back at a start.
    pub(crate) default_seccomp: bool,
    /// Where the root file system comes from.
    pub(crate) root: RootSource,
    /// Mounts that the request, or the image's volumes, asked for.
    pub(crate) mounts: Vec<ResolvedMount>,
    /// Entrypoint, of the request or the image.
    pub(crate) entrypoint: Vec<String>,
    /// Arguments after the entrypoint.
    pub(crate) command: Vec<String>,
    /// Labels of the image and of the request.
    pub(crate) labels: BTreeMap<String, String>,
    /// The user as it was given by the request or the image.
    pub(crate) user: String,
    /// The signal that stops it.
    pub(crate) stop_signal: crate::signal::Signal,
    /// Seconds until SIGKILL.
    pub(crate) stop_timeout: u32,
    /// The image's manifest digest; empty for a bare root file system.
    pub(crate) image_digest: String,
}

/// Where a container's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RootSource {
    /// Layers, topmost first, with a writable one on top by a snapshot driver.
    Layers {
        /// The driver's name.
        driver: String,
        /// The layers' directories.
        layers: Vec<PathBuf>,
    },
    /// A directory as it is.
    Directory(PathBuf),
}

/// A mount as it was asked for, with its source on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolvedMount {
    /// `bind`, `volume`, `tmpfs`, `devpts`, `ramfs`.
    pub(crate) kind: MountKind,
    /// The volume's name.
    pub(crate) name: Option<String>,
    /// The path on the host.
    pub(crate) source: Option<PathBuf>,
    /// Where in the container.
    pub(crate) target: PathBuf,
    /// Options as the runtime gets them.
    pub(crate) options: Vec<String>,
    /// Whether an empty volume gets the image's content first.
    pub(crate) copy_up: bool,
    /// Whether the volume was made for this container.
    pub(crate) anonymous: bool,
}

/// The kinds of mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MountKind {
    Bind,
    Volume,
    Tmpfs,
    Devpts,
    Ramfs,
}

impl MountKind {
    /// The word that inspection shows.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Devpts => "devpts",
            Self::Ramfs => "ramfs",
        }
    }
}

impl ResolvedMount {
    /// Whether the container can write to it.
    pub(crate) fn is_writable(&self) -> bool {
        let last = self.options.iter().rev().find(|o| matches!(o.as_str(), "ro" | "rw" | "rro"));
        last.is_none_or(|option| option == "rw")
    }
}
