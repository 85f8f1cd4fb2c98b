//! The OCI runtime (runtime-spec 1.3), as a library and as the `berth-runtime` binary.
//!
//! [`Runtime`] is the whole interface: create, start, exec, kill, delete, pause, and what is known
//! of containers. One process does everything: it prepares all that can be prepared, clones the
//! container's process into its new namespaces, and that process sets itself up by system calls
//! alone before it executes the program.
//!
//! The runtime knows bundles, namespaces, mounts and processes. It knows neither images nor
//! networks, and nothing of those who supervise containers.
#![deny(unsafe_code)]

mod birth;
pub mod checkpoint;
mod child;
pub mod config;
pub mod error;
mod features;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hooks;
pub mod id;
pub mod idmap;
mod json_path;
mod lifecycle;
mod live_mounts;
mod maker;
pub mod options;
mod plan;
pub mod process;
mod procfs;
pub mod protect;
mod removal;
mod resctrl;
pub mod rootfs;
mod runtime;
pub mod state;
pub mod supported;
#[expect(unsafe_code, reason = "system calls that have no safe wrapper")]
mod sys;
mod update;

pub use error::{
    CgroupOperationError, CgroupSetupError, CgroupUseError, CreateError, DeleteError, ErrorKind,
    ExecError, HookError, KillError, LookupError, SetupError, StartError,
};
pub use features::features;
pub use id::{ContainerId, InvalidId, InvalidSignal, Signal};
pub use live_mounts::MountsError;
pub use options::{CgroupManager, ListenFds, MountChange, Notify, Rootless, SubCgroup};
pub use options::{
    Console, CreateOptions, CreateUntil, Created, DeleteMode, ExecOptions, ExecPaused, Executed,
    InitParent, Keyring, KillScope, OwnBinary, Pivot, ProcessSource,
};
pub use runtime::{ContainerSummary, Runtime};
