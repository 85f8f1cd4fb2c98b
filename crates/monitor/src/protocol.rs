//! The protocol between a monitor and its clients.
//!
//! Binary packets over a `SOCK_SEQPACKET` unix socket, one frame a packet, at most
//! [`MAX_FRAME`] bytes. A frame is a type byte, a request number (`u32`, little endian) and the
//! type's fields: integers little endian, booleans one byte (0 or 1), byte strings with a `u16`
//! length before them, options with a presence byte. A data frame's payload is the rest of the
//! frame. Nothing may follow the last field.
//!
//! Every request is answered, under its number, by exactly one of `Ok`, `Error` or its own reply
//! (`Created`, then `Started` when it asked for a start, `ExecStarted`, `Status`), except `Stdin`,
//! which is answered by `StdinTaken` as its bytes are used up. Events carry number 0. The first
//! frame in both directions is `Hello` with a version of the protocol: the client says the newest
//! that it speaks, and the monitor answers with the version that both are to speak, the lower of the
//! client's and its own. So a client may be older or newer than the monitor; what a version added is
//! never sent to a peer of an earlier one. Version 2 added the hint of an `Error`.
//!
//! This module knows bytes only: no sockets, no containers.

use std::ffi::OsString;
use std::path::PathBuf;

mod codec;
mod wire;

pub(crate) use wire::{DataKind, data_head, error_kind};

/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 2;
/// The oldest version that this crate speaks with a peer.
pub const OLDEST_VERSION: u16 = 1;
/// The longest frame, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;
/// The most data that one `Stdin` frame may carry.
pub const MAX_STDIN: usize = 16 * 1024;
/// How many bytes of standard input a client may have sent that no `StdinTaken` covers yet. A
/// client that sends more is not read from until the container takes some: its other requests
/// wait too, and that is all that happens to it.
pub const STDIN_WINDOW: usize = 32 * 1024;
/// The longest container ID or exec session name.
pub const MAX_NAME: usize = 255;

/// Why a frame could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends inside a field.
    #[error("the frame ends inside its {0}")]
    Short(&'static str),
    /// Bytes follow the last field.
    #[error("{0} bytes follow the last field of the frame")]
    Trailing(usize),
    /// No such type of frame.
    #[error("unknown frame type {0}")]
    Type(u8),
    /// A field has a value that it must not have.
    #[error("the frame's {field} cannot be {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// A text field is not UTF-8, is empty, is too long or holds a character that it must not.
    #[error("the frame's {0} is not valid text")]
    Text(&'static str),
}

/// Which process or streams a request or event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The container's ID.
    pub container: String,
    /// The exec session's name; `None` for the container's own process.
    pub exec: Option<String>,
}

impl Target {
    /// The container's own process.
    pub fn container(id: impl Into<String>) -> Self {
        Self { container: id.into(), exec: None }
    }

    /// An exec session in a container.
    pub fn exec(id: impl Into<String>, session: impl Into<String>) -> Self {
        Self { container: id.into(), exec: Some(session.into()) }
    }
}

/// Which OCI runtime creates a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// berth's own runtime, as a library in the worker.
    Builtin,
    /// Another program, executed with the command line that runc and crun share.
    Program(RuntimeProgram),
}

/// Another OCI runtime, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeProgram {
    /// The program.
    pub path: PathBuf,
    /// Options of its own, before each command.
    pub options: Vec<OsString>,
    /// Whether its containers run under a kernel of their own (gVisor's `runsc`): the host sees
    /// the sandbox and not their processes, so signals go by the runtime's `kill`.
    pub sandboxed: bool,
}

impl RuntimeProgram {
    /// A program that is called without options and makes ordinary containers.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

/// How the runtime manages cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// By the file system.
    #[default]
    Cgroupfs,
    /// By systemd's transient scopes (the runtime's `--systemd-cgroup`).
    Systemd,
}

/// Where a container's output is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogConfig {
    /// Nowhere.
    None,
    /// In a file, in the format of CRI logs.
    Path {
        /// The current file. Rotated ones have `.1`, `.2`, … appended, the newest first.
        path: PathBuf,
        /// The size in bytes from which the file is rotated; 0 means never.
        max_size: u64,
        /// How many files are kept, the current one included; 0 counts as 1.
        max_files: u32,
    },
}

