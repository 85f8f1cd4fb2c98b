//! `checkpoint` and `restore`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use berth_runtime::checkpoint::{
    CheckpointOptions, CriuOptions, Direction, ManageCgroups, NetworkLock, RestoreOptions,
};
use berth_runtime::{Console, ContainerId, DeleteMode, Runtime};
use lexopt::Arg::{self, Long, Short, Value};
use lexopt::{Parser, ValueExt as _};

use super::arguments::{Id, path, unexpected};
use super::foreground::{self, Foreground};
use super::log::{Fault, Log};

/// `restore` with all its options.
#[derive(Debug)]
pub(crate) struct RestoreArguments {
    options: RestoreOptions,
    detach: bool,
    no_subreaper: bool,
    no_pivot: bool,
}

/// Takes an option's value, if it has one, over into the options.
type Take = fn(&mut Parser, &mut CriuOptions) -> Result<(), Fault>;

/// What both commands have: how to take the argument, if it is one of these.
fn common(argument: &Arg<'_>, direction: Direction, criu: &mut CriuOptions) -> Option<Take> {
    let Long(name) = argument else { return None };
    Some(match *name {
        "image-path" => |parser, criu| {
            criu.image_path = path(parser)?;
            Ok(())
        },
        "work-path" => |parser, criu| {
            criu.work_path = optional_path(parser)?;
            Ok(())
        },
        "manage-cgroups-mode" => |parser, criu| {
            let word = parser.value()?.string()?;
            criu.manage_cgroups = ManageCgroups::parse(&word)
                .ok_or_else(|| Fault::usage(format!("--manage-cgroups-mode cannot be {word:?}")))?;
            Ok(())
        },
        "empty-ns" => |parser, criu| {
            let word = parser.value()?.string()?;
            criu.empty_network = true;
            if word == "network" {
                return Ok(());
            }
            Err(Fault::usage(format!("--empty-ns cannot be {word:?}: only network can be empty")))
        },
        name if criu.switches.set(name, direction) => |_, _| Ok(()),
        _ => return None,
    })
}

/// A path that engines give even when there is none.
fn optional_path(parser: &mut Parser) -> Result<Option<PathBuf>, Fault> {
    Ok(Some(PathBuf::from(parser.value()?)).filter(|path| !path.as_os_str().is_empty()))
}

fn default_images() -> CriuOptions {
    CriuOptions::new("checkpoint")
}

fn no_id() -> Result<ContainerId, Fault> {
    ContainerId::new("none").map_err(|error| Fault::new(error.to_string()))
}

/// Understands `checkpoint`.
pub(crate) fn parse_checkpoint(parser: &mut Parser) -> Result<CheckpointOptions, Fault> {
    let mut id = Id::default();
    let mut found = CheckpointOptions {
        id: no_id()?,
        criu: default_images(),
        parent_path: None,
        page_server: None,
        status: None,
        network_lock: None,
        pre_dump: false,
    };
    while let Some(argument) = parser.next()? {
        if let Some(take) = common(&argument, Direction::Checkpoint, &mut found.criu) {
            take(parser, &mut found.criu)?;
            continue;
        }
        match argument {
            Long("parent-path") => found.parent_path = optional_path(parser)?,
            Long("pre-dump") => found.pre_dump = true,
            Long("page-server") => found.page_server = page_server(parser)?,
            Long("status-fd") => found.status = status(parser)?,
            Long("network-lock") => found.network_lock = Some(network_lock(parser)?),
            Value(word) => id.set(&word)?,
            other => return Err(unexpected(other)),
        }
    }
    found.id = id.get()?;
    Ok(found)
}

fn page_server(parser: &mut Parser) -> Result<Option<(String, u16)>, Fault> {
    let text = parser.value()?.string()?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Fault::usage(format!("--page-server is ADDRESS:PORT, and not {text:?}"));
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    match port.parse() {
        Ok(port @ 1..) if !address.is_empty() => Ok(Some((address.to_owned(), port))),
        _ => Err(wrong()),
    }
}

