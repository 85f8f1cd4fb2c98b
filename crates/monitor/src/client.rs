//! Talking to monitors: start one, connect to one, send requests, receive replies.
//!
//! A [`Connection`] is a descriptor and a counter. It can block, or be wrapped by an event loop:
//! wait for its descriptor, then call [`Connection::try_receive`] until it says there is nothing.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::protocol::{
    CreateRequest, DecodeError, ErrorKind, ExecRequest, MAX_FRAME, OLDEST_VERSION, Reply, Request,
    SlowClient, Streams, VERSION,
};
use crate::sys;

/// The socket's name in a monitor's directory.
pub const SOCKET_FILE: &str = "monitor.sock";
/// The lock's name in a monitor's directory.
pub const LOCK_FILE: &str = "monitor.lock";
/// The name of the file that holds the monitor's pid, in decimal.
pub const PID_FILE: &str = "monitor.pid";

/// How long a monitor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// Until the last of its containers is cleaned up (and never longer than anybody is connected
    /// while it has had none).
    #[default]
    Containers,
    /// Until `Shutdown`: a pod's monitor, which may be without containers for a time.
    UntilShutdown,
}

/// How to start a monitor.
#[derive(Debug, Clone)]
pub struct LaunchOptions {
    /// The monitor's directory, which must exist: a container's run directory, or a pod's.
    pub directory: PathBuf,
    /// The `berth-monitor` binary.
    pub monitor: PathBuf,
    /// The command that cleans up after a container; its ID is appended. Empty: none.
    pub cleanup_command: Vec<OsString>,
    /// The state directory of our own runtime; see [`runtime_root`] for others.
    pub runtime_root: PathBuf,
    /// The name of the cgroup scope that the monitor moves itself to, if it is to.
    pub scope: Option<String>,
    /// How long it lives.
    pub lifetime: Lifetime,
}

/// The state directory (`--root`) of a foreign runtime: beside our own runtime's, with the
/// program's name.
pub fn runtime_root(own_root: &Path, runtime: &Path) -> PathBuf {
    let mut name = own_root.as_os_str().to_owned();
    name.push("-");
    name.push(runtime.file_name().unwrap_or(OsStr::new("runtime")));
    name.into()
}

/// Why a monitor could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The binary can't be opened.
    #[error("cannot open the monitor binary {path}")]
    Binary {
        /// The binary.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The binary can't be executed.
    #[error("cannot execute the monitor binary {path}")]
    Execute {
        /// The binary.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No socket pair.
    #[error("cannot make a socket pair for the monitor of {directory}")]
    Socket {
        /// The monitor's directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An argument holds a NUL byte.
    #[error("{argument:?} cannot be an argument of the monitor: it holds a NUL byte")]
    Argument {
        /// The argument.
        argument: OsString,
    },
    /// The monitor ended at once and said why.
    #[error("the monitor of {directory} could not begin: {text}")]
    Refused {
        /// The monitor's directory.
        directory: PathBuf,
        /// Its words.
        text: String,
    },
    /// The first frame could not be sent: the monitor ended at once.
    #[error("the monitor of {directory} ended before it listened")]
    Greeting {
        /// The monitor's directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: ConnectionError,
    },
}

impl LaunchError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Binary { .. } => {
                Some("install berth-monitor beside berth, or name it with BERTH_MONITOR")
            }
            Self::Execute { .. } => Some("the file must be a program for this machine, executable"),
            _ => None,
        }
    }
}

/// Why no connection to a monitor could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No monitor runs for this directory.
    #[error("no monitor runs for {directory}")]
    NotRunning {
        /// The directory.
        directory: PathBuf,
    },
    /// It runs (it holds the lock) but can't be reached.
    #[error("cannot connect to the monitor of {directory}")]
    Connect {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It doesn't take the first frame.
    #[error("cannot greet the monitor of {directory}")]
    Greeting {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: ConnectionError,
    },
}