/// What a container's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StdinMode {
    /// `/dev/null`.
    #[default]
    Null,
    /// Kept open, whoever comes and goes, until `CloseStdin`.
    Open,
    /// Closed when the first client that was attached to it leaves (or by `CloseStdin`).
    Once,
}

/// When a container that exited is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whatever the exit code.
    Always,
    /// When the exit code isn't 0.
    OnFailure {
        /// At most so many times; `None` is no limit.
        max: Option<u32>,
    },
    /// Like `Always`; who starts containers at boot tells the two apart.
    UnlessStopped,
}

/// Who takes down what the engine set up, after the container's exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CleanupBy {
    /// The monitor runs the cleanup command.
    #[default]
    Monitor,
    /// The client that created (and started) the container does, and says so with `CleanupDone`;
    /// when its connection ends before that, the monitor runs the cleanup command.
    Client,
}

/// What happens to the container's output when an attached client takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowClient {
    /// The output waits for the client, as with a pipe: when the socket's buffer is full, the
    /// container's streams are not read until the client takes more or leaves.
    #[default]
    Wait,
    /// The output waits for ten seconds at most, then the client is disconnected.
    Drop,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Which streams a client attaches to. With none, it is told of the exit only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// It writes to standard input (this matters to [`StdinMode::Once`] only).
    pub stdin: bool,
    /// It receives standard output (and a terminal's output).
    pub stdout: bool,
    /// It receives standard error.
    pub stderr: bool,
}

impl Streams {
    /// All three.
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };
    /// None: only the exit.
    pub const NONE: Self = Self { stdin: false, stdout: false, stderr: false };
}

/// Creates a container, and starts it when so asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// The container's ID.
    pub id: String,
    /// The container's run directory: status, events and FIFOs go there.
    pub directory: PathBuf,
    /// The bundle: `config.json`, and `rootfs.json` where the root is to be mounted.
    pub bundle: PathBuf,
    /// The runtime.
    pub runtime: RuntimeChoice,
    /// How the runtime manages cgroups.
    pub cgroup_driver: CgroupDriver,
    /// The log.
    pub log: LogConfig,
    /// Whether the configuration asks for a terminal.
    pub terminal: bool,
    /// Standard input; with a terminal, whether it takes input at all.
    pub stdin: StdinMode,
    /// The streams that the creating connection is attached to from the first byte.
    pub attach: Option<Streams>,
    /// What happens when the attached creating connection takes no output.
    pub slow: SlowClient,
    /// Whether the container is started too.
    pub start: bool,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Who cleans up.
    pub cleanup: CleanupBy,
    /// The terminal's first size.
    pub console_size: Option<TerminalSize>,
}

/// Runs a further process in a container. Its streams go to the connection that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// The container's ID.
    pub id: String,
    /// The session's name, chosen by the client, unique in the container.
    pub session: String,
    /// A file that holds the OCI `process` object. The worker removes it once it has been used.
    pub process: PathBuf,
    /// Whether the process gets a terminal; `process.terminal` must say the same.
    pub terminal: bool,
    /// Which streams are connected; the others are `/dev/null`. A terminal is one stream.
    pub streams: Streams,
    /// What happens when the client takes no output.
    pub slow: SlowClient,
    /// The terminal's first size.
    pub console_size: Option<TerminalSize>,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The first frame.
    Hello {
        /// The client's version of the protocol.
        version: u16,
    },
    /// Creates a container.
    Create(Box<CreateRequest>),
    /// Starts a created container.
    Start {
        /// The container's ID.
        id: String,
    },
    /// Runs a process in a running container.
    Exec(Box<ExecRequest>),
    /// Attaches this connection to a container.
    Attach {
        /// The container's ID.
        id: String,
        /// Which streams.
        streams: Streams,
        /// What happens when the client takes no output.
        slow: SlowClient,
    },
    /// Ends this connection's attachment; an exec session goes on without a client.
    Detach {
        /// What from.
        target: Target,
    },
    /// Sets the size of a terminal.
    Resize {
        /// Whose.
        target: Target,
        /// The size.
        size: TerminalSize,
    },
    /// Bytes for standard input; at most [`MAX_STDIN`] in a frame.
    Stdin {
        /// Whose.
        target: Target,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Ends standard input once all of it is written. On a terminal this types the end-of-file
    /// character.
    CloseStdin {
        /// Whose.
        target: Target,
    },
    /// Sends a signal to the process.
    Signal {
        /// Whose.
        target: Target,
        /// The signal's number.
        signal: i32,
    },
    /// The container is not to be started again, whatever its policy.
    NoRestart {
        /// The container's ID.
        id: String,
    },
    /// Freezes all of the container's processes.
    Pause {
        /// The container's ID.
        id: String,
    },
    /// Thaws them.
    Resume {
        /// The container's ID.
        id: String,
    },
    /// Opens the log file anew, after somebody renamed it.
    ReopenLog {
        /// The container's ID.
        id: String,
    },
    /// The client has cleaned up after the container's exit ([`CleanupBy::Client`]).
    CleanupDone {
        /// The container's ID.
        id: String,
    },
    /// Executes another monitor binary in place: pid, children, descriptors and clients stay.
    Replace {
        /// The binary's absolute path.
        binary: PathBuf,
    },
    /// Asks for a [`Reply::Status`].
    Status,
    /// Ends the monitor. Refused while a container of it lives.
    Shutdown,
}

