//! The command line: one module parses, one a command translates, one prints.

mod activation;
mod arguments;
mod checkpoint;
mod default_spec;
mod destination;
mod events;
mod exec;
mod foreground;
mod help;
mod inspect;
mod log;
mod mounts;
mod notify;
mod regex;
mod resources;
mod run;
mod selection;
mod socket;
mod start;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::{Command, Globals, Invocation};
use berth_runtime::Runtime;
use log::{Fault, Log};

/// Runs a command line and gives its exit code.
pub(crate) fn run(words: Vec<OsString>) -> ExitCode {
    let invocation = match arguments::parse(words) {
        Ok(invocation) => invocation,
        Err(fault) => return Log::to_standard_error().fatal(&fault),
    };
    let Invocation { globals, command } = invocation;
    let log = match Log::open(&globals) {
        Ok(log) => log,
        Err(fault) => return Log::to_standard_error().fatal(&fault),
    };
    match dispatch(&globals, command, &log) {
        Ok(code) => code,
        Err(fault) => log.fatal(&fault),
    }
}

fn dispatch(globals: &Globals, command: Command, log: &Log) -> Result<ExitCode, Fault> {
    log.debug(|| format!("berth-runtime {}: {command:?}", env!("CARGO_PKG_VERSION")));
    let runtime = Runtime::new(&globals.root)
        .with_cgroup_manager(globals.cgroup_manager)
        .with_rootless(globals.rootless);
    match command {
        Command::Help(text) => log::print(&text)?,
        Command::Version => log::print(&format!(
            "berth-runtime version {}\nspec: {}\n",
            env!("CARGO_PKG_VERSION"),
            berth_spec::RUNTIME_SPEC_VERSION
        ))?,
        Command::Create(options) => return run::create(&runtime, options, log),
        Command::Run(options) => return run::run(&runtime, options, log),
        Command::Exec(options) => return exec::exec(&runtime, *options, log),
        Command::Start(id) => start::start(&runtime, &id, log)?,
        Command::State(id) => inspect::state(&runtime, &id)?,
        Command::List { format, quiet } => {
            if globals.root_given {
                inspect::check_root(&globals.root)?;
            }
            inspect::list(&runtime, format, quiet, log)?;
        }
        Command::Processes { id, format, options } => {
            inspect::processes(&runtime, &id, format, &options)?;
        }
        Command::Kill { of, signal, scope } => {
            return selection::kill(&runtime, &of, signal, scope, log);
        }
        Command::Delete { of, force } => return selection::delete(&runtime, &of, force, log),
        Command::Pause(id) => runtime.pause(&id)?,
        Command::Resume(id) => runtime.resume(&id)?,
        Command::Update { id, update } => resources::update(&runtime, &id, &update, log)?,
        Command::Events { id, interval } => events::events(&runtime, &id, interval, log)?,
        Command::Mounts { id, change, file } => mounts::change(&runtime, &id, change, &file)?,
        Command::Checkpoint(options) => return checkpoint::checkpoint(&runtime, *options, log),
        Command::Restore(options) => return checkpoint::restore(&runtime, *options, log),
        Command::Spec { path, rootless } => default_spec::write(&path, rootless)?,
        Command::Features => inspect::print_json(&berth_runtime::features())?,
    }
    Ok(ExitCode::SUCCESS)
}
