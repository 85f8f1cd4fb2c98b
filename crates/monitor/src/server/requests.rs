//! What clients ask for.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::container::{
    Attachment, Channel, Container, FIRST_PAUSE, Parentage, Phase, Process, Session, settle,
};
use super::log::Log;
use super::record::Record;
use super::stdio::Stdio;
use super::worker::{self, Next, Task};
use super::{Job, Monitor, Work};
use crate::protocol::{
    ContainerSummary, CreateRequest, ErrorKind, ExecRequest, Exit, OLDEST_VERSION, Reply, Request,
    SlowClient, StdinMode, Streams, Target, TerminalSize, VERSION,
};
use crate::status::{State, Status};

/// The most containers in a monitor: a report on all of them fits a frame.
const MAX_CONTAINERS: usize = 200;

/// Why a request is refused.
pub(super) struct Refusal {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
}

/// An answer that is given at once, or `None` when a worker's reports are the answer.
type Answer = Result<Option<()>, Refusal>;

fn refuse<T>(kind: ErrorKind, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { kind, text: text.into() })
}

fn no_container(id: &str) -> Refusal {
    Refusal { kind: ErrorKind::NotFound, text: format!("this monitor has no container {id}") }
}

const DONE: Answer = Ok(Some(()));
const LATER: Answer = Ok(None);

