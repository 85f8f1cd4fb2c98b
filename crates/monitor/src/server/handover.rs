//! Replacing the program in place: a newer monitor takes over pid, children, descriptors and
//! clients.
//!
//! The state is JSON in a memfd. Fields are only ever added, with defaults, so that neighbouring
//! versions can take over from each other. The new program is asked first, in a process of its
//! own, whether it can read the state; only then is it executed.

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use berth_cgroup::scope::Scope;
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::container::{
    Attachment, CHUNK, Channel, Container, FIRST_PAUSE, Parentage, Phase, Process, Session,
};
use super::log::Log;
use super::options::Options;
use super::record::Record;
use super::stdio::{PendingInput, Stdio};
use super::worker::oom::OomFiles;
use super::{Monitor, StartError, c_string, requests};
use crate::events::EventKind;
use crate::protocol::{ErrorKind, Exit, Reply, Request, SlowClient, Streams, Target};
use crate::status::Status;
use crate::{client as library, sys};

/// The version of the state's shape. Only a change that older programs must not read raises it.
const SHAPE: u32 = 1;

/// A request to be replaced.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) client: u32,
    request: u32,
    binary: PathBuf,
}

/// Why a state can't be taken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResumeError {
    #[error("the state cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("the state cannot be understood: {0}")]
    Parse(#[from] serde_json::Error),
    #[error("the state has shape {0}, which is not known here")]
    Shape(u32),
    #[error("descriptor {0} of the state is not open")]
    Descriptor(RawFd),
    #[error("the request that made container {0} cannot be understood")]
    Request(String),
    #[error("the directory of container {id} cannot be opened: {source}")]
    Directory { id: String, source: rustix::io::Errno },
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    shape: u32,
    directory: RawFd,
    lock: RawFd,
    listener: RawFd,
    next_key: u32,
    had_containers: bool,
    oom_score: Option<String>,
    scope: Option<PathBuf>,
    clients: Vec<SavedClient>,
    containers: Vec<SavedContainer>,
    sessions: Vec<SavedSession>,
    /// The client that asked for the replacement, and the number of its request.
    asked_by: (u32, u32),
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedClient {
    key: u32,
    socket: RawFd,
    greeted: bool,
    /// The version that both sides speak; monitors that spoke only the first did not note it.
    #[serde(default = "first_version")]
    version: u16,
    debt: usize,
    queue: Vec<Vec<u8>>,
}

fn first_version() -> u16 {
    1
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedContainer {
    key: u32,
    /// The frame of the request that made it.
    request: Vec<u8>,
    phase: SavedPhase,
    process: Option<SavedProcess>,
    is_child: bool,
    channel: SavedChannel,
    /// The event and counter descriptors.
    oom: Option<(Option<RawFd>, RawFd)>,
    oom_kills: u64,
    owner: Option<u32>,
    no_restart: bool,
    attempts: u32,
    pause_ms: u64,
    running_ms: Option<u64>,
    status: Status,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSession {
    key: u32,
    container: u32,
    name: String,
    process: Option<SavedProcess>,
    channel: SavedChannel,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedProcess {
    pid: i32,
    pidfd: Option<RawFd>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum SavedPhase {
    Created,
    Running,
    Paused,
    Waiting { ms: u64 },
    Ended,
    Delegated,
    CleaningUp { pid: i32 },
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedChannel {
    stdin: Option<RawFd>,
    stdout: Option<RawFd>,
    stderr: Option<RawFd>,
    terminal: Option<RawFd>,
    interactive: bool,
    close_when_written: bool,
    live: bool,
    /// Client and bytes.
    pending: Vec<(u32, Vec<u8>)>,
    /// Client, streams (stdin, stdout, stderr), whether it is dropped when slow.
    attached: Vec<(u32, [bool; 3], bool)>,
}

/// Collects the descriptors that have to survive the execution.
struct Kept<'a>(Vec<BorrowedFd<'a>>);

impl<'a> Kept<'a> {
    fn add(&mut self, fd: &'a OwnedFd) -> RawFd {
        self.0.push(fd.as_fd());
        fd.as_raw_fd()
    }

    fn add_some(&mut self, fd: Option<&'a OwnedFd>) -> Option<RawFd> {
        fd.map(|fd| self.add(fd))
    }

    fn channel(&mut self, channel: &'a Channel) -> SavedChannel {
        let stdio = &channel.stdio;
        SavedChannel {
            stdin: self.add_some(stdio.stdin.as_ref()),
            stdout: self.add_some(stdio.stdout.as_ref()),
            stderr: self.add_some(stdio.stderr.as_ref()),
            terminal: self.add_some(stdio.terminal.as_ref()),
            interactive: stdio.interactive,
            close_when_written: stdio.close_when_written,
            live: channel.live,
            pending: stdio
                .pending
                .iter()
                .map(|input| {
                    let rest = input.data.get(input.written..).unwrap_or_default();
                    (input.client, rest.to_vec())
                })
                .collect(),
            attached: channel
                .attached
                .iter()
                .map(|attached| {
                    let Streams { stdin, stdout, stderr } = attached.streams;
                    let drops = attached.slow == SlowClient::Drop;
                    (attached.client, [stdin, stdout, stderr], drops)
                })
                .collect(),
        }
    }

    fn process(&mut self, process: Option<&'a Process>) -> Option<SavedProcess> {
        process.map(|process| SavedProcess {
            pid: process.pid,
            pidfd: self.add_some(process.pidfd.as_ref()),
        })
    }

    fn container(&mut self, container: &'a Container) -> SavedContainer {
        let now = Instant::now();
        SavedContainer {
            key: container.key,
            request: Request::Create(Box::new(container.request.clone())).encode(0),
            phase: match container.phase {
                Phase::Created | Phase::Creating => SavedPhase::Created,
                Phase::Running => SavedPhase::Running,
                Phase::Paused => SavedPhase::Paused,
                Phase::Restarting => SavedPhase::Waiting { ms: 0 },
                Phase::Waiting(at) => {
                    let left = at.saturating_duration_since(now);
                    SavedPhase::Waiting { ms: left.as_millis() as u64 }
                }
                Phase::Ended(_) | Phase::Done => SavedPhase::Ended,
                Phase::Delegated => SavedPhase::Delegated,
                Phase::CleaningUp(pid) => SavedPhase::CleaningUp { pid },
            },
            process: self.process(container.process.as_ref()),
            is_child: container.parentage == Parentage::Ours,
            channel: self.channel(&container.channel),
            oom: container
                .oom
                .as_ref()
                .map(|files| (self.add_some(files.event.as_ref()), self.add(&files.counter))),
            oom_kills: container.oom_kills,
            owner: container.owner,
            no_restart: container.no_restart,
            attempts: container.attempts,
            pause_ms: container.pause.as_millis() as u64,
            running_ms: container.running_since.map(|since| since.elapsed().as_millis() as u64),
            status: container.record.status.clone(),
        }
    }
}

impl Monitor {
    /// Notes a request to be replaced; it is done when no worker is at work.
    pub(super) fn ask_for_replacement(
        &mut self,
        client: u32,
        request: u32,
        binary: PathBuf,
    ) -> Result<Option<()>, requests::Refusal> {
        if self.replacement.is_some() {
            let text = "this monitor is being replaced already".to_owned();
            return Err(requests::Refusal { kind: ErrorKind::State, text });
        }
        self.replacement = Some(Replacement { client, request, binary });
        Ok(None)
    }

    /// Executes the new program, if that was asked for. Comes back only when it can't be done.
    pub(super) fn replace_if_due(&mut self) {
        if !self.workers.is_empty() {
            return;
        }
        let Some(replacement) = self.replacement.take() else { return };
        let error = self.replace(&replacement);
        let Replacement { client, request, .. } = replacement;
        let text = format!("{} cannot take over: {error}", replacement.binary.display());
        let kind = ErrorKind::Invalid;
        self.reply(client, &Reply::Error { request, kind, text, hint: None });
    }

    fn replace(&self, replacement: &Replacement) -> std::io::Error {
        match self.try_replace(replacement) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_replace(
        &self,
        replacement: &Replacement,
    ) -> Result<std::convert::Infallible, std::io::Error> {
        let mut kept = Kept(Vec::new());
        let state = State {
            shape: SHAPE,
            directory: kept.add(&self.directory),
            lock: kept.add(&self.lock),
            listener: kept.add(&self.listener),
            next_key: self.next_key,
            had_containers: self.had_containers,
            oom_score: self.oom_score.clone(),
            scope: self.scope.as_ref().and_then(|scope| match scope {
                Scope::Directory(path) => Some(path.clone()),
                Scope::Unit(_) => None,
            }),
            clients: self
                .clients
                .iter()
                .map(|client| SavedClient {
                    key: client.key,
                    socket: kept.add(&client.socket),
                    greeted: client.greeted,
                    version: client.version,
                    debt: client.debt,
                    queue: client.queue.iter().cloned().collect(),
                })
                .collect(),
            containers: self.containers.iter().map(|c| kept.container(c)).collect(),
            sessions: self
                .sessions
                .iter()
                .map(|session| SavedSession {
                    key: session.key,
                    container: session.container,
                    name: session.name.clone(),
                    process: kept.process(session.process.as_ref()),
                    channel: kept.channel(&session.channel),
                })
                .collect(),
            asked_by: (replacement.client, replacement.request),
        };
        let memory = rustix::fs::memfd_create("berth-monitor-state", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(memory);
        serde_json::to_writer(&mut file, &state)?;
        file.flush()?;
        let memory = OwnedFd::from(file);
        kept.add(&memory);
        let program = library::open_protected(&replacement.binary)?;
        let number = memory.as_raw_fd().to_string();
        set_close_on_exec(&kept.0, FdFlags::empty());
        let result = self.ask_then_execute(&program, &number);
        set_close_on_exec(&kept.0, FdFlags::CLOEXEC);
        Err(result)
    }

    /// Asks the program whether it can read the state, and executes it if so.
    fn ask_then_execute(&self, program: &OwnedFd, number: &str) -> std::io::Error {
        let name = c"berth-monitor";
        let number = c_string(number.as_ref());
        let check = [name, c"--check-resume", number.as_c_str()];
        let asked = match sys::fork() {
            Ok(sys::Fork::Child) => {
                sys::execute(program.as_fd(), &check);
                sys::exit_now(126);
            }
            Ok(sys::Fork::Parent(pid)) => pid,
            Err(error) => return error,
        };
        let answer = rustix::process::Pid::from_raw(asked).and_then(|pid| {
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).ok()?
        });
        if answer.is_none_or(|(_, status)| status.exit_status() != Some(0)) {
            return std::io::Error::other("it does not understand this monitor's state");
        }
        let mut arguments = vec![name.to_owned()];
        arguments.extend(self.options.raw.iter().map(|argument| c_string(argument)));
        arguments.push(c"--resume".to_owned());
        arguments.push(number);
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        sys::execute(program.as_fd(), &arguments)
    }

    /// Takes over from the program that executed this one.
    pub(super) fn resume(options: Options, descriptor: RawFd) -> Result<Self, StartError> {
        let state = read_state(descriptor)?;
        let signals = sys::signal_descriptor()
            .map_err(|source| StartError::Process { action: "take signals", source })?;
        let mut monitor = Self {
            options,
            directory: take(state.directory)?,
            lock: take(state.lock)?,
            listener: take(state.listener)?,
            signals,
            clients: Vec::new(),
            containers: Vec::new(),
            sessions: Vec::new(),
            workers: Vec::new(),
            next_key: state.next_key,
            frame: Vec::with_capacity(crate::protocol::MAX_FRAME),
            chunk: Vec::with_capacity(CHUNK),
            replacement: None,
            had_containers: state.had_containers,
            ending: false,
            listen_from: None,
            reap: true,
            scope: state.scope.map(Scope::Directory),
            oom_score: state.oom_score,
        };
        for saved in state.clients {
            let mut client = Client::new(saved.key, take(saved.socket)?);
            client.greeted = saved.greeted;
            client.version = saved.version;
            client.debt = saved.debt;
            if !saved.queue.is_empty() {
                client.stalled_since = Some(Instant::now());
                client.queue = saved.queue.into();
            }
            monitor.clients.push(client);
        }
        for saved in state.containers {
            let mut container = restore_container(saved)?;
            let version = env!("CARGO_PKG_VERSION").to_owned();
            container.record.event(EventKind::Replaced { version });
            monitor.containers.push(container);
        }
        for saved in state.sessions {
            let container = monitor.containers.iter().find(|c| c.key == saved.container);
            let id = container.map(|c| c.request.id.clone()).unwrap_or_default();
            monitor.sessions.push(Session {
                key: saved.key,
                container: saved.container,
                channel: restore_channel(Target::exec(id, &saved.name), saved.channel)?,
                name: saved.name,
                process: restore_process(saved.process)?,
            });
        }
        let (client, request) = state.asked_by;
        monitor.reply(client, &Reply::Ok { request });
        Ok(monitor)
    }
}

/// Whether this program understands a state.
pub(super) fn check(descriptor: RawFd) -> Result<(), ResumeError> {
    let state = read_state(descriptor)?;
    for container in &state.containers {
        decode_request(container)?;
    }
    Ok(())
}

fn read_state(descriptor: RawFd) -> Result<State, ResumeError> {
    let mut file = std::fs::File::from(sys::inherited(descriptor)?);
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let state: State = serde_json::from_slice(&text)?;
    if state.shape == SHAPE { Ok(state) } else { Err(ResumeError::Shape(state.shape)) }
}

fn set_close_on_exec(descriptors: &[BorrowedFd<'_>], flags: FdFlags) {
    for descriptor in descriptors {
        let _ = rustix::io::fcntl_setfd(descriptor, flags);
    }
}

/// Takes up a descriptor of the state.
fn take(number: RawFd) -> Result<OwnedFd, ResumeError> {
    let descriptor = sys::inherited(number).map_err(|_| ResumeError::Descriptor(number))?;
    set_close_on_exec(&[descriptor.as_fd()], FdFlags::CLOEXEC);
    Ok(descriptor)
}

fn take_some(number: Option<RawFd>) -> Result<Option<OwnedFd>, ResumeError> {
    number.map(take).transpose()
}

fn decode_request(saved: &SavedContainer) -> Result<crate::protocol::CreateRequest, ResumeError> {
    match Request::decode(&saved.request) {
        Ok((_, Request::Create(create))) => Ok(*create),
        _ => Err(ResumeError::Request(saved.status.id.clone())),
    }
}

fn restore_process(saved: Option<SavedProcess>) -> Result<Option<Process>, ResumeError> {
    saved.map(|saved| Ok(Process { pid: saved.pid, pidfd: take_some(saved.pidfd)? })).transpose()
}

fn restore_channel(target: Target, saved: SavedChannel) -> Result<Channel, ResumeError> {
    let stdio = Stdio {
        stdin: take_some(saved.stdin)?,
        stdout: take_some(saved.stdout)?,
        stderr: take_some(saved.stderr)?,
        terminal: take_some(saved.terminal)?,
        interactive: saved.interactive,
        pending: saved
            .pending
            .into_iter()
            .map(|(client, data)| PendingInput { client, data, written: 0 })
            .collect(),
        close_when_written: saved.close_when_written,
        hung_up_until: None,
    };
    let mut channel = Channel::new(target, stdio);
    channel.live = saved.live;
    for (client, [stdin, stdout, stderr], drops) in saved.attached {
        channel.attach(Attachment {
            client,
            streams: Streams { stdin, stdout, stderr },
            slow: if drops { SlowClient::Drop } else { SlowClient::Wait },
        });
    }
    Ok(channel)
}

fn restore_container(saved: SavedContainer) -> Result<Container, ResumeError> {
    let request = decode_request(&saved)?;
    let now = Instant::now();
    let last_exit = Exit {
        code: saved.status.exit_code,
        signal: saved.status.signal,
        oom_killed: saved.status.oom_killed,
        restarting: false,
    };
    let record = Record::open(&request.directory, saved.status)
        .map_err(|source| ResumeError::Directory { id: request.id.clone(), source })?;
    let oom = match saved.oom {
        Some((event, counter)) => {
            Some(OomFiles { event: take_some(event)?, counter: take(counter)? })
        }
        None => None,
    };
    let mut container = Container {
        key: saved.key,
        phase: match saved.phase {
            SavedPhase::Created => Phase::Created,
            SavedPhase::Running => Phase::Running,
            SavedPhase::Paused => Phase::Paused,
            SavedPhase::Waiting { ms } => Phase::Waiting(now + Duration::from_millis(ms)),
            SavedPhase::Ended => Phase::Ended(now),
            SavedPhase::Delegated => Phase::Delegated,
            SavedPhase::CleaningUp { pid } => Phase::CleaningUp(pid),
        },
        process: restore_process(saved.process)?,
        parentage: if saved.is_child { Parentage::Ours } else { Parentage::Foreign },
        channel: restore_channel(Target::container(&request.id), saved.channel)?,
        // A log that can't be opened now is no reason to lose the container.
        log: Log::open(&request.log).ok().flatten(),
        record,
        oom,
        oom_kills: saved.oom_kills,
        owner: saved.owner,
        no_restart: saved.no_restart,
        attempts: saved.attempts,
        pause: Duration::from_millis(saved.pause_ms).max(FIRST_PAUSE),
        running_since: saved.running_ms.and_then(|ms| now.checked_sub(Duration::from_millis(ms))),
        last_exit,
        busy: false,
        request,
    };
    container.record.status.monitor_pid = std::process::id() as i32;
    if container.phase.is_alive() {
        container.publish();
    }
    Ok(container)
}
