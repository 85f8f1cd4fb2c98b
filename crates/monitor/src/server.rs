//! The monitor process.
//!
//! One thread, one loop around `poll`. Everything that takes memory or time is done by workers
//! (`worker`); what stays is small and of fixed size: a buffer for one frame, a few hundred bytes
//! a container and a client.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use berth_cgroup::scope::Scope;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use self::client::Client;
use self::container::{CHUNK, Container, Session};
use self::options::Options;
use crate::client::{LOCK_FILE, PID_FILE, SOCKET_FILE, socket_address};
use crate::protocol::{ErrorKind, MAX_FRAME, Reply};
use crate::sys;

mod adopt;
mod cleanup;
mod client;
mod container;
mod handover;
mod lifecycle;
mod log;
mod options;
mod poll;
mod procfs;
mod record;
mod requests;
mod stdio;
mod worker;

/// How long a monitor waits for the one before it, which is ending.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The file that lists the directories of the containers that this monitor was given.
const MEMBERS_FILE: &str = "members";
/// A link in the place of one of the monitor's files is an error: it could lead to anybody's.
const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);

/// Why a monitor can't begin.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot {action} in {directory}: {source}")]
    Directory { action: &'static str, directory: String, source: std::io::Error },
    #[error("another monitor runs for {0}")]
    Running(String),
    #[error("cannot {action}: {source}")]
    Process { action: &'static str, source: std::io::Error },
    #[error("cannot take over: {0}")]
    Resume(#[from] handover::ResumeError),
    #[error("cannot enter the scope {name:?}: {source}")]
    Scope { name: String, source: berth_cgroup::scope::ScopeError },
}

/// What a worker is doing, and for whom.
#[derive(Debug)]
struct Work {
    handle: worker::Handle,
    job: Job,
    /// The container's key.
    container: u32,
    /// The client and the number of its request.
    requester: Option<(u32, u32)>,
    failure: Option<worker::Failure>,
    /// It creates a container and doesn't start it.
    only_creates: bool,
    /// Its last report has arrived.
    done: bool,
    /// It has closed its end.
    closed: bool,
}

impl Work {
    fn new(
        handle: worker::Handle,
        job: Job,
        container: u32,
        requester: Option<(u32, u32)>,
    ) -> Self {
        let (only_creates, done, closed) = (false, false, false);
        Self { handle, job, container, requester, failure: None, only_creates, done, closed }
    }
}

/// A worker's task, as far as its reports have to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Create,
    Recreate,
    Start,
    /// With the session's key.
    Exec(u32),
    Pause,
    Resume,
    Signal,
}

/// The monitor.
struct Monitor {
    options: Options,
    directory: OwnedFd,
    /// Held as long as the monitor lives.
    lock: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    clients: Vec<Client>,
    containers: Vec<Container>,
    sessions: Vec<Session>,
    workers: Vec<Work>,
    next_key: u32,
    /// Room for one frame.
    frame: Vec<u8>,
    /// Room for one chunk of output.
    chunk: Vec<u8>,
    /// A request to replace this program, to be done when no worker is at work.
    replacement: Option<handover::Replacement>,
    had_containers: bool,
    ending: bool,
    /// Nobody is let in before this time: there were too many descriptors.
    listen_from: Option<Instant>,
    /// Orphans may be waiting to be reaped.
    reap: bool,
    scope: Option<Scope>,
    oom_score: Option<String>,
}

/// Runs a monitor with this process's arguments.
pub fn main() -> ExitCode {
    let _ = rustix::thread::set_name(c"berth-monitor");
    let complain = |text: &dyn std::fmt::Display| {
        let _ = writeln!(std::io::stderr(), "berth-monitor: {text}");
        ExitCode::FAILURE
    };
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => return complain(&error),
    };
    if let Some(descriptor) = options.check_resume {
        return match handover::check(descriptor) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        };
    }
    let launcher = options.sync_fd.and_then(|number| sys::inherited(number).ok());
    let monitor = match options.resume {
        Some(descriptor) => Monitor::resume(options, descriptor),
        None => Monitor::begin(options, launcher.as_ref().map(AsFd::as_fd)),
    };
    match monitor {
        Ok(mut monitor) => {
            monitor.admit(launcher);
            monitor.run();
            monitor.leave();
            ExitCode::SUCCESS
        }
        Err(error) => {
            if let Some(socket) = launcher {
                let kind = match error {
                    StartError::Running(_) => ErrorKind::Exists,
                    _ => ErrorKind::Other,
                };
                // Under the number of the launcher's `Hello` and of its first request.
                for request in 0..2 {
                    let text = error.to_string();
                    Client::new(0, rustix::io::dup(&socket).unwrap_or_else(|_| sys::exit_now(1)))
                        .reply(&Reply::Error { request, kind, text, hint: None });
                }
            }
            complain(&error)
        }
    }
}

