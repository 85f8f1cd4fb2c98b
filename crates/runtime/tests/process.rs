//! What `process` of the configuration does (config.md, "Process").

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use common::{Bundle, Value, json, text};

#[test]
fn the_exit_code_is_the_programs() {
    let Some(mut bundle) = Bundle::new() else { return };
    assert_eq!(bundle.script("exit 7").run().status.code(), Some(7));
    assert_eq!(bundle.script("kill -9 $$; kill -TERM $$; exit 3").run().status.code(), Some(3));
    bundle.without_namespace("pid");
    assert_eq!(bundle.script("kill -9 $$").run().status.code(), Some(137));
}

#[test]
fn the_program_gets_its_arguments_environment_and_directory() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("echo \"$0|$1|$A|$HOME\"; pwd; umask");
    bundle.push("/process/args", json!("zero")).push("/process/args", json!("a b"));
    bundle.push("/process/env", json!("A=b=c"));
    bundle.set("/process/cwd", json!("/tmp"));
    assert_eq!(
        bundle.output(),
        "zero|a b|b=c|/root\n/tmp\n0022\nnot a tty\n".replace("not a tty\n", "")
    );
}

#[test]
fn home_is_the_users_and_a_given_one_stays() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("echo $HOME");
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(bundle.output(), "/home\n");
    bundle.set("/process/user", json!({ "uid": 4711, "gid": 1000 }));
    assert_eq!(bundle.output(), "/\n");
    bundle.push("/process/env", json!("HOME=/given"));
    assert_eq!(bundle.output(), "/given\n");
}

#[test]
fn the_program_runs_as_the_user_with_groups_and_umask() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("id -u; id -g; grep ^Groups /proc/self/status; umask");
    bundle.set(
        "/process/user",
        json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o77 }),
    );
    assert_eq!(bundle.output(), "1000\n1001\nGroups:\t5 7 \n0077\n");
}

fn capabilities(bundle: &mut Bundle, uid: u32, sets: &Value) -> Vec<u64> {
    bundle.script("grep ^Cap /proc/1/status | cut -f2");
    bundle.set("/process/user", json!({ "uid": uid, "gid": 0 }));
    bundle.set("/process/capabilities", sets.clone());
    let output = bundle.output();
    output.lines().map(|line| u64::from_str_radix(line, 16).unwrap()).collect()
}

#[test]
fn all_five_capability_sets_are_set() {
    let Some(mut bundle) = Bundle::new() else { return };
    let (kill, raw, chown) = (1 << 5, 1 << 13, 1 << 0);
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_NET_RAW", "CAP_CHOWN"],
        "permitted": ["CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_KILL", "CAP_NET_RAW"],
        "inheritable": ["CAP_NET_RAW"],
        "ambient": ["CAP_NET_RAW"],
    });
    // In the order inheritable, permitted, effective, bounding, ambient, after exec.
    let all = kill | raw | chown;
    assert_eq!(capabilities(&mut bundle, 0, &sets), [raw, kill | raw, kill | raw, all, raw]);
    assert_eq!(capabilities(&mut bundle, 1000, &sets), [raw, raw, raw, all, raw]);
    assert_eq!(capabilities(&mut bundle, 0, &json!({})), [0, 0, 0, 0, 0]);
}

#[test]
fn an_unknown_capability_is_warned_of_and_ignored() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.push("/process/capabilities/bounding", json!("CAP_MOON"));
    let output = bundle.run();
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("CAP_MOON"), "{output:?}");
}

#[test]
fn limits_and_scores_are_set() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ulimit -n; ulimit -Hn; ulimit -f; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat");
    bundle.set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_FSIZE", "soft": 1_048_576, "hard": 1_048_576 },
        ]),
    );
    bundle.set("/process/oomScoreAdj", json!(321));
    bundle.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
    bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
    assert_eq!(bundle.output(), "100\n200\n2048\n321\n5\n");
}

