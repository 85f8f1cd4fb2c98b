//! `exec`.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;

use berth_runtime::{
    Console, ContainerId, ExecOptions, ExecPaused, OwnBinary, ProcessSource, Runtime, Signal,
    SubCgroup, process,
};
use berth_spec::runtime::{LinuxCapabilities, Process};
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt as _};

use super::activation;
use super::arguments::{Id, flag, optional_path, path, preserve_fds, unexpected};
use super::foreground::Foreground;
use super::log::{Fault, Log};
use super::run::protect_own_binary;
use super::socket::PidfdSocket;

/// The exit code when there is no process whose own it could be.
const FAILED: u8 = 255;

/// Options of `exec`.
#[derive(Debug, Default)]
pub(crate) struct ExecArguments {
    id: Option<ContainerId>,
    command: Vec<String>,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    process: Option<PathBuf>,
    cwd: Option<PathBuf>,
    env: Vec<String>,
    user: Option<(u32, Option<u32>)>,
    additional_gids: Vec<u32>,
    capabilities: Vec<String>,
    cgroups: Vec<SubCgroup>,
    apparmor: Option<String>,
    label: Option<String>,
    preserve_fds: u32,
    terminal: bool,
    detach: bool,
    no_new_privileges: Option<bool>,
    ignore_paused: bool,
}

/// Understands the command line after `exec`.
pub(crate) fn parse(parser: &mut Parser) -> Result<ExecArguments, Fault> {
    let mut found = ExecArguments::default();
    let mut id = Id::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('d') | Long("detach") => found.detach = flag(parser)?,
            Short('t') | Long("tty") => found.terminal = flag(parser)?,
            Short('e') | Long("env") => found.env.push(parser.value()?.string()?),
            Short('u') | Long("user") => found.user = Some(user(&parser.value()?.string()?)?),
            Short('g') | Long("additional-gids") => {
                found.additional_gids.push(parser.value()?.parse()?);
            }
            Short('c') | Long("cap") => found.capabilities.push(parser.value()?.string()?),
            Short('p') | Long("process") => found.process = Some(path(parser)?),
            Long("cwd") => found.cwd = optional_path(parser)?,
            Long("console-socket") => found.console_socket = optional_path(parser)?,
            Long("pidfd-socket") => found.pidfd_socket = optional_path(parser)?,
            Long("pid-file") => found.pid_file = optional_path(parser)?,
            Long("preserve-fds") => found.preserve_fds = preserve_fds(parser)?,
            Long("cgroup") => found.cgroups.push(sub_cgroup(&parser.value()?.string()?)?),
            Long("apparmor") => found.apparmor = Some(parser.value()?.string()?),
            Long("process-label") => found.label = Some(parser.value()?.string()?),
            Long("no-new-privs") => found.no_new_privileges = Some(flag(parser)?),
            Long("ignore-paused") => found.ignore_paused = flag(parser)?,
            Value(word) if id.is_set() => {
                // All the rest is the command's own.
                found.command.push(word.string()?);
                for word in parser.raw_args()? {
                    found.command.push(text(word)?);
                }
            }
            Value(word) => id.set(&word)?,
            other => return Err(unexpected(other)),
        }
    }
    found.id = Some(id.get()?);
    let named = |sub: &SubCgroup| !sub.controllers.is_empty();
    if found.cgroups.len() > 1 && !found.cgroups.iter().all(named) {
        return Err(Fault::usage("of several --cgroup each has to name its controllers"));
    }
    match (&found.process, found.command.is_empty()) {
        (None, true) => Err(Fault::usage("a command to execute, or --process, is missing")),
        (Some(_), false) => Err(Fault::usage("--process leaves no room for a command")),
        _ => Ok(found),
    }
}

fn text(word: OsString) -> Result<String, Fault> {
    word.into_string().map_err(|word| Fault::usage(format!("{} is not UTF-8", word.display())))
}

