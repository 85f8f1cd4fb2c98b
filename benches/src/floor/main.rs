//! The floor of the benchmarks: the least that a container of the default bundle can cost.
//!
//! `berth-bench-floor run BUNDLE NAME COMMAND…` makes what the default `config.json` asks for by
//! plain system calls, from knowledge rather than from the file: no parsing, no state, no checks.
//! `berth-bench-floor measure PROGRAM…` runs a program and prints what it cost. It is a program of
//! its own because a process inherits the peak memory of the one that started it: the launcher must
//! be smaller than anything that it measures. Under the name `true` it exits at once: the command
//! that every contestant runs.

#![deny(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod cgroups;
mod container;
mod mounts;
#[expect(unsafe_code, reason = "clone, prctl and wait4 have no safe wrappers")]
mod sys;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "true") {
        return ExitCode::SUCCESS;
    }
    match run(arguments.get(1..).unwrap_or_default()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("berth-bench-floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    match arguments {
        [task, bundle, name, command @ ..] if task == "run" && !command.is_empty() => {
            container::run(Path::new(bundle), &name.to_string_lossy(), command)
        }
        [task, program, arguments @ ..] if task == "measure" => {
            let cost = sys::measure(program, arguments)?;
            println!(
                "{} {} {} {}",
                cost.wall.as_nanos(),
                cost.processor.as_nanos(),
                cost.peak_kibibytes,
                cost.exit_code
            );
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage: berth-bench-floor run BUNDLE NAME COMMAND… | measure PROGRAM…"),
    }
}
