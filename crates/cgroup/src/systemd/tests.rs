//! The client against a bus of our own in this process.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

use super::super::bus::Peer;
use super::super::wire::{self, FIXED_HEADER, Message, Writer};
use super::*;

/// What the fake does when a unit is started.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Works,
    JobFails,
    RefusesMethod,
    RefusesUser,
    HangsUp,
    /// It has a unit of the name, in this state.
    Has(&'static str),
}

/// A method's name and the bytes of the whole call.
type Call = (String, Vec<u8>);

/// A fake bus or manager; it serves one connection and returns the names of the calls it got,
/// with their bytes.
fn fake(directory: &Path, mood: Mood) -> (Endpoint, JoinHandle<Vec<Call>>) {
    let path = directory.join("bus");
    let listener = UnixListener::bind(&path).expect("bound");
    let serve = move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        let mut calls = Vec::new();
        if !greet(&mut stream, mood) {
            return calls;
        }
        while let Some((message, bytes)) = receive(&mut stream) {
            let serial = u32::from_le_bytes(bytes[8..12].try_into().expect("four"));
            calls.push((message.member.clone(), bytes));
            answer(&mut stream, serial, &message.member, mood);
        }
        calls
    };
    (Endpoint { path, peer: Peer::Bus }, std::thread::spawn(serve))
}

fn greet(stream: &mut UnixStream, mood: Mood) -> bool {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    let uid = rustix::process::geteuid().as_raw().to_string();
    let hex = String::from_utf8(line[15..line.len() - 2].to_vec()).expect("text");
    assert!(line.starts_with(b"\0AUTH EXTERNAL "));
    let digits: Vec<u8> = (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal"))
        .collect();
    assert_eq!(digits, uid.as_bytes());
    if mood == Mood::RefusesUser {
        stream.write_all(b"REJECTED EXTERNAL\r\n").expect("written");
        return false;
    }
    stream.write_all(b"OK 1234deadbeef\r\n").expect("written");
    let mut begin = [0; 7];
    stream.read_exact(&mut begin).expect("BEGIN");
    assert_eq!(&begin, b"BEGIN\r\n");
    true
}

fn receive(stream: &mut UnixStream) -> Option<(Message, Vec<u8>)> {
    let mut fixed = [0; FIXED_HEADER];
    stream.read_exact(&mut fixed).ok()?;
    let mut rest = vec![0; wire::remaining(&fixed).expect("a length")];
    stream.read_exact(&mut rest).ok()?;
    let bytes = [fixed.as_slice(), &rest].concat();
    Some((Message::parse(&bytes).expect("a message"), bytes))
}

fn answer(stream: &mut UnixStream, serial: u32, member: &str, mood: Mood) {
    let mut body = Writer::default();
    let signature = match member {
        "Hello" => {
            body.text(":1.7");
            "s"
        }
        "StartTransientUnit" | "StopUnit" => {
            if mood == Mood::HangsUp {
                stream.shutdown(std::net::Shutdown::Both).expect("shut down");
                return;
            }
            if mood == Mood::RefusesMethod {
                body.text("No such luck.");
                let name = "org.freedesktop.systemd1.NoSuchUnit";
                stream.write_all(&message(3, serial, Some(name), "s", body)).expect("written");
                return;
            }
            // Another's job, then ours, before the answer to the call: both must be kept.
            for (job, result) in [("/job/1", "done"), ("/job/2", outcome(mood))] {
                let mut signal = Writer::default();
                signal.u32(2);
                signal.text(job);
                signal.text("x.scope");
                signal.text(result);
                stream.write_all(&message(4, 0, None, "uoss", signal)).expect("written");
            }
            body.text("/job/2");
            "o"
        }
        "GetUnit" => {
            if let Mood::Has(_) = mood {
                body.text("/unit/x");
                "o"
            } else {
                body.text("Unit not loaded.");
                let name = "org.freedesktop.systemd1.NoSuchUnit";
                stream.write_all(&message(3, serial, Some(name), "s", body)).expect("written");
                return;
            }
        }
        "Get" => {
            body.signature("s");
            body.text(if let Mood::Has(state) = mood { state } else { "/a.slice/x.scope" });
            "v"
        }
        _ => "",
    };
    stream.write_all(&message(2, serial, None, signature, body)).expect("written");
}

fn outcome(mood: Mood) -> &'static str {
    if mood == Mood::JobFails { "failed" } else { "done" }
}

/// A message in the peer's direction. Signals are JobRemoved.
fn message(kind: u8, reply: u32, error: Option<&str>, signature: &str, body: Writer) -> Vec<u8> {
    let body = body.into_bytes();
    let mut w = Writer::default();
    for byte in [b'l', kind, 0, 1] {
        w.byte(byte);
    }
    w.u32(body.len() as u32);
    w.u32(99);
    w.array(8, |w| {
        let field = |w: &mut Writer, code: u8, typ: &str| {
            w.align(8);
            w.byte(code);
            w.signature(typ);
        };
        if kind == 4 {
            field(w, 3, "s");
            w.text("JobRemoved");
        } else {
            field(w, 5, "u");
            w.u32(reply);
        }
        if let Some(error) = error {
            field(w, 4, "s");
            w.text(error);
        }
        if !signature.is_empty() {
            field(w, 8, "g");
            w.signature(signature);
        }
    });
    w.align(8);
    let mut bytes = w.into_bytes();
    bytes.extend(body);
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn a_scope_is_started_in_its_slice_with_its_process_and_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let (endpoint, server) = fake(directory.path(), Mood::Works);
    let unit = Unit::parse(Path::new("a.slice:berth:x")).expect("a unit");
    let limits = vec![("MemoryMax", Value::U64(0x1122_3344_5566))];
    let group = unit.start_at(&[endpoint], 4321, limits).expect("started");
    assert_eq!(group, "/a.slice/x.scope");
    let calls = server.join().expect("served");
    let names: Vec<&str> = calls.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Hello", "AddMatch", "Subscribe", "StartTransientUnit", "Get"]);
    let start = &calls[3].1;
    assert!(holds(start, "berth-x.scope") && holds(start, "a.slice"));
    assert!(start.windows(4).any(|w| w == 4321_u32.to_le_bytes()));
    assert!(start.windows(8).any(|w| w == 0x1122_3344_5566_u64.to_le_bytes()));
    assert!(holds(&calls[4].1, "/org/freedesktop/systemd1/unit/berth_2dx_2escope"));
}

