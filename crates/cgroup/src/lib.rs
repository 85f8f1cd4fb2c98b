//! Control groups: create, limit, measure, freeze, kill, remove (config-linux.md, "Control groups").
//!
//! One [`Cgroup`] stands for a container's control group in every hierarchy that the machine has:
//! cgroup v1 controllers mounted one by one or together, cgroup v2, or both at once (hybrid).
//! Limits arrive as the runtime specification's [`berth_spec::runtime::LinuxResources`], in v1
//! units, and are converted where the kernel speaks v2.
//!
//! # Joining cheaply
//!
//! Moving another process by `cgroup.procs` takes a lock whose first taker waits for an RCU grace
//! period: 6 to 15 ms. Two ways avoid it, and a runtime should use both:
//!
//! 1. clone the container's process with `CLONE_INTO_CGROUP` and [`Cgroup::directory`] (v2, and
//!    the v2 part of a hybrid machine);
//! 2. in the new, single-threaded process call [`Joiner::join`] (v1), made before by
//!    [`Cgroup::joiner`]: it writes `0` to each `tasks` file, which moves the caller without that
//!    lock.
//!
//! [`Cgroup::add_process`] works for any process at any time and costs what it costs.
//!
//! This crate knows nothing of containers' state, namespaces or bundles.
#![deny(unsafe_code)]

mod apply;
mod cgroup;
mod create;
mod directory;
mod error;
mod freezer;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hierarchy;
mod kill;
pub mod mount_table;
mod namespace;
mod oom;
mod remove;
pub mod scope;
pub mod statistics;
mod sys;
mod systemd;

pub use cgroup::{
    Cgroup, Driver, Joiner, LateJoiner, Owner, SavedCgroup, SavedDirectory, UnifiedJoin,
};
pub use error::{
    ApplyError, AttachError, CreateError, DetectError, ErrorKind, FileError, FreezeError,
    JoinError, KillError, OomError, OpenError, ProcessesError, RemoveError, StatisticsError,
};
pub use hierarchy::{Hierarchies, HierarchyKind, HierarchyMount, Layout};
pub use namespace::is_rootless;
pub use oom::OomWatch;
pub use statistics::Statistics;
pub use systemd::SystemdError;

/// Whether a control group is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    /// Its processes run.
    Thawed,
    /// It was asked to freeze and some processes still run.
    Freezing,
    /// No process of it runs.
    Frozen,
}
