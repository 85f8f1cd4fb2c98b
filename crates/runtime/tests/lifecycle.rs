//! The life of a container (runtime.md, "Operations"), and what runc added.

mod common;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use common::{Bundle, Value, eventually, json, text};

#[test]
fn create_start_kill_delete() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("echo started >/tmp/mark; exec sleep 1000").set("/root/readonly", json!(false));
    bundle.write();
    let pid_file = bundle.path().join("pid");
    bundle.must(&["create", "--pid-file", pid_file.to_str().unwrap(), &bundle.id]);
    assert_eq!(bundle.status(), "created");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), bundle.pid().to_string());
    let mark = bundle.rootfs().join("tmp/mark");
    std::thread::sleep(Duration::from_millis(50));
    assert!(!mark.exists(), "the program ran before `start`");
    // What changes now is too late.
    fs::write(bundle.path().join("config.json"), "{}").unwrap();
    let again = bundle.call(&["create", &bundle.id]);
    assert!(text(&again.stderr).contains(&bundle.id) || !again.status.success());

    bundle.must(&["start", &bundle.id]);
    eventually("the program runs", || mark.exists());
    assert_eq!(bundle.status(), "running");
    assert!(!bundle.call(&["start", &bundle.id]).status.success());
    let refused = bundle.call(&["delete", &bundle.id]);
    assert!(text(&refused.stderr).contains("it is running"), "{refused:?}");

    bundle.must(&["kill", &bundle.id, "KILL"]);
    eventually("it stops", || bundle.status() == "stopped");
    let refused = bundle.call(&["kill", &bundle.id, "TERM"]);
    assert!(text(&refused.stderr).contains("not running"), "{refused:?}");
    bundle.must(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
    let gone = bundle.call(&["state", &bundle.id]);
    assert!(text(&gone.stderr).contains("does not exist"), "{gone:?}");
    assert!(!bundle.call(&["delete", &bundle.id]).status.success());
    bundle.must(&["delete", "--force", &bundle.id]);
}

#[test]
fn an_id_in_use_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let output = bundle.call(&["run", &bundle.id]);
    assert!(text(&output.stderr).contains("exists"), "{output:?}");
    assert_eq!(bundle.status(), "running");
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_failure_at_start_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.rootfs().join("bin/script"), "#!/bin/nosuch\n").unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(bundle.rootfs().join("bin/script"), mode).unwrap();
    bundle.args(&["/bin/script"]).write();
    bundle.must(&["create", &bundle.id]);
    let output = bundle.call(&["start", &bundle.id]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("/bin/script"), "{output:?}");
    eventually("it stops", || bundle.status() == "stopped");
    bundle.must(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn state_and_list_say_what_is_known() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/annotations", json!({ "a.b": "c" }));
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let state: Value = serde_json::from_str(&bundle.must(&["state", &bundle.id])).unwrap();
    assert_eq!(state["id"], json!(bundle.id));
    assert_eq!(state["bundle"], json!(bundle.path()));
    assert_eq!(state["rootfs"], json!(bundle.rootfs()));
    assert_eq!(state["annotations"], json!({ "a.b": "c" }));
    assert_eq!(state["ociVersion"], json!("1.0.2"));
    let list: Value = serde_json::from_str(&bundle.must(&["list", "--format", "json"])).unwrap();
    assert_eq!(list, json!([state]));
    assert_eq!(bundle.must(&["list", "-q"]), format!("{}\n", bundle.id));
    assert!(bundle.must(&["list"]).starts_with("ID  "));
    let pids: Vec<i32> =
        serde_json::from_str(&bundle.must(&["ps", "-f", "json", &bundle.id])).unwrap();
    assert_eq!(pids, [bundle.pid()]);
    assert!(bundle.must(&["ps", &bundle.id, "-o", "pid,args"]).contains("sleep 1000"));
    let statistics: Value =
        serde_json::from_str(&bundle.must(&["events", "--stats", &bundle.id])).unwrap();
    assert_eq!(statistics["data"]["pids"]["current"], json!(1));
}

#[test]
fn a_reused_process_id_is_not_mistaken_for_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let path = bundle.state_root().join(&bundle.id).join("process");
    let pid = bundle.pid();
    // The note of the birth begins with the process' id.
    let write = |pid: i32| {
        let mut note = fs::read(&path).unwrap();
        assert_eq!(note.len(), 24);
        note[..4].copy_from_slice(&pid.to_ne_bytes());
        fs::write(&path, note).unwrap();
    };
    // As if that process were gone and the id this test's own now.
    write(std::process::id() as i32);
    assert_eq!(bundle.status(), "stopped");
    assert!(!bundle.call(&["kill", &bundle.id, "KILL"]).status.success());
    write(pid);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn exec_starts_a_process_in_all_namespaces_and_the_cgroup() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace().namespace("cgroup", None).namespace("time", None);
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let script = "for n in pid net ipc uts mnt user cgroup time; do \
                  [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done; \
                  diff /proc/1/cgroup /proc/self/cgroup >/dev/null 2>&1; \
                  cat /proc/1/cgroup | head -c 0; grep Cap /proc/self/status >/tmp/s 2>/dev/null; \
                  cat /proc/1/cgroup >/dev/null; echo done";
    let output = bundle.exec(&["/bin/sh", "-c", script]);
    assert_eq!(text(&output.stdout), "done\n", "{output:?}");
    let cgroups =
        |which: &str| text(&bundle.exec(&["/bin/cat", &format!("/proc/{which}/cgroup")]).stdout);
    assert_eq!(cgroups("1"), cgroups("self"));
}

