//! What the new process will do, worked out before it is cloned.
//!
//! A [`Plan`] is all that the process needs: C strings, numbers, open descriptors, a compiled
//! filter. Making it validates the configuration; carrying it out (`child`) makes system calls
//! only and allocates nothing. This module changes nothing outside of this process.

pub(crate) mod capabilities;
pub(crate) mod devices;
pub(crate) mod hooks;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod rootfs;
pub(crate) mod sysctl;
pub(crate) mod validate;

use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use berth_cgroup::{Joiner, LateJoiner};

use crate::config::ConfigError;
pub(crate) use devices::{DevicePlan, Node};
pub(crate) use hooks::HookPlan;
pub(crate) use mounts::{BindSource, CgroupEntry, MountKind, MountPlan};
pub(crate) use namespaces::NamespacePlan;
pub(crate) use process::ProcessPlan;
pub(crate) use rootfs::{RootPlan, RootfsPlan};
pub(crate) use sysctl::SysctlPlan;

/// All that a new process is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Descriptors by number that are the maker's alone: closed before anything else.
    pub close: Vec<RawFd>,
    /// Namespaces to join and to make.
    pub namespaces: NamespacePlan,
    /// How it gets into its cgroup.
    pub cgroup: CgroupPlan,
    /// The name of a new session keyring.
    pub keyring: Option<CString>,
    /// The root file system.
    pub root: RootPlan,
    /// The host name.
    pub hostname: Option<Vec<u8>>,
    /// The domain name.
    pub domainname: Option<Vec<u8>>,
    /// Kernel parameters.
    pub sysctls: Vec<SysctlPlan>,
    /// The terminal.
    pub terminal: Option<TerminalPlan>,
    /// The process itself.
    pub process: ProcessPlan,
    /// Hooks that run in the container's namespaces.
    pub hooks: ChildHooks,
    /// What stands between the set-up and the program.
    pub gate: Gate,
}

/// How the new process gets into its cgroup.
#[derive(Debug, Default)]
pub(crate) struct CgroupPlan {
    /// Files through which it joins by itself.
    pub joiner: Option<Joiner>,
    /// Paths through which it joins by itself as soon as its maker says that the cgroup is there
    /// and limited. Until then it does what takes no more memory than its configuration says and
    /// runs nobody's code.
    pub late: Option<LateJoiner>,
    /// Whether its maker moves it and says so.
    pub wait: bool,
}

/// The terminal of the new process.
#[derive(Debug)]
pub(crate) struct TerminalPlan {
    /// A connected unix socket that the master is sent over.
    pub socket: OwnedFd,
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
    /// Whether a newline stays one, rather than become a carriage return and a newline.
    pub keeps_newlines: bool,
}

/// Hooks that run in the container's namespaces.
#[derive(Debug, Default)]
pub(crate) struct ChildHooks {
    /// Whether the maker runs hooks once the mounts are there.
    pub runtime: bool,
    /// Before the root is changed.
    pub create_container: Vec<HookPlan>,
    /// Before the program is executed.
    pub start_container: Vec<HookPlan>,
}

/// What the process waits for before it executes the program.
#[derive(Debug)]
pub(crate) enum Gate {
    /// Nothing but its maker's word.
    Maker,
    /// A byte in a FIFO, and then nobody is there to be told of errors but a file.
    Fifo {
        /// Both ends of the FIFO.
        fifo: OwnedFd,
        /// The file for an error.
        errors: OwnedFd,
    },
}

/// A C string of text in the configuration.
pub(crate) fn c_string(text: &str, field: &str) -> Result<CString, ConfigError> {
    CString::new(text).map_err(|_| ConfigError::invalid(field, "there is a NUL byte in it"))
}

/// A C string of a path in the configuration.
pub(crate) fn c_path(path: &Path, field: &str) -> Result<CString, ConfigError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| ConfigError::invalid(field, "there is a NUL byte in it"))
}
