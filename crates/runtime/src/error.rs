//! What can go wrong, one enum an operation, and the classes that exit codes are made of.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::id::ContainerId;
use crate::state::StateFileError;

/// A coarse class of error, for exit codes and protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The container is not there.
    NotFound,
    /// A container of that name is there already.
    Exists,
    /// The configuration or the request is wrong, or asks for what this host cannot do.
    InvalidConfig,
    /// The program to execute is not there.
    CommandNotFound,
    /// The program to execute cannot be executed.
    CommandNotExecutable,
    /// The container is not in a state that allows the operation.
    State,
    /// No permission.
    Permission,
    /// Anything else.
    Other,
}

/// The class of a system error.
pub(crate) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ErrorKind::Permission,
        _ => ErrorKind::Other,
    }
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Finding a container.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It is not there.
    #[error("container {0} does not exist")]
    NotFound(ContainerId),
    /// Its record cannot be read.
    #[error("cannot read the record of container {id}")]
    Record {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: StateFileError,
    },
}

impl LookupError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Record { source, .. } => source.kind(),
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound(_) => Some("`list` shows what there is under this --root"),
            Self::Record { .. } => None,
        }
    }
}

/// A step of setting up a process that failed, on either side of the clone.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A system call of a step.
    #[error("cannot {action}")]
    Step {
        /// What was being done, to what.
        action: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The program is in none of the directories.
    #[error("{command:?}: executable file not found in $PATH ({path:?}) of the container")]
    CommandNotFound {
        /// The command.
        command: String,
        /// Where it was looked for.
        path: String,
    },
    /// The program, or its interpreter, is not there.
    #[error("cannot execute {command:?} in the container")]
    CommandMissing {
        /// The command.
        command: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The program cannot be executed.
    #[error("cannot execute {command:?} in the container")]
    CommandNotExecutable {
        /// The command.
        command: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The new process died.
    #[error("the container's process died while it was set up ({how})")]
    Died {
        /// How, such as `killed by SIGKILL`.
        how: String,
        /// Whether its cgroup counted an OOM kill.
        out_of_memory: bool,
    },
}

impl SetupError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Step { source, .. } => kind_of(source),
            Self::CommandNotFound { .. } | Self::CommandMissing { .. } => {
                ErrorKind::CommandNotFound
            }
            Self::CommandNotExecutable { .. } => ErrorKind::CommandNotExecutable,
            Self::Hook(_) | Self::Died { .. } => ErrorKind::Other,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::CommandMissing { .. } => {
                Some("check process.args, and for a script or a dynamic program its interpreter")
            }
            Self::CommandNotFound { .. } => {
                Some("check process.args and the PATH in process.env against the root file system")
            }
            Self::CommandNotExecutable { source, .. } => match source.raw_os_error() {
                Some(libc::ENOEXEC) => {
                    Some("is it for another architecture, or a script without #!?")
                }
                _ => Some(
                    "is it a regular file? Check its permission bits, and `noexec` on its mount",
                ),
            },
            Self::Died { out_of_memory: true, .. } => Some("raise linux.resources.memory.limit"),
            Self::Step { source, .. } => match source.raw_os_error() {
                Some(libc::EPERM) => Some(
                    "root, or a user namespace with id mappings, is needed; see `spec --rootless`",
                ),
                Some(libc::ENOSPC) => Some(
                    "a limit was reached: disk space, /proc/sys/user/max_*_namespaces, or mounts",
                ),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A hook that failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be started.
    #[error("error running {stage} hook {hook}: it cannot be started")]
    Start {
        /// Which kind of hook.
        stage: &'static str,
        /// Its place in the list, and its program: `#0: /bin/true`.
        hook: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ended badly.
    #[error("error running {stage} hook {hook} {how}{}", output_suffix(output))]
    Failed {
        /// Which kind of hook.
        stage: &'static str,
        /// Its place in the list, and its program: `#0: /bin/true`.
        hook: String,
        /// Such as `exited with 1`.
        how: String,
        /// The end of what it printed.
        output: String,
    },
    /// It took too long.
    #[error("error running {stage} hook {hook} did not end within {seconds} s")]
    TimedOut {
        /// Which kind of hook.
        stage: &'static str,
        /// Its place in the list, and its program: `#0: /bin/true`.
        hook: String,
        /// Its timeout.
        seconds: i64,
    },
}

fn output_suffix(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

/// Creating a container.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The configuration.
    #[error("the bundle {} cannot be run", bundle.display())]
    Config {
        /// The bundle.
        bundle: PathBuf,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// A container of that id is there.
    #[error("a container with the id {0} exists")]
    Exists(ContainerId),
    /// The state directory.
    #[error("cannot keep the state of container {id}")]
    State {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: StateFileError,
    },
    /// The cgroup.
    #[error("cannot set up the cgroup of container {id}")]
    Cgroup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: CgroupSetupError,
    },
    /// Anything on the way to the program.
    #[error("cannot create container {id}")]
    Setup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: SetupError,
    },
    /// `process.terminal` and the options contradict each other.
    #[error("process.terminal is {terminal}, but {problem}")]
    Terminal {
        /// What the configuration says.
        terminal: bool,
        /// What the caller gave or did not.
        problem: &'static str,
    },
    /// The executable could be overwritten from within.
    #[error("the runtime's own executable {} could be overwritten from a container", path.display())]
    OwnBinary {
        /// The executable.
        path: PathBuf,
    },
    /// The pid file.
    #[error("cannot write the pid file {}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl CreateError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { source, .. } => source.kind(),
            Self::Exists(_) => ErrorKind::Exists,
            Self::State { source, .. } => source.kind(),
            Self::Cgroup { source, .. } => source.kind(),
            Self::Setup { source, .. } => source.kind(),
            Self::Terminal { .. } => ErrorKind::InvalidConfig,
            Self::OwnBinary { .. } => ErrorKind::Permission,
            Self::PidFile { source, .. } => kind_of(source),
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Config { source, .. } => source.hint(),
            Self::Exists(_) => Some("choose another id, or `delete` the old container"),
            Self::State { source, .. } => source.hint(),
            Self::Cgroup { source, .. } => source.hint(),
            Self::Setup { source, .. } => source.hint(),
            Self::Terminal { terminal: true, .. } => Some("give --console-socket"),
            Self::Terminal { terminal: false, .. } => Some("leave --console-socket out"),
            Self::OwnBinary { .. } => {
                Some("execute it from a read-only mount, as the berth-runtime command does")
            }
            Self::PidFile { .. } => None,
        }
    }
}

