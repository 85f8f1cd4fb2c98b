//! The command line beyond a container's life: what runc and crun offer around it.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bundle, RUNTIME, Value, eventually, json, text};

fn sleeping() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    Some(bundle)
}

#[test]
fn every_command_explains_itself() {
    let help = |words: &[&str]| {
        let output = Command::new(RUNTIME).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?} {output:?}");
        text(&output.stdout)
    };
    let all = help(&["--help"]);
    assert!(all.starts_with("NAME:\n"), "{all}");
    let list = all.split("COMMANDS:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> =
        list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(commands.len() >= 18, "{commands:?}");
    for command in commands {
        assert!(!help(&[command, "-h"]).is_empty());
        let own = help(&[command, "--help"]);
        assert!(own.contains(&format!("berth-runtime {command}")), "{own}");
    }
    let output = Command::new(RUNTIME).args(["fly", "-h"]).output().unwrap();
    assert!(text(&output.stderr).contains("No help topic for 'fly'"), "{output:?}");
}

#[test]
fn a_regular_expression_selects_containers() {
    let Some(mut bundle) = sleeping() else { return };
    let other = format!("{}-other", bundle.id);
    bundle.set("/linux/cgroupsPath", json!(format!("/{other}"))).write();
    bundle.must(&["create", &other]);
    let ids = || bundle.must(&["list", "-q"]).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(ids(), [bundle.id.clone(), other.clone()]);
    bundle.must(&["kill", "--regex", "nosuch.*", "KILL"]);
    bundle.must(&["delete", "--regex", "--force", "^nosuch$"]);
    assert_eq!(ids().len(), 2);
    bundle.must(&["kill", "--regex", "^brt-[0-9]+-[0-9]+$", "KILL"]);
    eventually("the one that matches ends", || bundle.status() == "stopped");
    let output = bundle.call(&["delete", "--regex", "("]);
    assert!(text(&output.stderr).contains("a ) is missing"), "{output:?}");
    bundle.must(&["delete", "-f", "-r", &format!("^{}(-other)?$", bundle.id)]);
    assert!(ids().is_empty());
    bundle.assert_nothing_left();
}

#[test]
fn a_state_that_cannot_be_read_spoils_no_list() {
    let Some(bundle) = sleeping() else { return };
    let broken = bundle.state_root().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("state.json"), "{").unwrap();
    fs::create_dir(bundle.state_root().join("empty")).unwrap();
    let output = bundle.call(&["list", "--format", "json"]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stderr).contains("broken/state.json"), "{output:?}");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let status = |id: &str| {
        let found = list.as_array().unwrap().iter().find(|state| state["id"] == id);
        found.map(|state| state["status"].clone())
    };
    assert_eq!(status(&bundle.id), Some(json!("running")));
    assert_eq!(status("empty"), Some(json!("stopped")));
    assert_eq!(status("broken"), None);
    for id in ["broken", "empty", &bundle.id] {
        bundle.must(&["delete", "--force", id]);
    }
    bundle.assert_nothing_left();
}

#[test]
fn events_are_a_stream_of_statistics_that_ends_with_the_container() {
    let Some(bundle) = sleeping() else { return };
    let line: Value =
        serde_json::from_str(&bundle.must(&["events", "--stats", &bundle.id])).unwrap();
    assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(bundle.id)));
    assert!(line["data"]["cpu"]["usage"]["kernel"].is_u64(), "{line}");
    let mut child = bundle
        .runtime(&["events", "--interval", "20ms", &bundle.id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["type"], json!("stats"));
    }
    bundle.must(&["kill", &bundle.id, "KILL"]);
    assert!(child.wait().unwrap().success());
    let output = bundle.call(&["events", "--stats", &bundle.id]);
    assert!(text(&output.stderr).contains("is not running"), "{output:?}");
}

