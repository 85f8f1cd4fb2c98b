//! Where the programs are: ours and the peers'.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::options::workspace_root;

/// The triple that static builds are made for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const FLOOR: &str = "berth-bench-floor";

/// The directory of our programs, and the floor program.
pub struct Places {
    directory: PathBuf,
    /// The floor and launcher.
    pub floor: PathBuf,
}

impl Places {
    /// Finds the directories, and builds the floor program if it is not among the others.
    pub fn find() -> anyhow::Result<Self> {
        let directory = std::env::var_os("BERTH_BIN_DIR").map_or_else(
            || workspace_root().join("target").join(TRIPLE).join("dist"),
            PathBuf::from,
        );
        let floor = match directory.join(FLOOR) {
            floor if floor.is_file() => floor,
            _ => build_floor()?,
        };
        Ok(Self { directory, floor })
    }

    /// One of our programs, if it is built.
    pub fn ours(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory.join(name)).filter(|path| path.is_file())
    }

    /// What is said of a program of ours that is not built.
    pub fn missing(&self, name: &str) -> String {
        format!("{name} is not in {} (`cargo xtask dist` builds it)", self.directory.display())
    }
}

/// Builds the floor program as the others are built: static, with the profile `dist`.
fn build_floor() -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_root().join("target"), PathBuf::from);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace_root())
        .args(["build", "--quiet", "--profile", "dist", "--target", TRIPLE])
        .args(["--package", "berth-benches", "--bin", FLOOR])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .context("start cargo to build the floor program")?;
    if !status.success() {
        bail!("cargo did not build {FLOOR}");
    }
    Ok(target.join(TRIPLE).join("dist").join(FLOOR))
}

/// A peer's program, if it is installed.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    candidates.extend(["/usr/libexec/podman", "/usr/sbin", "/sbin"].map(PathBuf::from));
    candidates.into_iter().map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
