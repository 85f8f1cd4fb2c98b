//! Create, start, exit, restart, cleanup, pods.

use std::time::Duration;

use berth_monitor::client::{self, Lifetime};
use berth_monitor::events::{self, EventKind};
use berth_monitor::protocol::{
    CleanupBy, ErrorKind, LogConfig, Reply, Request, RestartPolicy, Target,
};
use berth_monitor::status::{self, State};

use crate::sandbox::*;

for_each_runtime! {
    a_container_runs_and_its_exit_is_known_everywhere
    create_and_start_are_two_steps
    a_client_that_says_so_cleans_up_itself
    the_monitor_cleans_up_when_that_client_is_gone
    a_missing_program_is_told_as_such
    a_failing_container_is_restarted_as_often_as_allowed
    a_container_that_is_to_stop_is_not_restarted
    two_containers_share_a_monitor
    a_container_is_frozen_and_thawed
    a_mounted_root_is_in_no_mount_table
    a_kill_for_want_of_memory_is_reported
    the_monitor_takes_a_scope_of_its_own
    a_slow_hook_stalls_nobody_and_can_be_given_up
    a_process_that_outlives_the_container_does_not_hold_it_up
}

fn a_container_runs_and_its_exit_is_known_everywhere(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let mut connection = sandbox.launch(&request);
    connection.send(&Request::Create(Box::new(request.clone()))).unwrap();
    let seen = until_exit(&mut connection, &Target::container(&request.id));
    assert_eq!(
        (seen.text().as_str(), &seen.stderr[..], seen.code()),
        ("out\n", &b"err\n"[..], Some(7))
    );
    until_gone(&request.directory);
    let status = status::read(&request.directory).unwrap().unwrap();
    assert_eq!((status.state, status.exit_code, status.pid), (State::Stopped, Some(7), None));
    assert!(status.started_at < status.finished_at);
    let mut log: Vec<_> =
        log_text(&request.directory.join("log")).lines().map(str::to_owned).collect();
    log.sort();
    assert_eq!(log, ["stderr F err", "stdout F out"]);
    let kinds: Vec<_> =
        events::read(&request.directory, 0).unwrap().into_iter().map(|e| e.kind).collect();
    assert!(
        matches!(
            &kinds[..],
            [
                EventKind::Created { .. },
                EventKind::Started { .. },
                EventKind::Exited { code: Some(7), .. }
            ]
        ),
        "{kinds:?}"
    );
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));
    assert!(!request.directory.join("monitor.sock").exists());
}

fn create_and_start_are_two_steps(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sh", "-c", "exit 3"]);
    request.start = false;
    let mut connection = sandbox.launch(&request);
    let pid = connection.create(request.clone()).unwrap();
    let status = until_state(&request.directory, State::Created);
    assert_eq!(status.pid, Some(pid));
    assert!(status.pid_start_time.is_some());
    // Another client starts it.
    let mut other = client::connect(&request.directory).unwrap();
    other.start(&request.id).unwrap();
    let error = other.start("nobody").unwrap_err();
    assert!(error.to_string().contains("no container nobody"), "{error}");
    let seen = until_exit(&mut connection, &Target::container(&request.id));
    assert_eq!(seen.code(), Some(3));
    until_gone(&request.directory);
    assert!(matches!(
        client::connect(&request.directory),
        Err(client::ConnectError::NotRunning { .. })
    ));
}

fn a_client_that_says_so_cleans_up_itself(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["true"]);
    request.cleanup = CleanupBy::Client;
    let mut connection = sandbox.run(&request);
    until_exit(&mut connection, &Target::container(&request.id));
    assert!(client::is_alive(&request.directory));
    connection.request(&Request::CleanupDone { id: request.id.clone() }).unwrap();
    until_gone(&request.directory);
    assert_eq!(sandbox.cleaned(), "");
}

fn the_monitor_cleans_up_when_that_client_is_gone(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sleep", "0.2"]);
    request.cleanup = CleanupBy::Client;
    drop(sandbox.run(&request));
    until_gone(&request.directory);
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));

    let mut request = sandbox.container("d", &["true"]);
    request.cleanup = CleanupBy::Client;
    let mut connection = sandbox.run(&request);
    until_exit(&mut connection, &Target::container(&request.id));
    drop(connection);
    until_gone(&request.directory);
    assert!(sandbox.cleaned().ends_with(&format!("{}\n", request.id)));
}

