//! What the kernel keeps of a process beside its ids: processors, scheduling, memory, keys, labels,
//! and the filter's listener (config.md, "Linux Process"; config-linux.md).

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::io::{IoSliceMut, Read as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use common::{Bundle, Value, json, text};

#[test]
fn the_runtimes_own_processors_are_not_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
    if !common::has("taskset") || own.ends_with("\t0") {
        eprintln!("SKIPPED: taskset is not installed, or there is one processor only");
        return;
    }
    // What is meant for exec is not for the first process.
    bundle.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    bundle.args(&["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]).write();
    let output = Command::new("taskset")
        .args(["-c", "0", common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout).trim(), own, "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn a_deadline_on_some_processors_only_is_refused_with_the_reason() {
    let Some(mut bundle) = Bundle::new() else { return };
    let own = fs::read_to_string("/proc/self/status").unwrap();
    if own.lines().any(|line| line == "Cpus_allowed_list:\t0") {
        eprintln!("SKIPPED: there is one processor only");
        return;
    }
    bundle.set("/linux/resources/cpu", json!({ "cpus": "0" }));
    bundle.set(
        "/process/scheduler",
        json!({ "policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 1_000_000,
                "period": 1_000_000 }),
    );
    let message = bundle.refusal();
    assert!(message.contains("set process.scheduler"), "{message}");
    assert!(message.contains("can't be used together with AllowedCPUs"), "{message}");
}

#[test]
fn scheduling_is_as_the_configuration_says() {
    let Some(mut bundle) = Bundle::new() else { return };
    // The policy, the real-time priority and the niceness.
    bundle.script("cut -d' ' -f19,40,41 /proc/self/stat; true");
    for (scheduler, shown) in [
        (json!({ "policy": "SCHED_IDLE" }), "0 0 5\n"),
        (json!({ "policy": "SCHED_OTHER", "nice": -7 }), "-7 0 0\n"),
        (
            json!({ "policy": "SCHED_OTHER", "nice": -7, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }),
            "0 0 0\n",
        ),
    ] {
        bundle.set("/process/scheduler", scheduler.clone());
        let printed = bundle.output();
        // The script's `cut` is a child, for which the flag takes the niceness back.
        assert_eq!(printed, shown, "{scheduler}");
    }
    for (scheduler, words) in [
        (json!({ "policy": "SCHED_ISO" }), "set process.scheduler"),
        (json!({ "policy": "SCHED_OTHER", "priority": 3 }), "set process.scheduler"),
        (json!({ "policy": "SCHED_OTHER", "nice": 40 }), "process.scheduler.nice"),
        (json!({ "policy": "SCHED_RR", "period": 4 }), "process.scheduler.runtime"),
        (json!({ "policy": "SCHED_OTHER", "flags": ["X"] }), "process.scheduler.flags"),
    ] {
        bundle.set("/process/scheduler", scheduler);
        let message = bundle.refusal();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn the_io_priority_is_the_programs() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/busybox", "ionice"]);
    bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
    assert_eq!(bundle.output(), "best-effort: prio 6\n");
    bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }));
    assert!(bundle.refusal().contains("process.ioPriority.priority"));
}

#[test]
fn the_memory_policy_is_in_force_for_exec_too() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        eprintln!("SKIPPED: this kernel has no NUMA");
        return;
    }
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.set(
        "/linux/memoryPolicy",
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
    );
    bundle.start_detached();
    for place in ["/proc/1/numa_maps", "/proc/self/numa_maps"] {
        let output = bundle.exec(&["head", "-n", "1", place]);
        assert!(text(&output.stdout).contains("bind=static:0"), "{output:?}");
    }
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_LOCAL" }));
    bundle.args(&["/bin/head", "-n", "1", "/proc/self/numa_maps"]);
    assert!(bundle.output().contains(" local "));
    bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND" }));
    assert!(bundle.refusal().contains("linux.memoryPolicy"));
}

#[test]
fn the_session_keyring_is_new_and_has_the_containers_name() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !fs::read_to_string("/proc/keys").is_ok_and(|keys| keys.contains("keyring")) {
        eprintln!("SKIPPED: this kernel has no keyrings");
        return;
    }
    bundle.set("/linux/maskedPaths", json!([]));
    bundle.args(&["/bin/grep", "-o", "_ses[^:]*:", "/proc/keys"]);
    // Every key that may be seen is listed, other containers' among them.
    let printed = bundle.output();
    assert!(printed.contains(&format!("_ses.{}:\n", bundle.id)), "{printed}");
}

