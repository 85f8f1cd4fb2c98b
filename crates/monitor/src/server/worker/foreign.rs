//! Tasks done by another OCI runtime, executed with the command line that runc and crun share.
//!
//! Where the bundle describes its root file system, the runtime is executed in a mount namespace
//! of its own that has the mount on `BUNDLE/rootfs`: nothing appears in the host's mount table.
//! The new process is re-parented to the monitor, a sub-reaper, when the runtime ends.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::report::Report;
use super::{Context, Failure, Next, Task};
use crate::protocol::{CgroupDriver, ErrorKind, ExecRequest, RuntimeProgram};
use crate::{client, sys};

/// How the runtime is called.
struct Runtime<'a> {
    program: &'a RuntimeProgram,
    root: PathBuf,
    log: PathBuf,
    context: Context<'a>,
}

pub(super) fn run(
    program: &RuntimeProgram,
    context: Context<'_>,
    task: Task<'_>,
    send: &mut dyn FnMut(Report),
) -> Result<(), Failure> {
    let directory = &context.container.directory;
    let name = match task {
        Task::Exec(exec) => format!("runtime-{}.log", exec.session),
        _ => "runtime.log".to_owned(),
    };
    let root = client::runtime_root(context.runtime_root, &program.path);
    let runtime = Runtime { program, root, log: directory.join(name), context };
    let id = context.container.id.as_str();
    match task {
        Task::Create(next) => runtime.create(next, send),
        Task::Recreate => {
            runtime.command(&["delete", "--force", id])?;
            runtime.create(Next::Start, send)
        }
        Task::Start => {
            runtime.command(&["start", id])?;
            send(Report::Started);
            Ok(())
        }
        Task::Exec(exec) => runtime.execute(exec, send),
        Task::Pause => runtime.command(&["pause", id]),
        Task::Resume => runtime.command(&["resume", id]),
        Task::Signal(signal) => runtime.command(&["kill", id, &signal.to_string()]),
    }
}

impl Runtime<'_> {
    fn base(&self) -> Command {
        let mut command = Command::new(&self.program.path);
        command.arg("--root").arg(&self.root);
        command.arg("--log").arg(&self.log).args(["--log-format", "json"]);
        if self.context.container.cgroup_driver == CgroupDriver::Systemd {
            command.arg("--systemd-cgroup");
        }
        command.args(&self.program.options);
        command
    }

    fn failure(&self, what: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::other(format!("cannot {what} {}: {error}", self.program.path.display()))
    }

    /// A call that makes no process of the container.
    fn command(&self, arguments: &[&str]) -> Result<(), Failure> {
        let output = self
            .base()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| self.failure("execute", &error))?;
        let logged = self.take_log();
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let text = logged.unwrap_or_else(|| said.trim().to_owned());
        Err(self.classify(&format!("{}: {text}", arguments.join(" "))))
    }

    fn create(&self, next: Next, send: &mut dyn FnMut(Report)) -> Result<(), Failure> {
        let request = self.context.container;
        let id = request.id.as_str();
        if let Some(mount) = super::rootfs_mount(&request.bundle)? {
            attach_privately(&mount, &request.bundle.join("rootfs"))?;
        }
        let pid_file = request.directory.join("init.pid");
        let mut command = self.base();
        command.args(["create", "--bundle"]).arg(&request.bundle);
        command.arg("--pid-file").arg(&pid_file);
        let (pid, terminal) =
            self.spawn(command, request.terminal, &pid_file, &[OsStr::new(id)])?;
        super::size_terminal(terminal.as_ref(), request.console_size);
        send(Report::Process {
            pid,
            start_time: super::start_time(pid).unwrap_or(0),
            terminal,
            oom: super::oom::watch(pid),
        });
        if next == Next::Start {
            if let Err(failure) = self.command(&["start", id]) {
                // What is left of it is found and reported by whoever uses the ID next.
                let _ = self.command(&["delete", "--force", id]);
                return Err(failure);
            }
            send(Report::Started);
        }
        Ok(())
    }

    fn execute(&self, exec: &ExecRequest, send: &mut dyn FnMut(Report)) -> Result<(), Failure> {
        let directory = &self.context.container.directory;
        let pid_file = directory.join(format!("exec-{}.pid", exec.session));
        let mut command = self.base();
        command.args(["exec", "--detach", "--process"]).arg(&exec.process);
        command.arg("--pid-file").arg(&pid_file);
        if exec.terminal {
            command.arg("--tty");
        }
        let id = [OsStr::new(&self.context.container.id)];
        let result = self.spawn(command, exec.terminal, &pid_file, &id);
        // The files were the session's own.
        let _ = std::fs::remove_file(&exec.process);
        let _ = std::fs::remove_file(&pid_file);
        let (pid, terminal) = result?;
        super::size_terminal(terminal.as_ref(), exec.console_size);
        let start_time = super::start_time(pid).unwrap_or(0);
        send(Report::Process { pid, start_time, terminal, oom: None });
        Ok(())
    }

    /// Runs a call that makes a process with this worker's standard streams, or with a terminal.
    fn spawn(
        &self,
        mut command: Command,
        wants_terminal: bool,
        pid_file: &Path,
        last: &[&OsStr],
    ) -> Result<(i32, Option<OwnedFd>), Failure> {
        let listener = if wants_terminal { Some(ConsoleSocket::listen(self)?) } else { None };
        if let Some(listener) = &listener {
            command.arg("--console-socket").arg(&listener.path);
        }
        let mut child =
            command.args(last).spawn().map_err(|error| self.failure("execute", &error))?;
        let terminal = listener.and_then(|listener| listener.receive(&mut child));
        let status = child.wait().map_err(|error| self.failure("wait for", &error))?;
        let logged = self.take_log();
        if !status.success() {
            let text = logged.unwrap_or_else(|| format!("it ended with {status}"));
            return Err(self.classify(&text));
        }
        if wants_terminal && terminal.is_none() {
            return Err(Failure::other(format!(
                "{} sent no terminal over the console socket",
                self.program.path.display()
            )));
        }
        let text = std::fs::read_to_string(pid_file).map_err(|error| {
            Failure::other(format!("cannot read the pid file {}: {error}", pid_file.display()))
        })?;
        let pid = text.trim().parse().map_err(|_| {
            Failure::other(format!("the pid file {} holds {text:?}", pid_file.display()))
        })?;
        Ok((pid, terminal))
    }

    /// The last error in the runtime's log, which is removed.
    fn take_log(&self) -> Option<String> {
        let mut text = String::new();
        let mut file = std::fs::File::open(&self.log).ok()?;
        let _ = std::fs::remove_file(&self.log);
        file.by_ref().take(1 << 20).read_to_string(&mut text).ok()?;
        text.lines().rev().find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            let level = entry.get("level")?.as_str()?;
            let message = entry.get("msg")?.as_str()?;
            matches!(level, "error" | "fatal" | "panic").then(|| message.trim().to_owned())
        })
    }

    /// What kind of failure a runtime's words tell of.
    fn classify(&self, text: &str) -> Failure {
        let has = |part: &str| text.contains(part);
        let kind = if has("executable file not found")
            || has("executable file `") && has("not found")
            || has("exec") && has("no such file or directory")
        {
            ErrorKind::CommandNotFound
        } else if has("exec") && (has("permission denied") || has("exec format error"))
            || has("open executable") && has("Permission denied")
        {
            ErrorKind::CommandNotExecutable
        } else if has("does not exist") {
            ErrorKind::NotFound
        } else if has("already exists") {
            ErrorKind::Exists
        } else if has("not running") || has("cannot start") || has("is paused") || has("stopped") {
            ErrorKind::State
        } else {
            ErrorKind::Other
        };
        Failure::new(kind, format!("{}: {text}", self.program.path.display()))
    }
}