#[test]
fn the_execution_domain_is_set() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("cat /proc/self/personality");
    bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    assert_eq!(bundle.output(), "00000008\n");
    bundle.set("/linux/personality", json!({ "domain": "BSD" }));
    assert!(bundle.refusal().contains("linux.personality.domain"));
}

#[test]
fn no_new_privileges_and_the_filter_are_in_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; mkdir /tmp/x; echo $?");
    bundle.set("/root/readonly", json!(false));
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5 }],
        }),
    );
    for (no_new, user) in [(true, 0), (false, 0), (false, 1000), (true, 1000)] {
        bundle.set("/process/noNewPrivileges", json!(no_new));
        bundle.set("/process/user", json!({ "uid": user, "gid": 0 }));
        let output = bundle.output();
        assert_eq!(output, format!("NoNewPrivs:\t{}\nSeccomp:\t2\n1\n", i32::from(no_new)));
    }
}

#[test]
fn a_strict_filter_needs_to_allow_the_programs_calls_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    // What busybox' `true` needs and no more: above all none of the runtime's own calls.
    let calls = [
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "mprotect",
        "exit_group",
        "mmap",
        "munmap",
        "uname",
        "getuid",
        "getgid",
        "geteuid",
        "getegid",
        "prctl",
        "newfstatat",
        "fstat",
        "read",
        "close",
    ];
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_KILL_PROCESS",
            "syscalls": [{ "names": calls, "action": "SCMP_ACT_ALLOW" }],
        }),
    );
    assert_eq!(bundle.run().status.code(), Some(0));
}

