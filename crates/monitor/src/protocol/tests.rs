//! Property tests of the decoder, and the encoding of every kind of frame.

use proptest::prelude::*;

use super::*;
use crate::status::State;

fn create() -> CreateRequest {
    CreateRequest {
        id: "c1".into(),
        directory: "/run/c1".into(),
        bundle: "/run/c1/bundle".into(),
        runtime: RuntimeChoice::Program(RuntimeProgram {
            path: "/usr/sbin/runc".into(),
            options: vec!["--debug".into(), "--platform=systrap".into()],
            sandboxed: true,
        }),
        cgroup_driver: CgroupDriver::Systemd,
        log: LogConfig::Path { path: "/var/log/c1".into(), max_size: 10, max_files: 3 },
        terminal: true,
        stdin: StdinMode::Once,
        attach: Some(Streams { stdin: true, stdout: false, stderr: true }),
        slow: SlowClient::Drop,
        start: true,
        restart: RestartPolicy::OnFailure { max: Some(7) },
        cleanup: CleanupBy::Client,
        console_size: Some(TerminalSize { rows: 24, columns: 80 }),
    }
}

fn requests() -> Vec<Request> {
    let id = || "c1".to_owned();
    let target = Target::exec("c1", "s.2");
    vec![
        Request::Hello { version: 9 },
        Request::Create(Box::new(create())),
        Request::Create(Box::new(CreateRequest {
            runtime: RuntimeChoice::Builtin,
            log: LogConfig::None,
            attach: None,
            console_size: None,
            restart: RestartPolicy::OnFailure { max: None },
            ..create()
        })),
        Request::Start { id: id() },
        Request::Exec(Box::new(ExecRequest {
            id: id(),
            session: "x".into(),
            process: "/run/p.json".into(),
            terminal: false,
            streams: Streams::ALL,
            slow: SlowClient::Wait,
            console_size: None,
        })),
        Request::Attach { id: id(), streams: Streams::NONE, slow: SlowClient::Wait },
        Request::Detach { target: target.clone() },
        Request::Resize { target: target.clone(), size: TerminalSize { rows: 1, columns: 2 } },
        Request::Stdin { target: target.clone(), data: vec![0, 255, 10] },
        Request::CloseStdin { target: Target::container("c1") },
        Request::Signal { target, signal: 15 },
        Request::NoRestart { id: id() },
        Request::Pause { id: id() },
        Request::Resume { id: id() },
        Request::ReopenLog { id: id() },
        Request::CleanupDone { id: id() },
        Request::Replace { binary: "/usr/bin/berth-monitor".into() },
        Request::Status,
        Request::Shutdown,
    ]
}

fn replies() -> Vec<Reply> {
    let target = Target::container("c1");
    let exit = Exit { code: Some(137), signal: Some(9), oom_killed: true, restarting: false };
    vec![
        Reply::Hello { version: 1, pid: 77 },
        Reply::Ok { request: 4 },
        Reply::Error {
            request: 5,
            kind: ErrorKind::CommandNotFound,
            text: "é: no".into(),
            hint: None,
        },
        Reply::Error {
            request: 5,
            kind: ErrorKind::Invalid,
            text: "no".into(),
            hint: Some("try é".into()),
        },
        Reply::Created { request: 1, id: "c1".into(), pid: 99 },
        Reply::Started { request: 1, id: "c1".into() },
        Reply::ExecStarted { request: 2, target: Target::exec("c1", "x"), pid: 100 },
        Reply::Stdout { target: target.clone(), data: vec![1, 2, 3] },
        Reply::Stderr { target: target.clone(), data: vec![] },
        Reply::StdinTaken { target: target.clone(), bytes: 12 },
        Reply::Exited { target: target.clone(), exit },
        Reply::Exited { target, exit: Exit { code: None, signal: None, ..exit } },
        Reply::Status {
            request: 8,
            program: "0.1.0".into(),
            containers: vec![ContainerSummary {
                id: "c1".into(),
                state: State::Paused,
                pid: 3,
                sessions: 1,
                clients: 2,
            }],
        },
    ]
}

#[test]
fn every_frame_is_read_as_it_was_written() {
    for (number, request) in requests().into_iter().enumerate() {
        let frame = request.encode(number as u32);
        assert_eq!(Request::decode(&frame), Ok((number as u32, request)));
    }
    for reply in replies() {
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
}

#[test]
fn a_frame_that_ends_early_or_goes_on_is_refused() {
    for request in requests() {
        let frame = request.encode(1);
        // Data runs to the end of the frame, so a shorter one is a frame too.
        let fixed = if let Request::Stdin { data, .. } = &request { data.len() } else { 0 };
        for length in 0..frame.len() - fixed {
            assert!(Request::decode(&frame[..length]).is_err(), "{request:?} cut to {length}");
        }
        if fixed == 0 {
            let longer = [&frame[..], &[0]].concat();
            assert_eq!(Request::decode(&longer), Err(DecodeError::Trailing(1)));
        }
    }
}

#[test]
fn names_that_could_leave_a_directory_are_refused() {
    for name in ["", "..", ".x", "a/b", "a\0b", "a b", "é", &"x".repeat(256)] {
        let frame = Request::Start { id: name.to_owned() }.encode(0);
        assert_eq!(Request::decode(&frame), Err(DecodeError::Text("id")), "{name:?}");
    }
}

#[test]
fn relative_paths_are_refused() {
    for path in ["", "x", "./x", "/a\0b"] {
        let frame = Request::Replace { binary: path.into() }.encode(0);
        assert_eq!(Request::decode(&frame), Err(DecodeError::Text("binary")), "{path:?}");
    }
}

#[test]
fn more_input_than_a_frame_may_carry_is_refused() {
    let target = Target::container("c");
    let frame = Request::Stdin { target, data: vec![0; MAX_STDIN + 1] }.encode(0);
    assert!(matches!(Request::decode(&frame), Err(DecodeError::Value { field: "data", .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(kind in 0_u8..80, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let frame = [&[kind][..], &rest].concat();
        crate::fuzzing::frame(&frame);
    }

    #[test]
    fn a_damaged_frame_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let frames: Vec<_> = requests().iter().map(|request| request.encode(3)).collect();
        let mut frame = which.get(&frames).clone();
        let place = at.index(frame.len());
        frame[place] = byte;
        frame.truncate(cut.index(frame.len()) + 1);
        if let Ok((number, request)) = Request::decode(&frame) {
            // Booleans and names have one form each, so what is accepted is what was meant.
            prop_assert_eq!(request.encode(number), frame);
        }
    }
}