/// The cgroup of a new container or process.
#[derive(Debug, thiserror::Error)]
pub enum CgroupSetupError {
    /// What is mounted could not be found out.
    #[error(transparent)]
    Detect(#[from] berth_cgroup::DetectError),
    /// Creating it.
    #[error(transparent)]
    Create(#[from] berth_cgroup::CreateError),
    /// Limiting it.
    #[error(transparent)]
    Apply(#[from] berth_cgroup::ApplyError),
    /// Putting the process into it.
    #[error(transparent)]
    Attach(#[from] berth_cgroup::AttachError),
    /// Opening what `create` saved.
    #[error(transparent)]
    Open(#[from] berth_cgroup::OpenError),
}

impl CgroupSetupError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        use berth_cgroup::ErrorKind as Kind;
        let kind = match self {
            Self::Detect(_) | Self::Open(_) => return ErrorKind::Other,
            Self::Create(error) => error.kind(),
            Self::Apply(error) => error.kind(),
            Self::Attach(_) => return ErrorKind::Other,
        };
        match kind {
            Kind::Exists => ErrorKind::Exists,
            Kind::Invalid | Kind::Unsupported => ErrorKind::InvalidConfig,
            Kind::Permission => ErrorKind::Permission,
            Kind::NotFound | Kind::Other => ErrorKind::Other,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Detect(error) => error.hint(),
            Self::Create(error) => error.hint(),
            Self::Apply(error) => error.hint(),
            Self::Attach(_) | Self::Open(_) => None,
        }
    }
}

/// Starting a created container.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is running, paused or stopped.
    #[error("container {id} cannot be started: it is {status}")]
    NotCreated {
        /// The container.
        id: ContainerId,
        /// What it is.
        status: berth_spec::state::ContainerState,
    },
    /// The program was not executed.
    #[error("container {id} did not start")]
    Setup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: SetupError,
    },
    /// A hook failed, and the container is gone.
    #[error("container {id} did not start, and is deleted")]
    Hook {
        /// The container.
        id: ContainerId,
        /// Which hook, and how.
        #[source]
        source: Box<SetupError>,
        /// What failed while the container was deleted.
        warnings: Vec<String>,
    },
}

impl StartError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::NotCreated { .. } => ErrorKind::State,
            Self::Setup { source, .. } => source.kind(),
            Self::Hook { source, .. } => source.kind(),
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lookup(error) => error.hint(),
            Self::NotCreated { .. } => Some("a container is started once; create another"),
            Self::Setup { source, .. } => source.hint(),
            Self::Hook { source, .. } => source.hint(),
        }
    }
}

