//! Hooks that run in the container's namespaces (config.md, "Hooks"): createContainer before the
//! root is changed, startContainer before the program.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::step::{Detail, Failure, Step};
use crate::plan::HookPlan;
use crate::sys::{self, CloneArguments, Cloned};

/// Which hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// createContainer.
    CreateContainer,
    /// startContainer.
    StartContainer,
}

impl Stage {
    fn steps(self) -> (Step, Step, Step) {
        match self {
            Self::CreateContainer => (
                Step::CreateContainerStart,
                Step::CreateContainerFailed,
                Step::CreateContainerTimeout,
            ),
            Self::StartContainer => {
                (Step::StartContainerStart, Step::StartContainerFailed, Step::StartContainerTimeout)
            }
        }
    }
}

/// Runs hooks one after the other, up to the first that fails. One that is given no environment
/// has `inherited`.
pub(crate) fn run_all<'p>(
    hooks: &'p [HookPlan],
    stage: Stage,
    inherited: Option<&sys::Pointers>,
) -> Result<(), Failure<'p>> {
    // A strict filter may be there by now, which is to allow the program's calls only.
    if hooks.is_empty() {
        return Ok(());
    }
    // As the container sees it (runtime.md, "State").
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    hooks.iter().try_for_each(|hook| {
        let environment = inherited.filter(|_| hook.inherits).unwrap_or(&hook.environment);
        run(hook, stage, pid, environment)
    })
}

fn run<'p>(
    hook: &'p HookPlan,
    stage: Stage,
    pid: i32,
    environment: &sys::Pointers,
) -> Result<(), Failure<'p>> {
    let (start, failed, timeout) = stage.steps();
    let label = hook.label.as_bytes();
    let at_start = |errno| Failure::new(start, label, errno);
    let state = state_file(hook, pid).map_err(at_start)?;
    let output = memory_file(c"berth-hook-output").map_err(at_start)?;
    let pidfd = match sys::clone3(CloneArguments::default()).map_err(at_start)? {
        Cloned::Child => execute(hook, environment, &state, &output),
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    if !wait(&pidfd, hook.timeout).map_err(at_start)? {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let _ = status(&pidfd);
        let code = hook.timeout.unwrap_or(0).clamp(0, i64::from(i32::MAX)) as i32;
        return Err(Failure { step: timeout, code, subject: label, detail: Detail::NONE });
    }
    match status(&pidfd).map_err(at_start)? {
        0 => Ok(()),
        // The hook itself could not be executed: it told by this code and the errno.
        code if code == EXEC_FAILED => Err(at_start(Errno::NOENT)),
        code => Err(Failure { step: failed, code, subject: label, detail: last_words(&output) }),
    }
}

/// The code with which a process ends that could not become the hook.
const EXEC_FAILED: i32 = 255;

fn execute(hook: &HookPlan, environment: &sys::Pointers, state: &OwnedFd, output: &OwnedFd) -> ! {
    let streams = sys::duplicate_onto(state, 0)
        .and_then(|()| sys::duplicate_onto(output, 1))
        .and_then(|()| sys::duplicate_onto(output, 2))
        .and_then(|()| sys::close_on_exec_from(3));
    if streams.is_ok() {
        let _ = sys::execve(&hook.path, &hook.arguments, environment);
    }
    sys::exit_now(EXEC_FAILED)
}

/// The state as a file to read from its beginning.
fn state_file(hook: &HookPlan, pid: i32) -> Result<OwnedFd, Errno> {
    let file = memory_file(c"berth-hook-state")?;
    let mut digits = [0u8; 12];
    for part in [&hook.state.0[..], decimal(pid, &mut digits), &hook.state.1[..]] {
        let mut rest = part;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

fn memory_file(name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)
}

fn decimal(number: i32, digits: &mut [u8; 12]) -> &[u8] {
    let mut rest = number.max(0) as u32;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

/// Waits for the end of a process; `false` when it takes longer than allowed.
fn wait(pidfd: &OwnedFd, seconds: Option<i64>) -> Result<bool, Errno> {
    let timeout = seconds.map(|seconds| Timespec { tv_sec: seconds, tv_nsec: 0 });
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut polled, timeout.as_ref())).map(|ready| ready > 0)
}

/// The exit code, or 256 and the signal.
fn status(pidfd: &OwnedFd) -> Result<i32, Errno> {
    let ended =
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED))?;
    Ok(match ended {
        Some(status) => status
            .exit_status()
            .or(status.terminating_signal().map(|signal| 256 + signal))
            .unwrap_or(0),
        None => 0,
    })
}

/// The end of what it printed.
fn last_words(output: &OwnedFd) -> Detail {
    let size = rustix::fs::fstat(output).map_or(0, |status| status.st_size as u64);
    let mut buffer = [0u8; 64];
    let from = size.saturating_sub(buffer.len() as u64);
    match rustix::io::pread(output, &mut buffer, from) {
        Ok(length) => Detail::new(buffer.get(..length).unwrap_or_default().trim_ascii()),
        Err(_) => Detail::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for (number, text) in [(0, "0"), (7, "7"), (1_234_567_890, "1234567890")] {
            assert_eq!(decimal(number, &mut [0; 12]), text.as_bytes());
        }
    }
}
