//! Hooks: when, where, with what, and what follows when one fails (config.md, "Hooks").

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;

use common::{Bundle, Value, eventually, json, text};

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that appends its kind, the state's status, and whether it shares the caller's mount
/// namespace and root to a file.
fn recording(bundle: &Bundle, kind: &str) -> Value {
    let log = if kind == "startContainer" { "/log".into() } else { bundle.rootfs().join("log") };
    let script = format!(
        "state=$(cat); status=${{state#*\\\"status\\\":\\\"}}; status=${{status%%\\\"*}}; \
         ns=host; [ \"$(readlink /proc/self/ns/mnt)\" = \"$HOST\" ] || ns=container; \
         case $state in *\\\"pid\\\":[1-9]*) pid=pid;; *) pid=none;; esac; \
         root=host; [ -e /bin/busybox ] && [ ! -e /usr ] && root=container; \
         echo {kind} $status $pid $ns $root >>{}",
        log.display()
    );
    let host = fs::read_link("/proc/self/ns/mnt").unwrap();
    json!({
        "path": "/bin/sh",
        "args": ["sh", "-c", script],
        "env": [format!("HOST={}", host.display()), "PATH=/usr/bin:/bin"],
    })
}

#[test]
fn all_six_run_in_their_order_and_place() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.rootfs().join("log"), "").unwrap();
    bundle.set("/root/readonly", json!(false)).set("/hooks", json!({}));
    for kind in KINDS {
        let hook = recording(&bundle, kind);
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    bundle.script("echo program >>/log; sleep 1000").write();
    let log = bundle.rootfs().join("log");
    let read = || fs::read_to_string(&log).unwrap();
    bundle.must(&["create", &bundle.id]);
    let created = "prestart creating pid host host\n\
                   createRuntime creating pid host host\n\
                   createContainer creating pid container host\n";
    assert_eq!(read(), created);
    bundle.must(&["start", &bundle.id]);
    eventually("the program runs", || read().contains("program"));
    eventually("poststart runs", || read().contains("poststart"));
    let mut lines: Vec<String> = read().lines().skip(3).map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "startContainer created pid container container");
    // The program and the poststart hook run at the same time.
    lines.sort();
    assert_eq!(lines, ["poststart running pid host host", "program"]);
    bundle.must(&["kill", &bundle.id, "KILL"]);
    eventually("it stops", || bundle.status() == "stopped");
    bundle.must(&["delete", &bundle.id]);
    assert!(read().ends_with("poststop stopped none host host\n"), "{}", read());
}

#[test]
fn hooks_in_the_container_are_told_its_own_process_id() {
    let Some(mut bundle) = Bundle::new() else { return };
    let log = bundle.path().join("log");
    let script = |log: &str| format!("grep -o '\"pid\":[0-9]*' >>{log}");
    let hook = |log: &str| {
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script(log)],
                                    "env": ["PATH=/usr/bin:/bin"] }])
    };
    let outside = log.to_str().unwrap();
    bundle.set(
        "/hooks",
        json!({ "createRuntime": hook(outside), "createContainer": hook(outside),
                                 "startContainer": hook("/log") }),
    );
    bundle.set("/root/readonly", json!(false)).script("cat /log");
    assert_eq!(bundle.output(), "\"pid\":1\n");
    let told = fs::read_to_string(&log).unwrap();
    let (runtime, container) = told.trim().split_once('\n').unwrap();
    assert_eq!(container, "\"pid\":1");
    assert_ne!(runtime, container);
}

#[test]
fn a_failure_before_the_start_leaves_nothing_and_says_why() {
    let Some(mut bundle) = Bundle::new() else { return };
    let mark = bundle.path().join("poststop-ran");
    for kind in &KINDS[..4] {
        fs::remove_file(&mark).ok();
        bundle.set("/hooks", json!({
            *kind: [{ "path": "/bin/sh", "args": ["sh", "-c", "echo out of luck >&2; exit 3"] }],
            "poststop": [{ "path": "/bin/sh", "args": ["sh", "-c", format!("echo >{}", mark.display())] }],
        }));
        let message = bundle.refusal();
        assert!(
            message.contains(&format!(
                "error running {kind} hook #0: /bin/sh exited with 3: out of luck"
            )),
            "{message}"
        );
        assert!(mark.exists(), "{kind}");
    }
}

#[test]
fn hooks_that_take_too_long_are_killed() {
    let Some(mut bundle) = Bundle::new() else { return };
    for kind in &KINDS[..4] {
        bundle.set(
            "/hooks",
            json!({ *kind: [{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }] }),
        );
        let message = bundle.refusal();
        assert!(message.contains("did not end within 1 s"), "{kind}: {message}");
    }
}

