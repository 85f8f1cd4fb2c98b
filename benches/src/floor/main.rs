//! The floor of the benchmarks: the least that a container of the default bundle can cost.
//!
//! `berth-bench-floor run BUNDLE NAME COMMAND…` makes what the default `config.json` asks for by
//! plain system calls, from knowledge rather than from the file: no parsing, no state, no checks;
//! `run-without-cgroups` leaves the cgroups out, and `parts` prints what each part took.
//! `berth-bench-floor measure PROGRAM…` runs a program and prints what it cost. It is a program of
//! its own because a process inherits the peak memory of the one that started it: the launcher must
//! be smaller than anything that it measures. Under other names it is what contestants run: `true`
//! exits at once, `pause` waits for ever, `calls` tells what system calls cost.

#![deny(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod cgroups;
mod container;
mod marks;
mod mounts;
#[expect(unsafe_code, reason = "clone, prctl and wait4 have no safe wrappers")]
mod sys;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use marks::Marks;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    match name.and_then(|name| name.to_str()) {
        Some("true") => return ExitCode::SUCCESS,
        Some("pause") => sys::pause(),
        Some("calls") => {
            let [plain, conditional] = sys::cost_of_calls();
            println!("{plain} {conditional}");
            return ExitCode::SUCCESS;
        }
        _ => {}
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
            container::run(Path::new(bundle), &name.to_string_lossy(), command, &mut Marks::none())
        }
        [task, bundle, _, command @ ..] if task == "run-without-cgroups" && !command.is_empty() => {
            container::run_without_cgroups(Path::new(bundle), command, &mut Marks::none())
        }
        [task, bundle, name, command @ ..] if task == "parts" && !command.is_empty() => {
            let mut marks = Marks::begin();
            let name = name.to_string_lossy();
            let code = container::run(Path::new(bundle), &name, command, &mut marks)?;
            for (part, time) in marks.list() {
                println!("{} {part}", time.as_nanos());
            }
            Ok(code)
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
        _ => bail!(
            "usage: berth-bench-floor run|run-without-cgroups|parts BUNDLE NAME COMMAND… | measure PROGRAM…"
        ),
    }
}