#[test]
fn an_event_tells_of_memory_that_ran_out() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/resources/memory", json!({ "limit": 16 << 20, "swap": 16 << 20 }));
    bundle.script("until [ -e /tmp/go ]; do sleep 0.05; done; dd if=/dev/zero of=/dev/null bs=64M");
    bundle.set("/root/readonly", json!(false)).start_detached();
    let mut child = bundle
        .runtime(&["events", "--interval", "20ms", &bundle.id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    fs::write(bundle.rootfs().join("tmp/go"), "").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let event = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", bundle.id);
    assert!(rest.lines().any(|line| line == event), "{rest}");
}

#[test]
fn an_update_is_recorded_and_a_failed_one_changes_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/resources/pids", json!({ "limit": 20 }));
    bundle.set("/linux/resources/cpu", json!({ "quota": 50_000, "period": 100_000 }));
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let limit = || {
        let line: Value =
            serde_json::from_str(&bundle.must(&["events", "--stats", &bundle.id])).unwrap();
        line["data"]["pids"]["limit"].clone()
    };
    let recorded = || -> Value {
        let file = bundle.state_root().join(&bundle.id).join("state.json");
        let record: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        record["resources"].clone()
    };
    assert_eq!((limit(), recorded()), (json!(20), Value::Null));
    bundle.must(&["update", "--pids-limit", "30", "--cpu-quota", "60000", &bundle.id]);
    assert_eq!(limit(), json!(30));
    assert_eq!(recorded()["pids"], json!({ "limit": 30 }));
    assert_eq!(recorded()["cpu"], json!({ "quota": 60_000, "period": 100_000 }));
    let file = bundle.path().join("resources.json");
    fs::write(&file, r#"{"pids":{"limit":40}}"#).unwrap();
    bundle.must(&["update", &bundle.id, "-r", file.to_str().unwrap()]);
    assert_eq!((limit(), recorded()["pids"].clone()), (json!(40), json!({ "limit": 40 })));
    let output = bundle.call(&["update", "--pids-limit", "50", "--cpu-period", "1", &bundle.id]);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!((limit(), recorded()["pids"].clone()), (json!(40), json!({ "limit": 40 })));
    let mut child =
        bundle.runtime(&["update", "-r", "-", &bundle.id]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"{\"pids\":{\"limit\":60}}")
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(limit(), json!(60));
    let output = bundle.call(&["update", "--l3-cache-schema", "L3:0=f", &bundle.id]);
    let words = "linux.intelRdt is not supported: the container was created without it";
    assert!(text(&output.stderr).contains(words), "{output:?}");
    let output = bundle.call(&["update", "--mem-bw-schema", "X:0=f", &bundle.id]);
    assert!(text(&output.stderr).contains("must begin with MB:"), "{output:?}");
    let output = bundle.call(&["update", "--kernel-memory", "1", &bundle.id]);
    assert!(output.status.success() && text(&output.stderr).contains("no more"), "{output:?}");
}

#[test]
fn mounts_come_to_a_running_container_and_go() {
    for user_namespace in [false, true] {
        let Some(mut bundle) = Bundle::new() else { return };
        if user_namespace {
            bundle.user_namespace();
        }
        bundle.args(&["/bin/sleep", "1000"]).start_detached();
        let source = bundle.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "bound").unwrap();
        let file = bundle.path().join("mounts.json");
        let path = file.to_str().unwrap();
        let mounts = json!([
            { "destination": "/home", "source": source, "options": ["bind", "ro"] },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"] },
            { "destination": "/sys", "type": "proc", "source": "proc" },
        ]);
        fs::write(&file, mounts.to_string()).unwrap();
        bundle.must(&["mounts", "add", &bundle.id, path]);
        let script = "cat /home/file; touch /home/x 2>/dev/null && echo writable; \
                      stat -c %u /tmp; stat -f -c %T /tmp; cat /sys/1/cmdline";
        let output = bundle.exec(&["/bin/sh", "-c", script]);
        let seen = text(&output.stdout).replace('\0', " ");
        assert_eq!(seen, "bound0\ntmpfs\n/bin/sleep 1000 ", "{output:?}");
        bundle.must(&["mounts", "remove", &bundle.id, path]);
        let output = bundle.exec(&["/bin/sh", "-c", "ls /home /sys; stat -f -c %T /tmp"]);
        assert!(!text(&output.stdout).contains("tmpfs"), "{output:?}");
        // Of mounts that cannot all be made none is.
        let mounts = json!({ "mounts": [
            { "destination": "/home", "type": "tmpfs" },
            { "destination": "/tmp", "type": "tmpfs", "options": ["size=much"] },
        ]});
        fs::write(&file, mounts.to_string()).unwrap();
        let output = bundle.call(&["mounts", "add", &bundle.id, path]);
        assert!(text(&output.stderr).contains("take a mount option for /tmp"), "{output:?}");
        let output = bundle.exec(&["/bin/cat", "/proc/self/mountinfo"]);
        assert!(!text(&output.stdout).contains(" /home "), "{output:?}");
        bundle.must(&["delete", "--force", &bundle.id]);
        let output = bundle.call(&["mounts", "add", &bundle.id, path]);
        assert!(text(&output.stderr).contains("does not exist"), "{output:?}");
    }
}

