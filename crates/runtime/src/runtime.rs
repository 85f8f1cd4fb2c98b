//! The interface: one method an operation of the specification (runtime.md, "Operations"), and
//! those that runc added.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use berth_cgroup::{Driver, OomWatch, Statistics};
use berth_spec::runtime::{LinuxIntelRdt, LinuxResources, Mount, Spec};
use berth_spec::state::{ContainerState, State};

use crate::checkpoint::{self, CheckpointError, CheckpointOptions, RestoreError, RestoreOptions};
use crate::error::{
    CgroupOperationError, CreateError, DeleteError, ExecError, KillError, LookupError, StartError,
};
use crate::id::{ContainerId, Signal};
use crate::lifecycle::{self, Container};
use crate::live_mounts::{self, MountsError};
use crate::maker::create::Creator;
use crate::maker::exec;
use crate::options::{
    CgroupManager, CreateOptions, Created, DeleteMode, ExecOptions, Executed, KillScope,
    MountChange, Rootless,
};
use crate::removal;
use crate::state::{Directory, StateFileError};
use crate::update;

/// The OCI runtime over one directory of container states.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
    /// Who makes cgroups, if anybody does.
    driver: Option<Driver>,
    rootless: Rootless,
}

/// A container as `list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// The state that the specification defines.
    pub state: State,
    /// The root directory.
    pub rootfs: PathBuf,
    /// When it was created (RFC 3339).
    pub created: String,
    /// The user who created it.
    pub owner: u32,
}

