//! Suites that need a kernel of their own: scripts of `tests/suites` that start a virtual machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::command::{exists, workspace_root};
use crate::setup::is_root;
use crate::summary::Summary;

/// A script that gets the runtime, and prints a line for each check.
struct Machine {
    name: &'static str,
    script: &'static str,
    /// Programs without which it is skipped.
    needs: &'static [&'static str],
    /// Whether only root can make its root file system.
    root: bool,
    /// What it says when Debian's packages cannot be had, which skips it.
    unavailable: &'static str,
}

const MACHINES: [Machine; 2] = [
    Machine {
        name: "cgroup v2 in a virtual machine",
        script: "tests/suites/cgroup2-vm.sh",
        needs: &["qemu-system-x86_64", "cpio", "jq", "busybox", "apt-get"],
        root: false,
        unavailable: "cannot get a kernel",
    },
    Machine {
        name: "systemd and rootless in a virtual machine",
        script: "tests/suites/systemd-vm.sh",
        needs: &["qemu-system-x86_64", "cpio", "busybox", "apt-get", "mmdebstrap", "mke2fs"],
        root: true,
        unavailable: "cannot get a root image",
    },
];

/// Runs the runtime in each of them.
pub fn run(runtime: &Path, summary: &mut Summary) -> anyhow::Result<()> {
    MACHINES.iter().try_for_each(|machine| machine.run(runtime, summary))
}

impl Machine {
    fn run(&self, runtime: &Path, summary: &mut Summary) -> anyhow::Result<()> {
        if let Some(missing) = self.needs.iter().find(|program| !exists(program)) {
            summary.skip(self.name, &format!("{missing} is not installed"));
            return Ok(());
        }
        if self.root && !is_root() {
            summary.skip(self.name, "only root can make its root file system");
            return Ok(());
        }
        println!("$ {} {}", self.script, runtime.display());
        let output = Command::new(self.script)
            .arg(runtime)
            .env("CACHE", cache())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("start {}", self.script))?;
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        if text.contains(self.unavailable) {
            summary.skip(self.name, "Debian's packages for it cannot be had");
            return Ok(());
        }
        for line in text.lines() {
            summary.tap_line(line);
        }
        if !output.status.success() && !summary.has_failed() {
            summary.fail();
        }
        Ok(())
    }
}

/// Where kernels and root images are kept from run to run.
fn cache() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_root().join("target"), PathBuf::from)
        .join("virtual-machines")
}
