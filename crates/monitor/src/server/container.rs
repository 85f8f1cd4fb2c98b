//! What the monitor keeps of a container and of an exec session.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::client::Client;
use super::log::{Log, Stream};
use super::record::Record;
use super::stdio::{Output, Stdio, Taken};
use super::worker::oom::{self, OomFiles};
use crate::protocol::{
    self, CreateRequest, DataKind, Exit, Reply, RestartPolicy, RuntimeChoice, SlowClient, Streams,
    Target,
};
use crate::status::{RestartProgress, State};
use crate::time;

/// How much output is read at once.
pub(super) const CHUNK: usize = 16 * 1024;
/// The most output that is drained after an exit, should a process that outlived the container's
/// first one write without end.
const MAX_DRAIN: usize = 4 << 20;
/// The first pause before a restart.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A container that ran so long begins anew with the first pause.
pub(super) const HEALTHY: Duration = Duration::from_secs(10);

/// A client that receives a process's output or at least its exit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attachment {
    pub(super) client: u32,
    pub(super) streams: Streams,
    pub(super) slow: SlowClient,
}

/// A process's streams and who is attached to them.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) target: Target,
    pub(super) stdio: Stdio,
    pub(super) attached: Vec<Attachment>,
    /// Output is not looked at before the process is there: until then a runtime may write to it.
    pub(super) live: bool,
}

/// One of a process's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
    Terminal,
}

impl Channel {
    pub(super) fn new(target: Target, stdio: Stdio) -> Self {
        Self { target, stdio, attached: Vec::new(), live: false }
    }

    /// Whether a client that is attached to an output has to take some first.
    pub(super) fn is_held_up(&self, clients: &[Client]) -> bool {
        self.attached.iter().any(|attachment| {
            (attachment.streams.stdout || attachment.streams.stderr)
                && clients
                    .iter()
                    .any(|client| client.key == attachment.client && client.is_blocked())
        })
    }

    /// Reads one chunk of output and passes it on. Gives its length, 0 when there is none for now.
    pub(super) fn pump(
        &mut self,
        source: Source,
        log: Option<&mut Log>,
        clients: &mut [Client],
        chunk: &mut Vec<u8>,
    ) -> usize {
        let (fd, kind, stream) = match source {
            Source::Stdout => (&self.stdio.stdout, DataKind::Stdout, Stream::Stdout),
            Source::Stderr => (&self.stdio.stderr, DataKind::Stderr, Stream::Stderr),
            Source::Terminal => (&self.stdio.terminal, DataKind::Stdout, Stream::Stdout),
        };
        let Some(fd) = fd else { return 0 };
        chunk.clear();
        let length = match Stdio::read(std::os::fd::AsFd::as_fd(fd), chunk) {
            Output::Data(length) => length,
            Output::Empty => return 0,
            Output::End => {
                match source {
                    Source::Stdout => self.stdio.stdout = None,
                    Source::Stderr => self.stdio.stderr = None,
                    Source::Terminal => self.stdio.hung_up(),
                }
                return 0;
            }
        };
        let data: &[u8] = chunk;
        if let Some(log) = log {
            log.append(stream, data);
        }
        if !self.attached.is_empty() {
            let head = protocol::data_head(kind, &self.target);
            for attachment in &self.attached {
                let wanted = match kind {
                    DataKind::Stdout => attachment.streams.stdout,
                    DataKind::Stderr => attachment.streams.stderr,
                };
                if let Some(client) = clients.iter_mut().find(|c| c.key == attachment.client)
                    && wanted
                {
                    client.send(&head, data);
                }
            }
        }
        length
    }

    /// Passes on all output that is there, whether clients take it or not: it is the last.
    pub(super) fn drain(
        &mut self,
        mut log: Option<&mut Log>,
        clients: &mut [Client],
        chunk: &mut Vec<u8>,
    ) {
        for source in [Source::Terminal, Source::Stdout, Source::Stderr] {
            let mut total = 0;
            while total < MAX_DRAIN {
                match self.pump(source, log.as_deref_mut(), clients, chunk) {
                    0 => break,
                    length => total += length,
                }
            }
        }
    }

    /// Tells everybody who is attached.
    pub(super) fn tell(&self, clients: &mut [Client], reply: &Reply) {
        let frame = reply.encode();
        for attachment in &self.attached {
            if let Some(client) = clients.iter_mut().find(|c| c.key == attachment.client) {
                client.send(&frame, &[]);
            }
        }
    }

    /// Attaches a client, or changes what it is attached to.
    pub(super) fn attach(&mut self, attachment: Attachment) {
        self.attached.retain(|known| known.client != attachment.client);
        self.attached.push(attachment);
    }

    /// Ends a client's attachment. Gives what it was attached to.
    pub(super) fn detach(&mut self, client: u32) -> Option<Streams> {
        let position = self.attached.iter().position(|known| known.client == client)?;
        Some(self.attached.remove(position).streams)
    }
}