#[test]
fn sockets_to_listen_at_are_passed_on() {
    let Some(mut bundle) = Bundle::new() else { return };
    let script = "echo $LISTEN_FDS $LISTEN_PID $$ $LISTEN_FDNAMES; cat <&3; [ -e /proc/self/fd/4 ] || echo only";
    bundle.script(script);
    bundle.write();
    let file = bundle.path().join("input");
    fs::write(&file, "passed\n").unwrap();
    let (root, directory) = (bundle.state_root(), bundle.path().to_owned());
    let run = |pid: &str, words: &str| {
        let script = format!(
            "export LISTEN_FDS=1 LISTEN_PID={pid} LISTEN_FDNAMES=web; exec 3<{}; exec {RUNTIME} --root {} {words}",
            file.display(),
            root.display()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).current_dir(&directory).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    assert_eq!(run("$$", &format!("run {}", bundle.id)), "1 1 1 web\npassed\nonly\n");
    // They are another's.
    let script = "echo \"<$LISTEN_FDS>\"; [ -e /proc/self/fd/3 ] || echo none";
    bundle.script(script).write();
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!(
            "export LISTEN_FDS=1 LISTEN_PID=2; exec 3</dev/null; exec {RUNTIME} --root {} run {}",
            bundle.state_root().display(),
            bundle.id
        ))
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "<>\nnone\n", "{output:?}");
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let words = format!("exec {} /bin/sh -c 'echo $LISTEN_PID; echo $$; cat <&3'", bundle.id);
    let seen = run("1", &words);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, lines[1], "passed"), "{seen}");
}

/// Receives one message. A socket with a time-out is interrupted by signals that nobody handles.
fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> usize {
    loop {
        match socket.recv(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

/// What a manager is told, up to and with the main process.
fn told(socket: &UnixDatagram) -> Vec<String> {
    let mut messages = Vec::new();
    let mut buffer = [0u8; 512];
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    while messages.last().is_none_or(|last: &String| !last.starts_with("MAINPID=")) {
        let length = receive(socket, &mut buffer);
        messages.push(text(&buffer[..length]));
    }
    messages
}

#[test]
fn readiness_is_passed_on_with_the_process_to_watch() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !common::has("python3") {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    }
    let host = bundle.path().join("notify");
    let socket = UnixDatagram::bind(&host).unwrap();
    // The container shares its root with the host but for what it is given.
    let script = "import os,socket,time\n\
        s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n\
        s.connect(os.environ['NOTIFY_SOCKET'])\n\
        s.send(b'STATUS=starting')\ns.send(b'X=1\\nREADY=1\\nY=2')\n\
        time.sleep(1000 if os.environ.get('STAY') else 0.5)\n";
    bundle.args(&["/usr/bin/python3", "-c", script]);
    for directory in ["usr", "lib", "lib64", "run"] {
        fs::create_dir_all(bundle.rootfs().join(directory)).unwrap();
    }
    for directory in ["/usr", "/lib", "/lib64"] {
        if fs::metadata(directory).is_ok() {
            bundle.mount(directory, "bind", directory, &["rbind", "ro"]);
        }
    }
    bundle.write();
    let run = |bundle: &Bundle, words: &[&str]| {
        let mut command = bundle.runtime(words);
        command.env("NOTIFY_SOCKET", &host).stdout(Stdio::null());
        command
    };
    let mut child = run(&bundle, &["run", &bundle.id]).spawn().unwrap();
    assert_eq!(told(&socket), ["READY=1\n".to_owned(), format!("MAINPID={}\n", child.id())]);
    assert!(child.wait().unwrap().success());
    bundle.push("/process/env", json!("STAY=1")).write();
    assert!(run(&bundle, &["create", &bundle.id]).status().unwrap().success());
    let pid = bundle.pid();
    let mut child = run(&bundle, &["start", &bundle.id]).spawn().unwrap();
    assert_eq!(told(&socket), ["READY=1\n".to_owned(), format!("MAINPID={pid}\n")]);
    // The barrier's descriptor is closed as soon as the message is read here, or never was.
    let mut buffer = [0u8; 64];
    let length = receive(&socket, &mut buffer);
    assert_eq!(&buffer[..length], b"BARRIER=1");
    assert!(child.wait().unwrap().success());
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_pidfd_is_sent_where_it_is_wanted() {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).write();
    let path = bundle.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap();
    let received = || {
        let (stream, _) = listener.accept().unwrap();
        let mut bytes = [0u8; 64];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [std::io::IoSliceMut::new(&mut bytes)];
        recvmsg(&stream, &mut data, &mut control, RecvFlags::empty()).unwrap();
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        descriptor.unwrap()
    };
    bundle.must(&["create", "--pidfd-socket", socket, &bundle.id]);
    let init = received();
    bundle.must(&["start", &bundle.id]);
    bundle.must(&["exec", "-d", "--pidfd-socket", socket, &bundle.id, "/bin/sleep", "1000"]);
    let other = received();
    assert_eq!(bundle.must(&["ps", "-f", "json", &bundle.id]).split(',').count(), 2);
    rustix::process::pidfd_send_signal(&other, rustix::process::Signal::KILL).unwrap();
    eventually("the other one ends", || {
        bundle.must(&["ps", "-f", "json", &bundle.id]).split(',').count() == 1
    });
    rustix::process::pidfd_send_signal(&init, rustix::process::Signal::KILL).unwrap();
    eventually("it ends", || bundle.status() == "stopped");
    let output = bundle.call(&["create", "--pidfd-socket", "/nosuch", "other"]);
    assert!(text(&output.stderr).contains("pidfd socket /nosuch"), "{output:?}");
}

#[test]
fn a_configuration_may_be_another_file() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/echo", "other"]);
    fs::write(bundle.path().join("other.json"), bundle.spec.to_string()).unwrap();
    bundle.args(&["/bin/echo", "own"]).write();
    assert_eq!(bundle.must(&["run", "-f", "other.json", &bundle.id]), "other\n");
    assert_eq!(bundle.must(&["run", &bundle.id]), "own\n");
    bundle.assert_nothing_left();
}

#[test]
fn without_cgroups_there_is_none_and_no_limit() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).write();
    bundle.must(&["--cgroup-manager", "disabled", "run", "-d", &bundle.id]);
    assert!(bundle.cgroups().is_empty());
    bundle.must(&["delete", "-f", &bundle.id]);
    bundle.set("/linux/resources/pids", json!({ "limit": 20 })).write();
    let output = bundle.call(&["--cgroup-manager=disabled", "run", &bundle.id]);
    assert!(text(&output.stderr).contains("linux.resources is not supported"), "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn a_log_says_what_its_level_wants() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/true"]).write();
    let output = bundle.call(&["--debug", "run", &bundle.id]);
    assert!(text(&output.stderr).contains("level=debug"), "{output:?}");
    let output = bundle.call(&["--log", "file:log", "--debug", "run", &bundle.id]);
    assert_eq!(text(&output.stderr), "");
    assert!(fs::read_to_string(bundle.path().join("log")).unwrap().contains("ended with 0"));
    // Without a file the log is standard error.
    let output = bundle.call(&["--log-format", "json", "state", "nosuch"]);
    let line: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["level"], json!("error"));
    bundle.assert_nothing_left();
}

