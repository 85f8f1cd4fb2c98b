//! Containers kept in files and brought back (runc's `checkpoint` and `restore`), by the criu that
//! is installed, if it can work on this kernel.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "what fails here fails a test"
)]

mod common;

use std::fs;
use std::io::{BufRead as _, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Bundle, RUNTIME, has, json, text};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Counts in memory, and shows how far it is.
const COUNTER: &str = "i=0; while :; do i=$((i + 1)); echo $i >/tmp/n; mv /tmp/n /tmp/count; \
                       sleep 0.05; done";

/// A bundle, where criu can work.
fn bundle() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    if !has("criu") {
        eprintln!("SKIPPED: criu is not installed");
        return None;
    }
    if !has("unshare") || !has("timeout") {
        eprintln!("SKIPPED: unshare or timeout is not installed");
        return None;
    }
    let check = Command::new("timeout").args(["60", "criu", "check"]).output().unwrap();
    if !check.status.success() {
        let said = text(&[check.stdout, check.stderr].concat()).replace('\0', "");
        let reason = said.lines().find(|line| line.contains("Error")).unwrap_or("it says no more");
        eprintln!("SKIPPED: criu cannot work on this host: {reason}");
        return None;
    }
    bundle.set("/root/readonly", json!(false));
    // Whatever the applets' links are called, `mv` is one of busybox's.
    symlink("busybox", bundle.rootfs().join("bin/mv")).unwrap();
    Some(bundle)
}

/// The runtime in a mount namespace of its own, so that nothing can be left in the host's, and
/// not for ever.
fn confined(bundle: &Bundle, words: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120", "unshare", "--mount", "--propagation", "private"]);
    command.arg(RUNTIME).arg("--root").arg(bundle.state_root()).args(words);
    command.current_dir(bundle.path()).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn call(bundle: &Bundle, words: &[&str]) -> Output {
    let errors = bundle.path().join("errors");
    let status = confined(bundle, words).stderr(fs::File::create(&errors).unwrap()).status();
    Output { status: status.unwrap(), stdout: Vec::new(), stderr: fs::read(errors).unwrap() }
}

fn must(bundle: &Bundle, words: &[&str]) {
    let output = call(bundle, words);
    assert!(output.status.success(), "{words:?}: {}{}", text(&output.stderr), logs(bundle.path()));
}

/// What criu complained of, for a failure's message.
fn logs(directory: &Path) -> String {
    let mut said = String::new();
    for log in ["checkpoint/dump.log", "checkpoint/restore.log"] {
        let content = fs::read(directory.join(log)).unwrap_or_default();
        for line in text(&content).lines().filter(|line| line.contains("Error")) {
            said.push('\n');
            said.push_str(line);
        }
    }
    said
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn count(bundle: &Bundle) -> Option<u64> {
    fs::read_to_string(bundle.rootfs().join("tmp/count")).ok()?.trim().parse().ok()
}

/// Waits until the container counts on, and gives where it is.
fn counts_on(bundle: &Bundle) -> u64 {
    let _ = fs::remove_file(bundle.rootfs().join("tmp/count"));
    eventually("it counts", || count(bundle).is_some());
    let first = count(bundle).unwrap();
    eventually("it counts on", || count(bundle).is_some_and(|now| now > first));
    first
}

fn delete(bundle: &Bundle) {
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn without_criu_the_command_says_so() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let output =
        bundle.runtime(&["checkpoint", &bundle.id]).env("PATH", "/nonexistent").output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("criu is in none of"), "{said}");
    assert!(said.contains("install criu"), "{said}");
    assert_eq!(bundle.status(), "running");
    delete(&bundle);
    let output =
        bundle.runtime(&["restore", &bundle.id]).env("PATH", "/nonexistent").output().unwrap();
    assert!(text(&output.stderr).contains("criu is in none of"), "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn engines_find_out_that_it_is_supported() {
    for (command, option) in [("checkpoint", "--leave-running"), ("restore", "--lsm-mount-context")]
    {
        let output = Command::new(RUNTIME).args([command, "--help"]).output().unwrap();
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(
            help.contains(&format!("\n   {option}")) && help.contains("\n   --image-path"),
            "{help}"
        );
    }
    // podman's own question.
    let output = Command::new(RUNTIME).args(["restore", "--lsm-mount-context"]).output().unwrap();
    assert!(text(&output.stderr).contains("flag needs an argument"), "{output:?}");
}

#[test]
fn a_container_that_does_not_run_cannot_be_checkpointed() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).write();
    bundle.must(&["create", &bundle.id]);
    let said = text(&bundle.call(&["checkpoint", &bundle.id]).stderr);
    assert!(said.contains("it is created"), "{said}");
    delete(&bundle);
}