/// Why a connection can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Sending failed.
    #[error("cannot send to the monitor")]
    Send(#[source] io::Error),
    /// Receiving failed.
    #[error("cannot receive from the monitor")]
    Receive(#[source] io::Error),
    /// The monitor sent what is no frame.
    #[error("the monitor sent a frame that cannot be understood")]
    Decode(#[from] DecodeError),
    /// The monitor is of another version.
    #[error("the monitor speaks version {theirs} of the protocol, this program {VERSION}")]
    Version {
        /// The monitor's version.
        theirs: u16,
    },
    /// The request is longer than a frame.
    #[error("a request of {length} bytes does not fit a frame of {MAX_FRAME}")]
    TooLong {
        /// Its length.
        length: usize,
    },
}

impl ConnectionError {
    /// Whether it says no more than that the monitor has ended.
    fn is_end(&self) -> bool {
        let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        matches!(self, Self::Send(source) if kinds.contains(&source.kind()))
    }
}

/// Why a blocking request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The monitor said no.
    #[error("{text}")]
    Refused {
        /// What kind of failure.
        kind: ErrorKind,
        /// The monitor's words.
        text: String,
        /// What a person can do about it, if the monitor knows.
        hint: Option<String>,
    },
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The monitor went away before it answered.
    #[error("the monitor ended before it answered")]
    Gone,
}

/// What a monitor says about a failure.
#[derive(Debug)]
struct Words {
    kind: ErrorKind,
    text: String,
    hint: Option<String>,
}

/// What a non-blocking receive gave.
#[derive(Debug)]
pub enum Received {
    /// A reply or event.
    Reply(Reply),
    /// Nothing for now.
    WouldBlock,
    /// The monitor has closed the connection.
    Closed,
}

/// Whether a non-blocking send was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was, under this number.
    Number(u32),
    /// The socket's buffer is full.
    WouldBlock,
}

