//! `create` and `run`.

use std::process::ExitCode;

use berth_runtime::{
    Console, CreateOptions, CreateUntil, DeleteMode, Keyring, OwnBinary, Pivot, Runtime, protect,
};

use super::arguments::RunArguments;
use super::foreground::{self, Foreground};
use super::log::{Fault, Log};

/// Executes this program again, from where a container cannot write to it, unless it is so already.
pub(crate) fn protect_own_binary() -> Result<OwnBinary, Fault> {
    match protect::writable_executable() {
        Ok(None) => Ok(OwnBinary::Protected),
        Ok(Some(_)) => {
            let error = protect::execute_again();
            Err(Fault::io("protect the runtime's own executable from containers", &error))
        }
        Err(error) => Err(Fault::io("find the runtime's own executable", &error)),
    }
}

fn options(
    arguments: &RunArguments,
    console: Console,
    until: CreateUntil,
    own_binary: OwnBinary,
) -> CreateOptions {
    CreateOptions {
        console,
        pid_file: arguments.pid_file.clone(),
        preserve_fds: arguments.preserve_fds,
        pivot: if arguments.no_pivot { Pivot::Move } else { Pivot::Pivot },
        keyring: if arguments.no_new_keyring { Keyring::Inherit } else { Keyring::New },
        until,
        own_binary,
        ..CreateOptions::new(arguments.id.clone(), &arguments.bundle)
    }
}

/// `create`.
pub(crate) fn create(
    runtime: &Runtime,
    arguments: RunArguments,
    log: &Log,
) -> Result<ExitCode, Fault> {
    let own_binary = protect_own_binary()?;
    let console = match &arguments.console_socket {
        Some(path) => Console::Socket(path.clone()),
        None => Console::None,
    };
    let created = runtime.create(options(&arguments, console, CreateUntil::Created, own_binary))?;
    created.warnings.iter().for_each(|warning| log.warn(warning));
    Ok(ExitCode::SUCCESS)
}

/// `run`.
pub(crate) fn run(
    runtime: &Runtime,
    arguments: RunArguments,
    log: &Log,
) -> Result<ExitCode, Fault> {
    let own_binary = protect_own_binary()?;
    if !arguments.detach && !arguments.no_subreaper {
        foreground::become_subreaper()?;
    }
    let console = match (&arguments.console_socket, arguments.detach) {
        (Some(path), _) => Console::Socket(path.clone()),
        (None, true) => Console::None,
        (None, false) => Console::Return,
    };
    let signals = if arguments.detach { None } else { Some(Foreground::new()?) };
    let created = runtime.create(options(&arguments, console, CreateUntil::Running, own_binary))?;
    created.warnings.iter().for_each(|warning| log.warn(warning));
    let Some(foreground) = signals else { return Ok(ExitCode::SUCCESS) };
    let code = foreground.wait(created.pid, &created.pidfd, created.terminal);
    if !arguments.keep {
        match runtime.delete(&arguments.id, DeleteMode::Force) {
            Ok(warnings) => warnings.iter().for_each(|warning| log.warn(warning)),
            Err(error) => {
                // The program's exit code is worth more than this one's.
                log.warn(&berth_runtime::error::chain(&error));
            }
        }
    }
    code
}