/// A socket on which the runtime delivers a terminal.
struct ConsoleSocket {
    path: PathBuf,
    file: PathBuf,
    listener: OwnedFd,
}

impl ConsoleSocket {
    fn listen(runtime: &Runtime<'_>) -> Result<Self, Failure> {
        let directory = &runtime.context.container.directory;
        let name = format!("console-{}.sock", std::process::id());
        let file = directory.join(&name);
        let failure = |error: rustix::io::Errno| {
            Failure::other(format!("cannot listen on {}: {error}", file.display()))
        };
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let open =
            rustix::fs::open(directory, flags, rustix::fs::Mode::empty()).map_err(failure)?;
        // However long the directory's path is, this is short enough for a socket address; and it
        // stays good for the runtime, because this process waits for it.
        let path =
            PathBuf::from(format!("/proc/{}/fd/{}/{name}", std::process::id(), open.as_raw_fd()));
        // Open until this process ends.
        std::mem::forget(open);
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failure)?;
        let address = SocketAddrUnix::new(&path).map_err(failure)?;
        rustix::net::bind(&listener, &address).map_err(failure)?;
        rustix::net::listen(&listener, 1).map_err(failure)?;
        Ok(Self { path, file, listener })
    }

    /// Waits for the terminal, as long as the runtime lives.
    fn receive(self, child: &mut std::process::Child) -> Option<OwnedFd> {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let connection = loop {
            match poll(&mut fds, Some(&pause)) {
                Ok(1..) => break rustix::net::accept(self.listener.as_fd()).ok(),
                Ok(_) if matches!(child.try_wait(), Ok(None)) => {}
                Err(rustix::io::Errno::INTR) => {}
                _ => break None,
            }
        };
        let _ = std::fs::remove_file(&self.file);
        super::receive_master(&connection?)
    }
}

/// Puts a detached mount on a directory, in a mount namespace of this process's own that hears of
/// the host's changes and tells of none.
fn attach_privately(mount: &OwnedFd, target: &Path) -> Result<(), Failure> {
    sys::unshare_mounts()
        .map_err(|error| Failure::other(format!("cannot make a mount namespace: {error}")))?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags)
        .map_err(|error| Failure::other(format!("cannot make all mounts slaves: {error}")))?;
    if let Err(error) = rustix::fs::mkdirat(CWD, target, rustix::fs::Mode::from_raw_mode(0o755))
        && error != rustix::io::Errno::EXIST
    {
        return Err(Failure::other(format!("cannot make {}: {error}", target.display())));
    }
    berth_runtime::rootfs::attach(mount, target)
        .map_err(|error| Failure::other(super::chain(&error)))
}
