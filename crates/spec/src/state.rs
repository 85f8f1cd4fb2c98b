//! The state of a container (runtime.md, "State").

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a container is in its life cycle (runtime.md, "State": `status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Between the start of `create` and its end.
    Creating,
    /// `create` is done; the user's program has not been executed.
    Created,
    /// The user's program has been executed and has not exited.
    Running,
    /// All processes are frozen (an extension that runc and crun share).
    Paused,
    /// The container's first process has exited.
    Stopped,
}

impl ContainerState {
    /// The word that the specification uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for ContainerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state object that `state` prints and that hooks read on their standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification that this state follows.
    pub oci_version: String,
    /// The container's ID.
    pub id: String,
    /// The container's status.
    pub status: ContainerState,
    /// The first process's ID as the runtime sees it; absent once the container has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The annotations of the configuration.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}