/// A descriptor that was handed down; -1 is none.
fn status(parser: &mut Parser) -> Result<Option<OwnedFd>, Fault> {
    let number: i32 = parser.value()?.parse()?;
    if number < 0 {
        return Ok(None);
    }
    let taken = berth_runtime::process::take_descriptor(number);
    taken.map(Some).map_err(|error| Fault::io(format!("write to --status-fd {number}"), &error))
}

fn network_lock(parser: &mut Parser) -> Result<NetworkLock, Fault> {
    match parser.value()?.string()?.as_str() {
        "iptables" => Ok(NetworkLock::Iptables),
        "nftables" => Ok(NetworkLock::Nftables),
        "skip" => Ok(NetworkLock::Skip),
        other => Err(Fault::usage(format!("--network-lock cannot be {other:?}"))),
    }
}

/// Understands `restore`.
pub(crate) fn parse_restore(parser: &mut Parser) -> Result<RestoreArguments, Fault> {
    let mut id = Id::default();
    let mut found = RestoreArguments {
        options: RestoreOptions {
            id: no_id()?,
            criu: default_images(),
            bundle: PathBuf::from("."),
            rootfs: None,
            console: Console::None,
            pid_file: None,
            lsm_profile: None,
            lsm_mount_context: None,
        },
        detach: false,
        no_subreaper: false,
        no_pivot: false,
    };
    let options = &mut found.options;
    while let Some(argument) = parser.next()? {
        if let Some(take) = common(&argument, Direction::Restore, &mut options.criu) {
            take(parser, &mut options.criu)?;
            continue;
        }
        match argument {
            Short('b') | Long("bundle") => options.bundle = path(parser)?,
            Short('d') | Long("detach") => found.detach = true,
            Long("pid-file") => options.pid_file = optional_path(parser)?,
            Long("console-socket") => {
                options.console = optional_path(parser)?.map_or(Console::None, Console::Socket);
            }
            Long("no-subreaper") => found.no_subreaper = true,
            Long("no-pivot") => found.no_pivot = true,
            Long("lsm-profile") => options.lsm_profile = text(parser)?,
            Long("lsm-mount-context") => options.lsm_mount_context = text(parser)?,
            Value(word) => id.set(&word)?,
            other => return Err(unexpected(other)),
        }
    }
    options.id = id.get()?;
    Ok(found)
}

fn text(parser: &mut Parser) -> Result<Option<String>, Fault> {
    Ok(Some(parser.value()?.string()?).filter(|text| !text.is_empty()))
}

/// `checkpoint`.
pub(crate) fn checkpoint(
    runtime: &Runtime,
    options: CheckpointOptions,
    log: &Log,
) -> Result<ExitCode, Fault> {
    warn_without_privileges(log);
    runtime.checkpoint(options)?.iter().for_each(|warning| log.warn(warning));
    Ok(ExitCode::SUCCESS)
}

fn warn_without_privileges(log: &Log) {
    if !rustix::process::geteuid().is_root() {
        log.warn("criu can do little without root's privileges");
    }
}

/// `restore`.
pub(crate) fn restore(
    runtime: &Runtime,
    arguments: RestoreArguments,
    log: &Log,
) -> Result<ExitCode, Fault> {
    let RestoreArguments { mut options, detach, no_subreaper, no_pivot } = arguments;
    warn_without_privileges(log);
    if no_pivot {
        log.warn("--no-pivot has no effect here: criu changes the root in its own way");
    }
    if !detach && !no_subreaper {
        foreground::become_subreaper()?;
    }
    if !detach && matches!(options.console, Console::None) {
        options.console = Console::Return;
    }
    let id = options.id.clone();
    let signals = if detach { None } else { Some(Foreground::new()?) };
    let restored = runtime.restore(options)?;
    restored.warnings.iter().for_each(|warning| log.warn(warning));
    let Some(foreground) = signals else { return Ok(ExitCode::SUCCESS) };
    let code = foreground.wait(restored.pid, &restored.pidfd, restored.terminal, None, log);
    match runtime.delete(&id, DeleteMode::Force) {
        Ok(warnings) => warnings.iter().for_each(|warning| log.warn(warning)),
        // The program's exit code is worth more than this one's.
        Err(error) => log.warn(&berth_runtime::error::chain(&error)),
    }
    code
}
