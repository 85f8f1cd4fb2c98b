//! Workers: short-lived processes, forked from the monitor, that do what takes memory or time.
//!
//! A worker calls our runtime as a library, or executes another one, and reports what became of
//! it. It has none of the monitor's descriptors but its report socket and the new process's
//! standard streams: it can hold open nobody's pipe, lock or connection.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use self::report::Report;
use super::procfs::start_time;
use super::stdio::ChildStdio;
use crate::protocol::{CreateRequest, ErrorKind, ExecRequest, RuntimeChoice};
use crate::sys;

mod builtin;
mod foreign;
pub(super) mod oom;
pub(super) mod report;

/// What a worker is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task<'a> {
    /// Create the container.
    Create(Next),
    /// Delete what is left of it, create and start it.
    Recreate,
    /// Start it.
    Start,
    /// Run a further process in it.
    Exec(&'a ExecRequest),
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Send its first process a signal, by a runtime that alone can.
    Signal(i32),
}

/// What follows a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Wait,
    /// The start.
    Start,
}

/// What every task needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) container: &'a CreateRequest,
    /// The state directory of our own runtime.
    pub(super) runtime_root: &'a Path,
    /// What `/proc/self/oom_score_adj` was when the monitor began.
    pub(super) oom_score: Option<&'a str>,
}

/// Why a task failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    /// What was being done, to what, and why it failed.
    pub(super) text: String,
    /// What a person can do about it.
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Other, text)
    }

    fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None }
    }

    fn with_hint(mut self, hint: Option<&str>) -> Self {
        self.hint = hint.map(str::to_owned);
        self
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// A living worker.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) pid: i32,
    pub(super) reports: OwnedFd,
}

/// Forks a worker. `stdio` becomes its 0, 1 and 2.
pub(super) fn spawn(
    context: Context<'_>,
    task: Task<'_>,
    stdio: Option<ChildStdio>,
) -> std::io::Result<Handle> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let monitor = rustix::process::getpid();
    match sys::fork()? {
        sys::Fork::Parent(pid) => Ok(Handle { pid, reports: ours }),
        sys::Fork::Child => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                prepare(&theirs, stdio, context.oom_score);
                end_with(monitor);
                work(context, task, &theirs);
            }));
            sys::exit_now(i32::from(result.is_err()));
        }
    }
}

/// Makes the forked monitor an ordinary process.
fn prepare(reports: &OwnedFd, stdio: Option<ChildStdio>, oom_score: Option<&str>) {
    if let Some([stdin, stdout, stderr]) = stdio {
        // These fail for a descriptor that isn't open, which these are.
        let _ = rustix::stdio::dup2_stdin(&stdin);
        let _ = rustix::stdio::dup2_stdout(&stdout);
        let _ = rustix::stdio::dup2_stderr(&stderr);
        // Closed below with all others.
        std::mem::forget([stdin, stdout, stderr]);
    }
    sys::close_all_but(3, reports.as_raw_fd());
    sys::default_signals();
    restore_oom_score(oom_score);
}

/// A worker whose monitor was killed ends too: nobody would hear what it reports, and another
/// monitor clears up.
fn end_with(monitor: rustix::process::Pid) {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if rustix::process::getppid() != Some(monitor) {
        sys::exit_now(1);
    }
}

/// Gives a child the OOM score that the monitor had before it protected itself.
pub(super) fn restore_oom_score(score: Option<&str>) {
    if let Some(score) = score {
        // Failing leaves the child with the monitor's score, which a configuration may override.
        let _ = std::fs::write("/proc/self/oom_score_adj", score);
    }
}

fn work(context: Context<'_>, task: Task<'_>, reports: &OwnedFd) {
    let mut send = |report: Report| report::send(reports.as_fd(), &report);
    let result = match &context.container.runtime {
        RuntimeChoice::Builtin => builtin::run(context, task, &mut send),
        RuntimeChoice::Program(program) => foreign::run(program, context, task, &mut send),
    };
    send(match result {
        Ok(()) => Report::Done,
        Err(failure) => Report::Failed(failure),
    });
}

/// The mount that the bundle's root is to be, if it describes one.
fn rootfs_mount(bundle: &Path) -> Result<Option<OwnedFd>, Failure> {
    let path = bundle.join("rootfs.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::other(format!("cannot read {}: {error}", path.display())));
        }
    };
    let description = serde_json::from_slice(&text).map_err(|error| {
        let text = format!("{} describes no root file system: {error}", path.display());
        Failure::new(ErrorKind::Invalid, text)
    })?;
    berth_runtime::rootfs::mount_detached(&description)
        .map(Some)
        .map_err(|error| Failure::other(chain(&error)).with_hint(error.hint()))
}

/// Receives a terminal's master side over a connected socket.
fn receive_master(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut name = [0_u8; 4096];
    let (_, descriptors) =
        report::receive_descriptors(socket.as_fd(), &mut name, rustix::net::RecvFlags::empty())?;
    descriptors.into_iter().next()
}

/// Gives a new terminal the size that was asked for.
fn size_terminal(terminal: Option<&OwnedFd>, size: Option<crate::protocol::TerminalSize>) {
    if let (Some(terminal), Some(size)) = (terminal, size) {
        // A terminal of another size is still a terminal.
        let _ = super::stdio::set_size(terminal.as_fd(), size);
    }
}
