//! What the tests need from the machine: said, and on request installed.

use std::path::Path;
use std::process::Command;

use crate::command::{exists, run};

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

/// Names what is missing and installs it when asked; a missing program skips the tests that need it.
pub fn prepare(mode: Mode) {
    let missing: Vec<_> = NEEDS.iter().filter(|(program, ..)| !exists(program)).collect();
    if missing.is_empty() {
        println!("setup: every program that the tests use is here");
        return;
    }
    for (program, package, purpose) in &missing {
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
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
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
    if install(&packages).is_ok() {
        return;
    }
    // One that cannot be had fails them all, and is missed only by the tests that need it.
    for package in packages {
        if let Err(error) = install(&[package]) {
            println!(
                "setup: {package} cannot be installed ({error:#}); tests that need it are skipped"
            );
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
