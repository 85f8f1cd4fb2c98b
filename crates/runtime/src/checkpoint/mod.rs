//! Containers kept in files and brought back, by CRIU (criu.org), over its RPC.
//!
//! CRIU is a program beside the runtime: it is executed as a worker with one end of a socket pair,
//! asked for one thing, and answered when it tells how far it is. Here is what it must be told of a
//! container that it cannot see for itself: which mounts, namespaces and descriptors are the host's.
//! The layout of the images directory, `descriptors.json` beside CRIU's own files and the names of
//! what is external are runc's, so that either runtime restores what the other has kept.

mod dump;
mod error;
mod mounts;
mod namespaces;
mod options;
mod request;
mod restore;
mod wire;
mod worker;

pub(crate) use dump::checkpoint;
pub use error::{CheckpointError, CriuError, RestoreError};
pub use options::{
    CheckpointOptions, CriuOptions, Direction, ManageCgroups, NetworkLock, RestoreOptions, Switches,
};
pub(crate) use restore::restore;
