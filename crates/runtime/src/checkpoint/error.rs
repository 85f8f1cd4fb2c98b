//! What can go wrong with CRIU.

use std::io;
use std::path::PathBuf;

use berth_spec::state::ContainerState;

use crate::config::ConfigError;
use crate::error::{CreateError, DeleteError, ErrorKind, HookError, LookupError, kind_of};
use crate::id::ContainerId;

/// Working with CRIU.
#[derive(Debug, thiserror::Error)]
pub enum CriuError {
    /// It is not there.
    #[error("criu is in none of the directories of $PATH ({0})")]
    NotInstalled(String),
    /// It is older than what is asked of it.
    #[error("criu {found} is too old: {needed} or later is needed for {purpose}")]
    TooOld {
        /// The version.
        found: String,
        /// The first that would do.
        needed: &'static str,
        /// What for.
        purpose: &'static str,
    },
    /// It, or the kernel, cannot do something.
    #[error("criu or this kernel cannot do what is asked for: {0}")]
    Missing(&'static str),
    /// It cannot work here at all.
    #[error("criu cannot work on this host: {0}")]
    Useless(String),
    /// It did not do what was asked.
    #[error("criu cannot {operation} the container{}", words(reason))]
    Failed {
        /// What.
        operation: &'static str,
        /// Its own words.
        reason: String,
        /// Where it says more.
        log: PathBuf,
    },
    /// A system call of ours.
    #[error("cannot {action}")]
    Io {
        /// What was being done, to what.
        action: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

fn words(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

impl CriuError {
    /// A failed system call.
    pub(super) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { action: action.into(), source: source.into() }
    }

    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => kind_of(source),
            _ => ErrorKind::Other,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotInstalled(_) => Some("install criu 3.15 or later"),
            Self::TooOld { .. } => Some("install a later criu"),
            Self::Useless(_) => Some("`criu check` says more; a later criu may know this kernel"),
            Self::Missing(_) => Some("`criu check --all` lists what is missing"),
            Self::Failed { .. } => Some("the log in the work directory says more"),
            Self::Io { .. } => None,
        }
    }
}

/// Checkpointing a container.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Finding it.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not in a state that can be kept.
    #[error("container {id} cannot be checkpointed: it is {status}")]
    State {
        /// The container.
        id: ContainerId,
        /// Where it is in its life.
        status: ContainerState,
    },
    /// Something in its configuration cannot be kept.
    #[error("container {id} cannot be checkpointed")]
    Config {
        /// The container.
        id: ContainerId,
        /// What.
        #[source]
        source: ConfigError,
    },
    /// The images of the checkpoint before.
    #[error("--parent-path {}: {problem}", path.display())]
    Parent {
        /// What was given.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// CRIU.
    #[error(transparent)]
    Criu(#[from] CriuError),
    /// It was checkpointed, but not removed.
    #[error("the container was checkpointed, but is still there")]
    Delete(#[from] DeleteError),
}

impl CheckpointError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lookup(source) => source.kind(),
            Self::State { .. } => ErrorKind::State,
            Self::Config { source, .. } => source.kind(),
            Self::Parent { .. } => ErrorKind::InvalidConfig,
            Self::Criu(source) => source.kind(),
            Self::Delete(source) => source.kind(),
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lookup(source) => source.hint(),
            Self::State { .. } => Some("only a container that runs or is paused can be"),
            Self::Config { source, .. } => source.hint(),
            Self::Parent { .. } => Some("it is relative to --image-path"),
            Self::Criu(source) => source.hint(),
            Self::Delete(source) => source.hint(),
        }
    }
}

/// Restoring a container.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// What it has in common with a creation.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// CRIU.
    #[error(transparent)]
    Criu(#[from] CriuError),
    /// A hook.
    #[error(transparent)]
    Hook(#[from] HookError),
}

impl RestoreError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Create(source) => source.kind(),
            Self::Criu(source) => source.kind(),
            Self::Hook(_) => ErrorKind::Other,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Create(source) => source.hint(),
            Self::Criu(source) => source.hint(),
            Self::Hook(_) => None,
        }
    }
}
