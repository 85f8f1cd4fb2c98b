//! Mounts of a running container: made and taken away in its namespaces, beneath its root, by a
//! process of their own.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use berth_spec::runtime::{Linux, LinuxNamespaceType, Mount};
use berth_spec::state::ContainerState;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::child::channel::{self, Received};
use crate::child::{mount, step};
use crate::config::{self, ConfigError};
use crate::error::{ErrorKind, LookupError, SetupError};
use crate::id::ContainerId;
use crate::lifecycle::Container;
use crate::maker::reports;
use crate::options::MountChange;
use crate::plan::MountPlan;
use crate::plan::mounts::MountContext;
use crate::plan::namespaces::flag;
use crate::state::Record;
use crate::sys::{self, CloneArguments, Cloned, Intermediate};
use step::{At as _, Failure, Step};

/// Changing the mounts of a running container.
#[derive(Debug, thiserror::Error)]
pub enum MountsError {
    /// The container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It does not run.
    #[error("cannot change the mounts of container {id}: it is {status}")]
    NotRunning {
        /// The container.
        id: ContainerId,
        /// What it is.
        status: ContainerState,
    },
    /// It has the caller's mounts.
    #[error("container {0} has no mount namespace of its own")]
    NoNamespace(ContainerId),
    /// The configuration, or a mount.
    #[error("cannot change the mounts of container {id}")]
    Config {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// A step in the container.
    #[error("cannot change the mounts of container {id}")]
    Setup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: SetupError,
    },
}

impl MountsError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::NotRunning { .. } | Self::NoNamespace(_) => ErrorKind::State,
            Self::Config { source, .. } => source.kind(),
            Self::Setup { source, .. } => source.kind(),
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lookup(error) => error.hint(),
            Self::Config { source, .. } => source.hint(),
            Self::Setup { source, .. } => source.hint(),
            Self::NotRunning { .. } | Self::NoNamespace(_) => None,
        }
    }
}

/// Adds mounts, or removes those at their destinations, the last one first. When one cannot be
/// added, those before it are taken away again.
pub(crate) fn change(
    root: &Path,
    id: &ContainerId,
    change: MountChange,
    mounts: &[Mount],
) -> Result<(), MountsError> {
    let (container, record) = Container::recorded(root, id)?;
    let status = container.status();
    let not_running = || MountsError::NotRunning { id: id.clone(), status };
    if !matches!(status, ContainerState::Running | ContainerState::Created | ContainerState::Paused)
    {
        return Err(not_running());
    }
    if record.namespaces & flag(LinuxNamespaceType::Mount) == 0 {
        return Err(MountsError::NoNamespace(id.clone()));
    }
    let init = Container::pidfd(&record).ok_or_else(not_running)?;
    let plans = plans(&container, &record, change, mounts)
        .map_err(|source| MountsError::Config { id: id.clone(), source })?;
    run(&record, &init, change, &plans)
        .map_err(|source| MountsError::Setup { id: id.clone(), source })
}

fn plans(
    container: &Container,
    record: &Record,
    change: MountChange,
    mounts: &[Mount],
) -> Result<Vec<MountPlan>, ConfigError> {
    let spec = config::load_file(&container.directory.config_path())?.spec;
    let none = Linux::default();
    let context = MountContext {
        bundle: &record.bundle,
        linux: spec.linux.as_ref().unwrap_or(&none),
        open_sources: true,
        root: &record.rootfs,
        user_namespace: None,
        cgroups: None,
    };
    let plan = |(index, mount): (usize, &Mount)| match change {
        MountChange::Add => MountPlan::new(mount, index, &context),
        MountChange::Remove => {
            // Only its destination matters, wherever its source is now.
            let place = Mount {
                destination: mount.destination.clone(),
                typ: Some("tmpfs".to_owned()),
                ..Mount::default()
            };
            MountPlan::new(&place, index, &context)
        }
    };
    mounts.iter().enumerate().map(plan).collect()
}

/// What the process does.
struct Work<'a> {
    namespaces: u64,
    init: &'a OwnedFd,
    socket: &'a OwnedFd,
    change: MountChange,
    plans: &'a [MountPlan],
    launched: Result<(i32, OwnedFd), Errno>,
}

impl Intermediate for Work<'_> {
    /// Only a child is born into another PID namespace, as a new procfs wants it.
    fn run(&mut self) -> bool {
        self.launched = self.launch();
        self.launched.is_ok()
    }
}

impl Work<'_> {
    fn launch(&self) -> Result<(i32, OwnedFd), Errno> {
        let user = flag(LinuxNamespaceType::User);
        let pid = flag(LinuxNamespaceType::Pid);
        for kind in [user, pid] {
            if self.namespaces & kind != 0 {
                sys::setns(self.init, kind)?;
            }
        }
        let flags = libc::CLONE_PARENT as u64;
        match sys::clone3(CloneArguments { flags, ..CloneArguments::default() })? {
            Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
            Cloned::Child => {
                if let Err(failure) = self.work(self.namespaces & !user & !pid) {
                    channel::report_failure(self.socket.as_fd(), &failure);
                }
                sys::exit_now(0)
            }
        }
    }

    fn work(&self, namespaces: u64) -> Result<(), Failure<'_>> {
        sys::set_dumpable(false).at(Step::JoinNamespace, b"")?;
        if self.namespaces & flag(LinuxNamespaceType::User) != 0 {
            // What is made belongs to the container's root.
            sys::set_gid(0).and_then(|()| sys::set_uid(0)).at(Step::BecomeRoot, b"")?;
        }
        sys::setns(self.init, namespaces).at(Step::JoinNamespace, b"mount")?;
        rustix::process::umask(Mode::empty());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(c"/", flags, Mode::empty()).at(Step::OpenRoot, b"/")?;
        match self.change {
            MountChange::Remove => self.plans.iter().rev().try_for_each(remove),
            MountChange::Add => {
                for (index, plan) in self.plans.iter().enumerate() {
                    if let Err(failure) = mount::make(plan, root.as_fd(), b"") {
                        for done in self.plans.iter().take(index).rev() {
                            let _ = remove(done);
                        }
                        return Err(failure);
                    }
                }
                Ok(())
            }
        }
    }
}

fn remove(plan: &MountPlan) -> Result<(), Failure<'_>> {
    let path = plan.destination.as_c_str();
    unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).at(Step::Unmount, path.to_bytes())
}

fn run(
    record: &Record,
    init: &OwnedFd,
    change: MountChange,
    plans: &[MountPlan],
) -> Result<(), SetupError> {
    let (ours, theirs) = channel::pair().map_err(reports::at("make a socket pair"))?;
    let dumpable = sys::dumpable();
    let mut work = Work {
        namespaces: record.namespaces,
        init,
        socket: &theirs,
        change,
        plans,
        launched: Err(Errno::CHILD),
    };
    let ran = sys::run_intermediate(&mut work);
    let launched = work.launched;
    if dumpable {
        // The helper's change of credentials took that from the memory it shared.
        sys::set_dumpable(true).map_err(reports::at("be dumpable again"))?;
    }
    ran.map_err(reports::at("clone a helper"))?;
    let (_, pidfd) = launched.map_err(reports::at("join the container's namespaces"))?;
    drop(theirs);
    let received = channel::receive(&ours).map_err(reports::at("hear of the mounts"))?;
    reports::wait_for_end(pidfd.as_fd(), None);
    match received {
        Received::End => Ok(()),
        Received::Report(report) => Err(reports::explain(report, "", "")),
        Received::Listener(_) => Err(reports::step_error("hear of the mounts", libc::EBADMSG)),
    }
}
