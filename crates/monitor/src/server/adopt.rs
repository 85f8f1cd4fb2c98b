//! Taking up the containers of a monitor that was killed.
//!
//! A restart policy goes on where the status says that it was: the pause before the next restart is
//! waited for to its end, and the counted retries go on.
//!
//! Pipes are FIFOs that the containers hold open, so their output is still there. A terminal is
//! gone with its monitor, and so are exec sessions. The first process is somebody else's child by
//! now; its end is learnt from a pidfd, and its exit code from the kernel where it tells it.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::container::{Channel, Container, FIRST_PAUSE, LONGEST_PAUSE, Parentage, Phase, Process};
use super::lifecycle::UNKNOWN_EXIT;
use super::log::Log;
use super::procfs::start_time;
use super::record::{REQUEST_FILE, Record};
use super::requests::{first_status, open_process};
use super::stdio::Stdio;
use super::worker::oom;
use super::{MEMBERS_FILE, Monitor};
use crate::events::EventKind;
use crate::protocol::{CleanupBy, CreateRequest, Exit, Request, StdinMode, Target};
use crate::status::{self, RestartProgress, State, Status};
use crate::time;

impl Monitor {
    /// Takes up whatever the list of the killed monitor names. What can't be read was never
    /// created, or is cleaned up already.
    pub(super) fn adopt(&mut self) {
        for directory in self.members() {
            if let Some(request) = kept_request(&directory) {
                self.adopt_container(request);
            }
        }
        self.had_containers = true;
    }

    fn members(&self) -> Vec<PathBuf> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut text = Vec::new();
        if let Ok(file) = rustix::fs::openat(&self.directory, MEMBERS_FILE, flags, Mode::empty()) {
            let _ = std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut text);
        }
        let mut members: Vec<PathBuf> = text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| PathBuf::from(std::ffi::OsStr::from_bytes(line)))
            .collect();
        members.sort();
        members.dedup();
        members
    }

    fn adopt_container(&mut self, request: CreateRequest) {
        let before = status::read(&request.directory).ok().flatten();
        let known = before.is_some();
        let mut status = before.unwrap_or_else(|| first_status(&request));
        status.monitor_pid = std::process::id() as i32;
        if status.state == State::Restarting
            && let Some(progress) = &mut status.restart
            && progress.due_ms.is_none()
        {
            // The attempt that the killed monitor had begun is made again, and counts once.
            progress.attempts = progress.attempts.saturating_sub(1);
            status.restarts = status.restarts.saturating_sub(1);
        }
        let Ok(record) = Record::open(&request.directory, status) else { return };
        let process = living_process(&record.status);
        let phase = match (record.status.state, &process) {
            (State::Stopped, _) => Phase::Ended(Instant::now()),
            (State::Restarting, _) => Phase::Waiting(due(record.status.restart)),
            (State::Created | State::Creating, _) => Phase::Created,
            (State::Running, _) => Phase::Running,
            (State::Paused, _) => Phase::Paused,
        };
        let is_alive = phase.is_alive() && process.is_some();
        let progress = record.status.restart;
        let mut stdio = Stdio::default();
        if !request.terminal && (is_alive || matches!(phase, Phase::Waiting(_))) {
            stdio = Stdio::open_outputs(record.directory()).unwrap_or_default();
            if request.stdin != StdinMode::Null && is_alive {
                stdio.reopen_stdin(record.directory());
            }
        }
        let mut channel = Channel::new(Target::container(&request.id), stdio);
        channel.live = is_alive;
        let key = self.key();
        let pid = process.as_ref().map(|process| process.pid);
        let oom = pid.filter(|_| is_alive).and_then(oom::watch);
        let mut container = Container {
            key,
            phase,
            process: process.filter(|_| is_alive),
            parentage: Parentage::Foreign,
            channel,
            log: Log::open(&request.log).ok().flatten(),
            oom_kills: u64::from(record.status.oom_killed),
            oom,
            owner: None,
            no_restart: progress.is_some_and(|progress| progress.barred),
            attempts: progress.map_or(record.status.restarts, |progress| progress.attempts),
            pause: progress.map_or(FIRST_PAUSE, |progress| {
                Duration::from_millis(progress.pause_ms).clamp(FIRST_PAUSE, LONGEST_PAUSE)
            }),
            // When one that ended unseen did so, and how long it ran, nobody knows.
            running_since: if is_alive { since(progress) } else { None },
            last_exit: Exit {
                code: record.status.exit_code,
                signal: record.status.signal,
                oom_killed: record.status.oom_killed,
                restarting: false,
            },
            busy: false,
            record,
            request: CreateRequest { cleanup: CleanupBy::Monitor, ..request },
        };
        container.record.event(EventKind::Adopted { monitor: std::process::id() as i32 });
        let has_ended = phase.is_alive() && !is_alive;
        let is_barred = matches!(phase, Phase::Waiting(_)) && container.no_restart;
        if !has_ended && known {
            container.publish();
        }
        self.containers.push(container);
        if has_ended {
            self.container_ended(key, UNKNOWN_EXIT);
        } else if is_barred {
            self.give_up_restarting(key);
        }
    }
}

/// When a restart that the killed monitor waited for is due.
fn due(progress: Option<RestartProgress>) -> Instant {
    let due = progress.and_then(|progress| progress.due_ms).unwrap_or(0);
    let left = Duration::from_millis(due.saturating_sub(time::since_boot_ms()));
    Instant::now() + left.min(LONGEST_PAUSE)
}

/// Since when the program runs.
fn since(progress: Option<RestartProgress>) -> Option<Instant> {
    let started = progress.and_then(|progress| progress.started_ms);
    let ran = started.map_or(0, |started| time::since_boot_ms().saturating_sub(started));
    Instant::now().checked_sub(Duration::from_millis(ran))
}

/// The process that a status names, if it is still that one.
fn living_process(status: &Status) -> Option<Process> {
    let process = open_process(status.pid?);
    // The pidfd first: whatever has this ID now keeps it as far as the pidfd is concerned.
    process.pidfd.as_ref()?;
    let began = start_time(process.pid)?;
    // A zombie counts as living: the pidfd tells its exit code once its parent has asked for it.
    (status.pid_start_time == Some(began)).then_some(process)
}

/// The request that made a container, from its directory.
fn kept_request(directory: &std::path::Path) -> Option<CreateRequest> {
    let frame = std::fs::read(directory.join(REQUEST_FILE)).ok()?;
    match Request::decode(&frame).ok()?.1 {
        Request::Create(create) => Some(*create),
        _ => None,
    }
}
