//! The loop: what is waited for, and who deals with it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;

use super::Monitor;
use super::client::{Client, Received};
use super::container::{Container, Parentage, Phase, Source, settle};
use crate::protocol::{Reply, STDIN_WINDOW, SlowClient};
use crate::sys;

/// How long a client with [`SlowClient::Drop`] may take nothing.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// How long the last words wait for clients that take nothing, when all containers are gone.
const FAREWELL_LIMIT: Duration = Duration::from_secs(10);
/// The most clients at a time.
const MAX_CLIENTS: usize = 256;

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy)]
enum Token {
    Signals,
    Listener,
    Client(u32),
    /// The reports of the worker with this pid.
    Worker(i32),
    Output(u32, Source),
    Input(u32),
    Oom(u32),
    Process(u32),
}

impl Monitor {
    /// Runs until there is nothing left to do.
    pub(super) fn run(&mut self) {
        let mut ready = Vec::new();
        self.reap = true;
        loop {
            self.housekeeping();
            if self.is_finished() {
                self.say_farewell();
                return;
            }
            self.wait(&mut ready);
            for (token, flags) in ready.drain(..) {
                self.handle(token, flags);
            }
        }
    }

    /// Everything that follows from what has happened and from time passing.
    fn housekeeping(&mut self) {
        // What is reaped may let more be reaped.
        for _ in 0..8 {
            if !std::mem::take(&mut self.reap) {
                break;
            }
            self.reap_children();
        }
        self.drop_dead_clients();
        self.advance_containers();
        self.replace_if_due();
        self.drop_dead_clients();
    }

    fn is_finished(&self) -> bool {
        if !self.containers.is_empty() || !self.workers.is_empty() {
            return false;
        }
        if self.ending {
            return true;
        }
        if self.options.stay {
            return false;
        }
        self.had_containers || self.clients.is_empty()
    }

    /// Lets clients have what is queued for them.
    fn say_farewell(&mut self) {
        for mut session in std::mem::take(&mut self.sessions) {
            session.channel.drain(None, &mut self.clients, &mut self.chunk);
            let target = session.channel.target.clone();
            let exit = super::lifecycle::UNKNOWN_EXIT;
            session.channel.tell(&mut self.clients, &Reply::Exited { target, exit });
        }
        let deadline = Instant::now() + FAREWELL_LIMIT;
        loop {
            self.clients.retain(|client| !client.dead && client.is_blocked());
            let left = deadline.saturating_duration_since(Instant::now());
            if self.clients.is_empty() || left.is_zero() {
                return;
            }
            let mut set: Vec<_> = self
                .clients
                .iter()
                .map(|client| PollFd::new(&client.socket, PollFlags::OUT))
                .collect();
            let _ = poll(&mut set, Some(&timespec(left)));
            for client in &mut self.clients {
                client.flush();
            }
        }
    }

    fn wait(&self, ready: &mut Vec<(Token, PollFlags)>) {
        let mut tokens = Vec::with_capacity(8);
        let mut set = Vec::with_capacity(8);
        {
            let mut add = |token, fd, flags| {
                tokens.push(token);
                set.push(PollFd::from_borrowed_fd(fd, flags));
            };
            add(Token::Signals, self.signals.as_fd(), PollFlags::IN);
            if self.listen_from.is_none() && self.clients.len() < MAX_CLIENTS {
                add(Token::Listener, self.listener.as_fd(), PollFlags::IN);
            }
            for client in &self.clients {
                let mut flags = PollFlags::empty();
                if client.is_blocked() {
                    flags |= PollFlags::OUT;
                } else if client.debt <= STDIN_WINDOW {
                    flags |= PollFlags::IN;
                } else {
                    // Not even its end is looked at: that would be reported all the time.
                    continue;
                }
                add(Token::Client(client.key), client.socket.as_fd(), flags);
            }
            for work in &self.workers {
                if !work.closed {
                    add(Token::Worker(work.handle.pid), work.handle.reports.as_fd(), PollFlags::IN);
                }
            }
            let now = Instant::now();
            let containers =
                self.containers.iter().map(|container| (container.key, &container.channel));
            let sessions = self.sessions.iter().map(|session| (session.key, &session.channel));
            for (key, channel) in containers.chain(sessions) {
                let stdio = &channel.stdio;
                if let Some(input) = stdio.input()
                    && !stdio.pending.is_empty()
                    && channel.live
                {
                    add(Token::Input(key), input, PollFlags::OUT);
                }
                if !channel.live || channel.is_held_up(&self.clients) {
                    continue;
                }
                for (source, fd) in [
                    (Source::Stdout, &stdio.stdout),
                    (Source::Stderr, &stdio.stderr),
                    (Source::Terminal, &stdio.terminal),
                ] {
                    let rests = source == Source::Terminal
                        && stdio.hung_up_until.is_some_and(|until| until > now);
                    if let (Some(fd), false) = (fd, rests) {
                        add(Token::Output(key, source), fd.as_fd(), PollFlags::IN);
                    }
                }
            }
            for container in &self.containers {
                if let Some(files) = &container.oom {
                    match &files.event {
                        Some(event) => add(Token::Oom(container.key), event.as_fd(), PollFlags::IN),
                        None => {
                            add(Token::Oom(container.key), files.counter.as_fd(), PollFlags::PRI);
                        }
                    }
                }
                if let Some(pidfd) = container.process.as_ref().and_then(|p| p.pidfd.as_ref())
                    && container.parentage == Parentage::Foreign
                {
                    add(Token::Process(container.key), pidfd.as_fd(), PollFlags::IN);
                }
            }
        }
        let timeout = self.next_deadline().map(|at| {
            timespec(at.saturating_duration_since(Instant::now()) + Duration::from_micros(100))
        });
        if poll(&mut set, timeout.as_ref()).is_ok() {
            ready.extend(
                tokens
                    .into_iter()
                    .zip(set.iter().map(PollFd::revents))
                    .filter(|(_, flags)| !flags.is_empty()),
            );
        }
    }