/// A connection to a monitor.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    next: u32,
    buffer: Vec<u8>,
    monitor_pid: Option<i32>,
    held: std::collections::VecDeque<Reply>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    fn greet(socket: OwnedFd) -> Result<Self, (ConnectionError, Option<Words>)> {
        let mut connection = Self {
            socket,
            next: 0,
            buffer: Vec::new(),
            monitor_pid: None,
            held: std::collections::VecDeque::new(),
        };
        match connection.send(&Request::Hello { version: VERSION }) {
            Ok(_) => Ok(connection),
            Err(error) => {
                let words = connection.last_words();
                Err((error, words))
            }
        }
    }

    /// What a monitor that has closed the connection said before.
    fn last_words(&mut self) -> Option<Words> {
        loop {
            match self.try_receive() {
                Ok(Received::Reply(Reply::Error { kind, text, hint, .. })) => {
                    return Some(Words { kind, text, hint });
                }
                Ok(Received::Reply(_)) => {}
                _ => return None,
            }
        }
    }

    /// The monitor's process, once its first frame has been received.
    pub fn monitor_pid(&self) -> Option<i32> {
        self.monitor_pid
    }

    /// Sends a request, waiting for room if there is none. Gives the number under which the
    /// answer will come.
    pub fn send(&mut self, request: &Request) -> Result<u32, ConnectionError> {
        match self.send_with(request, SendFlags::NOSIGNAL)? {
            Sent::Number(number) => Ok(number),
            Sent::WouldBlock => Err(ConnectionError::Send(io::ErrorKind::WouldBlock.into())),
        }
    }

    /// Sends a request if there is room.
    pub fn try_send(&mut self, request: &Request) -> Result<Sent, ConnectionError> {
        self.send_with(request, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with(&mut self, request: &Request, flags: SendFlags) -> Result<Sent, ConnectionError> {
        let number = self.next;
        let frame = request.encode(number);
        if frame.len() > MAX_FRAME {
            return Err(ConnectionError::TooLong { length: frame.len() });
        }
        loop {
            match rustix::net::send(&self.socket, &frame, flags) {
                Ok(_) => {
                    self.next = self.next.wrapping_add(1);
                    return Ok(Sent::Number(number));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Sent::WouldBlock),
                Err(error) => return Err(ConnectionError::Send(error.into())),
            }
        }
    }

    /// Receives the next reply or event, waiting for it. `None` when the monitor has closed the
    /// connection. The monitor's `Hello` is taken in and not given out.
    pub fn receive(&mut self) -> Result<Option<Reply>, ConnectionError> {
        if let Some(reply) = self.held.pop_front() {
            return Ok(Some(reply));
        }
        match self.receive_with(RecvFlags::empty())? {
            Received::Reply(reply) => Ok(Some(reply)),
            Received::Closed => Ok(None),
            Received::WouldBlock => Err(ConnectionError::Receive(io::ErrorKind::WouldBlock.into())),
        }
    }

    /// Receives the next reply or event if there is one.
    pub fn try_receive(&mut self) -> Result<Received, ConnectionError> {
        match self.held.pop_front() {
            Some(reply) => Ok(Received::Reply(reply)),
            None => self.receive_with(RecvFlags::DONTWAIT),
        }
    }

    fn receive_with(&mut self, flags: RecvFlags) -> Result<Received, ConnectionError> {
        use rustix::io::Errno;
        self.buffer.resize(MAX_FRAME, 0);
        loop {
            let flags = flags | RecvFlags::TRUNC;
            let length = match rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), flags) {
                Ok((_, 0)) => return Ok(Received::Closed),
                Ok((_, length)) => length,
                // The monitor has ended without reading everything. The kernel says so once, and
                // before it gives out what the monitor had sent.
                Err(Errno::INTR | Errno::CONNRESET) => continue,
                Err(Errno::AGAIN) => return Ok(Received::WouldBlock),
                Err(error) => return Err(ConnectionError::Receive(error.into())),
            };
            let frame = self.buffer.get(..length).ok_or(DecodeError::Trailing(length))?;
            match Reply::decode(frame)? {
                Reply::Hello { version, pid } if (OLDEST_VERSION..=VERSION).contains(&version) => {
                    self.monitor_pid = Some(pid);
                }
                Reply::Hello { version, .. } => {
                    return Err(ConnectionError::Version { theirs: version });
                }
                reply => return Ok(Received::Reply(reply)),
            }
        }
    }

    /// Sends a request and waits for its last answer (`Started` for a `Create` that starts).
    /// Everything else that arrives meanwhile is kept for the next `receive`.
    pub fn request(&mut self, request: &Request) -> Result<Reply, RequestError> {
        let wanted = match self.send(request) {
            Ok(wanted) => wanted,
            Err(error) => {
                return Err(match self.last_words() {
                    Some(Words { kind, text, hint }) => RequestError::Refused { kind, text, hint },
                    None if error.is_end() => RequestError::Gone,
                    None => error.into(),
                });
            }
        };
        let starts = matches!(request, Request::Create(create) if create.start);
        let mut kept = std::mem::take(&mut self.held);
        let result = loop {
            let reply = match self.receive() {
                Ok(Some(reply)) => reply,
                Ok(None) => break Err(RequestError::Gone),
                Err(error) => break Err(error.into()),
            };
            match reply {
                Reply::Error { request, kind, text, hint } if request == wanted => {
                    break Err(RequestError::Refused { kind, text, hint });
                }
                Reply::Created { request, .. } if request == wanted && starts => {
                    kept.push_back(reply);
                }
                Reply::Ok { request }
                | Reply::Created { request, .. }
                | Reply::Started { request, .. }
                | Reply::ExecStarted { request, .. }
                | Reply::Status { request, .. }
                    if request == wanted =>
                {
                    break Ok(reply);
                }
                other => kept.push_back(other),
            }
        };
        self.held = kept;
        result
    }

    /// Creates a container (and starts it, when asked). Gives the first process.
    pub fn create(&mut self, create: CreateRequest) -> Result<i32, RequestError> {
        match self.request(&Request::Create(Box::new(create)))? {
            Reply::Created { pid, .. } => Ok(pid),
            // The `Created` that came before is the one that was kept.
            reply => {
                let Reply::Started { request: number, .. } = reply else {
                    return Err(RequestError::Gone);
                };
                let position = self.held.iter().position(
                    |kept| matches!(kept, Reply::Created { request, .. } if *request == number),
                );
                match position.and_then(|position| self.held.remove(position)) {
                    Some(Reply::Created { pid, .. }) => Ok(pid),
                    _ => Err(RequestError::Gone),
                }
            }
        }
    }

    /// Starts a created container.
    pub fn start(&mut self, id: &str) -> Result<(), RequestError> {
        self.request(&Request::Start { id: id.to_owned() }).map(drop)
    }

    /// Runs a process in a container. Gives the process.
    pub fn exec(&mut self, exec: ExecRequest) -> Result<i32, RequestError> {
        match self.request(&Request::Exec(Box::new(exec)))? {
            Reply::ExecStarted { pid, .. } => Ok(pid),
            _ => Err(RequestError::Gone),
        }
    }

    /// Attaches this connection to a container.
    pub fn attach(
        &mut self,
        id: &str,
        streams: Streams,
        slow: SlowClient,
    ) -> Result<(), RequestError> {
        self.request(&Request::Attach { id: id.to_owned(), streams, slow }).map(drop)
    }
}