impl Monitor {
    /// Deals with a frame from a client.
    pub(super) fn take_frame(&mut self, key: u32, frame: &[u8]) {
        let (number, request) = match Request::decode(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                // Whoever sends what is no frame is not talked to any longer.
                let text = error.to_string();
                let (request, kind) = (0, ErrorKind::Protocol);
                self.reply(key, &Reply::Error { request, kind, text, hint: None });
                self.end_client(key);
                return;
            }
        };
        let Some(client) = self.clients.iter_mut().find(|client| client.key == key) else { return };
        if let Request::Hello { version } = request {
            if version >= OLDEST_VERSION && !client.greeted {
                client.greeted = true;
                client.version = version.min(VERSION);
                let pid = std::process::id() as i32;
                let version = client.version;
                client.reply(&Reply::Hello { version, pid });
            } else {
                let text =
                    format!("this monitor speaks versions {OLDEST_VERSION} to {VERSION}, once");
                let kind = ErrorKind::Protocol;
                client.reply(&Reply::Error { request: number, kind, text, hint: None });
                client.dead = true;
            }
            return;
        }
        if !client.greeted {
            client.dead = true;
            return;
        }
        if let Request::Stdin { target, data } = request {
            self.stdin(key, &target, data);
            return;
        }
        match self.answer(key, number, request) {
            Ok(None) => {}
            Ok(Some(())) => self.reply(key, &Reply::Ok { request: number }),
            Err(Refusal { kind, text }) => {
                self.reply(key, &Reply::Error { request: number, kind, text, hint: None });
            }
        }
    }

    fn answer(&mut self, client: u32, number: u32, request: Request) -> Answer {
        match request {
            Request::Create(create) => self.create(client, number, *create),
            Request::Start { id } => {
                let container = self.alive(&id, &[Phase::Created])?.key;
                if let Some(starter) = self.containers.iter_mut().find(|c| c.key == container)
                    && !self.clients.iter().any(|c| Some(c.key) == starter.owner)
                {
                    starter.owner = Some(client);
                }
                self.work(container, Task::Start, Job::Start, Some((client, number)))
            }
            Request::Pause { id } => {
                let container = self.alive(&id, &[Phase::Running])?.key;
                self.work(container, Task::Pause, Job::Pause, Some((client, number)))
            }
            Request::Resume { id } => {
                let container = self.alive(&id, &[Phase::Paused])?.key;
                self.work(container, Task::Resume, Job::Resume, Some((client, number)))
            }
            Request::Exec(exec) => self.exec(client, number, *exec),
            Request::Attach { id, streams, slow } => self.attach(client, &id, streams, slow),
            Request::Detach { target } => self.detach(client, &target),
            Request::Resize { target, size } => self.resize(&target, size),
            Request::CloseStdin { target } => {
                self.channel(&target)?.stdio.close_stdin();
                DONE
            }
            Request::Signal { target, signal } => self.signal(&target, signal, (client, number)),
            Request::NoRestart { id } => self.no_restart(&id),
            Request::ReopenLog { id } => self.reopen_log(&id),
            Request::CleanupDone { id } => self.cleanup_done(&id),
            Request::Replace { binary } => self.ask_for_replacement(client, number, binary),
            Request::Status => {
                self.report_status(client, number);
                LATER
            }
            Request::Shutdown => self.shutdown(),
            Request::Hello { .. } | Request::Stdin { .. } => LATER,
        }
    }

    pub(super) fn reply(&mut self, key: u32, reply: &Reply) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.key == key) {
            client.reply(reply);
        }
    }

    fn end_client(&mut self, key: u32) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.key == key) {
            client.dead = true;
        }
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, Refusal> {
        self.containers
            .iter_mut()
            .find(|container| container.request.id == id)
            .ok_or_else(|| no_container(id))
    }

    /// A container in one of these phases that no worker is at.
    fn alive(&mut self, id: &str, phases: &[Phase]) -> Result<&mut Container, Refusal> {
        let container = self.container(id)?;
        if container.busy {
            return refuse(
                ErrorKind::State,
                format!("container {id} is busy with another request"),
            );
        }
        if !phases.contains(&container.phase) {
            let state = container.phase.state().as_str();
            let text = format!("container {id} is {state}, which does not allow this");
            return refuse(ErrorKind::State, text);
        }
        Ok(container)
    }

    fn channel(&mut self, target: &Target) -> Result<&mut Channel, Refusal> {
        let container = self.container(&target.container)?.key;
        match &target.exec {
            None => Ok(&mut self.container(&target.container)?.channel),
            Some(name) => self
                .sessions
                .iter_mut()
                .find(|session| session.container == container && session.name == *name)
                .map(|session| &mut session.channel)
                .ok_or_else(|| Refusal {
                    kind: ErrorKind::NotFound,
                    text: format!("container {} has no exec session {name}", target.container),
                }),
        }
    }

    /// Forks a worker for a task that needs no streams.
    pub(super) fn work(
        &mut self,
        container: u32,
        task: Task<'_>,
        job: Job,
        requester: Option<(u32, u32)>,
    ) -> Answer {
        let position = self.containers.iter().position(|c| c.key == container);
        let Some(position) = position else { return LATER };
        let Some(found) = self.containers.get(position) else { return LATER };
        let handle = worker::spawn(self.context(found), task, None).map_err(cannot_fork)?;
        if let Some(found) = self.containers.get_mut(position) {
            found.busy = true;
        }
        self.workers.push(Work::new(handle, job, container, requester));
        LATER
    }

    fn create(&mut self, client: u32, number: u32, request: CreateRequest) -> Answer {
        if self.ending {
            return refuse(ErrorKind::State, "this monitor is ending");
        }
        if self.containers.len() >= MAX_CONTAINERS {
            let text = format!("this monitor has {MAX_CONTAINERS} containers, the most it takes");
            return refuse(ErrorKind::State, text);
        }
        if self.container(&request.id).is_ok() {
            return refuse(
                ErrorKind::Exists,
                format!("this monitor has a container {}", request.id),
            );
        }
        let directory = request.directory.display();
        let invalid = |action: &str, error: Errno| Refusal {
            kind: ErrorKind::Invalid,
            text: format!("cannot {action} {directory}: {error}"),
        };
        let record = Record::open(&request.directory, first_status(&request))
            .map_err(|error| invalid("open the container's directory", error))?;
        let log = Log::open(&request.log)
            .map_err(|error| Refusal { kind: ErrorKind::Invalid, text: error.to_string() })?;
        let frame = Request::Create(Box::new(request.clone())).encode(0);
        record
            .keep_request(&frame)
            .and_then(|()| self.remember(&request.directory))
            .map_err(|error| invalid("keep the request in", error))?;
        let made = if request.terminal {
            Stdio::for_terminal(request.stdin != StdinMode::Null)
        } else {
            Stdio::make_fifos(record.directory(), request.stdin)
        };
        let (stdio, child) =
            made.map_err(|error| invalid("make the streams of the container in", error))?;
        let key = self.key();
        let mut channel = Channel::new(Target::container(&request.id), stdio);
        channel.attach(Attachment {
            client,
            streams: request.attach.unwrap_or(Streams::NONE),
            slow: request.slow,
        });
        let next = if request.start { Next::Start } else { Next::Wait };
        let mut container = Container {
            key,
            phase: Phase::Creating,
            process: None,
            parentage: Parentage::Ours,
            channel,
            log,
            oom: None,
            oom_kills: 0,
            owner: Some(client),
            no_restart: false,
            attempts: 0,
            pause: FIRST_PAUSE,
            running_since: None,
            last_exit: Exit { code: None, signal: None, oom_killed: false, restarting: false },
            busy: true,
            record,
            request,
        };
        match worker::spawn(self.context(&container), Task::Create(next), Some(child)) {
            Ok(handle) => self.workers.push(Work {
                only_creates: next == Next::Wait,
                ..Work::new(handle, Job::Create, key, Some((client, number)))
            }),
            Err(error) => {
                container.record.withdraw();
                return Err(cannot_fork(error));
            }
        }
        self.containers.push(container);
        self.had_containers = true;
        LATER
    }

    fn exec(&mut self, client: u32, number: u32, exec: ExecRequest) -> Answer {
        let container = self.container(&exec.id)?;
        if !matches!(container.phase, Phase::Running | Phase::Created) {
            let state = container.phase.state().as_str();
            let text = format!("container {} is {state}, not running", exec.id);
            return refuse(ErrorKind::State, text);
        }
        let container = container.key;
        let target = Target::exec(&exec.id, &exec.session);
        if self.channel(&target).is_ok() {
            let text = format!("container {} has an exec session {}", exec.id, exec.session);
            return refuse(ErrorKind::Exists, text);
        }
        let made = if exec.terminal {
            Stdio::for_terminal(exec.streams.stdin)
        } else {
            Stdio::make_pipes(exec.streams)
        };
        let (stdio, child) = made.map_err(|error| Refusal {
            kind: ErrorKind::Other,
            text: format!("cannot make pipes for an exec session: {error}"),
        })?;
        let Some(found) = self.containers.iter().find(|c| c.key == container) else {
            return LATER;
        };
        let handle = worker::spawn(self.context(found), Task::Exec(&exec), Some(child))
            .map_err(cannot_fork)?;
        let mut channel = Channel::new(target, stdio);
        channel.attach(Attachment { client, streams: exec.streams, slow: exec.slow });
        let key = self.key();
        self.sessions.push(Session { key, container, name: exec.session, process: None, channel });
        self.workers.push(Work::new(handle, Job::Exec(key), container, Some((client, number))));
        LATER
    }

    fn attach(&mut self, client: u32, id: &str, streams: Streams, slow: SlowClient) -> Answer {
        let container = self.container(id)?;
        if container.phase.state() == State::Stopped {
            return refuse(ErrorKind::State, format!("container {id} has exited"));
        }
        container.channel.attach(Attachment { client, streams, slow });
        DONE
    }

    fn detach(&mut self, client: u32, target: &Target) -> Answer {
        let is_exec = target.exec.is_some();
        let once = self.container(&target.container)?.request.stdin == StdinMode::Once;
        let channel = self.channel(target)?;
        let Some(streams) = channel.detach(client) else {
            return refuse(ErrorKind::State, "this connection is not attached to that");
        };
        if streams.stdin && once && !is_exec {
            channel.stdio.close_stdin();
        }
        DONE
    }

    fn resize(&mut self, target: &Target, size: TerminalSize) -> Answer {
        let channel = self.channel(target)?;
        match channel.stdio.resize(size) {
            Ok(true) => {
                if target.exec.is_none() {
                    // A restart begins with the size that the terminal had last.
                    self.container(&target.container)?.request.console_size = Some(size);
                }
                DONE
            }
            Ok(false) => refuse(ErrorKind::State, "there is no terminal"),
            Err(error) => {
                refuse(ErrorKind::Other, format!("cannot set the terminal's size: {error}"))
            }
        }
    }

    fn stdin(&mut self, client: u32, target: &Target, data: Vec<u8>) {
        let length = data.len();
        let taken = match self.channel(target) {
            Ok(channel) => channel.stdio.write(client, data),
            Err(_) => vec![(client, length)],
        };
        if let Some(sender) = self.clients.iter_mut().find(|c| c.key == client) {
            sender.debt += length;
        }
        settle(&mut self.clients, target, taken);
    }

    fn signal(&mut self, target: &Target, signal: i32, requester: (u32, u32)) -> Answer {
        let container = self.container(&target.container)?;
        // What the host can do to a sandbox is to kill it, or to look whether it is there.
        let is_for_inside = !matches!(signal, 0 | libc::SIGKILL);
        if container.is_sandboxed() && target.exec.is_none() && is_for_inside {
            let key = container.key;
            return self.signal_inside(key, signal, requester);
        }
        let process = match &target.exec {
            None if container.phase.is_alive() => container.process.as_ref(),
            None => None,
            Some(name) => {
                let key = container.key;
                self.sessions
                    .iter()
                    .find(|session| session.container == key && session.name == *name)
                    .and_then(|session| session.process.as_ref())
            }
        };
        let Some(process) = process else {
            return refuse(ErrorKind::State, format!("{} is not running", target.container));
        };
        send_signal(process, signal).map_or_else(
            |error| {
                let kind = if error == Errno::SRCH { ErrorKind::State } else { ErrorKind::Other };
                refuse(kind, format!("cannot signal process {}: {error}", process.pid))
            },
            |()| DONE,
        )
    }

    /// Has the runtime deliver a signal. Nothing waits for it but who asked.
    fn signal_inside(&mut self, key: u32, signal: i32, requester: (u32, u32)) -> Answer {
        let Some(container) = self.containers.iter().find(|c| c.key == key) else { return LATER };
        if !container.phase.is_alive() {
            let text = format!("{} is not running", container.request.id);
            return refuse(ErrorKind::State, text);
        }
        let handle = worker::spawn(self.context(container), Task::Signal(signal), None)
            .map_err(cannot_fork)?;
        self.workers.push(Work::new(handle, Job::Signal, key, Some(requester)));
        LATER
    }

    fn no_restart(&mut self, id: &str) -> Answer {
        let container = self.container(id)?;
        container.bar_restarts();
        if let Phase::Waiting(_) = container.phase {
            let key = container.key;
            self.give_up_restarting(key);
        }
        DONE
    }

    fn reopen_log(&mut self, id: &str) -> Answer {
        if let Some(log) = &mut self.container(id)?.log {
            log.reopen()
                .map_err(|error| Refusal { kind: ErrorKind::Other, text: error.to_string() })?;
        }
        DONE
    }

    fn cleanup_done(&mut self, id: &str) -> Answer {
        let container = self.container(id)?;
        match container.phase {
            Phase::Delegated | Phase::Ended(_) => {
                container.phase = Phase::Done;
                DONE
            }
            _ => {
                refuse(ErrorKind::State, format!("container {id} has not exited, or is cleaned up"))
            }
        }
    }

    fn shutdown(&mut self) -> Answer {
        let busy = |container: &Container| {
            !matches!(container.phase, Phase::Ended(_) | Phase::Delegated | Phase::Done)
        };
        if let Some(container) = self.containers.iter().find(|container| busy(container)) {
            let text = format!("container {} is not finished", container.request.id);
            return refuse(ErrorKind::State, text);
        }
        for container in &mut self.containers {
            container.phase = Phase::Done;
        }
        self.ending = true;
        DONE
    }

    fn report_status(&mut self, client: u32, number: u32) {
        let containers = self
            .containers
            .iter()
            .map(|container| ContainerSummary {
                id: container.request.id.clone(),
                state: container.phase.state(),
                pid: container.process.as_ref().map_or(0, |process| process.pid),
                sessions: self.sessions.iter().filter(|s| s.container == container.key).count()
                    as u32,
                clients: container.channel.attached.len() as u32,
            })
            .collect();
        let program = env!("CARGO_PKG_VERSION").to_owned();
        self.reply(client, &Reply::Status { request: number, program, containers });
    }

    /// A client's connection is over.
    pub(super) fn client_left(&mut self, client: u32) {
        for container in &mut self.containers {
            let left = container.channel.detach(client);
            let once = container.request.stdin == StdinMode::Once;
            if once && left.is_some_and(|streams| streams.stdin) {
                container.channel.stdio.close_stdin();
            }
            if container.owner == Some(client) {
                container.owner = None;
            }
        }
        for session in &mut self.sessions {
            if session.channel.detach(client).is_some() {
                // Like a terminal that hangs up: whoever wants the process to go on detaches.
                session.channel.stdio.close_stdin();
                session.channel.stdio.terminal = None;
            }
        }
        if self.replacement.as_ref().is_some_and(|replacement| replacement.client == client) {
            self.replacement = None;
        }
    }
}

