//! What becomes of containers: reports of workers, exits, restarts, cleanup.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

use super::container::{Container, FIRST_PAUSE, HEALTHY, LONGEST_PAUSE, Parentage, Phase, Session};
use super::requests::{open_process, send_signal};
use super::stdio::Stdio;
use super::worker::report::{self, Report};
use super::worker::{self, Failure, Task};
use super::{Job, Monitor, Work, cleanup, procfs};
use crate::events::EventKind;
use crate::protocol::{CleanupBy, Exit, Reply, RestartPolicy, StdinMode, Target};
use crate::{sys, time};

/// How long the cleanup waits for a status that can't be written.
pub(super) const STATUS_PATIENCE: Duration = Duration::from_secs(30);
/// How long the kernel's word on an adopted process's exit code is waited for.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

impl Monitor {
    /// Takes what a worker has reported so far.
    pub(super) fn take_reports(&mut self, pid: i32) {
        loop {
            let Some(work) = self.workers.iter_mut().find(|work| work.handle.pid == pid) else {
                return;
            };
            let Some(report) = report::receive(work.handle.reports.as_fd()) else {
                // Nothing now, or the end: the end is learnt from the process's.
                let mut set = [rustix::event::PollFd::new(
                    &work.handle.reports,
                    rustix::event::PollFlags::IN,
                )];
                let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                if matches!(rustix::event::poll(&mut set, Some(&now)), Ok(1..)) {
                    work.closed = true;
                }
                return;
            };
            let (job, container, requester) = (work.job, work.container, work.requester);
            if is_last(&report, work) {
                work.done = true;
                // From here on the container is free for other requests: the client knows of this
                // one's end before the worker's process has ended.
                if let Some(container) = self.containers.iter_mut().find(|c| c.key == container)
                    && !matches!(job, Job::Exec(_))
                {
                    container.busy = false;
                }
            }
            match report {
                Report::Failed(failure) => work.failure = Some(failure),
                Report::Done => self.task_done(job, container, requester),
                Report::Started => self.started(container, job, requester),
                Report::Process { pid, start_time, terminal, oom } => {
                    if let Job::Exec(session) = job {
                        self.exec_started(session, pid, terminal, requester);
                    } else if let Some(container) =
                        self.containers.iter_mut().find(|c| c.key == container)
                    {
                        container.process = Some(open_process(pid));
                        container.parentage = Parentage::Ours;
                        container.record.status.pid_start_time = Some(start_time);
                        container.record.status.monitor_pid = std::process::id() as i32;
                        container.oom = oom;
                        container.oom_kills = 0;
                        container.notice_oom();
                        if let Some(terminal) = terminal {
                            container.channel.stdio.set_terminal(terminal);
                        }
                        container.channel.live = true;
                        container.phase = Phase::Created;
                        container.publish();
                        container.record.event(EventKind::Created { pid });
                        let id = container.request.id.clone();
                        if let (Some((client, request)), Job::Create) = (requester, job) {
                            self.reply(client, &Reply::Created { request, id, pid });
                        }
                    }
                }
            }
        }
    }

    fn started(&mut self, container: u32, job: Job, requester: Option<(u32, u32)>) {
        let Some(container) = self.containers.iter_mut().find(|c| c.key == container) else {
            return;
        };
        container.phase = Phase::Running;
        container.running_since = Some(Instant::now());
        let status = &mut container.record.status;
        status.started_at = Some(time::now().to_string());
        status.finished_at = None;
        status.exit_code = None;
        status.signal = None;
        status.oom_killed = false;
        container.publish();
        let pid = container.process.as_ref().map_or(0, |process| process.pid);
        container.record.event(EventKind::Started { pid });
        if let (Job::Recreate, true, Some(process)) =
            (job, container.no_restart, &container.process)
        {
            // It was stopped while it was being started again. One that has just ended is reaped
            // anyway.
            let _ = send_signal(process, libc::SIGKILL);
        }
        let id = container.request.id.clone();
        if let (Some((client, request)), Job::Create | Job::Start) = (requester, job) {
            self.reply(client, &Reply::Started { request, id });
        }
    }

