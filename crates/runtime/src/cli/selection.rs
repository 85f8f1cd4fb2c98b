//! `kill` and `delete`, of one container or of all that an expression matches.

use std::process::ExitCode;

use berth_runtime::{ContainerId, DeleteMode, KillError, KillScope, Runtime, Signal};

use super::arguments::Selection;
use super::log::{Fault, Log};
use super::regex::Regex;

/// Runs an operation on each; one that fails does not spare the rest.
fn each(
    runtime: &Runtime,
    of: &Selection,
    log: &Log,
    mut run: impl FnMut(&ContainerId) -> Result<(), Fault>,
) -> Result<ExitCode, Fault> {
    let expression = match of {
        Selection::One(id) => return run(id).map(|()| ExitCode::SUCCESS),
        Selection::Matching(expression) => expression,
    };
    let regex = Regex::new(expression).map_err(|problem| {
        Fault::usage(format!("{expression:?} is not an extended regular expression: {problem}"))
    })?;
    let mut code = ExitCode::SUCCESS;
    for id in runtime.ids()?.iter().filter(|id| regex.matches(id.as_str())) {
        if let Err(fault) = run(id) {
            code = log.fatal(&fault);
        }
    }
    Ok(code)
}

/// `kill`.
pub(crate) fn kill(
    runtime: &Runtime,
    of: &Selection,
    signal: Option<Signal>,
    scope: KillScope,
    log: &Log,
) -> Result<ExitCode, Fault> {
    let send = |id: &ContainerId| match signal {
        Some(signal) => runtime.kill(id, signal, scope),
        None if runtime.pidfd(id)?.is_some() => Ok(()),
        None => Err(KillError::NotRunning(id.clone())),
    };
    each(runtime, of, log, |id| match send(id) {
        // As with runc: all of its processes have ended.
        Err(KillError::NotRunning(_)) if scope == KillScope::All => Ok(()),
        result => Ok(result?),
    })
}

/// `delete`.
pub(crate) fn delete(
    runtime: &Runtime,
    of: &Selection,
    force: bool,
    log: &Log,
) -> Result<ExitCode, Fault> {
    let mode = if force { DeleteMode::Force } else { DeleteMode::Stopped };
    each(runtime, of, log, |id| {
        for warning in runtime.delete(id, mode)? {
            log.warn(&warning);
        }
        Ok(())
    })
}
