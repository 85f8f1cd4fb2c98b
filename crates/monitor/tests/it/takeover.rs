//! Replacing a monitor in place, and taking up after one that was killed.

use berth_monitor::client::{self, Connection};
use berth_monitor::events::{self, EventKind};
use berth_monitor::protocol::{
    CreateRequest, Request, RestartPolicy, SlowClient, StdinMode, Streams, Target,
};
use berth_monitor::status::{self, State};
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::*;

for_each_runtime! {
    a_replaced_monitor_keeps_everything
    a_program_that_cannot_take_over_is_refused
    a_container_survives_its_monitor
    an_exit_without_a_monitor_is_found_later
    a_restart_policy_survives_the_monitor
    an_exit_code_is_known_after_adoption
    counted_restarts_go_on_after_the_monitor
    a_pause_before_a_restart_survives_the_monitor
    an_end_without_a_monitor_is_followed_by_a_restart
    a_container_that_was_stopped_stays_so_after_its_monitor
}

fn kill_monitor(request: &CreateRequest) {
    let pid = std::fs::read_to_string(request.directory.join("monitor.pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    until_gone(&request.directory);
}

fn adopt(sandbox: &Sandbox, request: &CreateRequest) -> Connection {
    client::adopt(&sandbox.options(&request.directory)).unwrap().expect("it is left to supervise")
}

fn a_replaced_monitor_keeps_everything(sandbox: &Sandbox) {
    let mut request =
        sandbox.container("c", &["sh", "-c", "while read x; do echo $x; done; exit 8"]);
    request.stdin = StdinMode::Once;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    let before = connection.monitor_pid().unwrap();
    let link = format!("/proc/{before}/exe");
    let inode = |path: &str| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let old = inode(&link);
    let copy = sandbox.path("newer");
    std::fs::copy(env!("CARGO_BIN_EXE_berth-monitor"), &copy).unwrap();
    send_stdin(&mut connection, &target, b"one\n");
    let mut seen = Seen::default();
    receive_until(&mut connection, &target, &mut seen, |seen| seen.text() == "one\n");
    connection.request(&Request::Replace { binary: copy.clone() }).unwrap();
    assert_ne!(inode(&link), old);
    assert_eq!(inode(&link), inode(copy.to_str().unwrap()));
    send_stdin(&mut connection, &target, b"two\n");
    receive_until(&mut connection, &target, &mut seen, |seen| seen.text() == "one\ntwo\n");
    let mut other = client::connect(&request.directory).unwrap();
    other.request(&Request::Status).unwrap();
    assert_eq!(other.monitor_pid(), Some(before));
    connection.send(&Request::CloseStdin { target: target.clone() }).unwrap();
    assert_eq!(until_exit(&mut connection, &target).code(), Some(8));
    until_gone(&request.directory);
    let events = events::read(&request.directory, 0).unwrap();
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::Replaced { .. })));
    assert_eq!(log_text(&request.directory.join("log")), "stdout F one\nstdout F two\n");
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));
}

fn a_program_that_cannot_take_over_is_refused(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let mut connection = sandbox.run(&request);
    for program in ["/bin/false", "/no/such/program"] {
        let error = connection.request(&Request::Replace { binary: program.into() }).unwrap_err();
        assert!(error.to_string().contains("cannot take over"), "{error}");
    }
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert_eq!(until_exit(&mut connection, &target).code(), Some(137));
}

fn a_container_survives_its_monitor(sandbox: &Sandbox) {
    let script = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo end; exit 21";
    let request = sandbox.container("c", &["sh", "-c", script]);
    edit(&request, |config| config["root"]["readonly"] = false.into());
    drop(sandbox.run(&request));
    let log = request.directory.join("log");
    eventually("it writes", || log_text(&log).lines().count() > 3);
    let pid = until_state(&request.directory, State::Running).pid;
    kill_monitor(&request);
    assert!(!client::is_alive(&request.directory));
    // What it writes now is kept for the next monitor.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut connection = adopt(sandbox, &request);
    connection.attach(&request.id, Streams::ALL, SlowClient::Wait).unwrap();
    let status = status::read(&request.directory).unwrap().unwrap();
    assert_eq!((status.state, status.pid), (State::Running, pid));
    assert_eq!(Some(status.monitor_pid), connection.monitor_pid());
    std::fs::write(sandbox.path("rootfs/tmp/stop"), "").unwrap();
    let seen = until_exit(&mut connection, &Target::container(&request.id));
    assert!(seen.text().ends_with("end\n"), "{seen:?}");
    until_gone(&request.directory);
    let lines: Vec<_> = log_text(&log).lines().map(str::to_owned).collect();
    let numbers: Vec<_> =
        lines.iter().filter_map(|l| l.strip_prefix("stdout F ")?.parse::<usize>().ok()).collect();
    let expected: Vec<_> = (1..=numbers.len()).collect();
    assert_eq!(numbers, expected, "no line is lost");
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));
}

/// Waits until a process is gone, or waits to be reaped.
fn until_ended(pid: i32) {
    let stat = format!("/proc/{pid}/stat");
    eventually("it has ended", || {
        std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "))
    });
}

