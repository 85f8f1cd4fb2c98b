//! The states of a container, and how they are told from what is on disk.
//!
//! A container is what its **record** says it was made with, and what two more things say about its
//! last run: the record's `launch` and `outcome`, and the monitor's `status.json` on tmpfs.
//!
//! ```text
//!                 insert                  start: launch := me, now
//!   (nothing) ───────────────► created ───────────────────────────► starting
//!                                 ▲                                     │ monitor writes status.json
//!                                 │ start failed: launch := none        ▼
//!                                 └──────────────────────────────── running ◄──► paused
//!                                                                       │ monitor: status "stopped"
//!   (nothing) ◄── delete ── removing ◄──── rm, --rm ──── exited ◄────── ended
//!                                              ▲  cleanup: outcome := …, launch := none
//!                                              └──── start (as from created)
//! ```
//!
//! Each arrow is one write that happens whole or not at all (a transaction, or a rename on tmpfs),
//! so whoever is killed leaves one of these states, with files that the state accounts for:
//!
//! | record | tmpfs | who lives | what it is | what heals it |
//! | --- | --- | --- | --- | --- |
//! | no launch | – | – | created, or exited by `outcome` | nothing to heal |
//! | launch | no status | launcher or monitor | starting: shown as created | nothing, it goes on |
//! | launch | no status | neither | a start that came to nothing | what it made is taken down, launch := none; `--rm`: removed |
//! | launch of another boot | – | – | exited, nobody saw how | outcome := unknown; `--rm`: removed |
//! | launch | running, paused | init and monitor | running, paused | nothing to heal |
//! | launch | running, paused | init only | running, paused | a new monitor adopts it |
//! | launch | running, restarting | monitor only | about to end or to start | nothing, the monitor goes on |
//! | launch | running | neither | exited, nobody saw how | outcome := unknown, then cleanup |
//! | launch | running, with a restart policy | neither | exited, nobody saw how | a new monitor goes on with the policy |
//! | launch | restarting | neither | restarting | a new monitor goes on with the policy |
//! | launch | stopped | monitor or client | exited | nothing, its cleanup goes on |
//! | launch | stopped | neither | exited | cleanup |
//! | removing | any | – | removing | the removal is brought to its end |
//!
//! [`observe`] reads this table; `crate::heal` does what its last column says, under the container's
//! lock. Listings only read, and heal what they find broken when nobody holds the lock.

use std::path::Path;

use berth_monitor::status::{self, Status};
use jiff::Timestamp;

use crate::error::FileError;
use crate::process;
use crate::records::ContainerRecord;
use crate::view::{ContainerState, ContainerStatus};

/// What a healer has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing.
    None,
    /// Take down what a start that came to nothing has made.
    Undo,
    /// Have a new monitor adopt it.
    Adopt,
    /// Record how it ended, and clean up.
    Cleanup,
    /// Bring its removal to its end.
    Remove,
}

/// A container's state, and what is wrong about it.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) state: ContainerState,
    pub(crate) remedy: Remedy,
    /// The monitor's file, if there is one for this run.
    pub(crate) status: Option<Status>,
}

/// A time that a monitor wrote.
pub(crate) fn time(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

/// Tells the state of a container. `run` is its run directory.
pub(crate) fn observe(
    record: &ContainerRecord,
    run: &Path,
    boot_id: &str,
) -> Result<Observed, FileError> {
    let settled = settled(record);
    let observed = |state, remedy| Ok(Observed { state, remedy, status: None });
    if record.removing {
        let state = ContainerState { status: ContainerStatus::Removing, ..settled };
        return observed(state, Remedy::Remove);
    }
    let Some(launch) = &record.launch else { return observed(settled, Remedy::None) };
    if launch.boot_id != boot_id {
        return observed(unseen_end(settled, Some(launch.at)), Remedy::Cleanup);
    }
    let status = match status::read(run) {
        Ok(status) => status,
        // A file that cannot be read says as much as none; the monitor will write another.
        Err(status::ReadError::Parse { .. }) => None,
        Err(status::ReadError::Read { path, source }) => {
            return Err(FileError { action: "read the container's status", path, source });
        }
    };
    let Some(status) = status else {
        let goes_on = process::is_alive(launch.pid, Some(launch.pid_start_time))
            || berth_monitor::client::is_alive(run);
        return observed(settled, if goes_on { Remedy::None } else { Remedy::Undo });
    };
    Ok(by_status(status, settled, run))
}

fn by_status(status: Status, settled: ContainerState, run: &Path) -> Observed {
    use status::State;
    let init_lives = status.pid.is_some_and(|pid| process::is_alive(pid, status.pid_start_time));
    let monitor_lives = || berth_monitor::client::is_alive(run);
    let mut state = ContainerState {
        status: ContainerStatus::Running,
        pid: status.pid,
        started_at: time(status.started_at.as_ref()),
        finished_at: time(status.finished_at.as_ref()),
        exit_code: None,
        oom_killed: status.oom_killed,
        restarts: status.restarts,
        monitor_pid: Some(status.monitor_pid),
        error: None,
    };
    let remedy = match status.state {
        State::Running | State::Paused | State::Created | State::Creating => {
            state.status = match status.state {
                State::Running => ContainerStatus::Running,
                State::Paused => ContainerStatus::Paused,
                _ => ContainerStatus::Created,
            };
            match (init_lives, monitor_lives()) {
                (_, true) => Remedy::None,
                (true, false) => Remedy::Adopt,
                (false, false) => {
                    state = unseen_end(state, None);
                    match status.restart {
                        Some(restart) if !restart.barred => Remedy::Adopt,
                        _ => Remedy::Cleanup,
                    }
                }
            }
        }
        State::Restarting => {
            state.status = ContainerStatus::Restarting;
            state.pid = None;
            state.exit_code = status.exit_code;
            if monitor_lives() { Remedy::None } else { Remedy::Adopt }
        }
        State::Stopped => {
            state.status = ContainerStatus::Exited;
            state.pid = None;
            state.exit_code = status.exit_code;
            state.monitor_pid = None;
            if monitor_lives() { Remedy::None } else { Remedy::Cleanup }
        }
    };
    if state.status == ContainerStatus::Created {
        state.started_at = settled.started_at;
    }
    Observed { state, remedy, status: Some(status) }
}

/// What the record alone says.
fn settled(record: &ContainerRecord) -> ContainerState {
    let outcome = record.outcome.clone();
    let has_run = outcome.as_ref().is_some_and(|outcome| outcome.started_at.is_some());
    let outcome = outcome.unwrap_or_default();
    ContainerState {
        status: if has_run { ContainerStatus::Exited } else { ContainerStatus::Created },
        pid: None,
        started_at: outcome.started_at,
        finished_at: outcome.finished_at,
        exit_code: outcome.exit_code,
        oom_killed: outcome.oom_killed,
        restarts: outcome.restarts,
        monitor_pid: None,
        error: outcome.error,
    }
}

/// It ended and nobody saw when or how.
fn unseen_end(state: ContainerState, started: Option<Timestamp>) -> ContainerState {
    ContainerState {
        status: ContainerStatus::Exited,
        pid: None,
        exit_code: None,
        finished_at: None,
        monitor_pid: None,
        started_at: started.or(state.started_at),
        ..state
    }
}

#[cfg(test)]
mod tests;
