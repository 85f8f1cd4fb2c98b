//! Side-by-side benchmarks against the peers that are installed: `berth-bench run`, and of the OCI
//! runtime in depth: `berth-bench runtime`.
//!
//! All contestants take turns in one run, on one machine state, forwards and backwards, so that
//! what disturbs one disturbs all. What is printed is also written between two markers of
//! `BENCHMARKS.md`. Everything that is made on the way lies in one temporary directory and, for
//! what an ordinary machine has on a tmpfs, in one that is mounted in a mount namespace of our own.

#![deny(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod containers;
mod contest;
mod crowd;
mod lifecycle;
mod machine;
mod monitors;
mod options;
mod parallel;
mod parts;
mod peers;
mod places;
mod processes;
mod report;
mod runtimes;
mod scratch;
mod seccomp;
mod sizes;
mod statistics;
#[expect(unsafe_code, reason = "unshare has no safe wrapper")]
mod sys;

use std::process::ExitCode;

use anyhow::Context as _;

use options::{Options, Section};
use report::Report;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let Some(options) = Options::parse().context("read the command line")? else {
        print!("{}", options::USAGE);
        return Ok(());
    };
    let places = places::Places::find()?;
    let scratch = scratch::Scratch::new(&options)?;
    let mut report = Report::new(options.task, machine::describe(&options)?);
    for section in options.task.sections() {
        if !options.sections.contains(section) {
            continue;
        }
        eprintln!("berth-bench: {}", section.title());
        report.add(match section {
            Section::Runtimes => runtimes::run(&options, &places, &scratch)?,
            Section::Parts => parts::run(&options, &places, &scratch)?,
            Section::Lifecycle => lifecycle::run(&options, &places, &scratch)?,
            Section::Seccomp => seccomp::run(&options, &places, &scratch)?,
            Section::Parallel => parallel::run(&options, &places, &scratch)?,
            Section::Crowd => crowd::run(&options, &places, &scratch)?,
            Section::Containers => containers::run(&options, &places, &scratch),
            Section::Monitors => monitors::run(&options, &places, &scratch),
            Section::Sizes => sizes::run(&places),
        });
    }
    report.conditions(machine::load()?);
    println!("{}", report.text());
    report.write(&options.output)?;
    println!("written to {}", options.output.display());
    scratch.remove()
}
