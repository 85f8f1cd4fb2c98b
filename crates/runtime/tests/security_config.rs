//! Hostile configurations: whatever is in `config.json`, the answer is an error that names it, and
//! nothing is left behind.

mod common;

use std::fs;
use std::time::Duration;

use common::{Bundle, json, text};

/// Runs what is written at the bundle's `config.json`; it has to be refused, as an error of the
/// runtime's own, by itself and in finite time.
fn refused(bundle: &Bundle) -> String {
    let output = bundle.call(&["run", &bundle.id]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    bundle.assert_nothing_left();
    text(&output.stderr)
}

#[test]
fn what_is_no_configuration_is_an_error() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.write();
    let path = bundle.path().join("config.json");
    let head = r#"{"ociVersion":"1.0.2","#;
    let deep = format!("{head}\"vm\":{}", "[".repeat(1 << 20));
    let deep_objects = format!("{head}\"linux\":{}", "{\"seccomp\":".repeat(1 << 17));
    let closed = format!("{head}\"vm\":{}{}}}", "[".repeat(1 << 16), "]".repeat(1 << 16));
    let large = format!("{{\"ociVersion\":\"{}\"}}", "1".repeat(17 << 20));
    for content in [
        deep.as_bytes(),
        deep_objects.as_bytes(),
        closed.as_bytes(),
        large.as_bytes(),
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{} {}",
        b"{\"ociVersion\":\"1.0.2\",\"ociVersion\":\"1.0.2\"}",
        b"{\"ociVersion\":\"1.0.2\",\"process\":{},\"process\":{}}",
        b"{\"ociVersion\":\"\\ud800\"}",
        b"{\"ociVersion\":1e400}",
    ] {
        fs::write(&path, content).unwrap();
        assert!(!refused(&bundle).is_empty());
    }
}