fn a_missing_program_is_told_as_such(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["/no/such/program"]);
    let mut connection = sandbox.launch(&request);
    match connection.create(request.clone()).unwrap_err() {
        client::RequestError::Refused { kind, text, hint } => {
            assert_eq!(kind, ErrorKind::CommandNotFound, "{text}");
            assert!(text.contains("/no/such/program"), "{text}");
            // A foreign runtime gives no advice.
            assert_eq!(hint.is_some(), sandbox.kind == Kind::Builtin, "{hint:?}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(status::read(&request.directory).unwrap(), None);
    drop(connection);
    until_gone(&request.directory);
    assert_eq!(sandbox.cleaned(), "");
}

fn a_failing_container_is_restarted_as_often_as_allowed(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sh", "-c", "echo again; exit 1"]);
    request.restart = RestartPolicy::OnFailure { max: Some(2) };
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    for restarting in [true, true, false] {
        let exit = until_exit(&mut connection, &target).exit.unwrap();
        assert_eq!((exit.code, exit.restarting), (Some(1), restarting));
    }
    until_gone(&request.directory);
    let status = status::read(&request.directory).unwrap().unwrap();
    assert_eq!((status.restarts, status.state), (2, State::Stopped));
    assert_eq!(log_text(&request.directory.join("log")), "stdout F again\n".repeat(3));
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));
}

fn a_container_that_is_to_stop_is_not_restarted(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sleep", "100"]);
    request.restart = RestartPolicy::Always;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    let kill = Request::Signal { target: target.clone(), signal: 9 };
    connection.request(&kill).unwrap();
    let exit = until_exit(&mut connection, &target).exit.unwrap();
    assert!(exit.restarting);
    assert_eq!((exit.code, exit.signal), (Some(137), Some(9)));
    until_state(&request.directory, State::Running);
    connection.request(&Request::NoRestart { id: request.id.clone() }).unwrap();
    connection.request(&kill).unwrap();
    assert!(!until_exit(&mut connection, &target).exit.unwrap().restarting);
    until_gone(&request.directory);
}

fn two_containers_share_a_monitor(sandbox: &Sandbox) {
    let pod = sandbox.path("pod");
    std::fs::create_dir(&pod).unwrap();
    let mut options = sandbox.options(&pod);
    options.lifetime = Lifetime::UntilShutdown;
    let mut connection = client::launch(&options).unwrap();
    let one = sandbox.container("one", &["sh", "-c", "echo one; sleep 0.3; exit 1"]);
    let two = sandbox.container("two", &["sh", "-c", "echo two; exit 2"]);
    let first = connection.create(one.clone()).unwrap();
    let second = connection.create(two.clone()).unwrap();
    assert_ne!(first, second);
    let error = connection.create(one.clone()).unwrap_err();
    assert!(error.to_string().contains("has a container"), "{error}");
    let (mut outputs, mut codes) = (Vec::new(), Vec::new());
    while codes.len() < 2 {
        match connection.receive().unwrap().unwrap() {
            Reply::Stdout { target, data } => outputs.push((target.container, data)),
            Reply::Exited { target, exit } => codes.push((target.container, exit.code)),
            other => panic!("{other:?}"),
        }
    }
    outputs.sort();
    assert_eq!(outputs, [(one.id.clone(), b"one\n".to_vec()), (two.id.clone(), b"two\n".to_vec())]);
    assert_eq!(codes, [(two.id, Some(2)), (one.id, Some(1))]);
    eventually("both are cleaned up", || sandbox.cleaned().lines().count() == 2);
    assert!(client::is_alive(&pod));
    eventually("the shutdown is accepted", || connection.request(&Request::Shutdown).is_ok());
    until_gone(&pod);
}

fn a_container_is_frozen_and_thawed(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sh", "-c", "while :; do echo x; sleep 0.02; done"]);
    let mut connection = sandbox.run(&request);
    let id = request.id.clone();
    connection.request(&Request::Pause { id: id.clone() }).unwrap();
    until_state(&request.directory, State::Paused);
    let size = || std::fs::metadata(request.directory.join("log")).unwrap().len();
    std::thread::sleep(Duration::from_millis(100));
    let before = size();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(size(), before);
    connection.request(&Request::Resume { id }).unwrap();
    until_state(&request.directory, State::Running);
    eventually("it goes on", || size() > before);
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert_eq!(until_exit(&mut connection, &target).code(), Some(137));
}

