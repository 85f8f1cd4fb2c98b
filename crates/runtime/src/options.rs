//! What a caller gives to `create`, `exec` and the other operations.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use berth_spec::runtime::Process;

use crate::id::ContainerId;

/// Where the terminal's master side goes when `process.terminal` is set.
#[derive(Debug, Default)]
pub enum Console {
    /// Nowhere: then `process.terminal` must be false.
    #[default]
    None,
    /// A unix stream socket that is connected to and that the master is sent over.
    Socket(PathBuf),
    /// A connected unix socket that the master is sent over.
    Connected(OwnedFd),
    /// To the caller, in [`Created::terminal`] or [`Executed::terminal`]; it is no mistake if
    /// `process.terminal` is false. Lines end as the program ends them, without a carriage return,
    /// since the caller's own terminal or file comes after it.
    Return,
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// The runtime.
    #[default]
    Cgroupfs,
    /// systemd.
    Systemd,
    /// Nobody: containers stay in the caller's.
    Disabled,
}

/// Whether a container without limits may be without a cgroup of its own where none may be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rootless {
    /// If the caller is not root.
    #[default]
    Auto,
    /// Yes.
    True,
    /// No.
    False,
}

/// Sockets that the caller was started with, to be handed on (sd_listen_fds(3)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenFds {
    /// How many, from descriptor 3 on.
    pub count: u32,
    /// `LISTEN_FDNAMES`.
    pub names: Option<String>,
}

/// Whether the container gets a socket for sd_notify(3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Notify {
    /// No.
    #[default]
    None,
    /// One of its own, in /run/notify. What it says has to be passed on by the caller, see
    /// [`Created::notify`] and [`crate::Runtime::bind_notify`].
    Socket,
}

/// What happens to mounts of a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountChange {
    /// They are made.
    Add,
    /// They are taken away.
    Remove,
}

/// How the container's root becomes `/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pivot {
    /// By `pivot_root`: the host's file systems are gone from the container's mount namespace.
    #[default]
    Pivot,
    /// By moving the mount and `chroot`, where `pivot_root` cannot be (a ramdisk root).
    Move,
}

/// Whose child the new process becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InitParent {
    /// The calling process'.
    #[default]
    Caller,
    /// The caller's parent's (`CLONE_PARENT`).
    ///
    /// Where the process joins a user namespace this cannot be had directly: it is the caller's
    /// child until the caller exits, and then its sub-reaper's.
    CallersParent,
}

/// The session keyring of the new process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keyring {
    /// A new one, named `_ses.ID`.
    #[default]
    New,
    /// The caller's.
    Inherit,
}

/// Whether the operation ends when the container is created or when it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CreateUntil {
    /// `create`: the process waits for [`crate::Runtime::start`].
    #[default]
    Created,
    /// `create` and `start` at once: the process executes the program before the call returns.
    Running,
}

/// Whether a writable way to the caller's own executable could reach the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OwnBinary {
    /// Unknown: the operation fails when the executable could be overwritten through
    /// `/proc/PID/exe`.
    #[default]
    Check,
    /// The caller was executed from a read-only mount or a sealed file, or has nothing to protect.
    Protected,
}

/// Options of [`crate::Runtime::create`].
///
/// Descriptors 0, 1 and 2 of the calling process become the container's, unless it has a terminal.
#[derive(Debug)]
pub struct CreateOptions {
    /// The new container's id.
    pub id: ContainerId,
    /// The directory that holds `config.json`.
    pub bundle: PathBuf,
    /// The configuration, if it is another file.
    pub config: Option<PathBuf>,
    /// A detached mount to use as root instead of the directory `root.path` names.
    pub rootfs: Option<OwnedFd>,
    /// Where the terminal goes.
    pub console: Console,
    /// A file to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on are kept for the container, after those of `listen`.
    pub preserve_fds: u32,
    /// Sockets to listen at.
    pub listen: ListenFds,
    /// A socket for sd_notify(3).
    pub notify: Notify,
    /// How the root is changed.
    pub pivot: Pivot,
    /// The session keyring.
    pub keyring: Keyring,
    /// Whose child the container's first process is.
    pub parent: InitParent,
    /// When the operation is done.
    pub until: CreateUntil,
    /// Whether the executable needs protection.
    pub own_binary: OwnBinary,
}