/// `[CONTROLLER,...:]PATH`.
fn sub_cgroup(text: &str) -> Result<SubCgroup, Fault> {
    let (names, path) = match text.split_once(':') {
        Some((names, path)) => (names.split(',').map(str::to_owned).collect(), path),
        None => (Vec::new(), text),
    };
    if names.iter().any(String::is_empty) || path.is_empty() {
        return Err(Fault::usage(format!("--cgroup {text:?} is not [CONTROLLER,...:]PATH")));
    }
    Ok(SubCgroup { controllers: names, path: PathBuf::from(path) })
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

/// `exec`. A failure of its own is told from every exit code that the process could have.
pub(crate) fn exec(
    runtime: &Runtime,
    arguments: ExecArguments,
    log: &Log,
) -> Result<ExitCode, Fault> {
    execute(runtime, arguments, log).map_err(|fault| fault.ending("exec failed", FAILED))
}

fn execute(runtime: &Runtime, arguments: ExecArguments, log: &Log) -> Result<ExitCode, Fault> {
    let own_binary: OwnBinary = protect_own_binary()?;
    let id = arguments.id.clone().ok_or_else(|| Fault::usage("the container's id is missing"))?;
    let process = match &arguments.process {
        Some(path) => berth_runtime::config::load_process(path)
            .map_err(|error| Fault::new(berth_runtime::error::chain(&error)))?,
        None => changed(runtime.configuration(&id)?.process, &arguments)?,
    };
    let console = match (&arguments.console_socket, arguments.detach) {
        (Some(path), _) => Console::Socket(path.clone()),
        (None, true) => Console::None,
        (None, false) => Console::Return,
    };
    let socket = PidfdSocket::connect(arguments.pidfd_socket.as_deref())?;
    let foreground = if arguments.detach { None } else { Some(Foreground::new()?) };
    let options = ExecOptions {
        listen: activation::sockets()?,
        console,
        pid_file: arguments.pid_file,
        preserve_fds: arguments.preserve_fds,
        cgroups: arguments.cgroups,
        paused: if arguments.ignore_paused { ExecPaused::Allow } else { ExecPaused::Refuse },
        own_binary,
        ..ExecOptions::new(id, ProcessSource::Spec(Box::new(process)))
    };
    let executed = runtime.exec(options)?;
    executed.warnings.iter().for_each(|warning| log.warn(warning));
    log.debug(|| format!("process {} runs", executed.pid));
    if let Err(fault) = socket.send(executed.pidfd.as_fd()) {
        process::send_signal(&executed.pidfd, Signal::KILL.number());
        return Err(fault);
    }
    match foreground {
        None => Ok(ExitCode::SUCCESS),
        Some(foreground) => {
            foreground.wait(executed.pid, &executed.pidfd, executed.terminal, None, log)
        }
    }
}

/// The container's own process with what the command line changes.
fn changed(template: Option<Process>, arguments: &ExecArguments) -> Result<Process, Fault> {
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
    if let Some(wanted) = arguments.no_new_privileges {
        process.no_new_privileges = wanted;
    }
    if arguments.apparmor.is_some() {
        process.apparmor_profile.clone_from(&arguments.apparmor);
    }
    if arguments.label.is_some() {
        process.selinux_label.clone_from(&arguments.label);
    }
    let wanted = &arguments.capabilities;
    if !wanted.is_empty() {
        let sets = process.capabilities.get_or_insert_with(LinuxCapabilities::default);
        let ambient = |name: &String| sets.inheritable.contains(name);
        // Ambient capabilities have to be inheritable, which these are not by themselves.
        let inherited: Vec<String> = wanted.iter().filter(|n| ambient(n)).cloned().collect();
        for (set, names) in [
            (&mut sets.bounding, wanted),
            (&mut sets.effective, wanted),
            (&mut sets.permitted, wanted),
            (&mut sets.ambient, &inherited),
        ] {
            for name in names {
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
        let made = changed(Some(template), &found).unwrap();
        assert_eq!(made.env, ["B=2", "A=3"]);
        assert_eq!(made.cwd, PathBuf::from("/tmp"));
        let sets = made.capabilities.unwrap();
        assert_eq!(sets.bounding, ["CAP_KILL"]);
        assert!(sets.ambient.is_empty());
    }
}
