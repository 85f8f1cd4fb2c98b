//! The berth command line: words in, engine calls, tables and streams out.
//!
//! This crate translates and nothing more: [`args`] says what can be written, [`commands`] turns
//! it into calls on the engine and the image store, [`output`] prints. It decides nothing about
//! containers.
#![deny(unsafe_code)]

mod args;
mod commands;
mod complete;
mod context;
mod failure;
mod foreground;
mod logging;
mod output;
mod parse;
mod stdio;
mod terminal;
mod usage;

use std::process::ExitCode;

use clap::CommandFactory;

fn main() -> ExitCode {
    if std::env::var_os(commands::COMPLETE).is_some() {
        clap_complete::CompleteEnv::with_factory(args::Cli::command)
            .var(commands::COMPLETE)
            .complete();
    }
    let cli = match usage::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(outcome) => return outcome.report().into(),
    };
    logging::start(cli.global.log_level);
    let done =
        context::Context::new(&cli.global).and_then(|context| commands::run(cli.command, &context));
    match done {
        Ok(code) => code.into(),
        // Whoever read our output has seen enough.
        Err(failure) if failure.is_silent() => (128 + 13).into(),
        Err(failure) => {
            output::failure(&failure);
            failure.exit_code().into()
        }
    }
}