#[test]
fn what_is_in_memory_goes_on() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script(COUNTER).start_detached();
    for _ in 0..2 {
        let before = counts_on(&bundle);
        must(&bundle, &["checkpoint", &bundle.id]);
        // It is gone, with all that there was of it.
        bundle.assert_nothing_left();
        let pid_file = bundle.path().join("pid");
        let pid_file = pid_file.to_str().unwrap();
        must(&bundle, &["restore", "--detach", "--pid-file", pid_file, &bundle.id]);
        assert!(counts_on(&bundle) > before, "it began anew");
        assert_eq!(bundle.status(), "running");
        assert_eq!(fs::read_to_string(pid_file).unwrap(), bundle.pid().to_string());
    }
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(cgroups.contains(&format!("/{}", bundle.id)), "{cgroups}");
    // It can be entered, paused and killed like any other.
    let output = bundle.exec(&["/bin/cat", "/tmp/count"]);
    assert!(output.status.success(), "{output:?}");
    bundle.must(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    bundle.must(&["resume", &bundle.id]);
    bundle.must(&["kill", &bundle.id, "KILL"]);
    common::eventually("it stops", || bundle.status() == "stopped");
    delete(&bundle);
}

#[test]
fn a_checkpoint_may_leave_it_running() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script(COUNTER).start_detached();
    let pid = bundle.pid();
    let before = counts_on(&bundle);
    must(&bundle, &["checkpoint", "--leave-running", "--image-path", "kept", &bundle.id]);
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
    let later = counts_on(&bundle);
    delete(&bundle);
    // Where it was then is where it goes on, under another name, too.
    bundle.id.push_str("-2");
    bundle.set("/linux/cgroupsPath", json!(format!("/{}", bundle.id))).write();
    must(&bundle, &["restore", "-d", "--image-path", "kept", "--work-path", "work", &bundle.id]);
    assert!(bundle.path().join("work/restore.log").exists());
    let restored = counts_on(&bundle);
    assert!(restored >= before && later > before, "{before} {later} {restored}");
    delete(&bundle);
}