#[test]
fn a_missing_hook_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    for kind in &KINDS[..4] {
        bundle.set("/hooks", json!({ *kind: [{ "path": "/nosuch/hook" }] }));
        let message = bundle.refusal();
        assert!(message.contains("/nosuch/hook") && message.contains(kind), "{message}");
    }
}

#[test]
fn a_hook_that_fails_at_the_start_has_the_container_destroyed() {
    let Some(mut bundle) = Bundle::new() else { return };
    let mark = bundle.path().join("mark");
    bundle.args(&["/bin/sleep", "1000"]);
    let poststop = json!([
        { "path": "/bin/sh", "args": ["sh", "-c", format!("echo >>{}", mark.display())] },
        { "path": "/bin/false" },
    ]);
    let failing = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "exit 3"] }]);
    for kind in ["startContainer", "poststart"] {
        bundle.set("/hooks", json!({ kind: failing, "poststop": poststop }));
        let named = format!("{kind} hook #0: /bin/sh exited with 3");
        assert!(bundle.refusal().contains(&named));
        bundle.write();
        fs::remove_file(&mark).unwrap();
        bundle.must(&["create", &bundle.id]);
        assert!(!mark.exists());
        let output = bundle.call(&["start", &bundle.id]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stderr);
        assert!(told.contains(&named), "{told}");
        assert!(told.contains("poststop hook #1: /bin/false exited with 1"), "{told}");
        assert!(mark.exists(), "{kind}");
        let output = bundle.call(&["state", &bundle.id]);
        assert!(text(&output.stderr).contains("does not exist"), "{output:?}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_failing_poststop_hook_is_warned_of_and_the_next_runs() {
    let Some(mut bundle) = Bundle::new() else { return };
    let mark = bundle.path().join("mark");
    bundle.set(
        "/hooks",
        json!({ "poststop": [
        { "path": "/bin/false" },
        { "path": "/bin/sh", "args": ["sh", "-c", format!("echo >{}", mark.display())] },
    ] }),
    );
    let output = bundle.run();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stderr).contains("poststop hook #0: /bin/false"), "{output:?}");
    assert!(mark.exists());
}

#[test]
fn what_a_hook_mounts_in_the_root_is_seen_by_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !common::has("mount") {
        eprintln!("SKIPPED: mount(8) is not installed");
        return;
    }
    fs::create_dir(bundle.rootfs().join("mnt")).unwrap();
    let target = bundle.rootfs().join("mnt");
    bundle.set(
        "/hooks",
        json!({ "createContainer": [{
        "path": "/bin/sh",
        "args": ["sh", "-c", format!("mount -t tmpfs hooked {}", target.display())],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    }] }),
    );
    bundle.script("grep -c '^hooked /mnt' /proc/mounts");
    assert_eq!(bundle.output(), "1\n");
}

#[test]
fn a_failing_hook_is_told_by_its_place_in_the_list() {
    let Some(mut bundle) = Bundle::new() else { return };
    for kind in &KINDS[..5] {
        bundle.set("/hooks", json!({ *kind: [{ "path": "/bin/true" }, { "path": "/bin/false" }] }));
        let message = bundle.refusal();
        assert!(
            message.contains(&format!("error running {kind} hook #1: /bin/false")),
            "{message}"
        );
    }
}

#[test]
fn a_hook_in_the_programs_place_is_under_its_filter() {
    let Some(mut bundle) = Bundle::new() else { return };
    // `clone3` as the profiles of engines have it: the caller is to take the older call.
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
        ] }),
    );
    bundle.push("/process/rlimits", json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }));
    let hook =
        |words: &[&str]| json!({ "startContainer": [{ "path": "/bin/busybox", "args": words }] });
    for privileges in [true, false] {
        bundle.set("/process/noNewPrivileges", json!(!privileges));
        bundle.set("/hooks", hook(&["true"]));
        assert_eq!(bundle.output(), "");
        bundle.set("/hooks", hook(&["mkdir", "/dev/shm/made"]));
        let message = bundle.refusal();
        assert!(message.contains("startContainer hook #0: /bin/busybox was killed"), "{message}");
        assert!(message.contains("bad system call"), "{message}");
    }
}

#[test]
fn a_hook_that_is_given_no_environment_has_the_callers() {
    let Some(mut bundle) = Bundle::new() else { return };
    let report = bundle.path().join("report");
    bundle.set("/hooks", json!({})).script("exit 0");
    let stages = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for stage in stages {
        let script = format!("echo {stage} $CALLERS >>{}", report.display());
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        bundle.set(&format!("/hooks/{stage}"), hook);
    }
    bundle.write();
    let output = std::process::Command::new(common::RUNTIME)
        .arg("--root")
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.path())
        .env("CALLERS", "variable")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let wanted: String = stages.map(|stage| format!("{stage} variable\n")).concat();
    assert_eq!(fs::read_to_string(&report).unwrap(), wanted);
}