#[test]
fn a_log_goes_to_the_journal_and_to_syslog() {
    let Some(bundle) = Bundle::new() else { return };
    let socket = UnixDatagram::bind(bundle.path().join("socket")).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    // What is mounted stays in a mount namespace of its own.
    let script = "mount -t tmpfs none /run; mount -t tmpfs none /dev; \
                  mkdir -p /run/systemd/journal; : >/run/systemd/journal/socket; : >/dev/log; \
                  mount --bind socket /run/systemd/journal/socket; mount --bind socket /dev/log; \
                  berth --log journald:me state nosuch || berth --log syslog:you state nosuch";
    let Some(output) = bundle.shell(&["--mount"], script) else { return };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut buffer = [0; 4096];
    for expected in ["SYSLOG_IDENTIFIER=me\n", "<11>you: "] {
        let length = receive(&socket, &mut buffer);
        let message = String::from_utf8_lossy(&buffer[..length]);
        assert!(message.contains(expected) && message.contains("does not exist"), "{message}");
    }
}

#[test]
fn exec_runs_in_a_cgroup_below() {
    let Some(bundle) = sleeping() else { return };
    let name = |directory: &std::path::Path| {
        directory.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    };
    let pids = bundle.cgroups().into_iter().find(|directory| name(directory).contains("pids"));
    let Some(pids) = pids else {
        eprintln!("SKIPPED: there is no v1 hierarchy of the pids controller");
        return;
    };
    fs::create_dir(pids.join("below")).unwrap();
    let output = bundle.exec(&["/bin/cat", "/proc/self/cgroup"]);
    assert!(!text(&output.stdout).contains("below"), "{output:?}");
    let output = bundle.call(&[
        "exec",
        "--cgroup",
        "pids:below",
        &bundle.id,
        "/bin/cat",
        "/proc/self/cgroup",
    ]);
    let own = text(&output.stdout);
    assert_eq!(own.lines().filter(|line| line.ends_with("/below")).count(), 1, "{output:?}");
    for wrong in ["moon:below", "pids:../x", "pids:nosuch", ":below"] {
        let output = bundle.call(&["exec", "--cgroup", wrong, &bundle.id, "/bin/true"]);
        assert_eq!(output.status.code(), if wrong == ":below" { Some(1) } else { Some(255) });
    }
    fs::remove_dir(pids.join("below")).unwrap();
}

