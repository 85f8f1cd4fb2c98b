//! What the tests need from the machine: said, and on request installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::command::{exists, run, workspace_root};

/// Whether missing programs are installed or only named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Name what is missing; install nothing.
    Report,
    /// Install Debian's packages where the machine is Debian and we are root.
    Install,
}

/// A program that tests use, Debian's package of it, and what for.
const NEEDS: &[(&str, &str, &str)] = &[
    ("runc", "runc", "bundles and state beside ours"),
    ("crun", "crun", "bundles beside ours"),
    ("podman", "podman", "our runtime under a foreign engine"),
    ("conmon", "conmon", "podman's monitor"),
    ("skopeo", "skopeo", "image layouts and archives beside ours"),
    ("umoci", "umoci", "image layouts and layers beside ours"),
    ("buildah", "buildah", "images made by somebody else"),
    ("mmdebstrap", "mmdebstrap", "a Debian root file system"),
    ("busybox", "busybox-static", "a small foreign root file system"),
    ("qemu-system-x86_64", "qemu-system-x86", "cgroup v2 in a virtual machine"),
    ("cpio", "cpio", "the virtual machine's root"),
    ("jq", "jq", "bundles for the virtual machine"),
    ("mke2fs", "e2fsprogs", "the disk of a virtual machine that systemd runs"),
    ("newuidmap", "uidmap", "containers of users with subordinate ids"),
    ("dbus-daemon", "dbus-daemon", "a bus for the client that speaks to systemd"),
    ("hyperfine", "hyperfine", "benchmarks"),
    ("setfattr", "attr", "extended attributes in layers"),
    ("setcap", "libcap2-bin", "file capabilities in layers"),
    ("criu", "criu", "checkpoints of containers, where it knows the kernel"),
    ("containerd-shim-runc-v2", "containerd", "memory of its shim, in benchmarks"),
];

/// Packages that are unpacked rather than installed, because installing them starts a daemon: the
/// program, the package, the libraries that it needs installed, what for.
const UNPACKED: &[(&str, &str, &[&str], &str)] =
    &[("dockerd", "docker.io", &["libdevmapper1.02.1"], "our runtime under docker")];

/// Where packages are unpacked.
fn unpacked_root() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_root().join("target"), PathBuf::from)
        .join("peers")
}

/// The directories that hold the programs of unpacked packages.
pub fn unpacked_directories() -> Vec<PathBuf> {
    let packages = UNPACKED.iter().map(|(_, package, ..)| unpacked_root().join(package));
    packages
        .flat_map(|root| [root.join("usr/bin"), root.join("usr/sbin")])
        .filter(|directory| directory.is_dir())
        .collect()
}

/// Fetches a package and unpacks it beside the build.
fn unpack(package: &str) -> anyhow::Result<()> {
    let root = unpacked_root();
    let scratch = root.join(format!("{package}.fetch"));
    std::fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    run(Command::new("apt-get").args(["download", "-qq", package]).current_dir(&scratch))?;
    let entries = std::fs::read_dir(&scratch).with_context(|| scratch.display().to_string())?;
    let file = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let file = file.with_context(|| format!("find the package in {}", scratch.display()))?;
    run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(scratch.join("root")))?;
    let place = root.join(package);
    std::fs::rename(scratch.join("root"), &place)
        .with_context(|| format!("make {}", place.display()))?;
    std::fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))
}

/// Whether a program is installed, or unpacked.
fn is_here(program: &str) -> bool {
    exists(program) || unpacked_directories().iter().any(|path| path.join(program).is_file())
}

/// Names what is missing and installs it when asked; a missing program skips the tests that need it.
pub fn prepare(mode: Mode) {
    let missing: Vec<_> = NEEDS.iter().filter(|(program, ..)| !exists(program)).collect();
    let packed: Vec<_> = UNPACKED.iter().filter(|(program, ..)| !is_here(program)).collect();
    if missing.is_empty() && packed.is_empty() {
        println!("setup: every program that the tests use is here");
        return;
    }
    for (program, package, purpose) in &missing {
        println!("setup: missing {program} (Debian package {package}): {purpose}");
    }
    for (program, package, _, purpose) in &packed {
        println!("setup: missing {program} (Debian package {package}): {purpose}");
    }
    if mode == Mode::Report {
        println!(
            "setup: tests that need them are skipped; `cargo xtask test --setup` installs them"
        );
        return;
    }
    if !Path::new("/etc/debian_version").exists() || !is_root() {
        println!("setup: not Debian or not root: nothing is installed");
        return;
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    packages.extend(packed.iter().flat_map(|(_, _, libraries, _)| libraries.iter()));
    println!("setup: installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if let Err(error) = apt(&["update", "-qq"]) {
        println!("setup: the lists of packages may be old ({error:#})");
    }
    let install = |packages: &[&str]| {
        let mut arguments = vec!["install", "-qq", "-y", "--no-install-recommends"];
        arguments.extend(packages);
        apt(&arguments)
    };
    let told = |package: &str, error: &anyhow::Error| {
        println!("setup: {package} cannot be had ({error:#}); tests that need it are skipped");
    };
    if install(&packages).is_err() {
        // One that cannot be had fails them all, and is missed only by the tests that need it.
        for package in packages {
            if let Err(error) = install(&[package]) {
                told(package, &error);
            }
        }
    }
    for (_, package, ..) in packed {
        println!("setup: unpacking {package} below {}", unpacked_root().display());
        if let Err(error) = unpack(package) {
            told(package, &error);
        }
    }
}

/// Whether this process has user id 0.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|line| line.split_whitespace().nth(1))
            == Some("0")
    })
}
