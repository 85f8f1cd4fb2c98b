//! Tasks done by our own runtime, as a library in the worker.

use std::os::fd::OwnedFd;

use berth_runtime::{
    Console, ContainerId, CreateOptions, CreateUntil, DeleteMode, ExecOptions, InitParent,
    OwnBinary, ProcessSource, Runtime,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::report::Report;
use super::{Context, Failure, Next, Task, chain};
use crate::protocol::{CgroupDriver, ErrorKind, ExecRequest};

impl Failure {
    fn of(
        kind: berth_runtime::ErrorKind,
        hint: Option<&str>,
        error: &dyn std::error::Error,
    ) -> Self {
        use berth_runtime::ErrorKind as Theirs;
        let kind = match kind {
            Theirs::NotFound => ErrorKind::NotFound,
            Theirs::Exists => ErrorKind::Exists,
            Theirs::InvalidConfig => ErrorKind::Invalid,
            Theirs::CommandNotFound => ErrorKind::CommandNotFound,
            Theirs::CommandNotExecutable => ErrorKind::CommandNotExecutable,
            Theirs::State => ErrorKind::State,
            Theirs::Permission => ErrorKind::Permission,
            Theirs::Other => ErrorKind::Other,
        };
        Self::new(kind, chain(error)).with_hint(hint)
    }
}

pub(super) fn run(
    context: Context<'_>,
    task: Task<'_>,
    send: &mut dyn FnMut(Report),
) -> Result<(), Failure> {
    let mut runtime = Runtime::new(context.runtime_root);
    if context.container.cgroup_driver == CgroupDriver::Systemd {
        runtime = runtime.with_systemd_cgroup();
    }
    let id = ContainerId::new(context.container.id.as_str())
        .map_err(|error| Failure::new(ErrorKind::Invalid, chain(&error)))?;
    match task {
        Task::Create(next) => create(&runtime, id, context, next, send),
        Task::Recreate => {
            runtime
                .delete(&id, DeleteMode::Force)
                .map_err(|error| Failure::of(error.kind(), error.hint(), &error))?;
            create(&runtime, id, context, Next::Start, send)
        }
        Task::Start => {
            runtime.start(&id).map_err(|error| Failure::of(error.kind(), error.hint(), &error))?;
            send(Report::Started);
            Ok(())
        }
        Task::Exec(exec) => execute(&runtime, id, exec, send),
        Task::Pause => {
            runtime.pause(&id).map_err(|error| Failure::of(error.kind(), error.hint(), &error))
        }
        Task::Resume => {
            runtime.resume(&id).map_err(|error| Failure::of(error.kind(), error.hint(), &error))
        }
        // The monitor signals processes that the host sees itself.
        Task::Signal(_) => Err(Failure::other("the container is not sandboxed")),
    }
}

fn create(
    runtime: &Runtime,
    id: ContainerId,
    context: Context<'_>,
    next: Next,
    send: &mut dyn FnMut(Report),
) -> Result<(), Failure> {
    let request = context.container;
    let mut options = CreateOptions::new(id.clone(), &request.bundle);
    options.rootfs = super::rootfs_mount(&request.bundle)?;
    options.parent = InitParent::CallersParent;
    options.own_binary = own_binary();
    options.until = match next {
        // The terminal has to have its size before the program looks at it.
        Next::Start if request.console_size.is_none() => CreateUntil::Running,
        _ => CreateUntil::Created,
    };
    let started = options.until == CreateUntil::Running;
    let masters = console(request.terminal, &mut options.console)?;
    let created =
        runtime.create(options).map_err(|error| Failure::of(error.kind(), error.hint(), &error))?;
    let terminal = match masters {
        None => None,
        Some(socket) => Some(
            super::receive_master(&socket)
                .ok_or_else(|| Failure::other("the runtime sent no terminal"))?,
        ),
    };
    super::size_terminal(terminal.as_ref(), request.console_size);
    send(Report::Process {
        pid: created.pid,
        start_time: super::start_time(created.pid).unwrap_or(0),
        terminal,
        oom: super::oom::watch(created.pid),
    });
    if next == Next::Start {
        if !started && let Err(error) = runtime.start(&id) {
            let failure = Failure::of(error.kind(), error.hint(), &error);
            // What is left of it is found and reported by whoever uses the ID next.
            let _ = runtime.delete(&id, DeleteMode::Force);
            return Err(failure);
        }
        send(Report::Started);
    }
    Ok(())
}

fn execute(
    runtime: &Runtime,
    id: ContainerId,
    exec: &ExecRequest,
    send: &mut dyn FnMut(Report),
) -> Result<(), Failure> {
    let mut options = ExecOptions::new(id, ProcessSource::File(exec.process.clone()));
    options.parent = InitParent::CallersParent;
    options.own_binary = own_binary();
    let masters = console(exec.terminal, &mut options.console)?;
    let result =
        runtime.exec(options).map_err(|error| Failure::of(error.kind(), error.hint(), &error));
    // The file was the session's own.
    let _ = std::fs::remove_file(&exec.process);
    let executed = result?;
    let terminal = masters.as_ref().and_then(super::receive_master);
    super::size_terminal(terminal.as_ref(), exec.console_size);
    let start_time = super::start_time(executed.pid).unwrap_or(0);
    send(Report::Process { pid: executed.pid, start_time, terminal, oom: None });
    Ok(())
}

/// A socket pair for the terminal, if there is to be one: the runtime gets one end.
fn console(wanted: bool, console: &mut Console) -> Result<Option<OwnedFd>, Failure> {
    if !wanted {
        return Ok(None);
    }
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| Failure::other(format!("cannot make a socket pair: {error}")))?;
    *console = Console::Connected(theirs);
    Ok(Some(ours))
}

/// Whether this binary was executed from a read-only mount, as the client library does it.
fn own_binary() -> OwnBinary {
    let read_only = rustix::fs::statvfs("/proc/self/exe")
        .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    if read_only { OwnBinary::Protected } else { OwnBinary::Check }
}