    fn task_done(&mut self, job: Job, container: u32, requester: Option<(u32, u32)>) {
        let change = match job {
            Job::Pause => Some((Phase::Paused, EventKind::Paused)),
            Job::Resume => Some((Phase::Running, EventKind::Resumed)),
            Job::Signal => None,
            _ => return,
        };
        if let Some((phase, event)) = change
            && let Some(container) = self.containers.iter_mut().find(|c| c.key == container)
            && container.phase.is_alive()
        {
            container.phase = phase;
            container.publish();
            container.record.event(event);
        }
        if let Some((client, request)) = requester {
            self.reply(client, &Reply::Ok { request });
        }
    }

    fn exec_started(
        &mut self,
        session: u32,
        pid: i32,
        terminal: Option<std::os::fd::OwnedFd>,
        requester: Option<(u32, u32)>,
    ) {
        let Some(session) = self.sessions.iter_mut().find(|s| s.key == session) else { return };
        session.process = Some(open_process(pid));
        if let Some(terminal) = terminal
            && !session.channel.attached.is_empty()
        {
            session.channel.stdio.set_terminal(terminal);
        }
        session.channel.live = true;
        let target = session.channel.target.clone();
        let name = session.name.clone();
        if let Some(container) = self.containers.iter_mut().find(|c| c.key == session.container) {
            container.record.event(EventKind::ExecStarted { session: name, pid });
        }
        if let Some((client, request)) = requester {
            self.reply(client, &Reply::ExecStarted { request, target, pid });
        }
    }

    /// Reaps what has ended.
    ///
    /// While a worker is at work, only known children are waited for: one that isn't known yet may
    /// be the process that the worker is about to report, and as long as it is not reaped, nobody
    /// else gets its ID.
    pub(super) fn reap_children(&mut self) {
        let workers: Vec<i32> = self.workers.iter().map(|work| work.handle.pid).collect();
        for pid in workers {
            if let Some(status) = ended(pid) {
                self.worker_ended(pid, status);
            }
        }
        let ours = |container: &&Container| {
            !container.busy
                && container.parentage == Parentage::Ours
                && !matches!(container.phase, Phase::CleaningUp(_))
        };
        let containers: Vec<(u32, i32)> = self
            .containers
            .iter()
            .filter(ours)
            .filter_map(|container| Some((container.key, container.process.as_ref()?.pid)))
            .collect();
        for (key, pid) in containers {
            if let Some(status) = ended(pid) {
                self.container_ended(key, exit_of(status));
            }
        }
        let sessions: Vec<(u32, i32)> = self
            .sessions
            .iter()
            .filter(|session| !self.workers.iter().any(|work| work.job == Job::Exec(session.key)))
            .filter_map(|session| Some((session.key, session.process.as_ref()?.pid)))
            .collect();
        for (key, pid) in sessions {
            if let Some(status) = ended(pid) {
                self.session_ended(key, exit_of(status));
            }
        }
        for container in &mut self.containers {
            if let Phase::CleaningUp(pid) = container.phase
                && let Some(status) = ended(pid)
            {
                container.phase = Phase::Done;
                let code = exit_of(status).code.unwrap_or(-1);
                if code != 0 {
                    container.record.event(EventKind::CleanupFailed { code });
                }
            }
        }
        if self.workers.is_empty() {
            self.reap_orphans();
        }
    }

    /// Reaps processes that were re-parented to the monitor. The known ones have been looked at;
    /// should one of them have ended since, its own status is kept from being thrown away by
    /// looking again as long as the next zombie is a known one.
    fn reap_orphans(&mut self) {
        let known: Vec<i32> = self
            .containers
            .iter()
            .filter_map(|container| match container.phase {
                Phase::CleaningUp(pid) => Some(pid),
                _ => container.process.as_ref().map(|process| process.pid),
            })
            .chain(self.sessions.iter().filter_map(|s| Some(s.process.as_ref()?.pid)))
            .collect();
        while let Some(pid) = sys::peek_zombie() {
            if known.contains(&pid) {
                self.reap = true;
                return;
            }
            if ended(pid).is_none() {
                return;
            }
        }
    }