#[test]
fn a_failed_job_a_refused_user_and_a_lost_connection_are_told_apart() {
    let expected = |mood, error: &SystemdError| match (mood, error) {
        (Mood::JobFails, SystemdError::Job { result, .. }) => result == "failed",
        (Mood::RefusesMethod, SystemdError::Method { message, .. }) => message == "No such luck.",
        (Mood::RefusesUser, SystemdError::Authentication { .. }) => true,
        (Mood::HangsUp, SystemdError::Io { action, .. }) => *action == "read",
        _ => false,
    };
    for mood in [Mood::JobFails, Mood::RefusesMethod, Mood::RefusesUser, Mood::HangsUp] {
        let directory = tempfile::tempdir().expect("a directory");
        let (endpoint, server) = fake(directory.path(), mood);
        let error = Unit::named("x.scope").start_at(&[endpoint], 1, Vec::new()).expect_err("fails");
        assert!(expected(mood, &error), "{error:?}");
        server.join().expect("served");
    }
    let missing = Endpoint { path: "/nonexistent/bus".into(), peer: Peer::Bus };
    let error = Unit::named("x.scope").start_at(&[missing], 1, Vec::new()).expect_err("fails");
    assert!(error.to_string().contains("/nonexistent/bus"), "{error}");
}

#[test]
fn stopping_waits_for_the_job_and_a_unit_that_is_gone_is_stopped() {
    for mood in [Mood::Works, Mood::RefusesMethod] {
        let directory = tempfile::tempdir().expect("a directory");
        let (endpoint, server) = fake(directory.path(), mood);
        let mut manager = Manager::connect(&[endpoint]).expect("connected");
        manager.stop("x.scope").expect("stopped");
        drop(manager);
        let calls = server.join().expect("served");
        assert!(calls.iter().any(|(name, _)| name == "StopUnit"));
    }
}

#[test]
fn a_name_in_use_is_refused_and_a_failed_unit_is_forgotten_first() {
    let ask = |mood| {
        let directory = tempfile::tempdir().expect("a directory");
        let (endpoint, server) = fake(directory.path(), mood);
        let mut manager = Manager::connect(&[endpoint]).expect("connected");
        let reserved = Unit::named("x.scope").reserve_at(&mut manager);
        drop(manager);
        let calls = server.join().expect("served");
        (reserved, calls.iter().filter(|(name, _)| name == "ResetFailedUnit").count())
    };
    assert!(ask(Mood::Works).0.is_ok());
    let error = ask(Mood::Has("active")).0.expect_err("in use");
    assert!(error.to_string().contains("x.scope exists already and is active"), "{error}");
    let (reserved, resets) = ask(Mood::Has("failed"));
    // This one never forgets.
    assert!(matches!(reserved, Err(CreateError::UnitExists { .. })));
    assert!(resets > 0);
}

#[test]
fn limits_are_set_on_a_running_unit() {
    let directory = tempfile::tempdir().expect("a directory");
    let (endpoint, server) = fake(directory.path(), Mood::Works);
    let limits = vec![("TasksMax", Value::U64(77))];
    let mut manager = Manager::connect(&[endpoint]).expect("connected");
    manager.set_properties("x.scope", &limits).expect("set");
    drop(manager);
    let calls = server.join().expect("served");
    let (name, bytes) = calls.last().expect("a call");
    assert_eq!(name, "SetUnitProperties");
    assert!(holds(bytes, "TasksMax") && bytes.windows(8).any(|w| w == 77_u64.to_le_bytes()));
}

#[test]
fn paths_of_the_systemd_driver_name_a_unit_and_its_slice() {
    let unit = |path: &str| Unit::parse(Path::new(path)).map(|u| (u.name, u.slice));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(unit("a-b.slice:p:n").expect("valid"), pair("p-n.scope", "a-b.slice"));
    assert_eq!(unit("::n").expect("valid"), pair("n.scope", ""));
    for bad in ["/a/b", "a.slice:p", "a:p:n", "a.slice:p:", "a.slice:p:n/m", "a.slice:p:n:o"] {
        assert!(unit(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_real_bus_daemon_takes_our_greeting_and_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bus");
    let daemon = std::process::Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nosyslog"])
        .arg(format!("--address=unix:path={}", path.display()))
        // It complains where it may not raise its limit of open files.
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut daemon) = daemon else {
        eprintln!("SKIPPED: dbus-daemon is not installed");
        return;
    };
    let begin = std::time::Instant::now();
    while UnixStream::connect(&path).is_err() && begin.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let endpoint = Endpoint { path, peer: Peer::Bus };
    // No systemd is on this bus; that it says so means that everything before was understood.
    let error = Manager::connect(&[endpoint]).expect_err("no systemd there");
    daemon.kill().expect("killed");
    daemon.wait().expect("waited");
    assert!(
        matches!(&error, SystemdError::Method { method: "Subscribe", name, .. }
            if name.starts_with("org.freedesktop.DBus.Error.")),
        "{error}"
    );
}
