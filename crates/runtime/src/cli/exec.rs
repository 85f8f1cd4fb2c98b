//! `exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use berth_runtime::{
    Console, ContainerId, ExecOptions, ExecPaused, OwnBinary, ProcessSource, Runtime,
};
use berth_spec::runtime::{LinuxCapabilities, Process};
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt as _};

use super::arguments::{Id, path, preserve_fds};
use super::foreground::Foreground;
use super::log::{Fault, Log};
use super::run::protect_own_binary;

/// Options of `exec`.
#[derive(Debug, Default)]
pub(crate) struct ExecArguments {
    id: Option<ContainerId>,
    command: Vec<String>,
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    process: Option<PathBuf>,
    cwd: Option<PathBuf>,
    env: Vec<String>,
    user: Option<(u32, Option<u32>)>,
    additional_gids: Vec<u32>,
    capabilities: Vec<String>,
    cgroup: Option<PathBuf>,
    apparmor: Option<String>,
    label: Option<String>,
    preserve_fds: u32,
    terminal: bool,
    detach: bool,
    no_new_privileges: bool,
    ignore_paused: bool,
}

/// Understands the command line after `exec`.
pub(crate) fn parse(parser: &mut Parser) -> Result<ExecArguments, Fault> {
    let mut found = ExecArguments::default();
    let mut id = Id::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('d') | Long("detach") => found.detach = true,
            Short('t') | Long("tty") => found.terminal = true,
            Short('e') | Long("env") => found.env.push(parser.value()?.string()?),
            Short('u') | Long("user") => found.user = Some(user(&parser.value()?.string()?)?),
            Short('g') | Long("additional-gids") => {
                found.additional_gids.push(parser.value()?.parse()?);
            }
            Short('c') | Long("cap") => found.capabilities.push(parser.value()?.string()?),
            Short('p') | Long("process") => found.process = Some(path(parser)?),
            Long("cwd") => found.cwd = Some(path(parser)?),
            Long("console-socket") => found.console_socket = Some(path(parser)?),
            Long("pid-file") => found.pid_file = Some(path(parser)?),
            Long("preserve-fds") => found.preserve_fds = preserve_fds(parser)?,
            Long("cgroup") => found.cgroup = Some(path(parser)?),
            Long("apparmor") => found.apparmor = Some(parser.value()?.string()?),
            Long("process-label") => found.label = Some(parser.value()?.string()?),
            Long("no-new-privs") => found.no_new_privileges = true,
            Long("ignore-paused") => found.ignore_paused = true,
            Value(word) if id.is_set() => {
                // All the rest is the command's own.
                found.command.push(word.string()?);
                for word in parser.raw_args()? {
                    found.command.push(text(word)?);
                }
            }
            Value(word) => id.set(&word)?,
            other => return Err(other.unexpected().into()),
        }
    }
    found.id = Some(id.get()?);
    match (&found.process, found.command.is_empty()) {
        (None, true) => Err(Fault::usage("a command to execute, or --process, is missing")),
        (Some(_), false) => Err(Fault::usage("--process leaves no room for a command")),
        _ => Ok(found),
    }
}

fn text(word: OsString) -> Result<String, Fault> {
    word.into_string().map_err(|word| Fault::usage(format!("{} is not UTF-8", word.display())))
}