/// Starting another process in a container.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not running.
    #[error("cannot exec in a {status} container: {id}")]
    NotRunning {
        /// The container.
        id: ContainerId,
        /// What it is.
        status: berth_spec::state::ContainerState,
    },
    /// The process description.
    #[error("the process for container {id} is not valid")]
    Config {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// `terminal` and the options contradict each other.
    #[error("process.terminal is {terminal}, but {problem}")]
    Terminal {
        /// What the process says.
        terminal: bool,
        /// What the caller gave or did not.
        problem: &'static str,
    },
    /// The cgroup.
    #[error("cannot join the cgroup of container {id}")]
    Cgroup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: CgroupSetupError,
    },
    /// Anything on the way to the program.
    #[error("cannot execute in container {id}")]
    Setup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: SetupError,
    },
    /// The executable could be overwritten from within.
    #[error("the runtime's own executable {} could be overwritten from a container", path.display())]
    OwnBinary {
        /// The executable.
        path: PathBuf,
    },
    /// The pid file.
    #[error("cannot write the pid file {}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl ExecError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::NotRunning { .. } => ErrorKind::State,
            Self::Config { source, .. } => source.kind(),
            Self::Terminal { .. } => ErrorKind::InvalidConfig,
            Self::Cgroup { source, .. } => source.kind(),
            Self::Setup { source, .. } => source.kind(),
            Self::OwnBinary { .. } => ErrorKind::Permission,
            Self::PidFile { source, .. } => kind_of(source),
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lookup(error) => error.hint(),
            Self::NotRunning { status, .. } => Some(match status {
                berth_spec::state::ContainerState::Paused => {
                    "resume it first, or use --ignore-paused"
                }
                _ => "start it first",
            }),
            Self::Config { source, .. } => source.hint(),
            Self::Terminal { terminal: true, .. } => Some("give --console-socket"),
            Self::Terminal { terminal: false, .. } => Some("leave --console-socket out"),
            Self::Cgroup { source, .. } => source.hint(),
            Self::Setup { source, .. } => source.hint(),
            Self::OwnBinary { .. } => {
                Some("execute it from a read-only mount, as the berth-runtime command does")
            }
            Self::PidFile { .. } => None,
        }
    }
}

/// Signalling a container.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It has stopped.
    #[error("container not running: {0}")]
    NotRunning(ContainerId),
    /// The signal could not be sent.
    #[error("cannot signal container {id}")]
    Send {
        /// The container.
        id: ContainerId,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The cgroup's processes could not be signalled.
    #[error("cannot signal the processes of container {id}")]
    Cgroup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: CgroupUseError,
    },
}

impl KillError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::NotRunning(_) => ErrorKind::State,
            Self::Send { source, .. } => kind_of(source),
            Self::Cgroup { .. } => ErrorKind::Other,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lookup(error) => error.hint(),
            _ => None,
        }
    }
}

