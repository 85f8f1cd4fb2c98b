//! Further processes in a running container.

use std::path::PathBuf;

use berth_image::bundle::resolve_user;
use berth_image::default_spec;
use berth_monitor::client::Connection;
use berth_monitor::protocol as wire;
use berth_spec::runtime::{ConsoleSize, LinuxCapabilities, Process};

use crate::assemble::RequestError;
use crate::core::Core;
use crate::error::{ExecError, FileError, MonitorError, RecordError};
use crate::identity;
use crate::launch::wire_streams;
use crate::records::ContainerRecord;
use crate::request::{ExecRequest, Streams};
use crate::view::ContainerStatus;

/// A session that runs, and the connection that it was asked for over.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) container: String,
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) connection: Connection,
}

impl Core {
    /// Starts a process in a container.
    pub(crate) fn exec(&self, word: &str, request: &ExecRequest) -> Result<Session, ExecError> {
        let (record, observed) = self.settled::<ExecError>(word)?;
        if observed.state.status != ContainerStatus::Running {
            let action = "execute a command in";
            return Err(crate::control::state_error(action, &record, &observed).into());
        }
        if request.command.first().is_none_or(String::is_empty) {
            return Err(RequestError::Value {
                option: "exec",
                value: String::new(),
                expected: "a command".to_owned(),
            }
            .into());
        }
        let pid = observed.state.pid.unwrap_or_default();
        let process = process_of(&record, pid, request)?;
        let id = identity::new_id();
        let path = self.paths.run(&record.id).join(format!("exec-{id}.json"));
        let bytes = serde_json::to_vec(&process)
            .map_err(|source| RecordError::Encode { id: record.id.clone(), source })?;
        std::fs::write(&path, bytes).map_err(FileError::new("write", &path))?;
        let started = self.start_session(&record, &id, path.clone(), request);
        if started.is_err() {
            // The worker removes it once it has read it; it may not have come to that.
            let _ = std::fs::remove_file(&path);
        }
        let (connection, pid) = started?;
        Ok(Session { container: record.id, id, pid, connection })
    }

    fn start_session(
        &self,
        record: &ContainerRecord,
        session: &str,
        process: PathBuf,
        request: &ExecRequest,
    ) -> Result<(Connection, i32), ExecError> {
        let id = record.id.as_str();
        let mut connection = self.monitor(id)?;
        let none = Streams { stdin: false, stdout: false, stderr: false };
        let pid = connection
            .exec(wire::ExecRequest {
                id: id.to_owned(),
                session: session.to_owned(),
                process,
                terminal: request.tty,
                streams: wire_streams(request.attach.unwrap_or(none)),
                slow: wire::SlowClient::Wait,
                console_size: request
                    .size
                    .map(|size| wire::TerminalSize { rows: size.rows, columns: size.columns }),
            })
            .map_err(MonitorError::request("execute a command in", id))?;
        Ok((connection, pid))
    }
}

/// The process that a request asks for: the container's own, changed.
fn process_of(
    record: &ContainerRecord,
    pid: i32,
    request: &ExecRequest,
) -> Result<Process, ExecError> {
    let own = record.details.spec.process.clone().unwrap_or_default();
    let mut process = Process {
        terminal: request.tty,
        console_size: request.size.map(|size| ConsoleSize {
            height: u64::from(size.rows),
            width: u64::from(size.columns),
        }),
        args: request.command.clone(),
        cwd: request.workdir.clone().unwrap_or_else(|| own.cwd.clone()),
        ..own
    };
    let mut home = None;
    if let Some(wanted) = &request.user {
        let root = crate::process::root(pid)
            .map_err(FileError::new("open the root of process", pid.to_string()))?;
        let user = resolve_user(wanted, &root).map_err(RequestError::User)?;
        home = user.home;
        process.user = berth_spec::runtime::User { umask: process.user.umask, ..user.user };
    }
    set_environment(&mut process, request, home);
    process.capabilities = Some(capabilities(&process, request));
    Ok(process)
}

fn set_environment(process: &mut Process, request: &ExecRequest, home: Option<String>) {
    let mut set = |name: &str, value: &str| {
        let pair = format!("{name}={value}");
        match process.env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
            Some(known) => *known = pair,
            None => process.env.push(pair),
        }
    };
    if let Some(home) = home {
        set("HOME", &home);
    }
    if request.tty {
        set("TERM", "xterm");
    }
    for (name, value) in &request.env {
        set(name, value);
    }
}

/// What the container may have at most; all of it for root and with `--privileged`.
fn capabilities(process: &Process, request: &ExecRequest) -> LinuxCapabilities {
    let own = process.capabilities.clone().unwrap_or_default();
    if request.privileged {
        let names: Vec<String> = crate::assemble::available().into_iter().collect();
        return default_spec::capabilities(&names, 0);
    }
    if request.user.is_none() {
        return own;
    }
    default_spec::capabilities(&own.bounding, process.user.uid)
}