#[test]
fn a_checkpoint_that_fails_leaves_it_running() {
    let Some(mut bundle) = bundle() else { return };
    // A file without a name that is larger than criu keeps.
    let script = "exec 3>/tmp/gone; dd if=/dev/zero bs=1000000 count=3 >&3 2>/dev/null; \
                  rm /tmp/gone; ";
    bundle.script(&format!("{script}{COUNTER}")).start_detached();
    counts_on(&bundle);
    let output = call(&bundle, &["checkpoint", &bundle.id]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("criu cannot checkpoint"), "{said}");
    assert!(said.contains("ghost"), "criu's own reason is missing: {said}");
    assert_eq!(bundle.status(), "running");
    counts_on(&bundle);
    let refused = call(&bundle, &["checkpoint", "--parent-path", "/images", &bundle.id]);
    assert!(text(&refused.stderr).contains("must be relative"), "{refused:?}");
    let refused = call(&bundle, &["checkpoint", "--parent-path", "../none", &bundle.id]);
    assert!(text(&refused.stderr).contains("--parent-path ../none"), "{refused:?}");
    delete(&bundle);
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script(COUNTER).start_detached();
    counts_on(&bundle);
    let missing = call(&bundle, &["restore", "-d", "--image-path", "nowhere", &bundle.id]);
    assert!(text(&missing.stderr).contains("nowhere"), "{missing:?}");
    let taken = call(&bundle, &["checkpoint", "--leave-running", &bundle.id]);
    assert!(taken.status.success(), "{taken:?}");
    let exists = call(&bundle, &["restore", "-d", &bundle.id]);
    assert!(text(&exists.stderr).contains("exists"), "{exists:?}");
    assert_eq!(bundle.status(), "running");
    must(&bundle, &["checkpoint", &bundle.id]);
    let core = fs::read_dir(bundle.path().join("checkpoint"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("core-"));
    fs::write(core.unwrap(), b"").unwrap();
    let output = call(&bundle, &["restore", "-d", &bundle.id]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("criu cannot restore"), "{said}");
    bundle.assert_nothing_left();
}

#[test]
fn memory_may_be_kept_in_steps() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script(COUNTER).start_detached();
    let before = counts_on(&bundle);
    let output = call(&bundle, &["checkpoint", "--pre-dump", "--image-path", "first", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    if !output.status.success() {
        let said = text(&output.stderr);
        assert!(said.contains("tracking changes of memory"), "{said}");
        delete(&bundle);
        eprintln!("SKIPPED: this kernel does not track changes of memory: {said}");
        return;
    }
    let words = ["checkpoint", "--parent-path", "../first", "--image-path", "second", &bundle.id];
    must(&bundle, &words);
    assert!(bundle.path().join("second/parent").exists());
    must(&bundle, &["restore", "-d", "--image-path", "second", &bundle.id]);
    assert!(counts_on(&bundle) > before);
    delete(&bundle);
}

#[test]
fn streams_are_those_of_the_one_who_restores() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script("while read line; do echo got $line; echo err $line >&2; done").write();
    let path = |name: &str| bundle.path().join(name);
    // A pipe to read from, a file of the host and a pipe to write to.
    let start = |words: &[&str]| {
        let (theirs, input) = std::io::pipe().unwrap();
        let (errors, their_errors) = std::io::pipe().unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(path("log")).unwrap();
        let mut command = confined(&bundle, words);
        let status = command.stdin(theirs).stdout(log).stderr(their_errors).status();
        assert!(status.unwrap().success(), "{}", logs(bundle.path()));
        (input, std::io::BufReader::new(errors))
    };
    let logged =
        |line: &str| fs::read_to_string(path("log")).unwrap().lines().any(|found| found == line);
    let (mut input, mut errors) = start(&["run", "-d", &bundle.id]);
    input.write_all(b"one\n").unwrap();
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "err one\n");
    eventually("it answers", || logged("got one"));
    must(&bundle, &["checkpoint", &bundle.id]);
    let (mut input, mut errors) = start(&["restore", "-d", &bundle.id]);
    input.write_all(b"two\n").unwrap();
    line.clear();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "err two\n");
    eventually("it answers", || logged("got two"));
    delete(&bundle);
}

#[test]
fn what_is_the_hosts_is_mounted_again() {
    let Some(mut bundle) = bundle() else { return };
    let host = bundle.path().join("host");
    fs::create_dir_all(host.join("inner")).unwrap();
    fs::write(host.join("file"), "of the host").unwrap();
    fs::create_dir_all(bundle.rootfs().join("real")).unwrap();
    symlink("/real", bundle.rootfs().join("link")).unwrap();
    bundle.mount("/link", "bind", host.to_str().unwrap(), &["rbind", "ro"]);
    bundle.mount("/etc/single", "bind", host.join("file").to_str().unwrap(), &["bind"]);
    bundle.push("/linux/maskedPaths", json!("/proc/keys"));
    bundle.script(COUNTER).start_detached();
    counts_on(&bundle);
    must(&bundle, &["checkpoint", &bundle.id]);
    fs::write(host.join("file"), "changed").unwrap();
    // On another host they may not be there.
    fs::remove_file(bundle.rootfs().join("etc/single")).unwrap();
    must(&bundle, &["restore", "-d", &bundle.id]);
    counts_on(&bundle);
    let script =
        "cat /real/file /etc/single /proc/keys; touch /real/new 2>/dev/null || echo readonly";
    let output = bundle.exec(&["/bin/sh", "-c", script]);
    assert_eq!(text(&output.stdout), "changedchangedreadonly\n", "{output:?}");
    delete(&bundle);
}

fn accept(listener: &UnixListener) -> OwnedFd {
    let (stream, _) = listener.accept().unwrap();
    let mut bytes = [0u8; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut bytes)];
    recvmsg(&stream, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = control.drain().next() else {
        panic!("no descriptor came");
    };
    descriptors.next().unwrap()
}