/// Using the cgroup of a living container.
#[derive(Debug, thiserror::Error)]
pub enum CgroupUseError {
    /// The container has none.
    #[error("the container has no cgroup of its own")]
    None,
    /// Opening what `create` saved.
    #[error(transparent)]
    Open(#[from] berth_cgroup::OpenError),
    /// Listing its processes.
    #[error(transparent)]
    Processes(#[from] berth_cgroup::ProcessesError),
    /// Freezing or thawing.
    #[error(transparent)]
    Freeze(#[from] berth_cgroup::FreezeError),
    /// Killing.
    #[error(transparent)]
    Kill(#[from] berth_cgroup::KillError),
    /// Measuring.
    #[error(transparent)]
    Statistics(#[from] berth_cgroup::StatisticsError),
    /// Limiting.
    #[error(transparent)]
    Apply(#[from] berth_cgroup::ApplyError),
    /// Watching for OOM kills.
    #[error(transparent)]
    Oom(#[from] berth_cgroup::OomError),
}

/// An operation on the cgroup of a container: pause, resume, statistics, processes, update.
#[derive(Debug, thiserror::Error)]
pub enum CgroupOperationError {
    /// The container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not in a state for this.
    #[error("cannot {operation} container {id}: it is {status}")]
    State {
        /// The operation.
        operation: &'static str,
        /// The container.
        id: ContainerId,
        /// What it is.
        status: berth_spec::state::ContainerState,
    },
    /// Its resource groups.
    #[error("cannot update container {id}")]
    Groups {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: SetupError,
    },
    /// The same, as they are asked for.
    #[error("cannot update container {id}")]
    Rdt {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// The cgroup.
    #[error("cannot {operation} container {id}")]
    Cgroup {
        /// The operation.
        operation: &'static str,
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: Box<CgroupUseError>,
    },
}

impl CgroupOperationError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::State { .. } => ErrorKind::State,
            Self::Groups { source, .. } => source.kind(),
            Self::Rdt { source, .. } => source.kind(),
            Self::Cgroup { source, .. } => match &**source {
                CgroupUseError::Apply(error) => match error.kind() {
                    berth_cgroup::ErrorKind::Invalid | berth_cgroup::ErrorKind::Unsupported => {
                        ErrorKind::InvalidConfig
                    }
                    berth_cgroup::ErrorKind::Permission => ErrorKind::Permission,
                    _ => ErrorKind::Other,
                },
                _ => ErrorKind::Other,
            },
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lookup(error) => error.hint(),
            Self::State { .. } => None,
            Self::Groups { source, .. } => source.hint(),
            Self::Rdt { source, .. } => source.hint(),
            Self::Cgroup { source, .. } => match &**source {
                CgroupUseError::Apply(error) => error.hint(),
                CgroupUseError::None => {
                    Some("run as root, or with a cgroup delegated to this user")
                }
                _ => None,
            },
        }
    }
}

/// Deleting a container.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It lives.
    #[error("cannot delete container {id}: it is {status}")]
    NotStopped {
        /// The container.
        id: ContainerId,
        /// What it is.
        status: berth_spec::state::ContainerState,
    },
    /// It could not be killed.
    #[error("cannot kill container {id}")]
    Kill {
        /// The container.
        id: ContainerId,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It does not end.
    #[error("container {0} was killed and does not end")]
    StillAlive(ContainerId),
    /// The cgroup stays.
    #[error("cannot remove the cgroup of container {id}")]
    Cgroup {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: berth_cgroup::RemoveError,
    },
    /// The record stays.
    #[error("cannot remove the state of container {id}")]
    State {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: StateFileError,
    },
}

impl DeleteError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::NotStopped { .. } => ErrorKind::State,
            Self::Kill { source, .. } => kind_of(source),
            Self::StillAlive(_) | Self::Cgroup { .. } => ErrorKind::Other,
            Self::State { source, .. } => source.kind(),
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lookup(error) => error.hint(),
            Self::NotStopped { .. } => Some("stop it first, or use --force"),
            _ => None,
        }
    }
}