#[test]
fn killing_a_container_without_a_pid_namespace_kills_all_of_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").script("sleep 1000 & sleep 1000 & exec sleep 1000");
    bundle.start_detached();
    let count = || {
        let list: Value =
            serde_json::from_str(&bundle.must(&["ps", "-f", "json", &bundle.id])).unwrap();
        list.as_array().unwrap().len()
    };
    eventually("all of them run", || count() == 3);
    // The first one is gone, and the others still are the container.
    let init = rustix::process::Pid::from_raw(bundle.pid()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    eventually("the first one ends", || bundle.status() == "stopped" && count() == 2);
    bundle.must(&["kill", &bundle.id, "KILL"]);
    assert_eq!(count(), 0);
    let output = bundle.call(&["kill", &bundle.id, "KILL"]);
    assert!(text(&output.stderr).contains("container not running"), "{output:?}");
    bundle.must(&["kill", "--all", &bundle.id, "TERM"]);
    let output = bundle.call(&["kill", &bundle.id, "0"]);
    assert!(text(&output.stderr).contains("container not running"), "{output:?}");
    bundle.must(&["kill", "--all", &bundle.id, "0"]);
    bundle.must(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_directory_of_states_that_was_named_has_to_be_there() {
    let list = |root: &str| Command::new(RUNTIME).args(["--root", root, "list"]).output().unwrap();
    let output = list("/nosuch/berth");
    assert!(!output.status.success() && text(&output.stderr).contains("/nosuch/berth"));
    let directory = tempfile::tempdir().unwrap();
    assert!(list(directory.path().to_str().unwrap()).status.success());
}

#[test]
fn a_paused_container_takes_no_process_but_when_told_to() {
    let Some(bundle) = sleeping() else { return };
    bundle.must(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    let output = bundle.exec(&["/bin/true"]);
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("cannot exec in a paused container"), "{output:?}");
    let file = bundle.path().join("pid");
    let words = ["exec", "-d", "--ignore-paused", "--pid-file", file.to_str().unwrap()];
    let mut child =
        bundle.runtime(&[&words[..], &[&bundle.id, "/bin/true"]].concat()).spawn().unwrap();
    // It waits in the frozen cgroup until that is thawed.
    bundle.must(&["resume", &bundle.id]);
    assert!(child.wait().unwrap().success());
    assert!(fs::read_to_string(file).unwrap().parse::<i32>().unwrap() > 0);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn processors_are_the_cgroups_and_not_the_callers() {
    let Some(mut bundle) = Bundle::new() else { return };
    let all = rustix::thread::sched_getaffinity(None).unwrap();
    let (mut one, mut count) = (None, 0);
    for cpu in 0..rustix::thread::CpuSet::MAX_CPU {
        if all.is_set(cpu) {
            one = Some(cpu);
            count += 1;
        }
    }
    if count < 2 || !common::has("taskset") {
        eprintln!("SKIPPED: two processors and taskset are needed");
        return;
    }
    let script = "grep Cpus_allowed: /proc/self/status; sleep 1000";
    bundle.script(script).write();
    let file = fs::File::create(bundle.path().join("out")).unwrap();
    let status = Command::new("taskset")
        .args(["-c", &one.unwrap().to_string(), RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["run", "-d", &bundle.id])
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .stdout(file)
        .status()
        .unwrap();
    assert!(status.success());
    let allowed = || fs::read_to_string(bundle.path().join("out")).unwrap();
    eventually("it prints", || allowed().ends_with('\n'));
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap();
    assert_eq!(allowed().trim(), own);
}

#[test]
fn a_created_container_ends_when_it_is_told_to() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).write();
    bundle.must(&["create", &bundle.id]);
    bundle.must(&["kill", &bundle.id, "0"]);
    // It has no program yet that could ignore it.
    bundle.must(&["kill", &bundle.id, "TERM"]);
    eventually("it ends", || bundle.status() == "stopped");
    let output = bundle.call(&["start", &bundle.id]);
    assert!(!output.status.success(), "{output:?}");
    bundle.must(&["delete", &bundle.id]);
    bundle.must(&["create", &bundle.id]);
    bundle.must(&["start", &bundle.id]);
    let blocked = bundle.exec(&["/bin/grep", "SigBlk", "/proc/1/status"]);
    assert_eq!(text(&blocked.stdout), "SigBlk:\t0000000000000000\n");
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}