/// `UID[:GID]`, in digits only: a name would have to be looked up in the container.
fn user(text: &str) -> Result<(u32, Option<u32>), Fault> {
    let number = |part: &str| -> Result<u32, Fault> {
        match part.parse() {
            Ok(number) if part.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
            _ => Err(Fault::usage(format!("--user {text:?} is not UID[:GID], in numbers"))),
        }
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

/// `exec`.
pub(crate) fn exec(
    runtime: &Runtime,
    arguments: ExecArguments,
    log: &Log,
) -> Result<ExitCode, Fault> {
    let own_binary: OwnBinary = protect_own_binary()?;
    let id = arguments.id.clone().ok_or_else(|| Fault::usage("the container's id is missing"))?;
    let process = match &arguments.process {
        Some(path) => berth_runtime::config::load_process(path)
            .map_err(|error| Fault::new(berth_runtime::error::chain(&error)))?,
        None => process(runtime.configuration(&id)?.process, &arguments)?,
    };
    let console = match (&arguments.console_socket, arguments.detach) {
        (Some(path), _) => Console::Socket(path.clone()),
        (None, true) => Console::None,
        (None, false) => Console::Return,
    };
    let foreground = if arguments.detach { None } else { Some(Foreground::new()?) };
    let options = ExecOptions {
        console,
        pid_file: arguments.pid_file,
        preserve_fds: arguments.preserve_fds,
        cgroup: arguments.cgroup,
        paused: if arguments.ignore_paused { ExecPaused::Allow } else { ExecPaused::Refuse },
        own_binary,
        ..ExecOptions::new(id, ProcessSource::Spec(Box::new(process)))
    };
    let executed = runtime.exec(options)?;
    executed.warnings.iter().for_each(|warning| log.warn(warning));
    match foreground {
        None => Ok(ExitCode::SUCCESS),
        Some(foreground) => foreground.wait(executed.pid, &executed.pidfd, executed.terminal),
    }
}

/// The container's own process with what the command line changes.
fn process(template: Option<Process>, arguments: &ExecArguments) -> Result<Process, Fault> {
    let mut process = template
        .ok_or_else(|| Fault::new("the container's configuration has no process to start from"))?;
    process.args.clone_from(&arguments.command);
    process.terminal = arguments.terminal;
    process.console_size = None;
    if let Some(cwd) = &arguments.cwd {
        process.cwd.clone_from(cwd);
    }
    for variable in &arguments.env {
        let Some((name, _)) = variable.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Fault::usage(format!("--env {variable:?} is not NAME=VALUE")));
        };
        process.env.retain(|old| old.split_once('=').is_none_or(|(known, _)| known != name));
        process.env.push(variable.clone());
    }
    if let Some((uid, gid)) = arguments.user {
        process.user.uid = uid;
        if let Some(gid) = gid {
            process.user.gid = gid;
        }
    }
    process.user.additional_gids.extend(&arguments.additional_gids);
    if arguments.no_new_privileges {
        process.no_new_privileges = true;
    }
    if arguments.apparmor.is_some() {
        process.apparmor_profile.clone_from(&arguments.apparmor);
    }
    if arguments.label.is_some() {
        process.selinux_label.clone_from(&arguments.label);
    }
    if !arguments.capabilities.is_empty() {
        let sets = process.capabilities.get_or_insert_with(LinuxCapabilities::default);
        for name in &arguments.capabilities {
            for set in [
                &mut sets.bounding,
                &mut sets.effective,
                &mut sets.permitted,
                &mut sets.inheritable,
                &mut sets.ambient,
            ] {
                if !set.contains(name) {
                    set.push(name.clone());
                }
            }
        }
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<ExecArguments, Fault> {
        parse(&mut Parser::from_args(words.iter().map(|&word| OsString::from(word))))
    }

    #[test]
    fn what_follows_the_command_is_the_commands() {
        let found = parsed(&["-t", "c", "-u", "1:2", "sh", "-c", "x", "--", "-t"]).unwrap();
        assert_eq!(found.command, ["sh", "-c", "x", "--", "-t"]);
        assert_eq!(found.user, Some((1, Some(2))));
        assert!(found.terminal && !found.detach);
    }

    #[test]
    fn a_user_is_given_in_numbers_only() {
        for bad in ["root", "0:", ":0", "-1", "+1", "1:2:3", "4294967296", "", "1 ", "0x0"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        assert_eq!(user("7").unwrap(), (7, None));
    }

    #[test]
    fn the_command_line_changes_the_containers_process() {
        let template = Process {
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            cwd: "/".into(),
            ..Process::default()
        };
        let found = parsed(&["-e", "A=3", "-c", "CAP_KILL", "--cwd", "/tmp", "c", "id"]).unwrap();
        let made = process(Some(template), &found).unwrap();
        assert_eq!(made.env, ["B=2", "A=3"]);
        assert_eq!(made.cwd, PathBuf::from("/tmp"));
        assert_eq!(made.capabilities.unwrap().ambient, ["CAP_KILL"]);
    }
}