    fn worker_ended(&mut self, pid: i32, status: WaitStatus) {
        self.take_reports(pid);
        let Some(position) = self.workers.iter().position(|work| work.handle.pid == pid) else {
            return;
        };
        let work = self.workers.swap_remove(position);
        // What it kept back from being reaped may be reaped now.
        self.reap = true;
        if let Some(container) = self.containers.iter_mut().find(|c| c.key == work.container)
            && !matches!(work.job, Job::Exec(_) | Job::Signal)
            && !work.done
        {
            container.busy = false;
        }
        let exit = exit_of(status);
        let failure = work.failure.clone().or_else(|| {
            let text = format!("the worker ended early, with exit code {:?}", exit.code);
            (!work.done).then(|| Failure::other(text))
        });
        if let Some(failure) = failure {
            self.task_failed(&work, failure);
        }
    }

    fn task_failed(&mut self, work: &Work, failure: Failure) {
        let Failure { kind, text, hint } = failure;
        if let Some((client, request)) = work.requester {
            let text = text.clone();
            self.reply(client, &Reply::Error { request, kind, text, hint });
        }
        match work.job {
            Job::Create => {
                if let Some(position) = self.containers.iter().position(|c| c.key == work.container)
                {
                    let mut container = self.containers.swap_remove(position);
                    container.record.withdraw();
                    self.had_containers = !self.containers.is_empty();
                }
            }
            Job::Recreate => self.restart_failed(work.container, text),
            Job::Exec(session) => self.sessions.retain(|known| known.key != session),
            Job::Start | Job::Pause | Job::Resume | Job::Signal => {}
        }
    }

    /// A session's process has ended.
    fn session_ended(&mut self, key: u32, exit: Exit) {
        let Some(position) = self.sessions.iter().position(|session| session.key == key) else {
            return;
        };
        let mut session = self.sessions.swap_remove(position);
        let Session { channel, container, name, .. } = &mut session;
        channel.drain(None, &mut self.clients, &mut self.chunk);
        let taken = channel.stdio.discard_input();
        super::container::settle(&mut self.clients, &channel.target, taken);
        let target = channel.target.clone();
        channel.tell(&mut self.clients, &Reply::Exited { target, exit });
        if let Some(container) = self.containers.iter_mut().find(|c| c.key == *container) {
            let session = std::mem::take(name);
            container.record.event(EventKind::ExecExited { session, code: exit.code });
        }
    }

    /// A container's first process has ended.
    pub(super) fn container_ended(&mut self, key: u32, mut exit: Exit) {
        let Some(container) = self.containers.iter_mut().find(|c| c.key == key) else { return };
        let Container { channel, log, .. } = container;
        channel.drain(log.as_mut(), &mut self.clients, &mut self.chunk);
        channel.live = false;
        channel.stdio.terminal = None;
        let taken = channel.stdio.discard_input();
        super::container::settle(&mut self.clients, &channel.target, taken);
        if let Some(log) = &mut container.log
            && let Some((bytes, error)) = log.take_loss()
        {
            container.record.event(EventKind::LogLost { bytes, error });
        }
        if container.notice_oom() {
            container.record.event(EventKind::Oom);
        }
        exit.oom_killed = container.oom_kills > 0;
        container.oom = None;
        container.process = None;
        exit.restarting = container.wants_restart(exit);
        container.end(exit);
        let target = Target::container(&container.request.id);
        container.channel.tell(&mut self.clients, &Reply::Exited { target, exit });
        // Sessions in a PID namespace of its own have ended with it.
        self.reap = true;
    }

    /// The policy says that it is to be started again, but that can't be (any more).
    pub(super) fn give_up_restarting(&mut self, key: u32) {
        let Some(container) = self.containers.iter_mut().find(|c| c.key == key) else { return };
        let exit = Exit { restarting: false, ..container.last_exit };
        container.end(exit);
        let target = Target::container(&container.request.id);
        container.channel.tell(&mut self.clients, &Reply::Exited { target, exit });
    }

    fn restart_failed(&mut self, key: u32, mut error: String) {
        error.truncate(error.floor_char_boundary(1000));
        let Some(container) = self.containers.iter_mut().find(|c| c.key == key) else { return };
        container.record.event(EventKind::RestartFailed { error });
        container.process = None;
        container.channel.live = false;
        container.channel.stdio.terminal = None;
        let failed = Exit { code: Some(127), ..container.last_exit };
        if container.wants_restart(failed) {
            let exit = Exit { restarting: true, ..container.last_exit };
            container.end(exit);
        } else {
            self.give_up_restarting(key);
        }
    }