impl CreateOptions {
    /// Options with every default.
    pub fn new(id: ContainerId, bundle: impl Into<PathBuf>) -> Self {
        Self {
            id,
            bundle: bundle.into(),
            config: None,
            rootfs: None,
            console: Console::None,
            pid_file: None,
            preserve_fds: 0,
            listen: ListenFds::default(),
            notify: Notify::default(),
            pivot: Pivot::default(),
            keyring: Keyring::default(),
            parent: InitParent::default(),
            until: CreateUntil::default(),
            own_binary: OwnBinary::default(),
        }
    }
}

/// What [`crate::Runtime::create`] made.
#[derive(Debug)]
pub struct Created {
    /// The container's first process, as the caller sees it.
    pub pid: i32,
    /// A pidfd of it.
    pub pidfd: OwnedFd,
    /// The terminal's master, with [`Console::Return`].
    pub terminal: Option<OwnedFd>,
    /// Where the container's words to sd_notify(3) arrive, with [`Notify::Socket`] and
    /// [`CreateUntil::Running`].
    pub notify: Option<UnixDatagram>,
    /// What a person should know, one line each.
    pub warnings: Vec<String>,
}

/// The process that `exec` starts.
#[derive(Debug)]
pub enum ProcessSource {
    /// A JSON file with a `process` object.
    File(PathBuf),
    /// The object itself.
    Spec(Box<Process>),
}

/// Options of [`crate::Runtime::exec`].
///
/// Descriptors 0, 1 and 2 of the calling process become the new process', unless it has a terminal.
#[derive(Debug)]
pub struct ExecOptions {
    /// The container.
    pub id: ContainerId,
    /// The process.
    pub process: ProcessSource,
    /// Where the terminal goes.
    pub console: Console,
    /// A file to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on are kept for the process, after those of `listen`.
    pub preserve_fds: u32,
    /// Sockets to listen at.
    pub listen: ListenFds,
    /// Whose child the process is.
    pub parent: InitParent,
    /// Cgroups below the container's to run in.
    pub cgroups: Vec<SubCgroup>,
    /// What to do when the container is paused.
    pub paused: ExecPaused,
    /// Whether the executable needs protection.
    pub own_binary: OwnBinary,
}

impl ExecOptions {
    /// Options with every default.
    pub fn new(id: ContainerId, process: ProcessSource) -> Self {
        Self {
            id,
            process,
            console: Console::None,
            pid_file: None,
            preserve_fds: 0,
            listen: ListenFds::default(),
            parent: InitParent::default(),
            cgroups: Vec::new(),
            paused: ExecPaused::default(),
            own_binary: OwnBinary::default(),
        }
    }
}

/// A cgroup below a container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// The v1 hierarchies that this is for, by controller; all, if there are none.
    pub controllers: Vec<String>,
    /// Its path there.
    pub path: PathBuf,
}

/// What `exec` does with a paused container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecPaused {
    /// It fails.
    #[default]
    Refuse,
    /// It starts the process, which then waits for the container to be resumed.
    Allow,
}

/// What [`crate::Runtime::exec`] started.
#[derive(Debug)]
pub struct Executed {
    /// The process, as the caller sees it.
    pub pid: i32,
    /// A pidfd of it.
    pub pidfd: OwnedFd,
    /// The terminal's master, with [`Console::Return`].
    pub terminal: Option<OwnedFd>,
    /// What a person should know, one line each.
    pub warnings: Vec<String>,
}

/// Which processes a signal goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KillScope {
    /// The first process.
    #[default]
    Init,
    /// Every process of the container's cgroup.
    All,
}

/// Which containers may be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeleteMode {
    /// Stopped ones only.
    #[default]
    Stopped,
    /// All: a living one is killed first, and one that is not there is no error.
    Force,
}
