//! Attach, standard input, terminals, logs, slow clients.

use std::time::{Duration, Instant};

use berth_monitor::client::{self, Received};
use berth_monitor::protocol::{
    LogConfig, Reply, Request, SlowClient, StdinMode, Streams, Target, TerminalSize,
};
use berth_monitor::status::State;

use crate::sandbox::*;

for_each_runtime! {
    input_reaches_the_container_and_ends
    much_input_comes_back_whole
    input_stays_open_between_clients
    input_ends_when_the_first_client_leaves
    a_terminal_has_its_size_and_is_resized
    end_of_input_is_typed_on_a_terminal
    output_is_seen_by_all_who_are_attached
    a_log_is_rotated
    a_slow_client_holds_the_output_and_loses_nothing
    a_slow_client_that_may_be_dropped_is
    a_signal_is_not_held_up_by_input
    all_output_arrives_before_the_exit
    a_renamed_log_is_opened_anew
}

fn input_reaches_the_container_and_ends(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["cat"]);
    request.stdin = StdinMode::Once;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    send_stdin(&mut connection, &target, b"hello\n");
    connection.send(&Request::CloseStdin { target: target.clone() }).unwrap();
    let seen = until_exit(&mut connection, &target);
    assert_eq!((seen.text().as_str(), seen.code()), ("hello\n", Some(0)));
}

fn much_input_comes_back_whole(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["cat"]);
    request.stdin = StdinMode::Once;
    request.log = LogConfig::None;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut parts = data.chunks(16 * 1024);
    let (mut seen, mut unacknowledged, mut closed) = (Seen::default(), 0, false);
    let deadline = Instant::now() + LIMIT;
    while seen.exit.is_none() {
        while unacknowledged <= 16 * 1024 && !closed {
            if let Some(part) = parts.next() {
                unacknowledged += part.len();
                send_stdin(&mut connection, &target, part);
            } else {
                connection.send(&Request::CloseStdin { target: target.clone() }).unwrap();
                closed = true;
            }
        }
        match connection.try_receive().unwrap() {
            Received::Reply(Reply::StdinTaken { bytes, .. }) => unacknowledged -= bytes as usize,
            Received::Reply(Reply::Stdout { data, .. }) => seen.stdout.extend(data),
            Received::Reply(Reply::Exited { exit, .. }) => seen.exit = Some(exit),
            Received::Reply(_) => {}
            Received::Closed => panic!("closed early"),
            Received::WouldBlock => {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
    assert!(seen.stdout == data, "{} bytes of {}", seen.stdout.len(), data.len());
}

fn input_stays_open_between_clients(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["cat"]);
    request.stdin = StdinMode::Open;
    let mut first = sandbox.run(&request);
    let target = Target::container(&request.id);
    send_stdin(&mut first, &target, b"one\n");
    receive_until(&mut first, &target, &mut Seen::default(), |seen| seen.text() == "one\n");
    drop(first);
    let mut second = client::connect(&request.directory).unwrap();
    second.attach(&request.id, Streams::ALL, SlowClient::Wait).unwrap();
    send_stdin(&mut second, &target, b"two\n");
    second.send(&Request::CloseStdin { target: target.clone() }).unwrap();
    let seen = until_exit(&mut second, &target);
    assert_eq!((seen.text().as_str(), seen.code()), ("two\n", Some(0)));
}

fn input_ends_when_the_first_client_leaves(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["cat"]);
    request.stdin = StdinMode::Once;
    drop(sandbox.run(&request));
    assert_eq!(until_state(&request.directory, State::Stopped).exit_code, Some(0));
}

fn a_terminal_has_its_size_and_is_resized(sandbox: &Sandbox) {
    let script = "stty size; trap 'stty size; exit 4' WINCH; while :; do sleep 0.01; done";
    let mut request = sandbox.container("c", &["sh", "-c", script]);
    with_terminal(&mut request);
    request.console_size = Some(TerminalSize { rows: 31, columns: 97 });
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    let mut seen = Seen::default();
    receive_until(&mut connection, &target, &mut seen, |seen| seen.text().contains("31 97\r\n"));
    std::thread::sleep(Duration::from_millis(50));
    let size = TerminalSize { rows: 40, columns: 120 };
    connection.request(&Request::Resize { target: target.clone(), size }).unwrap();
    let seen = until_exit(&mut connection, &target);
    assert_eq!((seen.text().as_str(), seen.code()), ("40 120\r\n", Some(4)));
    assert!(log_text(&request.directory.join("log")).contains("stdout F 40 120\n"));
}

fn end_of_input_is_typed_on_a_terminal(sandbox: &Sandbox) {
    let mut request =
        sandbox.container("c", &["sh", "-c", "read line; echo got $line; cat; echo over"]);
    with_terminal(&mut request);
    request.stdin = StdinMode::Once;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    send_stdin(&mut connection, &target, b"this\n");
    let mut seen = Seen::default();
    receive_until(&mut connection, &target, &mut seen, |seen| seen.text().contains("got this"));
    connection.send(&Request::CloseStdin { target: target.clone() }).unwrap();
    let seen = until_exit(&mut connection, &target);
    assert!(seen.text().contains("over"), "{seen:?}");
}