#[test]
fn labels_are_refused_where_nothing_would_enforce_them() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        bundle.set("/process/apparmorProfile", json!("some-profile"));
        assert!(bundle.refusal().contains("process.apparmorProfile is not supported"));
        // Nothing is confined there anyway.
        bundle.set("/process/apparmorProfile", json!("unconfined"));
        assert!(bundle.run().status.success());
    }
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        bundle.set("/process/selinuxLabel", json!("a:b:c:s0"));
        assert!(bundle.refusal().contains("process.selinuxLabel is not supported"));
        bundle.set("/process/selinuxLabel", json!(""));
        bundle.set("/linux/mountLabel", json!("a:b:c:s0"));
        assert!(bundle.refusal().contains("linux.mountLabel is not supported"));
    }
}

#[test]
fn resource_groups_need_their_file_system() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/intelRdt", json!({ "closID": "a/b" }));
    assert!(bundle.refusal().contains("linux.intelRdt.closID"));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if mounts.contains(" - resctrl ") {
        eprintln!("SKIPPED: a resctrl file system is mounted, which is the host's");
        return;
    }
    bundle.set("/linux/intelRdt", json!({ "closID": "gold", "schemata": ["L3:0=f"] }));
    let message = bundle.refusal();
    assert!(message.contains("linux.intelRdt is not supported: no resctrl"), "{message}");
}

#[test]
fn warnings_are_given_for_what_cannot_be_granted_and_for_nothing_else() {
    let Some(mut bundle) = Bundle::new() else { return };
    let all = json!(["CAP_KILL"]);
    bundle.set("/process/capabilities", json!({ "bounding": all, "permitted": all, "effective": all, "inheritable": all, "ambient": all }));
    assert_eq!(text(&bundle.run().stderr), "");
    bundle.set("/process/capabilities/inheritable", json!([]));
    let output = bundle.run();
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("CAP_KILL cannot be ambient"), "{output:?}");
}

/// Takes one connection, and gives what came over it.
fn state_of(listener: &UnixListener) -> Value {
    let (mut stream, _) = listener.accept().unwrap();
    let mut text = vec![0u8; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut text)];
    let flags = rustix::net::RecvFlags::empty();
    let length = rustix::net::recvmsg(&stream, &mut data, &mut control, flags).unwrap().bytes;
    text.truncate(length);
    stream.read_to_end(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn the_listener_is_told_of_every_process_and_of_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    let path = bundle.path().join("listener.sock");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path,
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    // Longer than what one message of a stream takes.
    bundle.set("/annotations", json!({ "long": "x".repeat(1 << 20) }));
    bundle.args(&["/bin/sleep", "1000"]).write();
    let mut child =
        bundle.runtime(&["run", "--detach", &bundle.id]).stdout(Stdio::null()).spawn().unwrap();
    let first = state_of(&listener);
    assert!(child.wait().unwrap().success());
    assert_eq!(first["state"]["status"], json!("creating"));
    assert_eq!(first["state"]["pid"], first["pid"]);
    assert_eq!(first["pid"], json!(bundle.pid()));
    assert_eq!(first["state"]["annotations"]["long"].as_str().unwrap().len(), 1 << 20);
    let child = bundle.runtime(&["exec", &bundle.id, "/bin/true"]).spawn().unwrap();
    let second = state_of(&listener);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(second["state"]["status"], json!("running"));
    assert_eq!(second["state"]["pid"], first["pid"]);
    assert_ne!(second["pid"], first["pid"]);
}

#[test]
fn a_listener_that_nobody_asks_is_not_looked_for() {
    let Some(mut bundle) = Bundle::new() else { return };
    let rule = |action: &str| json!([{ "names": ["mkdir"], "action": action }]);
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nosuch/socket",
                "syscalls": rule("SCMP_ACT_ERRNO") }),
    );
    assert!(bundle.run().status.success());
    bundle.set("/linux/seccomp/syscalls", rule("SCMP_ACT_NOTIFY"));
    assert!(bundle.refusal().contains("linux.seccomp.listenerPath /nosuch/socket"));
    bundle.spec["linux"]["seccomp"].as_object_mut().unwrap().remove("listenerPath");
    assert!(bundle.refusal().contains("linux.seccomp.listenerPath: is missing"));
    bundle.set("/linux/seccomp/syscalls", json!([]));
    bundle.set("/linux/seccomp/listenerMetadata", json!("x"));
    assert!(bundle.refusal().contains("linux.seccomp.listenerMetadata"));
}
