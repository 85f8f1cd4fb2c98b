//! The project's own tasks: `cargo xtask check | tidy | dist | demo | test | bench`.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program of the developers'"
)]

mod build;
mod command;
mod machines;
mod setup;
mod suite;
mod summary;
mod tidy;
mod tidy_source;

use std::process::ExitCode;

use anyhow::{Context, bail};

const USAGE: &str = "\
cargo xtask TASK [OPTIONS]

Tasks:
  demo [ARGS…]       build, then run a container from the embedded image, offline
  check              format, lints, tidy, documentation
  tidy               the rules that no lint knows: dependency direction, size of files and functions
  dist               build the static binaries that are shipped; prints where they are
  test [--setup]     check, build, and run every test; --setup installs what the tests need first
  bench run|runtime  the side-by-side benchmarks, of everything or of the OCI runtime in depth;
                     writes BENCHMARKS.md (`bench help` tells more)
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        print!("{USAGE}");
        return Ok(());
    }
    let task = arguments.remove(0);
    std::env::set_current_dir(command::workspace_root()).context("enter the workspace's root")?;
    match task.as_str() {
        "demo" => build::demo(&arguments),
        "check" => check(),
        "tidy" => tidy::run(),
        "dist" => build::dist().map(|directory| println!("{}", directory.display())),
        "test" => {
            let setup = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                [] => setup::Mode::Report,
                ["--setup"] => setup::Mode::Install,
                _ => bail!("test takes no option but --setup, not {arguments:?}"),
            };
            suite::test(setup)
        }
        "bench" => build::bench(&arguments),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no task '{other}'\n\n{USAGE}"),
    }
}

/// Format, lints, our own rules and the documentation: everything that needs no run.
pub(crate) fn check() -> anyhow::Result<()> {
    command::cargo(["fmt", "--all", "--check"])?;
    tidy::run()?;
    command::cargo(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    command::run(
        command::cargo_command(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if command::exists("cargo-deny") {
        command::cargo(["deny", "--offline", "check", "bans", "licenses", "sources"])?;
    } else {
        println!(
            "cargo-deny is not installed: `cargo install cargo-deny` to check licences and bans"
        );
    }
    Ok(())
}