fn output_is_seen_by_all_who_are_attached(sandbox: &Sandbox) {
    let mut request =
        sandbox.container("c", &["sh", "-c", "read go; echo out; echo err >&2; exit 9"]);
    request.stdin = StdinMode::Open;
    request.attach = None;
    let mut creator = sandbox.run(&request);
    let target = Target::container(&request.id);
    let mut both = client::connect(&request.directory).unwrap();
    both.attach(&request.id, Streams::ALL, SlowClient::Wait).unwrap();
    let mut errors = client::connect(&request.directory).unwrap();
    let only_errors = Streams { stdin: false, stdout: false, stderr: true };
    errors.attach(&request.id, only_errors, SlowClient::Drop).unwrap();
    let mut gone = client::connect(&request.directory).unwrap();
    gone.attach(&request.id, Streams::ALL, SlowClient::Wait).unwrap();
    gone.request(&Request::Detach { target: target.clone() }).unwrap();
    send_stdin(&mut both, &target, b"go\n");
    let texts =
        |seen: Seen| (seen.text(), String::from_utf8(seen.stderr.clone()).unwrap(), seen.code());
    assert_eq!(texts(until_exit(&mut both, &target)), ("out\n".into(), "err\n".into(), Some(9)));
    assert_eq!(texts(until_exit(&mut errors, &target)), (String::new(), "err\n".into(), Some(9)));
    assert_eq!(texts(until_exit(&mut creator, &target)), (String::new(), String::new(), Some(9)));
    let mut seen = Seen::default();
    receive_until(&mut gone, &target, &mut seen, |_| false);
    assert_eq!(texts(seen), (String::new(), String::new(), None));
}

fn a_log_is_rotated(sandbox: &Sandbox) {
    let mut request = sandbox.container(
        "c",
        &["sh", "-c", "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done"],
    );
    let log = request.directory.join("log");
    request.log = LogConfig::Path { path: log.clone(), max_size: 4096, max_files: 3 };
    let mut connection = sandbox.run(&request);
    until_exit(&mut connection, &Target::container(&request.id));
    until_gone(&request.directory);
    let numbered = |n: u32| request.directory.join(format!("log.{n}"));
    assert!(numbered(1).exists() && numbered(2).exists() && !numbered(3).exists());
    let kept = [numbered(2), numbered(1), log].map(|path| log_text(&path)).concat();
    let all = (0..400).map(|n| format!("stdout F line {n}\n")).collect::<Vec<_>>().concat();
    assert!(kept.len() > 4096 && all.ends_with(&kept), "{kept}");
}

fn a_slow_client_holds_the_output_and_loses_nothing(sandbox: &Sandbox) {
    let mut request = sandbox
        .container("c", &["sh", "-c", "dd if=/dev/zero bs=1M count=8 2>/dev/null; echo end >&2"]);
    request.log = LogConfig::None;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    // It takes nothing: the container can't get rid of eight megabytes.
    std::thread::sleep(Duration::from_millis(400));
    let mut other = client::connect(&request.directory).unwrap();
    assert!(other.request(&Request::Status).is_ok(), "others are served meanwhile");
    until_state(&request.directory, State::Running);
    let seen = until_exit(&mut connection, &target);
    assert_eq!(seen.stdout.len(), 8 << 20);
    assert_eq!((&seen.stderr[..], seen.code()), (&b"end\n"[..], Some(0)));
}

fn a_slow_client_that_may_be_dropped_is(sandbox: &Sandbox) {
    let mut request =
        sandbox.container("c", &["sh", "-c", "dd if=/dev/zero bs=1M count=8 2>/dev/null; exit 6"]);
    request.log = LogConfig::None;
    request.slow = SlowClient::Drop;
    let _connection = sandbox.run(&request);
    let began = Instant::now();
    assert_eq!(until_state(&request.directory, State::Stopped).exit_code, Some(6));
    assert!(began.elapsed() > Duration::from_secs(8), "it was given time");
}

fn a_signal_is_not_held_up_by_input(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sleep", "100"]);
    request.stdin = StdinMode::Once;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    // A pipe's worth and the window on top: nobody reads it.
    let mut taken = 0;
    send_stdin(&mut connection, &target, &vec![0; 64 * 1024]);
    while taken < 64 * 1024 {
        if let Some(Reply::StdinTaken { bytes, .. }) = connection.receive().unwrap() {
            taken += bytes as usize;
        }
    }
    send_stdin(&mut connection, &target, &vec![0; 32 * 1024]);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert_eq!(until_exit(&mut connection, &target).code(), Some(137));
}

fn all_output_arrives_before_the_exit(sandbox: &Sandbox) {
    for round in 0..5 {
        let id = format!("c{round}");
        let request =
            sandbox.container(&id, &["sh", "-c", "yes 0123456789 | head -n 20000; printf tail"]);
        let mut connection = sandbox.run(&request);
        let seen = until_exit(&mut connection, &Target::container(&request.id));
        assert_eq!(seen.stdout.len(), 20000 * 11 + 4);
        let text = log_text(&request.directory.join("log"));
        assert!(text.ends_with("stdout P tail\n"));
    }
}

fn a_renamed_log_is_opened_anew(sandbox: &Sandbox) {
    let mut request = sandbox.container("c", &["sh", "-c", "echo one; read x; echo two"]);
    request.stdin = StdinMode::Open;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    let mut seen = Seen::default();
    receive_until(&mut connection, &target, &mut seen, |seen| seen.text() == "one\n");
    let log = request.directory.join("log");
    std::fs::rename(&log, request.directory.join("old")).unwrap();
    connection.request(&Request::ReopenLog { id: request.id.clone() }).unwrap();
    send_stdin(&mut connection, &target, b"\n");
    until_exit(&mut connection, &target);
    assert_eq!(log_text(&log), "stdout F two\n");
    assert_eq!(log_text(&request.directory.join("old")), "stdout F one\n");
}
