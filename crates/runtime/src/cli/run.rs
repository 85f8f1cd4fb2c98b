//! `create` and `run`.

use std::os::fd::AsFd as _;
use std::process::ExitCode;

use berth_runtime::{
    Console, CreateOptions, CreateUntil, DeleteMode, Keyring, OwnBinary, Pivot, Runtime, protect,
};

use super::activation;
use super::arguments::RunArguments;
use super::foreground::{self, Foreground};
use super::log::{Fault, Log};
use super::notify::{self, Proxy};
use super::socket::PidfdSocket;

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
) -> Result<CreateOptions, Fault> {
    Ok(CreateOptions {
        config: arguments.config.clone(),
        console,
        pid_file: arguments.pid_file.clone(),
        preserve_fds: arguments.preserve_fds,
        listen: activation::sockets()?,
        notify: notify::wanted(),
        pivot: if arguments.no_pivot { Pivot::Move } else { Pivot::Pivot },
        keyring: if arguments.no_new_keyring { Keyring::Inherit } else { Keyring::New },
        until,
        own_binary,
        ..CreateOptions::new(arguments.id.clone(), &arguments.bundle)
    })
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
    let socket = PidfdSocket::connect(arguments.pidfd_socket.as_deref())?;
    let created =
        runtime.create(options(&arguments, console, CreateUntil::Created, own_binary)?)?;
    created.warnings.iter().for_each(|warning| log.warn(warning));
    log.debug(|| format!("container {}: process {} waits", arguments.id, created.pid));
    undone(runtime, &arguments, socket.send(created.pidfd.as_fd()))?;
    Ok(ExitCode::SUCCESS)
}

/// What was created goes again when the rest of a command fails.
fn undone<T>(
    runtime: &Runtime,
    arguments: &RunArguments,
    result: Result<T, Fault>,
) -> Result<T, Fault> {
    if result.is_err() {
        // The first failure is the one to tell of.
        let _ = runtime.delete(&arguments.id, DeleteMode::Force);
    }
    result
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
    let socket = PidfdSocket::connect(arguments.pidfd_socket.as_deref())?;
    let signals = if arguments.detach { None } else { Some(Foreground::new()?) };
    let created =
        runtime.create(options(&arguments, console, CreateUntil::Running, own_binary)?)?;
    created.warnings.iter().for_each(|warning| log.warn(warning));
    log.debug(|| format!("container {}: process {} runs", arguments.id, created.pid));
    let proxy = socket.send(created.pidfd.as_fd()).and_then(|()| Proxy::new(created.notify));
    let proxy = undone(runtime, &arguments, proxy)?;
    let Some(foreground) = signals else {
        if let Some(proxy) = proxy {
            proxy.wait(created.pid, &created.pidfd, log)?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let code = foreground.wait(created.pid, &created.pidfd, created.terminal, proxy, log);
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