    fn restart(&mut self, key: u32) {
        let Some(position) = self.containers.iter().position(|c| c.key == key) else { return };
        let Some(container) = self.containers.get_mut(position) else { return };
        let child = container.streams_for_restart();
        container.phase = Phase::Restarting;
        let result = match child {
            Ok(child) => self
                .containers
                .get(position)
                .map(|c| worker::spawn(self.context(c), Task::Recreate, Some(child))),
            Err(error) => Some(Err(error.into())),
        };
        match result {
            Some(Ok(handle)) => {
                self.workers.push(Work::new(handle, Job::Recreate, key, None));
                if let Some(container) = self.containers.get_mut(position) {
                    container.busy = true;
                    container.attempts += 1;
                    container.record.status.restarts += 1;
                    container.running_since = None;
                    // An attempt counts even if this monitor does not live to see its end.
                    container.publish();
                }
            }
            Some(Err(error)) => self.restart_failed(key, error.to_string()),
            None => {}
        }
    }

    /// Moves containers on where time or a client's leaving allows it.
    pub(super) fn advance_containers(&mut self) {
        let now = Instant::now();
        for position in 0..self.containers.len() {
            let Some(container) = self.containers.get_mut(position) else { break };
            container.record.retry();
            if container.channel.stdio.hung_up_until.is_some_and(|until| until <= now) {
                container.channel.stdio.hung_up_until = None;
            }
            let key = container.key;
            if let Parentage::ForeignEnded(until) = container.parentage {
                self.ask_for_exit(key, until);
                continue;
            }
            match container.phase {
                Phase::Waiting(at) if at <= now => self.restart(key),
                Phase::Ended(since)
                    if container.record.is_settled() || since + STATUS_PATIENCE <= now =>
                {
                    if container.request.cleanup == CleanupBy::Client && container.owner.is_some() {
                        container.phase = Phase::Delegated;
                    } else {
                        self.clean_up(position);
                    }
                }
                Phase::Delegated if container.owner.is_none() => self.clean_up(position),
                _ => {}
            }
        }
        for session in &mut self.sessions {
            let stdio = &mut session.channel.stdio;
            if stdio.hung_up_until.is_some_and(|until| until <= now) {
                stdio.hung_up_until = None;
            }
        }
        self.containers.retain(|container| container.phase != Phase::Done);
    }

    fn clean_up(&mut self, position: usize) {
        let Some(container) = self.containers.get_mut(position) else { return };
        let id = &container.request.id;
        let started = cleanup::start(&self.options.cleanup, id, self.oom_score.as_deref());
        container.phase = match started {
            Ok(Some(pid)) => Phase::CleaningUp(pid),
            Ok(None) => Phase::Done,
            Err(_) => {
                container.record.event(EventKind::CleanupFailed { code: -1 });
                Phase::Done
            }
        };
    }

    pub(super) fn take_oom(&mut self, key: u32) {
        let Some(container) = self.containers.iter_mut().find(|c| c.key == key) else { return };
        if let Some(event) = container.oom.as_ref().and_then(|files| files.event.as_ref()) {
            let _ = rustix::io::read(event, &mut [0_u8; 8]);
        }
        if container.notice_oom() {
            container.record.status.oom_killed = true;
            container.publish();
            container.record.event(EventKind::Oom);
        }
    }

    /// An adopted process has ended: its parent may not have reaped it yet.
    pub(super) fn process_ended(&mut self, key: u32) {
        let until = Instant::now() + EXIT_PATIENCE;
        if let Some(container) = self.containers.iter_mut().find(|c| c.key == key) {
            container.parentage = Parentage::ForeignEnded(until);
        }
        self.ask_for_exit(key, until);
    }