impl Runtime {
    /// A runtime that keeps its containers' states below `root` (best on tmpfs).
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), driver: Some(Driver::Cgroupfs), rootless: Rootless::Auto }
    }

    /// The same, with cgroups made by systemd.
    pub fn with_systemd_cgroup(self) -> Self {
        self.with_cgroup_manager(CgroupManager::Systemd)
    }

    /// The same, with cgroups made by somebody else.
    pub fn with_cgroup_manager(mut self, manager: CgroupManager) -> Self {
        self.driver = match manager {
            CgroupManager::Cgroupfs => Some(Driver::Cgroupfs),
            CgroupManager::Systemd => Some(Driver::Systemd),
            CgroupManager::Disabled => None,
        };
        self
    }

    /// The same, with or without tolerance for a lack of permission to make cgroups.
    pub fn with_rootless(mut self, rootless: Rootless) -> Self {
        self.rootless = rootless;
        self
    }

    /// Where the states are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn creator(&self) -> Creator<'_> {
        let rootless = match self.rootless {
            Rootless::Auto => berth_cgroup::is_rootless(),
            Rootless::True => true,
            Rootless::False => false,
        };
        Creator { root: &self.root, driver: self.driver, rootless }
    }

    /// Creates a container; its process waits for [`Runtime::start`], unless
    /// [`crate::CreateUntil::Running`] is asked for. A failure leaves nothing behind.
    pub fn create(&self, options: CreateOptions) -> Result<Created, CreateError> {
        self.creator().create(options)
    }

    /// Keeps a running container in files, by CRIU, and removes it unless it is to go on. A failure
    /// leaves it as it was. What a person should know is returned as warnings.
    pub fn checkpoint(&self, options: CheckpointOptions) -> Result<Vec<String>, CheckpointError> {
        checkpoint::checkpoint(&self.root, options)
    }

    /// Brings a container back from such files, running. A failure leaves nothing behind.
    pub fn restore(&self, options: RestoreOptions) -> Result<Created, RestoreError> {
        checkpoint::restore(&self.creator(), options)
    }

    /// Lets a created container execute its program, and runs its poststart hooks. When a hook
    /// fails, the container is deleted.
    pub fn start(&self, id: &ContainerId) -> Result<(), StartError> {
        lifecycle::start(&self.root, id)
    }

    /// Binds the socket that a created container says words to sd_notify(3) to; `None` if it was
    /// created without one. To be called before it is started.
    pub fn bind_notify(&self, id: &ContainerId) -> Result<Option<UnixDatagram>, LookupError> {
        let directory = Directory::open(&self.root, id)?;
        directory.bind_notify().map_err(|source| LookupError::Record { id: id.clone(), source })
    }

    /// Adds mounts to a running container, or removes them.
    pub fn change_mounts(
        &self,
        id: &ContainerId,
        change: MountChange,
        mounts: &[Mount],
    ) -> Result<(), MountsError> {
        live_mounts::change(&self.root, id, change, mounts)
    }

    /// Executes another process in a running container.
    pub fn exec(&self, options: ExecOptions) -> Result<Executed, ExecError> {
        exec::exec(&self.root, options)
    }

    /// The configuration that a container was created with, whatever became of its bundle.
    pub fn configuration(&self, id: &ContainerId) -> Result<Spec, ExecError> {
        exec::configuration(&self.root, id)
    }

    /// Sends a signal.
    pub fn kill(
        &self,
        id: &ContainerId,
        signal: Signal,
        scope: KillScope,
    ) -> Result<(), KillError> {
        lifecycle::kill(&self.root, id, signal, scope)
    }

    /// Removes a container, its cgroup and its state, and runs its poststop hooks. What does not
    /// keep the container from being gone is returned as warnings.
    pub fn delete(&self, id: &ContainerId, mode: DeleteMode) -> Result<Vec<String>, DeleteError> {
        removal::delete(&self.root, id, mode)
    }

    /// The first process of a container, if it lives: its id and a pidfd.
    pub fn pidfd(&self, id: &ContainerId) -> Result<Option<(i32, OwnedFd)>, LookupError> {
        let (_, record) = Container::recorded(&self.root, id)?;
        Ok(Container::pidfd(&record).map(|pidfd| (record.pid, pidfd)))
    }

    /// The state of a container.
    pub fn state(&self, id: &ContainerId) -> Result<State, LookupError> {
        self.summary(id).map(|summary| summary.state)
    }

    /// The state of a container and what else is known of it.
    pub fn summary(&self, id: &ContainerId) -> Result<ContainerSummary, LookupError> {
        let container = Container::open(&self.root, id)?;
        let status = container.status();
        Ok(match &container.record {
            Some(record) => ContainerSummary {
                state: record.state(id, status),
                rootfs: record.rootfs.clone(),
                created: record.created.clone(),
                owner: record.owner,
            },
            // Its creation has only begun, or ended there.
            None => ContainerSummary {
                state: State {
                    oci_version: berth_spec::RUNTIME_SPEC_VERSION.to_owned(),
                    id: id.to_string(),
                    status,
                    pid: None,
                    bundle: PathBuf::new(),
                    annotations: BTreeMap::new(),
                },
                rootfs: PathBuf::new(),
                created: String::new(),
                owner: 0,
            },
        })
    }

    /// The ids of all containers, in order.
    pub fn ids(&self) -> Result<Vec<ContainerId>, StateFileError> {
        crate::state::ids(&self.root)
    }

    /// Every container, by id. One that vanishes meanwhile is left out.
    pub fn list(&self) -> Result<Vec<ContainerSummary>, StateFileError> {
        let mut summaries = Vec::new();
        for id in crate::state::ids(&self.root)? {
            match self.summary(&id) {
                Ok(summary) => summaries.push(summary),
                Err(LookupError::NotFound(_)) => {}
                Err(LookupError::Record { source, .. }) => return Err(source),
            }
        }
        Ok(summaries)
    }

    /// The ids of a container's processes, as the caller's PID namespace has them.
    pub fn processes(&self, id: &ContainerId) -> Result<Vec<i32>, CgroupOperationError> {
        lifecycle::with_cgroup(&self.root, id, "list the processes of", &[], |cgroup| {
            Ok(cgroup.processes()?)
        })
    }

    /// Freezes every process of a container.
    pub fn pause(&self, id: &ContainerId) -> Result<(), CgroupOperationError> {
        let states = [ContainerState::Running, ContainerState::Created];
        lifecycle::with_cgroup(&self.root, id, "pause", &states, |cgroup| Ok(cgroup.freeze()?))
    }

    /// Thaws them.
    pub fn resume(&self, id: &ContainerId) -> Result<(), CgroupOperationError> {
        let states = [ContainerState::Paused];
        lifecycle::with_cgroup(&self.root, id, "resume", &states, |cgroup| Ok(cgroup.thaw()?))
    }

    /// What a container uses.
    pub fn statistics(&self, id: &ContainerId) -> Result<Statistics, CgroupOperationError> {
        lifecycle::with_cgroup(&self.root, id, "measure", &[], |cgroup| Ok(cgroup.statistics()?))
    }

    /// How many of its processes the kernel killed for want of memory; `None` when the cgroup
    /// cannot tell.
    pub fn oom_kill_count(&self, id: &ContainerId) -> Result<Option<u64>, CgroupOperationError> {
        lifecycle::with_cgroup(&self.root, id, "measure", &[], |cgroup| Ok(cgroup.oom_kill_count()))
    }

    /// A descriptor that becomes readable when the kernel kills a process for want of memory.
    pub fn oom_watch(&self, id: &ContainerId) -> Result<OomWatch, CgroupOperationError> {
        lifecycle::with_cgroup(&self.root, id, "watch", &[], |cgroup| Ok(cgroup.oom_watch()?))
    }

    /// Changes what a container's class of service may use of caches and memory bandwidth: the
    /// schemata of `rdt` alone.
    pub fn update_groups(
        &self,
        id: &ContainerId,
        rdt: &LinuxIntelRdt,
    ) -> Result<(), CgroupOperationError> {
        update::update_groups(&self.root, id, rdt)
    }

    /// Changes the limits that are given.
    pub fn update(
        &self,
        id: &ContainerId,
        resources: &LinuxResources,
    ) -> Result<(), CgroupOperationError> {
        update::update(&self.root, id, resources)
    }
}