#[test]
fn a_program_that_is_missing_or_cannot_run_is_an_error_of_the_runtimes_own() {
    let Some(mut bundle) = Bundle::new() else { return };
    std::fs::write(bundle.rootfs().join("bin/plain"), "text").unwrap();
    for (args, words) in [
        (&["nosuch"][..], "executable file not found in $PATH"),
        (&["/bin/nosuch"], "No such file or directory"),
        (&["/bin/plain"], "Permission denied"),
        (&["plain"], "Permission denied"),
        (&["/tmp"], "Permission denied"),
    ] {
        bundle.args(args);
        let output = bundle.run();
        assert_eq!(output.status.code(), Some(1), "{args:?} {output:?}");
        assert!(text(&output.stderr).contains(words), "{args:?} {output:?}");
        // `create` tells as much.
        let output = bundle.call(&["create", &bundle.id]);
        assert_eq!(output.status.code(), Some(1), "{args:?} {output:?}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_working_directory_is_made_if_it_is_missing() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("pwd").set("/process/cwd", json!("/made/deep"));
    bundle.set("/root/readonly", json!(false));
    assert_eq!(bundle.output(), "/made/deep\n");
    // In a root that becomes read-only it is made before.
    bundle.set("/root/readonly", json!(true)).set("/process/cwd", json!("/made/deeper"));
    assert_eq!(bundle.output(), "/made/deeper\n");
}

#[test]
fn errors_in_the_configuration_name_the_property() {
    let Some(mut bundle) = Bundle::new() else { return };
    for (pointer, value, words) in [
        ("/process/args", json!([1]), "process.args[0]"),
        ("/process/args", json!([]), "process.args"),
        ("/process/cwd", json!("tmp"), "process.cwd"),
        ("/process/user", json!({ "uid": -1, "gid": 0 }), "process.user.uid"),
        (
            "/process/rlimits",
            json!([{ "type": "X", "soft": 1, "hard": 1 }]),
            "process.rlimits[0].type",
        ),
        ("/linux/namespaces", json!([{ "type": "moon" }]), "linux.namespaces[0].type"),
        ("/process/apparmorProfile", json!("x"), "process.apparmorProfile"),
        ("/process/selinuxLabel", json!("x"), "process.selinuxLabel"),
        ("/linux/sysctl", json!({ "vm.swappiness": "1" }), "linux.sysctl.vm.swappiness"),
        ("/linux/rootfsPropagation", json!("odd"), "linux.rootfsPropagation"),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/root/path", json!("nowhere"), "root.path"),
        (
            "/mounts",
            json!([{ "destination": "/x", "options": ["bind"], "source": "/nowhere" }]),
            "mounts[0].source",
        ),
        ("/mounts", json!([{ "destination": "/x" }]), "mounts[0].type"),
        ("/hooks", json!({ "poststop": [{ "path": "x" }] }), "hooks.poststop[0].path"),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_X" }), "linux.seccomp.defaultAction"),
    ] {
        let before = bundle.spec.clone();
        bundle.set(pointer, value);
        let message = bundle.refusal();
        assert!(message.contains(words), "{pointer}: {message}");
        bundle.spec = before;
    }
    bundle.write();
    std::fs::write(bundle.path().join("config.json"), "{\"ociVersion\":").unwrap();
    assert!(!bundle.call(&["run", &bundle.id]).status.success());
    std::fs::remove_file(bundle.path().join("config.json")).unwrap();
    let output = bundle.call(&["run", &bundle.id]);
    assert!(text(&output.stderr).contains("config.json"), "{output:?}");
}

#[test]
fn descriptors_are_kept_by_count_and_no_other_is() {
    let Some(mut bundle) = Bundle::new() else { return };
    let script = "ls /proc/self/fd | tr '\\n' ' '; cat <&3 | head -n 1";
    bundle.args(&["/bin/sh", "-c", &script.replace("tr '\\n' ' '", "wc -l")]);
    bundle.write();
    // Descriptor 3 is to be kept, 4 is not.
    let run = |words: &str| {
        let command = format!(
            "exec 3<etc-passwd 4<etc-passwd; exec {} --root {} run {words} {}",
            common::RUNTIME,
            bundle.state_root().display(),
            bundle.id
        );
        std::fs::copy(bundle.rootfs().join("etc/passwd"), bundle.path().join("etc-passwd"))
            .unwrap();
        std::process::Command::new("sh")
            .args(["-c", &command])
            .current_dir(bundle.path())
            .output()
            .unwrap()
    };
    let output = run("--preserve-fds 1");
    // The three streams, the kept one, and that of the directory being listed.
    assert_eq!(text(&output.stdout), "5\nroot:x:0:0:root:/root:/bin/sh\n", "{output:?}");
    let output = run("--preserve-fds 9");
    assert!(text(&output.stderr).contains("cannot keep descriptor"), "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn what_the_caller_ignores_or_blocks_the_program_does_not() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/grep", "-E", "SigIgn|SigBlk", "/proc/self/status"]).write();
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' TERM HUP PIPE USR1; exec \"$@\"", "sh", common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    let masks: Vec<u64> = printed
        .lines()
        .map(|line| u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap())
        .collect();
    assert_eq!(masks.len(), 2, "{output:?}");
    assert!(masks.iter().all(|&mask| mask == 0), "{printed}");
}

#[test]
fn calls_that_the_profile_wants_asked_about_go_to_the_listener() {
    use std::io::{IoSliceMut, Read as _};
    let Some(mut bundle) = Bundle::new() else { return };
    let path = bundle.path().join("listener.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.set("/root/readonly", json!(false));
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path,
            "listenerMetadata": "something",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    bundle.script("mkdir /tmp/x; echo $?").write();
    let child =
        bundle.runtime(&["run", &bundle.id]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut text = vec![0u8; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut text)];
    let flags = rustix::net::RecvFlags::empty();
    let length = rustix::net::recvmsg(&stream, &mut data, &mut control, flags).unwrap().bytes;
    text.truncate(length);
    stream.read_to_end(&mut text).unwrap();
    let state: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], json!("something"));
    assert_eq!(state["state"]["id"], json!(bundle.id));
    assert!(state["pid"].as_i64().unwrap() > 0);
    // A listener that goes away answers every question with ENOSYS.
    drop(control);
    let output = child.wait_with_output().unwrap();
    assert_eq!(common::text(&output.stdout), "1\n", "{output:?}");
}
