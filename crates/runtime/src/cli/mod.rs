//! The command line: one module parses, one a command translates, one prints.

mod arguments;
mod default_spec;
mod exec;
mod foreground;
mod inspect;
mod log;
mod resources;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::{Command, Globals, Invocation};
use berth_runtime::{DeleteMode, Runtime};
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
    let runtime = Runtime::new(&globals.root);
    let runtime = if globals.systemd_cgroup { runtime.with_systemd_cgroup() } else { runtime };
    match command {
        Command::Help(text) => log::print(text)?,
        Command::Version => log::print(&format!(
            "berth-runtime version {}\nspec: {}\n",
            env!("CARGO_PKG_VERSION"),
            berth_spec::RUNTIME_SPEC_VERSION
        ))?,
        Command::Create(options) => return run::create(&runtime, options, log),
        Command::Run(options) => return run::run(&runtime, options, log),
        Command::Exec(options) => return exec::exec(&runtime, *options, log),
        Command::Start(id) => runtime.start(&id)?,
        Command::State(id) => inspect::state(&runtime, &id)?,
        Command::List { format, quiet } => inspect::list(&runtime, format, quiet)?,
        Command::Processes { id, format, options } => {
            inspect::processes(&runtime, &id, format, &options)?;
        }
        Command::Kill { id, signal, scope } => runtime.kill(&id, signal, scope)?,
        Command::Delete { id, force } => {
            let mode = if force { DeleteMode::Force } else { DeleteMode::Stopped };
            for warning in runtime.delete(&id, mode)? {
                log.warn(&warning);
            }
        }
        Command::Pause(id) => runtime.pause(&id)?,
        Command::Resume(id) => runtime.resume(&id)?,
        Command::Update { id, resources } => runtime.update(&id, &resources)?,
        Command::Events { id } => inspect::statistics(&runtime, &id)?,
        Command::Spec { bundle, rootless } => default_spec::write(bundle.as_deref(), rootless)?,
        Command::Features => inspect::print_json(&berth_runtime::features())?,
    }
    Ok(ExitCode::SUCCESS)
}