/// Reads from a terminal until something is there.
fn read_until(terminal: &mut fs::File, wanted: &str) -> String {
    let mut read = String::new();
    let mut buffer = [0u8; 256];
    while !read.contains(wanted) {
        let length = terminal.read(&mut buffer).unwrap();
        assert!(length > 0, "the terminal ended: {read}");
        read.push_str(&text(&buffer[..length]));
    }
    read
}

#[test]
fn a_terminal_comes_over_the_console_socket_again() {
    let Some(mut bundle) = bundle() else { return };
    let path = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    bundle.set("/process/terminal", json!(true));
    bundle.script("stty -echo; echo ready; while read line; do echo got $line; done").write();
    bundle.must(&["run", "-d", "--console-socket", path, &bundle.id]);
    let mut master = fs::File::from(accept(&listener));
    read_until(&mut master, "ready");
    must(&bundle, &["checkpoint", &bundle.id]);
    drop(master);
    let refused = call(&bundle, &["restore", "-d", &bundle.id]);
    assert!(text(&refused.stderr).contains("console socket"), "{refused:?}");
    must(&bundle, &["restore", "-d", "--console-socket", path, &bundle.id]);
    let mut master = fs::File::from(accept(&listener));
    master.write_all(b"again\n").unwrap();
    assert!(read_until(&mut master, "again").contains("got again"));
    delete(&bundle);
}

#[test]
fn in_the_foreground_it_is_waited_for() {
    let Some(mut bundle) = bundle() else { return };
    let script = "i=0; until [ -e /tmp/end ]; do i=$((i + 1)); echo $i >/tmp/n; \
                  mv /tmp/n /tmp/count; sleep 0.05; done; exit 7";
    bundle.script(script).start_detached();
    counts_on(&bundle);
    must(&bundle, &["checkpoint", &bundle.id]);
    let mut child = confined(&bundle, &["restore", &bundle.id]).spawn().unwrap();
    counts_on(&bundle);
    fs::write(bundle.rootfs().join("tmp/end"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    bundle.assert_nothing_left();
}

#[test]
fn hooks_run_when_the_namespaces_are_there() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script(COUNTER).start_detached();
    counts_on(&bundle);
    must(&bundle, &["checkpoint", "--empty-ns", "network", &bundle.id]);
    let state = bundle.path().join("hook.json");
    let script = format!("cat >{}", state.display());
    let hook = |script: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    bundle.set("/hooks", json!({ "createRuntime": hook("exit 3") })).write();
    let words = ["restore", "-d", "--empty-ns", "network", &bundle.id];
    let output = call(&bundle, &words);
    assert!(text(&output.stderr).contains("createRuntime hook"), "{output:?}");
    bundle.assert_nothing_left();
    bundle.set("/hooks", json!({ "createRuntime": hook(&script) })).write();
    let words = ["restore", "-d", "--empty-ns", "network", &bundle.id];
    must(&bundle, &words);
    counts_on(&bundle);
    let told: common::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    assert_eq!(told["pid"].as_i64().unwrap() as i32, bundle.pid());
    delete(&bundle);
}

#[test]
fn what_criu_would_lose_is_refused_by_name() {
    let Some(mut bundle) = bundle() else { return };
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    bundle.push(
        "/mounts",
        json!({ "destination": "/mnt", "type": "bind", "source": "rootfs/home",
                "options": ["bind"], "uidMappings": map, "gidMappings": map }),
    );
    bundle.args(&["/bin/sleep", "1000"]).write();
    let started = call(&bundle, &["run", "-d", &bundle.id]);
    if !started.status.success() {
        // Not every file system of every kernel can have its ids mapped.
        let said = text(&started.stderr);
        assert!(said.contains("map ids"), "{said}");
        eprintln!("SKIPPED: ids of a mount cannot be mapped here: {said}");
        return;
    }
    let said = text(&call(&bundle, &["checkpoint", &bundle.id]).stderr);
    assert!(said.contains("uidMappings"), "{said}");
    assert_eq!(bundle.status(), "running");
    delete(&bundle);
}