/// What kind of failure a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such container or session.
    NotFound,
    /// There is one already.
    Exists,
    /// The configuration or the request is wrong.
    Invalid,
    /// The program to run is not there (exit code 127).
    CommandNotFound,
    /// The program cannot be executed (exit code 126).
    CommandNotExecutable,
    /// The container is in a state in which this can't be done.
    State,
    /// A permission is missing.
    Permission,
    /// The peer speaks another protocol.
    Protocol,
    /// Anything else.
    Other,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, 128 plus the signal's number after a signal; `None` when nobody can know
    /// it (the monitor was killed, and the kernel does not tell).
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// Whether the restart policy starts the container again.
    pub restarting: bool,
}

/// A container in a [`Reply::Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// The container's ID.
    pub id: String,
    /// Its state.
    pub state: crate::status::State,
    /// Its first process, 0 when it has none.
    pub pid: i32,
    /// How many exec sessions are live.
    pub sessions: u32,
    /// How many clients are attached.
    pub clients: u32,
}

impl Reply {
    /// This reply as a peer of an earlier version understands it; `None` when it is the same.
    pub(crate) fn for_version(&self, version: u16) -> Option<Self> {
        match self {
            Self::Error { request, kind, text, hint: Some(_) } if version < 2 => {
                let (request, kind, text) = (*request, *kind, text.clone());
                Some(Self::Error { request, kind, text, hint: None })
            }
            _ => None,
        }
    }
}

/// What a monitor answers and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The first frame.
    Hello {
        /// The monitor's version of the protocol.
        version: u16,
        /// The monitor's process.
        pid: i32,
    },
    /// The request is done.
    Ok {
        /// The request's number.
        request: u32,
    },
    /// The request failed.
    Error {
        /// The request's number.
        request: u32,
        /// What kind of failure.
        kind: ErrorKind,
        /// What was being done, to what, and why it failed.
        text: String,
        /// What a person can do about it, if anything is known (from version 2 on).
        hint: Option<String>,
    },
    /// The container exists.
    Created {
        /// The request's number.
        request: u32,
        /// The container's ID.
        id: String,
        /// Its first process.
        pid: i32,
    },
    /// The container's program runs.
    Started {
        /// The number of the request, a `Create` or a `Start`.
        request: u32,
        /// The container's ID.
        id: String,
    },
    /// The exec session's process runs.
    ExecStarted {
        /// The request's number.
        request: u32,
        /// The session.
        target: Target,
        /// Its process.
        pid: i32,
    },
    /// Bytes from standard output or a terminal.
    Stdout {
        /// Whose.
        target: Target,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Bytes from standard error.
    Stderr {
        /// Whose.
        target: Target,
        /// The bytes.
        data: Vec<u8>,
    },
    /// So many bytes of this client's standard input were written or, where nobody reads them any
    /// more, thrown away.
    StdinTaken {
        /// Whose.
        target: Target,
        /// How many.
        bytes: u32,
    },
    /// The process has ended; all of its output has been sent before this.
    Exited {
        /// Whose.
        target: Target,
        /// How.
        exit: Exit,
    },
    /// What the monitor supervises.
    Status {
        /// The request's number.
        request: u32,
        /// The version of the monitor's program.
        program: String,
        /// The containers.
        containers: Vec<ContainerSummary>,
    },
}

#[cfg(test)]
mod tests;