#[test]
fn a_configuration_that_is_no_file_keeps_nobody_waiting() {
    let Some(bundle) = Bundle::new() else { return };
    let path = bundle.path().join("config.json");
    let _ = fs::remove_file(&path);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut child =
        bundle.runtime(&["run", &bundle.id]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut status = None;
    for _ in 0..600 {
        status = child.try_wait().unwrap();
        if status.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(status.expect("it waits for a FIFO").code(), Some(1));
    fs::remove_file(&path).unwrap();
    for other in ["/dev/zero", "/proc/self/mem", "/", "/nonexistent"] {
        std::os::unix::fs::symlink(other, &path).unwrap();
        assert!(refused(&bundle).contains("config.json"), "{other}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn hostile_values_are_named() {
    let Some(mut bundle) = Bundle::new() else { return };
    let long = "x".repeat(5000);
    let device = |path: &str| json!([{ "path": path, "type": "c", "major": 1, "minor": 3 }]);
    let mount = |destination: &str| json!([{ "destination": destination, "type": "tmpfs", "source": "tmpfs" }]);
    for (pointer, value, named) in [
        ("/process/args", json!(["/bin/true\u{0}"]), "process.args"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([""]), "process.args"),
        ("/process/env", json!(["A\u{0}=b"]), "process.env"),
        ("/process/cwd", json!("/\u{0}"), "process.cwd"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/user", json!({ "uid": 4_294_967_296_u64, "gid": 0 }), "process.user.uid"),
        ("/process/user", json!({ "uid": -1, "gid": 0 }), "process.user.uid"),
        ("/process/user", json!({ "uid": 0.5, "gid": 0 }), "process.user.uid"),
        ("/process/oomScoreAdj", json!(4_000_000_000_000_i64), "process.oomScoreAdj"),
        ("/process/oomScoreAdj", json!(100_000), "process.oomScoreAdj"),
        ("/root/path", json!("rootfs\u{0}"), "root.path"),
        ("/root/path", json!(""), "root.path"),
        ("/root/path", json!("nowhere"), "root.path"),
        ("/root/path", json!("config.json"), "root.path"),
        ("/linux/maskedPaths", json!(["relative"]), "linux.maskedPaths[0]"),
        ("/linux/maskedPaths", json!(["/a\u{0}b"]), "linux.maskedPaths[0]"),
        ("/linux/readonlyPaths", json!([""]), "linux.readonlyPaths[0]"),
        ("/linux/cgroupsPath", json!("/../../.."), "cgroup"),
        ("/linux/cgroupsPath", json!("../escape"), "cgroup"),
        ("/linux/cgroupsPath", json!("/a/../../b"), "cgroup"),
        ("/linux/cgroupsPath", json!("/a\u{0}b"), "cgroup"),
        ("/linux/devices", device("relative"), "linux.devices[0].path"),
        ("/linux/devices", device("/dev/a\u{0}"), "linux.devices[0].path"),
        ("/linux/devices", device("/dev/.."), "/dev/.."),
        ("/linux/devices", device(&format!("/dev/{long}")), "/dev/xxxx"),
        ("/mounts", mount(""), "mounts[0].destination"),
        ("/mounts", mount("/"), "mounts[0].destination"),
        ("/mounts", mount("/a\u{0}"), "mounts[0].destination"),
        ("/mounts", mount(&format!("/{long}")), "/xxxx"),
        ("/hostname", json!("x".repeat(65)), "hostname"),
        ("/annotations", json!({ "a": 1 }), "annotations"),
        ("/ociVersion", json!("1.0.2\u{0}"), "ociVersion"),
    ] {
        let before = bundle.spec.clone();
        bundle.set(pointer, value);
        let message = bundle.refusal();
        assert!(message.contains(named), "{pointer}, {named}: {message}");
        bundle.spec = before;
    }
}

#[test]
fn a_root_above_the_bundle_gives_nothing_beyond_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    // What the caller names as root is the caller's choice, through `..` and links, too; what the
    // container sees is that directory and nothing above.
    let other = bundle.path().join("elsewhere");
    fs::rename(bundle.rootfs(), &other).unwrap();
    std::os::unix::fs::symlink(&other, bundle.rootfs()).unwrap();
    for path in ["rootfs", "./rootfs/../elsewhere", other.to_str().unwrap()] {
        bundle.set("/root/path", json!(path)).script("cd ..; cd ../..; ls -d e*");
        assert_eq!(bundle.output(), "etc\n", "{path}");
    }
}

#[test]
fn an_id_is_one_name_below_the_state_directory() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.write();
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("state.json"), "precious").unwrap();
    let long = "x".repeat(256);
    for id in [
        "../outside",
        "..",
        ".",
        "",
        "/absolute",
        "a/b",
        "a/../../outside",
        "a b",
        "a\nb",
        "a%2fb",
        "\u{2024}\u{2024}",
        "é",
        &long,
    ] {
        for words in [&["run", id][..], &["state", id], &["delete", "--force", id], &["kill", id]] {
            let output = bundle.call(words);
            // `delete --force` of what is not there may succeed, as runc's does.
            let harmless = words[0] == "delete" && !id.contains('/');
            assert!(!output.status.success() || harmless, "{words:?}");
        }
    }
    assert_eq!(fs::read_to_string(outside.join("state.json")).unwrap(), "precious");
    assert!(!fs::exists("/absolute").unwrap());
    bundle.assert_nothing_left();
    // Nor is a link in the state directory taken for a container's.
    fs::create_dir_all(bundle.state_root()).unwrap();
    std::os::unix::fs::symlink(&outside, bundle.state_root().join("linked")).unwrap();
    for words in [&["state", "linked"][..], &["delete", "--force", "linked"], &["run", "linked"]] {
        assert!(!bundle.call(words).status.success(), "{words:?}");
    }
    assert_eq!(fs::read_to_string(outside.join("state.json")).unwrap(), "precious");
    fs::remove_file(bundle.state_root().join("linked")).unwrap();
}

#[test]
fn annotations_mean_nothing_to_the_runtime() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set(
        "/annotations",
        json!({
            "run.oci.keep_original_groups": "1",
            "run.oci.systemd.force_cgroup_v1": "/tmp",
            "run.oci.mount_context_type": "context",
            "org.systemd.property.ExecStart": "/bin/false",
            "run.oci.handler": "krun",
            "../../escape": "x",
            "": "",
        }),
    );
    bundle.script("id -G");
    assert_eq!(bundle.output(), "0\n");
}