fn an_exit_without_a_monitor_is_found_later(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let mut connection = sandbox.launch(&request);
    let pid = connection.create(request.clone()).unwrap();
    kill_monitor(&request);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    until_ended(pid);
    let reaped = !std::path::Path::new(&format!("/proc/{pid}/stat")).exists();
    // It may have seen to everything, and ended, before it was greeted: that is no error.
    if let Some(mut connection) = client::adopt(&sandbox.options(&request.directory)).unwrap() {
        while connection.receive().unwrap().is_some() {}
    }
    until_gone(&request.directory);
    let status = status::read(&request.directory).unwrap().unwrap();
    assert_eq!(status.state, State::Stopped);
    // Nobody can know it, unless init has not asked for it yet.
    assert!(status.exit_code.is_none() || status.exit_code == Some(137) && !reaped, "{status:?}");
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));
}

fn a_restart_policy_survives_the_monitor(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sleep", "100"]);
    request.restart = RestartPolicy::Always;
    let first = sandbox.run(&request);
    kill_monitor(&request);
    drop(first);
    let mut connection = adopt(sandbox, &request);
    connection.attach(&request.id, Streams::NONE, SlowClient::Wait).unwrap();
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert!(until_exit(&mut connection, &target).exit.unwrap().restarting);
    eventually("it runs again", || {
        let status = status::read(&request.directory).unwrap().unwrap();
        status.state == State::Running && status.restarts == 1
    });
    connection.request(&Request::NoRestart { id: request.id.clone() }).unwrap();
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert!(!until_exit(&mut connection, &target).exit.unwrap().restarting);
    until_gone(&request.directory);
}

fn counted_restarts_go_on_after_the_monitor(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sh", "-c", "echo again; exit 1"]);
    request.restart = RestartPolicy::OnFailure { max: Some(3) };
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    for _ in 0..2 {
        assert!(until_exit(&mut connection, &target).exit.unwrap().restarting);
    }
    kill_monitor(&request);
    // It may have made the last restart, and even have ended, before it was asked.
    if let Some(mut connection) = client::adopt(&sandbox.options(&request.directory)).unwrap() {
        let _ = connection.attach(&request.id, Streams::NONE, SlowClient::Wait);
    }
    until_gone(&request.directory);
    let status = status::read(&request.directory).unwrap().unwrap();
    assert_eq!((status.restarts, status.state), (3, State::Stopped));
    let lines = log_text(&request.directory.join("log")).lines().count();
    assert!(lines <= 4, "started more often than allowed: {lines}");
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));
}

fn a_pause_before_a_restart_survives_the_monitor(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sh", "-c", "exit 4"]);
    request.restart = RestartPolicy::Always;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    // The pauses double from a tenth of a second: the fourth is long enough to die in.
    for _ in 0..4 {
        assert!(until_exit(&mut connection, &target).exit.unwrap().restarting);
    }
    until_state(&request.directory, State::Restarting);
    kill_monitor(&request);
    let before = status::read(&request.directory).unwrap().unwrap();
    let progress = before.restart.unwrap();
    let mut connection = adopt(sandbox, &request);
    connection.attach(&request.id, Streams::NONE, SlowClient::Wait).unwrap();
    let exit = until_exit(&mut connection, &target).exit.unwrap();
    assert_eq!((exit.code, exit.restarting), (Some(4), true));
    let after = until_state(&request.directory, State::Restarting);
    assert!(after.restarts > before.restarts, "{after:?}");
    assert!(after.restart.unwrap().pause_ms > progress.pause_ms, "{after:?}");
    connection.request(&Request::NoRestart { id: request.id.clone() }).unwrap();
    until_gone(&request.directory);
}

fn an_end_without_a_monitor_is_followed_by_a_restart(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sleep", "100"]);
    request.restart = RestartPolicy::OnFailure { max: Some(1) };
    let mut connection = sandbox.launch(&request);
    let pid = connection.create(request.clone()).unwrap();
    kill_monitor(&request);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    until_ended(pid);
    drop(adopt(sandbox, &request));
    eventually("it runs again", || {
        let status = status::read(&request.directory).unwrap().unwrap();
        status.state == State::Running && status.restarts == 1 && status.pid != Some(pid)
    });
    let mut connection = client::connect(&request.directory).unwrap();
    connection.attach(&request.id, Streams::NONE, SlowClient::Wait).unwrap();
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert!(!until_exit(&mut connection, &target).exit.unwrap().restarting, "once was allowed");
    until_gone(&request.directory);
}

fn a_container_that_was_stopped_stays_so_after_its_monitor(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sleep", "100"]);
    request.restart = RestartPolicy::Always;
    let mut connection = sandbox.run(&request);
    connection.request(&Request::NoRestart { id: request.id.clone() }).unwrap();
    kill_monitor(&request);
    let mut connection = adopt(sandbox, &request);
    connection.attach(&request.id, Streams::NONE, SlowClient::Wait).unwrap();
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert!(!until_exit(&mut connection, &target).exit.unwrap().restarting);
    until_gone(&request.directory);
}

fn an_exit_code_is_known_after_adoption(sandbox: &Sandbox) {
    let request =
        sandbox.container("c", &["sh", "-c", "trap 'exit 23' TERM; while :; do sleep 0.01; done"]);
    drop(sandbox.run(&request));
    kill_monitor(&request);
    let mut connection = adopt(sandbox, &request);
    connection.attach(&request.id, Streams::NONE, SlowClient::Wait).unwrap();
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 15 }).unwrap();
    let exit = until_exit(&mut connection, &target).exit.unwrap();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    // Older kernels tell only as long as its parent, now init, has not asked for it.
    let allowed = exit.code == Some(23) || exit.code.is_none() && version < (6, 15);
    assert!(allowed, "{exit:?} on Linux {release}");
}
