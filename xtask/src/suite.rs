//! `cargo xtask test`: everything that proves the tree, in one run.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::command::cargo_command;
use crate::setup::{self, Mode};
use crate::summary::Summary;

/// Checks, builds, and runs every test; fails when anything failed.
pub fn test(mode: Mode) -> anyhow::Result<()> {
    setup::prepare(mode);
    crate::check()?;
    let binaries = crate::build::dist()?;
    crate::build::check_sizes(&binaries)?;
    let mut summary = Summary::default();
    // One `cargo test` for the whole workspace builds each dependency once.
    let mut cargo = cargo_command(["test", "--workspace", "--no-fail-fast", "--quiet"]);
    cargo.args(["--", "--show-output"]).env("BERTH_BIN_DIR", &binaries);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = setup::unpacked_directories().into_iter().chain(std::env::split_paths(&path));
    cargo.env("PATH", std::env::join_paths(places).context("join PATH")?);
    libtest(&mut cargo, &mut summary)?;
    crate::machines::run(&binaries.join("berth-runtime"), &mut summary)?;
    summary.print();
    if summary.has_failed() {
        bail!("tests failed");
    }
    Ok(())
}

/// Runs a command whose test programs speak libtest's text, counting as it goes.
fn libtest(command: &mut Command, summary: &mut Summary) -> anyhow::Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let stdout = child.stdout.take().expect("standard output was asked for as a pipe");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("read what cargo test prints")?;
        let line = String::from_utf8_lossy(&line);
        if summary.line(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() && !summary.has_failed() {
        println!("cargo test ended with {status}");
        summary.fail();
    }
    Ok(())
}