fn cannot_fork(error: std::io::Error) -> Refusal {
    Refusal { kind: ErrorKind::Other, text: format!("cannot fork a worker: {error}") }
}

pub(super) fn first_status(request: &CreateRequest) -> Status {
    Status {
        id: request.id.clone(),
        state: State::Creating,
        pid: None,
        pid_start_time: None,
        started_at: None,
        finished_at: None,
        exit_code: None,
        signal: None,
        oom_killed: false,
        restarts: 0,
        restart: None,
        monitor_pid: std::process::id() as i32,
    }
}

/// Sends a signal through the pidfd, so that it can't reach another process that got the same ID.
/// Where there is no pidfd the process is our child, and unreaped: its ID is still its own.
pub(super) fn send_signal(process: &Process, signal: i32) -> Result<(), Errno> {
    if signal == 0 {
        return Ok(());
    }
    let signal = crate::sys::signal(signal).ok_or(Errno::INVAL)?;
    match &process.pidfd {
        Some(pidfd) => pidfd_send_signal(pidfd, signal),
        None => {
            let pid = Pid::from_raw(process.pid).ok_or(Errno::SRCH)?;
            rustix::process::kill_process(pid, signal)
        }
    }
}

/// Opens a pidfd.
pub(super) fn open_process(pid: i32) -> Process {
    let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    Process { pid, pidfd }
}