/// Takes input off the clients' accounts and tells them.
pub(super) fn settle(clients: &mut [Client], target: &Target, taken: Taken) {
    for (key, bytes) in taken {
        if let Some(client) = clients.iter_mut().find(|client| client.key == key) {
            client.debt = client.debt.saturating_sub(bytes);
            let target = target.clone();
            client.reply(&Reply::StdinTaken { target, bytes: bytes as u32 });
        }
    }
}

/// Where a container is in its life, as the monitor needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A worker creates it.
    Creating,
    /// Its process waits for the start.
    Created,
    /// Its program runs.
    Running,
    /// It is frozen.
    Paused,
    /// It is to be started again at this time.
    Waiting(Instant),
    /// A worker starts it again.
    Restarting,
    /// It has exited for good; its status is being written.
    Ended(Instant),
    /// The client cleans up.
    Delegated,
    /// The cleanup command runs, as this process.
    CleaningUp(i32),
    /// There is nothing left to do.
    Done,
}

impl Phase {
    /// Whether there is a process.
    pub(super) fn is_alive(self) -> bool {
        matches!(self, Self::Created | Self::Running | Self::Paused)
    }

    /// The state that the world sees.
    pub(super) fn state(self) -> State {
        match self {
            Self::Creating => State::Creating,
            Self::Created => State::Created,
            Self::Running => State::Running,
            Self::Paused => State::Paused,
            Self::Waiting(_) | Self::Restarting => State::Restarting,
            Self::Ended(_) | Self::Delegated | Self::CleaningUp(_) | Self::Done => State::Stopped,
        }
    }
}

/// A first process: its ID and what refers to it for good.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: Option<OwnedFd>,
}

/// The state of waiting for an adopted process, which is somebody else's child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parentage {
    /// It is this process's child, and is waited for.
    Ours,
    /// It is not; its pidfd tells of its end.
    Foreign,
    /// It is not, and has ended; the kernel tells the exit code once its parent has asked for it,
    /// but nobody waits for that longer than to this time.
    ForeignEnded(Instant),
}

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) key: u32,
    pub(super) request: CreateRequest,
    pub(super) phase: Phase,
    pub(super) process: Option<Process>,
    pub(super) parentage: Parentage,
    pub(super) channel: Channel,
    pub(super) log: Option<Log>,
    pub(super) record: Record,
    pub(super) oom: Option<OomFiles>,
    /// How many kills have been seen.
    pub(super) oom_kills: u64,
    /// The client that may clean up.
    pub(super) owner: Option<u32>,
    /// It is not to be started again.
    pub(super) no_restart: bool,
    /// How often it has been started again after failures in a row, for `OnFailure`'s limit.
    pub(super) attempts: u32,
    pub(super) pause: Duration,
    pub(super) running_since: Option<Instant>,
    pub(super) last_exit: Exit,
    /// A worker is at it.
    pub(super) busy: bool,
}

impl Container {
    /// Whether its processes are the host's only as one sandbox.
    pub(super) fn is_sandboxed(&self) -> bool {
        matches!(&self.request.runtime, RuntimeChoice::Program(program) if program.sandboxed)
    }

    /// Looks at the count of kills. True when there are more than before.
    pub(super) fn notice_oom(&mut self) -> bool {
        let Some(files) = &self.oom else { return false };
        match oom::kills(std::os::fd::AsFd::as_fd(&files.counter)) {
            Some(kills) if kills > self.oom_kills => {
                self.oom_kills = kills;
                true
            }
            Some(_) => false,
            // The cgroup is gone.
            None => {
                self.oom = None;
                false
            }
        }
    }

    /// It is not to be started again. That outlives this monitor.
    pub(super) fn bar_restarts(&mut self) {
        let was_barred = std::mem::replace(&mut self.no_restart, true);
        if !was_barred && self.request.restart != RestartPolicy::No && self.phase != Phase::Creating
        {
            self.publish();
        }
    }

    fn restart_progress(&self) -> Option<RestartProgress> {
        if self.request.restart == RestartPolicy::No {
            return None;
        }
        let now = time::since_boot_ms();
        let ms = |duration: Duration| duration.as_millis() as u64;
        Some(RestartProgress {
            attempts: self.attempts,
            pause_ms: ms(self.pause),
            started_ms: self.running_since.map(|since| now.saturating_sub(ms(since.elapsed()))),
            due_ms: match self.phase {
                Phase::Waiting(at) => Some(now + ms(at.saturating_duration_since(Instant::now()))),
                _ => None,
            },
            barred: self.no_restart,
        })
    }

    /// Brings the status up to date with the phase, and writes it.
    pub(super) fn publish(&mut self) {
        let restart = self.restart_progress();
        let status = &mut self.record.status;
        status.restart = restart;
        status.state = self.phase.state();
        status.pid = self.process.as_ref().map(|process| process.pid);
        if status.pid.is_none() {
            status.pid_start_time = None;
        }
        self.record.publish();
    }
}

/// An exec session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: u32,
    /// The key of its container.
    pub(super) container: u32,
    pub(super) name: String,
    pub(super) process: Option<Process>,
    pub(super) channel: Channel,
}
