//! What a new process reported, as errors for people.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use crate::child::channel::Report;
use crate::child::step::Step;
use crate::error::{HookError, SetupError};
use crate::hooks::signal_words;

/// Turns a report of failure into an error. `command` and `path` are what was to be executed.
pub(crate) fn explain(report: Report, command: &str, path: &str) -> SetupError {
    let Report::Failed { step, code, subject, detail } = report else {
        return step_error("understand what the new process reports", libc::EBADMSG);
    };
    let subject = String::from_utf8_lossy(&subject).into_owned();
    let detail = String::from_utf8_lossy(&detail).into_owned();
    let source = || io::Error::from_raw_os_error(code);
    match step {
        Step::CommandNotFound if command.contains('/') => {
            SetupError::CommandMissing { command: command.to_owned(), source: source() }
        }
        Step::CommandNotFound => {
            SetupError::CommandNotFound { command: command.to_owned(), path: path.to_owned() }
        }
        Step::CommandNotExecutable => {
            SetupError::CommandNotExecutable { command: command.to_owned(), source: source() }
        }
        Step::CreateContainerStart | Step::StartContainerStart => {
            HookError::Start { stage: stage(step), hook: subject, source: source() }.into()
        }
        Step::CreateContainerFailed | Step::StartContainerFailed => HookError::Failed {
            stage: stage(step),
            hook: subject,
            how: if code >= 256 {
                format!("was killed by {}", signal_words(code - 256))
            } else {
                format!("exited with {code}")
            },
            output: detail,
        }
        .into(),
        Step::CreateContainerTimeout | Step::StartContainerTimeout => {
            HookError::TimedOut { stage: stage(step), hook: subject, seconds: code.into() }.into()
        }
        step => {
            let mut action = step.action().to_owned();
            if !subject.is_empty() {
                action = format!("{action} {subject}");
            }
            if !detail.is_empty() {
                action = format!("{action} ({detail})");
            }
            if step == Step::Scheduler && code == libc::EPERM {
                action.push_str(DEADLINE);
            }
            SetupError::Step { action, source: source() }
        }
    }
}

/// See sched_setattr(2), EPERM.
const DEADLINE: &str = " (without privileges, or a deadline in a cpuset of fewer than all CPUs: \
                        the process scheduler can't be used together with AllowedCPUs)";

fn stage(step: Step) -> &'static str {
    match step {
        Step::CreateContainerStart | Step::CreateContainerFailed | Step::CreateContainerTimeout => {
            "createContainer"
        }
        _ => "startContainer",
    }
}

/// A step of the maker's own.
pub(crate) fn step_error(action: &str, errno: i32) -> SetupError {
    SetupError::Step { action: action.to_owned(), source: io::Error::from_raw_os_error(errno) }
}

/// A failed system call of the maker's own.
pub(crate) fn at(action: &str) -> impl FnOnce(rustix::io::Errno) -> SetupError + use<> {
    let action = action.to_owned();
    move |errno| SetupError::Step { action, source: errno.into() }
}

/// Waits until the process has ended, and reaps it if it is this process' child.
pub(crate) fn wait_for_end(pidfd: BorrowedFd<'_>, seconds: Option<i64>) -> Ended {
    let timeout = seconds.map(|seconds| Timespec { tv_sec: seconds, tv_nsec: 0 });
    let mut polled = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut polled, timeout.as_ref())) {
        Ok(0) | Err(_) => return Ended::NotYet,
        Ok(_) => {}
    }
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    match status {
        Ok(Some(status)) => Ended::Reaped(status),
        _ => Ended::Elsewhere,
    }
}

/// How waiting for a process ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It lives.
    NotYet,
    /// It is gone, with this status.
    Reaped(WaitIdStatus),
    /// It is gone and somebody else's child.
    Elsewhere,
}

impl Ended {
    /// In words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::NotYet => "it still runs".to_owned(),
            Self::Elsewhere => "its exit status is its parent's".to_owned(),
            Self::Reaped(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exited with {code}"),
                (None, Some(signal)) => format!("killed by {}", signal_words(signal)),
                (None, None) => "ended".to_owned(),
            },
        }
    }
}

/// Kills a process and waits for its end.
pub(crate) fn kill_and_wait(pidfd: BorrowedFd<'_>) -> Ended {
    // It may be gone already.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    wait_for_end(pidfd, Some(10))
}
