//! Hooks that run on the runtime's side (config.md, "Hooks"): prestart, createRuntime, poststart,
//! poststop. The state goes to their standard input; what they print is quoted when they fail.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};

use berth_spec::runtime::Hook;
use berth_spec::state::State;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::HookError;
use crate::sys;

/// Runs hooks one after the other, up to the first that fails.
pub(crate) fn run_all(stage: &'static str, hooks: &[Hook], state: &State) -> Result<(), HookError> {
    numbered(hooks).try_for_each(|(number, hook)| run(stage, number, hook, state))
}

/// Runs all hooks, whatever becomes of each; tells what failed.
pub(crate) fn run_each(stage: &'static str, hooks: &[Hook], state: &State) -> Vec<HookError> {
    let failed = |(number, hook)| run(stage, number, hook, state).err();
    numbered(hooks).filter_map(failed).collect()
}

fn numbered(hooks: &[Hook]) -> impl Iterator<Item = (usize, &Hook)> {
    hooks.iter().enumerate()
}

/// A hook's place in its list and its program, as errors name it.
pub(crate) fn label(number: usize, hook: &Hook) -> String {
    format!("#{number}: {}", hook.path.display())
}

fn run(stage: &'static str, number: usize, hook: &Hook, state: &State) -> Result<(), HookError> {
    let at_start =
        |source: std::io::Error| HookError::Start { stage, hook: label(number, hook), source };
    let input = state_file(state).map_err(at_start)?;
    let output = memory_file("berth-hook-output").map_err(at_start)?;
    let mut command = Command::new(&hook.path);
    if let Some((first, rest)) = hook.args.split_first() {
        command.arg0(first).args(rest);
    }
    if !hook.env.is_empty() {
        // One that is given none has the runtime's, as callers of runc and crun expect.
        command.env_clear().envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    }
    command
        .current_dir(&state.bundle)
        .stdin(input)
        .stdout(output.try_clone().map_err(at_start)?)
        .stderr(output.try_clone().map_err(at_start)?);
    sys::leave_descriptors(&mut command);
    // A hook of a runtime that was killed would get in the way of those that clean up after it.
    sys::die_with_parent(&mut command);
    let mut child = command.spawn().map_err(at_start)?;
    let Some(status) = wait(&mut child, hook.timeout).map_err(at_start)? else {
        return Err(HookError::TimedOut {
            stage,
            hook: label(number, hook),
            seconds: hook.timeout.unwrap_or_default(),
        });
    };
    if status.success() {
        return Ok(());
    }
    Err(HookError::Failed {
        stage,
        hook: label(number, hook),
        how: describe(status),
        output: last_words(output),
    })
}

fn memory_file(name: &str) -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?))
}

fn state_file(state: &State) -> std::io::Result<File> {
    let mut file = memory_file("berth-hook-state")?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// Waits for the end; `None` when it had to be killed because it took too long.
fn wait(child: &mut Child, timeout: Option<i64>) -> std::io::Result<Option<ExitStatus>> {
    let Some(seconds) = timeout else { return child.wait().map(Some) };
    let pid = Pid::from_child(child);
    let pidfd: OwnedFd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut polled = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
    if rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout)))? > 0 {
        return child.wait().map(Some);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// How a process ended, in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by {}", signal_words(signal)),
        (None, None) => "ended".to_owned(),
    }
}

/// A signal that ended a process, in words.
pub(crate) fn signal_words(signal: i32) -> String {
    match crate::id::Signal::from_number(signal) {
        // What a filter of system calls sends.
        Some(name) if signal == libc::SIGSYS => format!("{name} (bad system call)"),
        Some(name) => name.to_string(),
        None => format!("signal {signal}"),
    }
}

fn last_words(output: File) -> String {
    use std::os::unix::fs::FileExt as _;
    const LIMIT: u64 = 2048;
    let size = output.metadata().map_or(0, |metadata| metadata.len());
    let mut buffer = vec![0; size.min(LIMIT) as usize];
    match output.read_exact_at(&mut buffer, size.saturating_sub(LIMIT)) {
        Ok(()) => String::from_utf8_lossy(&buffer).trim().to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_spec::state::ContainerState;

    fn state() -> State {
        State {
            oci_version: "1.0.2".to_owned(),
            id: "c".to_owned(),
            status: ContainerState::Creating,
            pid: Some(7),
            bundle: "/".into(),
            annotations: std::collections::BTreeMap::default(),
        }
    }

    fn shell(script: &str, timeout: Option<i64>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".into(), args, env: vec!["A=b".to_owned()], timeout }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_environment_only() {
        let script = r#"grep -q '"pid":7' && [ "$A" = b ] && [ -z "$HOME" ]"#;
        run_all("prestart", &[shell(script, None)], &state()).unwrap();
    }

    #[test]
    fn a_failure_quotes_what_was_printed() {
        let error = run_all("prestart", &[shell("echo no way >&2; exit 3", Some(9))], &state());
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "error running prestart hook #0: /bin/sh exited with 3: no way");
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed() {
        let error = run_all("poststop", &[shell("sleep 60", Some(1))], &state()).unwrap_err();
        assert!(matches!(error, HookError::TimedOut { seconds: 1, .. }));
        let missing = Hook { path: "/nonexistent".into(), ..Hook::default() };
        let errors = run_each("poststop", &[missing, shell("exit 0", None)], &state());
        assert!(matches!(errors.as_slice(), [HookError::Start { .. }]));
    }
}