impl Monitor {
    fn begin(
        options: Options,
        launcher: Option<std::os::fd::BorrowedFd<'_>>,
    ) -> Result<Self, StartError> {
        if let Some(launcher) = launcher {
            let _ = rustix::io::fcntl_setfd(launcher, rustix::io::FdFlags::CLOEXEC);
        }
        let process = |action| move |source| StartError::Process { action, source };
        let signals = sys::signal_descriptor().map_err(process("take signals"))?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| process("become a sub-reaper")(error.into()))?;
        let path = options.directory.display().to_string();
        let failed = |action, error: rustix::io::Errno| StartError::Directory {
            action,
            directory: path.clone(),
            source: error.into(),
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&options.directory, flags, Mode::empty())
            .map_err(|error| failed("work", error))?;
        let lock = take_lock(&directory)
            .map_err(|error| failed("take the lock", error))?
            .ok_or_else(|| StartError::Running(path.clone()))?;
        let listener = listen(&directory).map_err(|error| failed("listen", error))?;
        write_file(&directory, PID_FILE, format!("{}\n", std::process::id()).as_bytes())
            .map_err(|error| failed("write the pid file", error))?;
        let oom_score = protect_from_oom();
        let adopt = options.adopt;
        let mut monitor = Self {
            options,
            directory,
            lock,
            listener,
            signals,
            clients: Vec::new(),
            containers: Vec::new(),
            sessions: Vec::new(),
            workers: Vec::new(),
            next_key: 1,
            frame: Vec::with_capacity(MAX_FRAME),
            chunk: Vec::with_capacity(CHUNK),
            replacement: None,
            had_containers: false,
            ending: false,
            listen_from: None,
            reap: false,
            scope: None,
            oom_score,
        };
        if let Some(name) = monitor.options.scope.clone() {
            monitor.scope = enter_scope(name)?;
        }
        if adopt {
            monitor.adopt();
        } else {
            // The list of a monitor before this one is of no use to anybody.
            let _ = rustix::fs::unlinkat(&monitor.directory, MEMBERS_FILE, AtFlags::empty());
        }
        Ok(monitor)
    }

    /// Takes the launcher's connection as the first client.
    fn admit(&mut self, launcher: Option<OwnedFd>) {
        if let Some(socket) = launcher {
            let key = self.key();
            self.clients.push(Client::new(key, socket));
        }
    }

    /// A new key for a client, container or session.
    fn key(&mut self) -> u32 {
        let key = self.next_key;
        self.next_key = self.next_key.wrapping_add(1);
        key
    }

    fn context<'a>(&'a self, container: &'a Container) -> worker::Context<'a> {
        worker::Context {
            container: &container.request,
            runtime_root: &self.options.runtime_root,
            oom_score: self.oom_score.as_deref(),
        }
    }

    /// Removes what only makes sense while a monitor runs. The lock file stays: whoever waits for
    /// the lock has it open.
    fn leave(self) {
        for name in [SOCKET_FILE, PID_FILE, MEMBERS_FILE] {
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
        if let Some(Scope::Directory(directory)) = &self.scope
            && let Some(parent) = directory.parent()
        {
            // A group can't be removed with a process in it. In v1 a single thread is moved faster
            // than a process; in v2 there is no such file.
            let thread = std::fs::write(parent.join("tasks"), "0");
            let _ = thread.or_else(|_| std::fs::write(parent.join("cgroup.procs"), "0"));
            let _ = rustix::fs::rmdir(directory);
        }
    }

    /// Adds a container's directory to the list that an adopting monitor reads.
    fn remember(&self, directory: &Path) -> Result<(), rustix::io::Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | FILE;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(&self.directory, MEMBERS_FILE, flags, mode)?;
        let line = [directory.as_os_str().as_bytes(), b"\n"].concat();
        match rustix::io::write(&file, &line)? {
            written if written == line.len() => Ok(()),
            _ => Err(rustix::io::Errno::NOSPC),
        }
    }
}

/// Moves the monitor to a scope of its own. Where there is no permission for one, or nothing to
/// have it in, the monitor does without.
fn enter_scope(name: String) -> Result<Option<Scope>, StartError> {
    match berth_cgroup::scope::enter_own_scope(&name) {
        Ok(scope) => Ok(Some(scope)),
        Err(error)
            if matches!(
                error.kind(),
                berth_cgroup::ErrorKind::Unsupported | berth_cgroup::ErrorKind::Permission
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(StartError::Scope { name, source }),
    }
}

/// Takes the lock of a directory. `None` when a monitor that stays has it.
fn take_lock(directory: &OwnedFd) -> Result<Option<OwnedFd>, rustix::io::Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | FILE;
    let file = rustix::fs::openat(directory, LOCK_FILE, flags, Mode::from_raw_mode(0o600))?;
    let deadline = Instant::now() + LOCK_WAIT;
    let mut pause = Duration::from_micros(500);
    loop {
        match sys::try_lock(file.as_fd()) {
            Ok(true) => return Ok(Some(file)),
            Ok(false) if Instant::now() < deadline => {
                // One that is ending has taken its socket away; one that stays has it there.
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Ok(false) => return Ok(None),
            Err(error) => {
                return Err(
                    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
                );
            }
        }
    }
}

fn listen(directory: &OwnedFd) -> Result<OwnedFd, rustix::io::Errno> {
    match rustix::fs::unlinkat(directory, SOCKET_FILE, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Before it has a name, so that nobody finds it open to more.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    let address = socket_address(directory.as_fd()).map_err(|_| rustix::io::Errno::NAMETOOLONG)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

fn write_file(directory: &OwnedFd, name: &str, text: &[u8]) -> Result<(), rustix::io::Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | FILE;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&file, text).map(drop)
}

/// Asks the kernel to spare the monitor when memory runs out. Gives the old score if it was
/// changed, for the monitor's children.
fn protect_from_oom() -> Option<String> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let before = std::fs::read_to_string(FILE).ok()?;
    std::fs::write(FILE, "-999").ok()?;
    Some(before.trim().to_owned())
}

/// A C string, for arguments that were C strings before.
fn c_string(text: &std::ffi::OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap_or_default()
}