fn a_mounted_root_is_in_no_mount_table(sandbox: &Sandbox) {
    let request = sandbox
        .container("c", &["sh", "-c", "echo new > /file && cat /file && echo ready && sleep 100"]);
    let (upper, work) = (sandbox.path("upper"), sandbox.path("work"));
    std::fs::create_dir(&upper).unwrap();
    std::fs::create_dir(&work).unwrap();
    let rootfs = serde_json::json!({
        "type": "overlay", "lower": [sandbox.path("rootfs")], "upper": upper, "work": work,
    });
    std::fs::write(request.bundle.join("rootfs.json"), rootfs.to_string()).unwrap();
    edit(&request, |config| {
        config["root"] = serde_json::json!({"path": "rootfs"});
    });
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    let mut seen = Seen::default();
    receive_until(&mut connection, &target, &mut seen, |seen| seen.text().contains("ready"));
    assert!(seen.text().starts_with("new\n"), "{seen:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(sandbox.directory.path().to_str().unwrap()));
    assert_eq!(std::fs::read_to_string(upper.join("file")).unwrap(), "new\n");
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    until_exit(&mut connection, &target);
}

fn a_kill_for_want_of_memory_is_reported(sandbox: &Sandbox) {
    let mut request = sandbox
        .container("c", &["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1; exit 5"]);
    request.log = LogConfig::None;
    edit(&request, |config| {
        config["linux"]["resources"] = serde_json::json!({"memory": {"limit": 32 << 20}});
    });
    let mut connection = sandbox.run(&request);
    let exit = until_exit(&mut connection, &Target::container(&request.id)).exit.unwrap();
    assert!(exit.oom_killed, "{exit:?}");
    until_gone(&request.directory);
    assert!(status::read(&request.directory).unwrap().unwrap().oom_killed);
    let events = events::read(&request.directory, 0).unwrap();
    assert!(events.iter().any(|event| event.kind == EventKind::Oom), "{events:?}");
}

fn the_monitor_takes_a_scope_of_its_own(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let mut options = sandbox.options(&request.directory);
    let name = format!("test-{}-{:?}", std::process::id(), sandbox.kind);
    options.scope = Some(name.clone());
    let mut connection = client::launch(&options).unwrap();
    connection.create(request.clone()).unwrap();
    let monitor = connection.monitor_pid().unwrap();
    let membership = std::fs::read_to_string(format!("/proc/{monitor}/cgroup")).unwrap();
    assert!(membership.contains(&format!("berth-monitor-{name}")), "{membership}");
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    until_exit(&mut connection, &target);
    until_gone(&request.directory);
    let left = std::path::Path::new("/sys/fs/cgroup/systemd").join(format!("berth-monitor-{name}"));
    eventually("the scope is gone", || !left.exists());
}

fn a_slow_hook_stalls_nobody_and_can_be_given_up(sandbox: &Sandbox) {
    let pod = sandbox.path("pod");
    std::fs::create_dir(&pod).unwrap();
    let mut connection = client::launch(&sandbox.options(&pod)).unwrap();
    let busy = sandbox.container("busy", &["sh", "-c", "while :; do echo x; sleep 0.02; done"]);
    connection.create(busy.clone()).unwrap();
    let slow = sandbox.container("slow", &["true"]);
    edit(&slow, |config| {
        config["hooks"] = serde_json::json!({"createRuntime": [
            {"path": "/bin/sleep", "args": ["sleep", "3"]},
        ]});
    });
    let began = std::time::Instant::now();
    connection.send(&Request::Create(Box::new(slow.clone()))).unwrap();
    let target = Target::container(&busy.id);
    let lines = |seen: &Seen| seen.stdout.len() > 60;
    receive_until(&mut connection, &target, &mut Seen::default(), lines);
    assert!(began.elapsed() < Duration::from_secs(2), "the output goes on meanwhile");
    assert_eq!(status::read(&slow.directory).unwrap(), None);
    // The monitor is killed amid the hook: the next one cleans up what was begun.
    let monitor = rustix::process::Pid::from_raw(connection.monitor_pid().unwrap()).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    until_gone(&pod);
    let mut connection =
        client::adopt(&sandbox.options(&pod)).unwrap().expect("it is left to supervise");
    let status = until_state(&slow.directory, State::Stopped);
    assert_eq!(status.exit_code, None);
    eventually("it is cleaned up", || sandbox.cleaned() == format!("{}\n", slow.id));
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    until_gone(&pod);
    assert_eq!(until_state(&busy.directory, State::Stopped).signal, Some(9));
}

fn a_process_that_outlives_the_container_does_not_hold_it_up(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sh", "-c", "sleep 6 & echo done"]);
    edit(&request, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let began = std::time::Instant::now();
    let mut connection = sandbox.run(&request);
    let seen = until_exit(&mut connection, &Target::container(&request.id));
    assert_eq!((seen.text().as_str(), seen.code()), ("done\n", Some(0)));
    until_gone(&request.directory);
    assert!(began.elapsed() < Duration::from_secs(5), "the sleeping process is not waited for");
}