/// Starts a monitor and gives the connection to it, without waiting for it to be ready: requests
/// may be sent at once.
///
/// The new process is a child of `init`, leads its own session, has `/dev/null` as standard
/// streams and `/` as working directory, and has none of this process's other descriptors. As root
/// its binary is executed through a read-only, detached clone of the mount it is on, so that no
/// process can get at a writable path to the binary through `/proc/PID/exe`.
pub fn launch(options: &LaunchOptions) -> Result<Connection, LaunchError> {
    launch_with(options, &[])
}

/// Starts a monitor for a directory whose monitor was killed. It takes up the containers that the
/// old one had: the living are supervised again, the dead are reported with an unknown exit code
/// and cleaned up. `Attach` with [`Streams::NONE`] to learn of their exits. `None` when nothing is
/// left to supervise: the new monitor has seen to everything and ended before it was greeted.
pub fn adopt(options: &LaunchOptions) -> Result<Option<Connection>, LaunchError> {
    match launch_with(options, &["--adopt"]) {
        Ok(connection) => Ok(Some(connection)),
        Err(LaunchError::Greeting { source, .. }) if source.is_end() => Ok(None),
        Err(error) => Err(error),
    }
}

fn launch_with(options: &LaunchOptions, more: &[&str]) -> Result<Connection, LaunchError> {
    let program = open_protected(&options.monitor)
        .map_err(|source| LaunchError::Binary { path: options.monitor.clone(), source })?;
    let socket_error =
        |source| LaunchError::Socket { directory: options.directory.clone(), source };
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| socket_error(error.into()))?;
    let arguments = arguments(options, more)
        .into_iter()
        .map(|text| {
            CString::new(text.as_bytes()).map_err(|_| LaunchError::Argument { argument: text })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    sys::launch::launch(&program, &arguments, &theirs)
        .map_err(|source| LaunchError::Execute { path: options.monitor.clone(), source })?;
    drop(theirs);
    Connection::greet(ours).map_err(|(source, words)| match words {
        Some(Words { text, .. }) => {
            LaunchError::Refused { directory: options.directory.clone(), text }
        }
        None => LaunchError::Greeting { directory: options.directory.clone(), source },
    })
}

fn arguments(options: &LaunchOptions, more: &[&str]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["berth-monitor".into()];
    let mut add = |name: &str, value: &OsStr| {
        arguments.push(name.into());
        arguments.push(value.to_owned());
    };
    add("--directory", options.directory.as_os_str());
    add("--sync-fd", OsStr::new(&sys::launch::KEPT.to_string()));
    add("--runtime-root", options.runtime_root.as_os_str());
    if let Some(scope) = &options.scope {
        add("--scope", OsStr::new(scope));
    }
    if let Some((command, rest)) = options.cleanup_command.split_first() {
        add("--cleanup-command", command);
        for argument in rest {
            add("--cleanup-arg", argument);
        }
    }
    if options.lifetime == Lifetime::UntilShutdown {
        arguments.push("--stay".into());
    }
    arguments.extend(more.iter().map(Into::into));
    arguments
}

/// Opens a binary for execution: through a read-only detached clone of its mount where this
/// process may make one.
pub(crate) fn open_protected(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if let Ok(mount) = open_tree(CWD, path, flags)
        && sys::set_mount_read_only(mount.as_fd()).is_ok()
    {
        return Ok(mount);
    }
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Connects to the monitor of a directory.
pub fn connect(directory: &Path) -> Result<Connection, ConnectError> {
    if !is_alive(directory) {
        return Err(ConnectError::NotRunning { directory: directory.to_owned() });
    }
    // A monitor that has just taken the lock is about to listen; one that ends has stopped.
    let deadline = Instant::now() + Duration::from_secs(5);
    let socket = loop {
        match connect_socket(directory) {
            Ok(socket) => break socket,
            Err(_) if !is_alive(directory) => {
                return Err(ConnectError::NotRunning { directory: directory.to_owned() });
            }
            Err(source) if Instant::now() > deadline => {
                return Err(ConnectError::Connect { directory: directory.to_owned(), source });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    Connection::greet(socket)
        .map_err(|(source, _)| ConnectError::Greeting { directory: directory.to_owned(), source })
}

fn connect_socket(directory: &Path) -> io::Result<OwnedFd> {
    let directory = File::open(directory)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&socket, &socket_address(directory.as_fd())?)?;
    Ok(socket)
}

/// The address of the socket in an open directory: short, however long the directory's path is.
pub(crate) fn socket_address(directory: BorrowedFd<'_>) -> io::Result<SocketAddrUnix> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

/// Whether a monitor runs for this directory: whether somebody holds its lock.
pub fn is_alive(directory: &Path) -> bool {
    File::options()
        .read(true)
        .write(true)
        .open(directory.join(LOCK_FILE))
        .and_then(|lock| sys::is_locked(lock.as_fd()))
        .unwrap_or(false)
}

/// Waits until no monitor runs for this directory. False when one still does at the end.
pub fn wait_until_gone(directory: &Path, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    while is_alive(directory) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_monitor_that_ended_before_it_was_greeted_has_ended_and_nothing_else() {
        let (ours, theirs) = pair();
        drop(theirs);
        let (error, words) = Connection::greet(ours).unwrap_err();
        assert!(error.is_end() && words.is_none(), "{error:?}, {words:?}");
    }

    #[test]
    fn a_monitor_that_ended_before_it_was_asked_is_gone() {
        let (ours, theirs) = pair();
        let mut connection = Connection::greet(ours).unwrap();
        // With and without a frame that it has not read.
        drop(theirs);
        for _ in 0..2 {
            let error = connection.request(&Request::Status).unwrap_err();
            assert!(matches!(error, RequestError::Gone), "{error:?}");
        }
    }

    #[test]
    fn the_words_of_a_monitor_that_ended_are_heard() {
        let (ours, theirs) = pair();
        let mut connection = Connection::greet(ours).unwrap();
        let refusal = Reply::Error {
            request: 0,
            kind: ErrorKind::Invalid,
            text: "no".to_owned(),
            hint: None,
        };
        rustix::net::send(&theirs, &refusal.encode(), SendFlags::NOSIGNAL).unwrap();
        drop(theirs);
        let error = connection.request(&Request::Status).unwrap_err();
        assert!(matches!(&error, RequestError::Refused { text, .. } if text == "no"), "{error:?}");
    }
}
