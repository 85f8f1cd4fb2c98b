//! Further processes in a container.

use berth_monitor::client::{self, Connection, RequestError};
use berth_monitor::events::{self, EventKind};
use berth_monitor::protocol::{
    CreateRequest, ErrorKind, ExecRequest, Request, SlowClient, Streams, Target, TerminalSize,
};

use crate::sandbox::*;

for_each_runtime! {
    a_process_has_its_own_streams_and_exit_code
    a_process_has_a_terminal
    a_process_gets_signals
    a_detached_process_is_in_the_events
    a_process_that_is_not_there_is_told_as_such
    a_background_process_does_not_hold_up_the_exit
    processes_end_with_the_container
    a_terminal_is_hung_up_when_its_client_is_gone
}

fn exec(request: &CreateRequest, session: &str, process: std::path::PathBuf) -> ExecRequest {
    ExecRequest {
        id: request.id.clone(),
        session: session.into(),
        process,
        terminal: false,
        streams: Streams::ALL,
        slow: SlowClient::Wait,
        console_size: None,
    }
}

fn sleeper(sandbox: &Sandbox) -> (CreateRequest, Connection) {
    let request = sandbox.container("c", &["sleep", "1000"]);
    let connection = sandbox.run(&request);
    (request, connection)
}

fn a_process_has_its_own_streams_and_exit_code(sandbox: &Sandbox) {
    let (request, _owner) = sleeper(sandbox);
    let mut connection = client::connect(&request.directory).unwrap();
    let script = ["sh", "-c", "cat; echo err >&2; exit 42"];
    let process = process_file(&request, "p", &script, false);
    let pid = connection.exec(exec(&request, "s", process.clone())).unwrap();
    assert!(pid > 0 && !process.exists());
    let target = Target::exec(&request.id, "s");
    send_stdin(&mut connection, &target, b"in\n");
    connection.send(&Request::CloseStdin { target: target.clone() }).unwrap();
    let seen = until_exit(&mut connection, &target);
    assert_eq!(
        (seen.text().as_str(), &seen.stderr[..], seen.code()),
        ("in\n", &b"err\n"[..], Some(42))
    );
    assert_eq!(log_text(&request.directory.join("log")), "");
}

fn a_process_has_a_terminal(sandbox: &Sandbox) {
    let (request, _owner) = sleeper(sandbox);
    let mut connection = client::connect(&request.directory).unwrap();
    let script = ["sh", "-c", "read x; stty size; test -t 2 && exit 5"];
    let process = process_file(&request, "p", &script, true);
    let mut exec = exec(&request, "s", process);
    exec.terminal = true;
    exec.console_size = Some(TerminalSize { rows: 11, columns: 22 });
    connection.exec(exec).unwrap();
    let target = Target::exec(&request.id, "s");
    send_stdin(&mut connection, &target, b"x\n");
    let seen = until_exit(&mut connection, &target);
    assert!(seen.text().ends_with("11 22\r\n"), "{seen:?}");
    assert_eq!(seen.code(), Some(5));
}

fn a_process_gets_signals(sandbox: &Sandbox) {
    let (request, mut connection) = sleeper(sandbox);
    let script = ["sh", "-c", "trap 'exit 33' USR1; echo ready; while :; do sleep 0.01; done"];
    let process = process_file(&request, "p", &script, false);
    connection.exec(exec(&request, "s", process)).unwrap();
    let target = Target::exec(&request.id, "s");
    let mut seen = Seen::default();
    receive_until(&mut connection, &target, &mut seen, |seen| seen.text() == "ready\n");
    connection.request(&Request::Signal { target: target.clone(), signal: 10 }).unwrap();
    assert_eq!(until_exit(&mut connection, &target).code(), Some(33));
    let late = connection.request(&Request::Signal { target, signal: 10 }).unwrap_err();
    assert!(matches!(late, RequestError::Refused { kind: ErrorKind::State, .. }), "{late}");
}

fn a_detached_process_is_in_the_events(sandbox: &Sandbox) {
    let (request, mut connection) = sleeper(sandbox);
    let process = process_file(&request, "p", &["sh", "-c", "echo lost; exit 12"], false);
    let mut exec = exec(&request, "s", process);
    exec.streams = Streams::NONE;
    connection.exec(exec).unwrap();
    drop(connection);
    let mut found = None;
    eventually("its exit is recorded", || {
        let events = events::read(&request.directory, 0).unwrap();
        found = events.into_iter().find_map(|event| match event.kind {
            EventKind::ExecExited { session, code } => Some((session, code)),
            _ => None,
        });
        found.is_some()
    });
    assert_eq!(found, Some(("s".to_owned(), Some(12))));
}

fn a_process_that_is_not_there_is_told_as_such(sandbox: &Sandbox) {
    let (request, mut connection) = sleeper(sandbox);
    let process = process_file(&request, "p", &["/no/such"], false);
    match connection.exec(exec(&request, "s", process)).unwrap_err() {
        RequestError::Refused { kind, text, .. } => {
            assert_eq!(kind, ErrorKind::CommandNotFound, "{text}");
        }
        other => panic!("{other}"),
    }
    let process = process_file(&request, "p", &["true"], false);
    connection.exec(exec(&request, "s", process)).unwrap();
}

fn a_background_process_does_not_hold_up_the_exit(sandbox: &Sandbox) {
    let (request, mut connection) = sleeper(sandbox);
    let process = process_file(&request, "p", &["sh", "-c", "sleep 500 & echo done"], false);
    connection.exec(exec(&request, "s", process)).unwrap();
    let seen = until_exit(&mut connection, &Target::exec(&request.id, "s"));
    assert_eq!((seen.text().as_str(), seen.code()), ("done\n", Some(0)));
}

fn processes_end_with_the_container(sandbox: &Sandbox) {
    let (request, mut connection) = sleeper(sandbox);
    let process = process_file(&request, "p", &["sleep", "500"], false);
    connection.exec(exec(&request, "s", process)).unwrap();
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    let mut other = Seen::default();
    receive_until(&mut connection, &Target::exec(&request.id, "s"), &mut other, |seen| {
        seen.exit.is_some()
    });
    assert_eq!(other.code(), Some(137));
    until_gone(&request.directory);
}

fn a_terminal_is_hung_up_when_its_client_is_gone(sandbox: &Sandbox) {
    let (request, _owner) = sleeper(sandbox);
    let mut connection = client::connect(&request.directory).unwrap();
    let process = process_file(&request, "p", &["cat"], true);
    let mut exec = exec(&request, "s", process);
    exec.terminal = true;
    let pid = connection.exec(exec).unwrap();
    drop(connection);
    eventually("the process has ended", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
}