    fn ask_for_exit(&mut self, key: u32, until: Instant) {
        let Some(container) = self.containers.iter_mut().find(|c| c.key == key) else { return };
        let began = container.record.status.pid_start_time.unwrap_or(0);
        let status = container.process.as_ref().and_then(|process| {
            let reaped = sys::reaped_wait_status(process.pidfd.as_ref()?.as_fd());
            reaped.or_else(|| procfs::zombie_status(process.pid, began))
        });
        if container.busy || status.is_none() && Instant::now() < until {
            return;
        }
        container.parentage = Parentage::Ours;
        let exit = status.map_or(UNKNOWN_EXIT, exit_of_raw);
        self.container_ended(key, exit);
    }

    /// Somebody wants the monitor gone (the machine shuts down): its containers are asked to end,
    /// and the monitor ends with the last of them, in the usual way.
    pub(super) fn terminate_all(&mut self) {
        let mut waiting = Vec::new();
        for container in &mut self.containers {
            container.bar_restarts();
            if let (true, Some(process)) = (container.phase.is_alive(), &container.process) {
                // One that has just ended is reaped anyway.
                let _ = send_signal(process, libc::SIGTERM);
            }
            if let Phase::Waiting(_) = container.phase {
                waiting.push(container.key);
            }
        }
        for key in waiting {
            self.give_up_restarting(key);
        }
        self.options.stay = false;
    }
}

impl Container {
    fn wants_restart(&mut self, exit: Exit) -> bool {
        if self.no_restart {
            return false;
        }
        if self.running_since.is_some_and(|since| since.elapsed() >= HEALTHY) {
            self.pause = FIRST_PAUSE;
            self.attempts = 0;
        }
        match self.request.restart {
            RestartPolicy::No => false,
            // A container that was never started is not started again.
            _ if self.record.status.started_at.is_none() => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max } => {
                exit.code != Some(0) && max.is_none_or(|max| self.attempts < max)
            }
        }
    }

    /// Records an exit.
    fn end(&mut self, exit: Exit) {
        let now = Instant::now();
        self.last_exit = exit;
        self.phase = if exit.restarting {
            let at = now + self.pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            Phase::Waiting(at)
        } else {
            Phase::Ended(now)
        };
        self.running_since = None;
        let status = &mut self.record.status;
        status.finished_at = Some(time::now().to_string());
        status.exit_code = exit.code;
        status.signal = exit.signal;
        status.oom_killed = exit.oom_killed;
        self.record.event(EventKind::Exited {
            code: exit.code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            restarting: exit.restarting,
        });
        self.publish();
    }

    /// Opens the container's ends of its streams once more.
    fn streams_for_restart(&mut self) -> Result<super::stdio::ChildStdio, rustix::io::Errno> {
        let mode = self.request.stdin;
        if self.request.terminal {
            let (stdio, child) = Stdio::for_terminal(mode != StdinMode::Null)?;
            self.channel.stdio = stdio;
            return Ok(child);
        }
        if self.channel.stdio.stdout.is_none() || self.channel.stdio.stderr.is_none() {
            let (stdio, child) = Stdio::make_fifos(self.record.directory(), mode)?;
            self.channel.stdio = stdio;
            return Ok(child);
        }
        self.channel.stdio.open_child(self.record.directory(), mode)
    }
}

/// What nobody can know.
pub(super) const UNKNOWN_EXIT: Exit =
    Exit { code: None, signal: None, oom_killed: false, restarting: false };

/// Whether a worker's report is the answer to what it was asked for. After a failure the worker is
/// waited for: it may be clearing up.
fn is_last(report: &Report, work: &Work) -> bool {
    match report {
        Report::Failed(_) => false,
        Report::Done | Report::Started => true,
        Report::Process { .. } => matches!(work.job, Job::Exec(_)) || work.only_creates,
    }
}

/// Reaps a child if it has ended.
fn ended(pid: i32) -> Option<WaitStatus> {
    waitpid(Some(Pid::from_raw(pid)?), WaitOptions::NOHANG).ok()?.map(|(_, status)| status)
}

fn exit_of(status: WaitStatus) -> Exit {
    exit_of_raw(status.as_raw())
}

/// The exit that a wait status tells of.
fn exit_of_raw(status: i32) -> Exit {
    let signal = status & 0x7f;
    if signal == 0 {
        Exit { code: Some(status >> 8 & 0xff), ..UNKNOWN_EXIT }
    } else {
        Exit { code: Some(128 + signal), signal: Some(signal), ..UNKNOWN_EXIT }
    }
}
