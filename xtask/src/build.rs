//! Building what is shipped, and running it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::command::{cargo_command, output, run, workspace_root};

/// The packages whose binaries are shipped.
const SHIPPED: [&str; 3] = ["berth", "berth-runtime", "berth-monitor"];

/// The most that binaries may have, in bytes.
const LARGEST: [(&str, u64); 2] = [("berth-runtime", 3 << 19), ("berth", 25 << 20)];

/// How they are linked: static; without the C library's symbols and our unwind tables, which serve
/// nobody in a program that aborts; relocations packed and equal functions folded, for size.
const DIST_FLAGS: &str = "-C target-feature=+crt-static -C force-unwind-tables=no \
    -C link-arg=-Wl,--strip-all -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all";

/// The triple of the machine that builds.
///
/// It is always given to cargo by name: a static build without `--target` would link procedural
/// macros statically too, which cannot work.
fn host_triple() -> anyhow::Result<String> {
    let text = output(std::process::Command::new("rustc").arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no host")
}

/// Builds the static binaries with the profile `dist`; gives the directory that holds them.
pub fn dist() -> anyhow::Result<PathBuf> {
    let triple = host_triple()?;
    let mut command = cargo_command(["build", "--profile", "dist", "--target", &triple]);
    for package in SHIPPED {
        command.args(["--package", package]);
    }
    command.env("RUSTFLAGS", DIST_FLAGS);
    run(&mut command)?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_root().join("target"), PathBuf::from);
    Ok(target.join(triple).join("dist"))
}

/// Fails when a binary has become larger than it may.
pub fn check_sizes(directory: &Path) -> anyhow::Result<()> {
    for (name, largest) in LARGEST {
        let path = directory.join(name);
        let size =
            std::fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.len();
        println!("size: {name} has {size} bytes of at most {largest}");
        if size > largest {
            bail!("{name} has {size} bytes, more than the {largest} that it may have");
        }
    }
    Ok(())
}

/// Builds, then runs a container from the embedded image: `arguments` replace what it runs.
pub fn demo(arguments: &[String]) -> anyhow::Result<()> {
    let berth = dist()?.join("berth");
    let mut command = std::process::Command::new(berth);
    command.args(["run", "--rm", "--network", "none", "--memory", "64m", "--pids-limit", "32"]);
    command.arg("demo").args(arguments);
    run(&mut command)
}

/// Builds everything that a benchmark compares, then runs it.
pub fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let directory = dist()?;
    let mut command =
        cargo_command(["run", "--release", "--package", "berth-benches", "--bin", "berth-bench"]);
    command.arg("--").args(arguments).env("BERTH_BIN_DIR", directory);
    run(&mut command)
}
