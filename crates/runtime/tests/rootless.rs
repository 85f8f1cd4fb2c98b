//! Containers of a user without privileges, with a single mapping.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use common::{Bundle, Value, json, text};

const USER: u32 = 64_123;

/// A bundle of `spec --rootless`, owned by a user who has no entry anywhere.
fn bundle() -> Option<Bundle> {
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if limit.trim() == "0" {
        eprintln!("SKIPPED: there may be no user namespaces");
        return None;
    }
    let mut bundle = Bundle::new()?;
    own(bundle.path());
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    let output = as_user(&bundle, &["spec", "--rootless"]);
    assert!(output.status.success(), "{output:?}");
    let text = fs::read(bundle.path().join("config.json")).unwrap();
    bundle.spec = serde_json::from_slice::<Value>(&text).unwrap();
    bundle.spec["process"]["terminal"] = json!(false);
    Some(bundle)
}

fn own(path: &Path) {
    chown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_symlink() {
                own(&path);
            }
        }
    }
}

fn as_user(bundle: &Bundle, words: &[&str]) -> Output {
    // A copy that the user can execute, wherever the build directory is.
    let binary = bundle.path().join("berth-runtime");
    if !binary.exists() {
        fs::copy(common::RUNTIME, &binary).unwrap();
    }
    let mut command = Command::new(binary);
    command.arg("--root").arg(bundle.state_root()).args(words);
    command.current_dir(bundle.path()).uid(USER).gid(USER);
    loop {
        match command.output() {
            // Another test's child may hold the copy open for writing until it executes.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            output => return output.unwrap(),
        }
    }
}

#[test]
fn a_container_runs_without_privileges() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script("id -u; cat /proc/self/uid_map; touch /tmp/file; ls -ln /tmp/file | cut -d' ' -f1; hostname; echo >/dev/null; ls /sys/fs/cgroup >/dev/null && echo fine");
    bundle.set("/root/readonly", json!(false)).write();
    let output = as_user(&bundle, &["run", &bundle.id]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        text(&output.stdout),
        format!("0\n         0      {USER}          1\n-rw-r--r--\nberth\nfine\n")
    );
    assert_eq!(fs::read_dir(bundle.state_root()).unwrap().count(), 0);
}

#[test]
fn it_can_be_executed_in_and_deleted() {
    let Some(mut bundle) = bundle() else { return };
    bundle.args(&["/bin/sleep", "1000"]).write();
    let status = {
        let binary = bundle.path().join("berth-runtime");
        Command::new(binary)
            .arg("--root")
            .arg(bundle.state_root())
            .args(["run", "-d", &bundle.id])
            .current_dir(bundle.path())
            .uid(USER)
            .gid(USER)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap()
    };
    assert!(status.success());
    let output = as_user(
        &bundle,
        &[
            "exec",
            &bundle.id,
            "/bin/sh",
            "-c",
            "id -u; readlink /proc/1/exe; cat /proc/1/cmdline | head -c 10",
        ],
    );
    assert_eq!(text(&output.stdout), "0\n/bin/busybox\n/bin/sleep", "{output:?}");
    let output = as_user(&bundle, &["delete", "--force", &bundle.id]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_takes_privileges_is_refused() {
    let Some(mut bundle) = bundle() else { return };
    let refused = |bundle: &Bundle, words: &str| {
        bundle.write();
        let output = as_user(bundle, &["run", &bundle.id]);
        assert!(!output.status.success(), "{output:?}");
        assert!(text(&output.stderr).contains(words), "{output:?}");
        assert_eq!(fs::read_dir(bundle.state_root()).map_or(0, Iterator::count), 0);
    };
    let before = bundle.spec.clone();
    bundle.set("/linux/resources", json!({ "memory": { "limit": 10_000_000 } }));
    refused(&bundle, "cgroup");
    bundle.spec = before.clone();
    bundle.set("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [5] }));
    refused(&bundle, "additionalGids");
    bundle.spec = before.clone();
    bundle.set("/process/user", json!({ "uid": 5, "gid": 0 }));
    refused(&bundle, "process.user.uid");
    bundle.spec = before;
    bundle
        .without_namespace("user")
        .set("/linux/uidMappings", json!([]))
        .set("/linux/gidMappings", json!([]));
    refused(&bundle, "Operation not permitted");
}