#[test]
fn exec_passes_codes_environment_and_user() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    assert_eq!(bundle.exec(&["/bin/sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(bundle.exec(&["nosuch"]).status.code(), Some(255));
    assert_eq!(bundle.exec(&["/etc/passwd"]).status.code(), Some(255));
    assert_eq!(bundle.exec(&["/bin/sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    let output = bundle.call(&[
        "exec",
        "-e",
        "A=b",
        "--cwd",
        "/tmp",
        "-u",
        "1000:7",
        "-g",
        "9",
        "-c",
        "CAP_NET_RAW",
        &bundle.id,
        "/bin/sh",
        "-c",
        "echo $A $HOME; pwd; id -u; id -g; grep -E 'Groups|CapBnd' /proc/self/status",
    ]);
    assert_eq!(
        text(&output.stdout),
        "b /home\n/tmp\n1000\n7\nGroups:\t9 \nCapBnd:\t0000000020002420\n",
        "{output:?}"
    );
    let process = bundle.path().join("process.json");
    fs::write(
        &process,
        json!({ "user": { "uid": 5, "gid": 0 }, "cwd": "/", "args": ["/bin/id", "-u"] })
            .to_string(),
    )
    .unwrap();
    assert_eq!(bundle.must(&["exec", "--process", process.to_str().unwrap(), &bundle.id]), "5\n");
    let refused = bundle.call(&["exec", "-u", "root", &bundle.id, "id"]);
    assert!(text(&refused.stderr).contains("UID[:GID]"), "{refused:?}");
}

#[test]
fn exec_can_be_left_alone() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let pid_file = bundle.path().join("exec.pid");
    let status = bundle
        .runtime(&[
            "exec",
            "-d",
            "--pid-file",
            pid_file.to_str().unwrap(),
            &bundle.id,
            "/bin/sleep",
            "999",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let pid = fs::read_to_string(pid_file).unwrap();
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(command, "/bin/sleep\u{0}999\u{0}");
    assert!(bundle.must(&["ps", "-f", "json", &bundle.id]).contains(&pid));
}

#[test]
fn a_paused_container_stands_still_and_can_be_deleted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    bundle.must(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    assert!(text(&bundle.exec(&["true"]).stderr).contains("in a paused container"));
    assert!(!bundle.call(&["pause", &bundle.id]).status.success());
    bundle.must(&["resume", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    assert!(!bundle.call(&["resume", &bundle.id]).status.success());
    bundle.must(&["pause", &bundle.id]);
    bundle.must(&["kill", &bundle.id, "KILL"]);
    eventually("it dies though it was frozen", || bundle.status() == "stopped");
    bundle.must(&["delete", &bundle.id]);
    bundle.start_detached();
    bundle.must(&["pause", &bundle.id]);
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn every_process_is_reached_through_the_cgroup() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid");
    bundle.script("sleep 1000 & sleep 1000 & echo ready >/tmp/ready; wait");
    bundle.set("/root/readonly", json!(false)).start_detached();
    eventually("all run", || bundle.rootfs().join("tmp/ready").exists());
    let pids = || -> Vec<i32> {
        serde_json::from_str(&bundle.must(&["ps", "-f", "json", &bundle.id])).unwrap()
    };
    let all = pids();
    assert_eq!(all.len(), 3);
    bundle.must(&["kill", "--all", &bundle.id, "KILL"]);
    let alive = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| !text.contains(") Z "))
    };
    eventually("all die", || !all.iter().any(alive));
    bundle.must(&["delete", &bundle.id]);
    // Those that outlive the first process die with the container.
    bundle.script("sleep 1000 & echo $! >/tmp/pid; exit 0").start_detached();
    eventually("it stops", || bundle.status() == "stopped");
    let pid: i32 =
        fs::read_to_string(bundle.rootfs().join("tmp/pid")).unwrap().trim().parse().unwrap();
    assert!(alive(&pid));
    bundle.must(&["delete", &bundle.id]);
    assert!(!alive(&pid));
    bundle.assert_nothing_left();
}

#[test]
fn limits_are_set_and_changed() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/resources/memory", json!({ "limit": 67_108_864 }));
    bundle.set("/linux/resources/pids", json!({ "limit": 20 }));
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let read = |names: [&str; 2]| {
        let found = bundle.cgroups().iter().find_map(|directory| {
            names.iter().find_map(|name| fs::read_to_string(directory.join(name)).ok())
        });
        found.unwrap().trim().to_owned()
    };
    let memory = ["memory.limit_in_bytes", "memory.max"];
    // The memory hierarchy may have this test's own group in between, so that it is found by path.
    let directories = bundle.cgroups();
    if directories.iter().any(|d| memory.iter().any(|name| d.join(name).exists())) {
        assert_eq!(read(memory), "67108864");
        bundle.must(&["update", "--memory", "96m", &bundle.id]);
        assert_eq!(read(memory), "100663296");
    }
    assert_eq!(read(["pids.max"; 2]), "20");
    bundle.must(&["update", "--pids-limit", "30", &bundle.id]);
    assert_eq!(read(["pids.max"; 2]), "30");
    bundle.script("for i in 1 2 3 4 5 6; do sleep 5 & done; wait");
}

#[test]
fn a_tiny_memory_limit_is_enough_to_start() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/resources/memory", json!({ "limit": 4_194_304 }));
    bundle.script("echo fine");
    assert_eq!(bundle.output(), "fine\n");
}

#[test]
fn signals_to_the_foreground_go_to_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script(
        "trap 'echo got; exit 5' TERM; echo ready >/tmp/ready; while :; do sleep 0.05; done",
    );
    bundle.set("/root/readonly", json!(false)).write();
    let mut child = bundle.runtime(&["run", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("it runs", || bundle.rootfs().join("tmp/ready").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut printed = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut printed).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(printed, "got\n");
    bundle.assert_nothing_left();
}

#[test]
fn keep_leaves_the_stopped_container() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.write();
    bundle.must(&["run", "--keep", &bundle.id]);
    assert_eq!(bundle.status(), "stopped");
    bundle.must(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn the_log_is_json_when_asked_for() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["nosuch"]).write();
    let log = bundle.path().join("log");
    let output = bundle.call(&[
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "create",
        &bundle.id,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let line: Value = serde_json::from_str(fs::read_to_string(log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], json!("error"));
    assert!(line["msg"].as_str().unwrap().contains("executable file not found in $PATH"));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_creator_that_is_killed_leaves_what_can_be_deleted() {
    let Some(mut bundle) = Bundle::new() else { return };
    // A hook that waits holds the creation up at a known point.
    bundle.set(
        "/hooks",
        json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "20"] }] }),
    );
    bundle.write();
    let mut child = bundle
        .runtime(&["create", &bundle.id])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is being created", || {
        let output = bundle.call(&["state", &bundle.id]);
        output.status.success() && text(&output.stdout).contains("creating")
    });
    assert!(!bundle.call(&["delete", &bundle.id]).status.success());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the new process goes with its maker", || bundle.status() == "stopped");
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("exit 4").write();
    let template = bundle.spec["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
    let children: Vec<_> = (0..16)
        .map(|number| {
            let directory = bundle.path().join(format!("bundle-{number}"));
            fs::create_dir(&directory).unwrap();
            let mut spec = bundle.spec.clone();
            spec["linux"]["cgroupsPath"] = json!(format!("{template}-{number}"));
            spec["root"]["path"] = json!(bundle.rootfs());
            fs::write(directory.join("config.json"), spec.to_string()).unwrap();
            let id = format!("{}-{number}", bundle.id);
            bundle
                .runtime(&["run", &id, "-b", directory.to_str().unwrap()])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{output:?}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn exec_runs_on_the_processors_that_it_is_given() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let process = bundle.path().join("process.json");
    let with = |affinity: Value| {
        let process_spec = json!({
            "user": { "uid": 0, "gid": 0 },
            "cwd": "/",
            "args": ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"],
            "execCPUAffinity": affinity,
        });
        fs::write(&process, process_spec.to_string()).unwrap();
        bundle.must(&["exec", "--process", process.to_str().unwrap(), &bundle.id])
    };
    assert_eq!(with(json!({ "initial": "0" })), "Cpus_allowed_list:\t0\n");
    assert_eq!(with(json!({ "final": "0" })), "Cpus_allowed_list:\t0\n");
    assert_eq!(with(json!({ "initial": "0", "final": "" })), "Cpus_allowed_list:\t0\n");
}

#[test]
fn a_cgroup_of_somebody_elses_is_refused_and_left_alone() {
    let (Some(mut bundle), Some(mut other)) = (Bundle::new(), Bundle::new()) else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let cgroups = bundle.cgroups();
    other.set("/linux/cgroupsPath", json!(format!("/{}", bundle.id))).write();
    for command in ["create", "run"] {
        let output = other.call(&[command, &other.id]);
        assert!(!output.status.success(), "{output:?}");
        assert!(text(&output.stderr).contains(&bundle.id), "{output:?}");
        other.assert_nothing_left();
    }
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.cgroups(), cgroups);
}

#[test]
fn a_limit_that_fails_takes_the_process_down() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/resources/cpu", json!({ "cpus": "100000" }));
    let message = bundle.refusal();
    assert!(message.contains("cpuset.cpus"), "{message}");
}