    /// The earliest time at which something is due without an event.
    fn next_deadline(&self) -> Option<Instant> {
        let mut times: Option<Instant> = self.listen_from;
        let mut note = |at: Option<Instant>| {
            times = match (times, at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        };
        for container in &self.containers {
            note(container.record.retry_at());
            note(container.channel.stdio.hung_up_until);
            match container.phase {
                Phase::Waiting(at) => note(Some(at)),
                Phase::Ended(since) if container.record.is_settled() => note(Some(since)),
                Phase::Ended(since) => note(Some(since + super::lifecycle::STATUS_PATIENCE)),
                Phase::Delegated if container.owner.is_none() => note(Some(Instant::now())),
                Phase::Done => note(Some(Instant::now())),
                _ => {}
            }
            if let Parentage::ForeignEnded(_) = container.parentage {
                note(Some(Instant::now() + Duration::from_millis(5)));
            }
        }
        for session in &self.sessions {
            note(session.channel.stdio.hung_up_until);
        }
        for client in &self.clients {
            if self.drops_when_slow(client.key) {
                note(client.stalled_since.map(|since| since + STALL_LIMIT));
            }
        }
        times
    }

    fn handle(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Signals => self.take_signals(),
            Token::Listener => self.accept(),
            Token::Client(key) => self.serve(key, flags),
            Token::Worker(pid) => self.take_reports(pid),
            Token::Output(key, source) => self.pump(key, source),
            Token::Input(key) => self.flush_input(key),
            Token::Oom(key) => self.take_oom(key),
            Token::Process(key) => self.process_ended(key),
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = sys::next_signal(self.signals.as_fd()) {
            match signal {
                libc::SIGCHLD => self.reap = true,
                libc::SIGTERM => self.terminate_all(),
                _ => {}
            }
        }
    }

    fn accept(&mut self) {
        match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                if Client::is_trusted(socket.as_fd()) {
                    let key = self.key();
                    self.clients.push(Client::new(key, socket));
                }
            }
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM) => {
                self.listen_from = Some(Instant::now() + Duration::from_millis(200));
            }
            Err(_) => {}
        }
    }

    fn serve(&mut self, key: u32, flags: PollFlags) {
        let Some(position) = self.clients.iter().position(|client| client.key == key) else {
            return;
        };
        let Some(client) = self.clients.get_mut(position) else { return };
        if flags.contains(PollFlags::OUT) {
            client.flush();
            return;
        }
        let mut buffer = std::mem::take(&mut self.frame);
        buffer.clear();
        match client.receive(&mut buffer) {
            Received::Nothing => {}
            Received::End => client.dead = true,
            Received::Frame => self.take_frame(key, &buffer),
        }
        self.frame = buffer;
    }

    fn pump(&mut self, key: u32, source: Source) {
        if let Some(container) = self.containers.iter_mut().find(|c| c.key == key) {
            let Container { channel, log, record, .. } = container;
            channel.pump(source, log.as_mut(), &mut self.clients, &mut self.chunk);
            if let Some(log) = log
                && log.has_loss()
                && record.is_settled()
                && let Some((bytes, error)) = log.take_loss()
            {
                record.event(crate::events::EventKind::LogLost { bytes, error });
            }
        } else if let Some(session) = self.sessions.iter_mut().find(|s| s.key == key) {
            session.channel.pump(source, None, &mut self.clients, &mut self.chunk);
        }
    }

    fn flush_input(&mut self, key: u32) {
        let containers = self.containers.iter_mut().map(|c| (c.key, &mut c.channel));
        let sessions = self.sessions.iter_mut().map(|s| (s.key, &mut s.channel));
        if let Some((_, channel)) = containers.chain(sessions).find(|(known, _)| *known == key) {
            let taken = channel.stdio.flush();
            settle(&mut self.clients, &channel.target, taken);
        }
    }

    /// Whether a client has asked to be dropped rather than waited for.
    fn drops_when_slow(&self, client: u32) -> bool {
        let containers = self.containers.iter().map(|container| &container.channel);
        let sessions = self.sessions.iter().map(|session| &session.channel);
        containers
            .chain(sessions)
            .flat_map(|channel| &channel.attached)
            .any(|attached| attached.client == client && attached.slow == SlowClient::Drop)
    }

    fn drop_dead_clients(&mut self) {
        let now = Instant::now();
        if self.listen_from.is_some_and(|at| at <= now) {
            self.listen_from = None;
        }
        for position in 0..self.clients.len() {
            let Some(client) = self.clients.get(position) else { break };
            let stalled = client.stalled_since.is_some_and(|since| since + STALL_LIMIT <= now);
            if stalled
                && self.drops_when_slow(client.key)
                && let Some(client) = self.clients.get_mut(position)
            {
                client.dead = true;
            }
        }
        while let Some(position) = self.clients.iter().position(|client| client.dead) {
            let client = self.clients.swap_remove(position);
            self.client_left(client.key);
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().min(86_400) as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
