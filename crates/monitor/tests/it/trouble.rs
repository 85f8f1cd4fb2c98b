//! Hostile and broken clients, a full disk, a second monitor, inherited descriptors.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use berth_monitor::client::{self, RequestError};
use berth_monitor::protocol::{
    ErrorKind, ExecRequest, OLDEST_VERSION, Reply, Request, SlowClient, Streams, Target, VERSION,
};
use berth_monitor::status::{self, State};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::sandbox::*;

for_each_runtime! {
    nonsense_ends_the_connection_and_nothing_else
    a_full_disk_delays_the_status_only
    a_full_log_disk_loses_output_and_says_so
    a_second_monitor_is_refused
    a_monitor_has_no_descriptor_but_its_own
    a_container_has_no_descriptor_of_the_monitor
    the_binary_cannot_be_written_through_proc
    a_monitor_ends_its_containers_when_it_is_told_to_end
    orphans_are_reaped
    a_client_of_another_version_is_understood
    its_files_and_its_socket_are_its_own
}

fn raw(directory: &std::path::Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let path = directory.join("monitor.sock");
    rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(LIMIT),
    )
    .unwrap();
    socket
}

fn frames_until_end(socket: &OwnedFd) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut buffer = vec![0; 65536];
    while let Ok((_, length)) = rustix::net::recv(socket, buffer.as_mut_slice(), RecvFlags::empty())
    {
        if length == 0 {
            break;
        }
        replies.push(Reply::decode(&buffer[..length]).unwrap());
    }
    replies
}

fn nonsense_ends_the_connection_and_nothing_else(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let mut connection = sandbox.run(&request);
    let hello = Request::Hello { version: VERSION }.encode(0);
    let wrong = Request::Hello { version: OLDEST_VERSION - 1 }.encode(0);
    let status = Request::Status.encode(1);
    let nonsense = [255_u8; 3000];
    let too_long = vec![0_u8; 100_000];
    for frames in [
        vec![&nonsense[..]],
        vec![&hello[..], &nonsense[..]],
        vec![&wrong[..]],
        vec![&status[..]],
        vec![&hello[..], &hello[..]],
        vec![&hello[..], &too_long[..]],
        vec![&[][..]],
    ] {
        let socket = raw(&request.directory);
        for frame in &frames {
            let _ = rustix::net::send(&socket, frame, SendFlags::NOSIGNAL);
        }
        let began = Instant::now();
        let replies = frames_until_end(&socket);
        assert!(began.elapsed() < LIMIT / 2, "{replies:?} to {} frames", frames.len());
        assert!(
            replies.iter().all(|reply| matches!(
                reply,
                Reply::Hello { .. } | Reply::Error { kind: ErrorKind::Protocol, .. }
            )),
            "{replies:?}"
        );
    }
    // A client that says nothing, and one that sends and never listens.
    let _silent = raw(&request.directory);
    let deaf = raw(&request.directory);
    rustix::net::send(&deaf, &hello, SendFlags::NOSIGNAL).unwrap();
    for _ in 0..10_000 {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if rustix::net::send(&deaf, &status, flags).is_err() {
            break;
        }
    }
    // Every process of ours that is not there.
    for target in [Target::container("x"), Target::exec(&request.id, "x")] {
        let error = connection.request(&Request::Signal { target, signal: 9 }).unwrap_err();
        assert!(matches!(error, RequestError::Refused { .. }), "{error}");
    }
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert_eq!(until_exit(&mut connection, &target).code(), Some(137));
    until_gone(&request.directory);
}

struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn new(path: std::path::PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        rustix::mount::mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options.as_c_str())
            .unwrap();
        Self(path)
    }

    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![1; size]).is_err() {
                size /= 2;
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn a_full_disk_delays_the_status_only(sandbox: &Sandbox) {
    let disk = SmallDisk::new(sandbox.path("c"), "4m");
    let mut request = sandbox.container("c", &["sh", "-c", "sleep 100"]);
    request.log = berth_monitor::protocol::LogConfig::None;
    let mut connection = sandbox.run(&request);
    let filler = disk.fill();
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    assert_eq!(until_exit(&mut connection, &target).code(), Some(137));
    std::thread::sleep(Duration::from_millis(700));
    assert!(client::is_alive(&request.directory), "it waits for room");
    assert_eq!(status::read(&request.directory).unwrap().unwrap().state, State::Running);
    assert_eq!(sandbox.cleaned(), "");
    std::fs::remove_file(filler).unwrap();
    let status = until_state(&request.directory, State::Stopped);
    assert_eq!(status.exit_code, Some(137));
    until_gone(&request.directory);
    assert_eq!(sandbox.cleaned(), format!("{}\n", request.id));
    drop(connection);
}

fn a_full_log_disk_loses_output_and_says_so(sandbox: &Sandbox) {
    let disk = SmallDisk::new(sandbox.path("logs"), "1m");
    let script = "while read x; do echo line $x; done";
    let mut request = sandbox.container("c", &["sh", "-c", script]);
    request.stdin = berth_monitor::protocol::StdinMode::Once;
    let log = disk.0.join("log");
    request.log =
        berth_monitor::protocol::LogConfig::Path { path: log.clone(), max_size: 0, max_files: 1 };
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    let mut say = |text: &str| {
        send_stdin(&mut connection, &target, format!("{text}\n").as_bytes());
        let mut seen = Seen::default();
        receive_until(&mut connection, &target, &mut seen, |seen| seen.text().contains(text));
    };
    say("one");
    let filler = disk.fill();
    for _ in 0..100 {
        say(&"x".repeat(100));
    }
    std::fs::remove_file(filler).unwrap();
    say("two");
    connection.send(&Request::CloseStdin { target: target.clone() }).unwrap();
    until_exit(&mut connection, &target);
    until_gone(&request.directory);
    let text = log_text(&log);
    assert!(text.starts_with("stdout F line one\n") && text.ends_with("stdout F line two\n"));
    assert!(text.lines().all(|line| line.starts_with("stdout F line ")), "no record is torn");
    let lost: u64 = berth_monitor::events::read(&request.directory, 0)
        .unwrap()
        .into_iter()
        .filter_map(|event| match event.kind {
            berth_monitor::events::EventKind::LogLost { bytes, .. } => Some(bytes),
            _ => None,
        })
        .sum();
    let kept: usize = text.lines().map(|line| line.len() - "stdout F ".len() + 1).sum();
    assert_eq!(kept + lost as usize, "line one\n".len() * 2 + 100 * "line \n".len() + 100 * 100);
}

fn a_client_of_another_version_is_understood(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let _first = sandbox.run(&request);
    // An older one is spoken to in its own version, a newer one in ours.
    for (theirs, spoken) in [(1, 1), (VERSION, VERSION), (VERSION + 7, VERSION)] {
        let socket = raw(&request.directory);
        let session = format!("s{theirs}");
        let exec = Request::Exec(Box::new(ExecRequest {
            id: request.id.clone(),
            process: process_file(&request, &session, &["/no/such/program"], false),
            session,
            terminal: false,
            streams: Streams::NONE,
            slow: SlowClient::Wait,
            console_size: None,
        }));
        for (number, frame) in [Request::Hello { version: theirs }, exec].iter().enumerate() {
            rustix::net::send(&socket, &frame.encode(number as u32), SendFlags::NOSIGNAL).unwrap();
        }
        let mut buffer = vec![0; 65536];
        let mut next = || {
            let received =
                rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
            Reply::decode(&buffer[..received.1]).unwrap()
        };
        assert!(matches!(next(), Reply::Hello { version, .. } if version == spoken));
        let Reply::Error { kind, hint, .. } = next() else { panic!("it cannot be executed") };
        assert_eq!(kind, ErrorKind::CommandNotFound);
        let gives_advice = spoken >= 2 && sandbox.kind == Kind::Builtin;
        assert_eq!(hint.is_some(), gives_advice, "{theirs}: {hint:?}");
    }
}

fn a_second_monitor_is_refused(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let _first = sandbox.run(&request);
    let mut second = sandbox.launch(&request);
    match second.create(request.clone()).unwrap_err() {
        RequestError::Refused { kind, text, .. } => {
            assert_eq!(kind, ErrorKind::Exists);
            assert!(text.contains("another monitor runs"), "{text}");
        }
        other => panic!("{other}"),
    }
}

fn descriptors(pid: i32) -> Vec<String> {
    let mut links: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    links.sort();
    links
}

fn a_monitor_has_no_descriptor_but_its_own(sandbox: &Sandbox) {
    let leak = std::fs::File::create(sandbox.path("leak")).unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let request = sandbox.container("c", &["sleep", "100"]);
    let mut connection = sandbox.run(&request);
    connection.request(&Request::Status).unwrap();
    let links = descriptors(connection.monitor_pid().unwrap());
    assert!(!links.iter().any(|link| link.contains("leak")), "{links:?}");
    assert!(links.len() < 20, "{links:?}");
    drop(leak);
}

fn a_container_has_no_descriptor_of_the_monitor(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let mut connection = sandbox.launch(&request);
    let pid = connection.create(request.clone()).unwrap();
    // Until it executes its program, a runtime's own descriptors are there too.
    eventually("it has three", || descriptors(pid).len() == 3);
}

fn the_binary_cannot_be_written_through_proc(sandbox: &Sandbox) {
    let request = sandbox.container("c", &["sleep", "100"]);
    let mut connection = sandbox.run(&request);
    connection.request(&Request::Status).unwrap();
    let exe = format!("/proc/{}/exe", connection.monitor_pid().unwrap());
    let file = std::fs::File::open(&exe).unwrap();
    let error = std::fs::File::options().write(true).open(&exe).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(26), "ETXTBSY and not {error}");
    // Who waits with an open descriptor until nobody executes the file gets no further.
    let monitor = rustix::process::Pid::from_raw(connection.monitor_pid().unwrap()).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    until_gone(&request.directory);
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
    eventually("the file system is said to be read-only", || {
        let error = std::fs::File::options().write(true).open(&again).unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(26 | 30)), "{error}");
        error.raw_os_error() == Some(30)
    });
}

fn a_monitor_ends_its_containers_when_it_is_told_to_end(sandbox: &Sandbox) {
    let mut request = sandbox.container(
        "c",
        &["sh", "-c", "trap 'exit 19' TERM; echo up; while :; do sleep 0.01; done"],
    );
    request.restart = berth_monitor::protocol::RestartPolicy::Always;
    let mut connection = sandbox.run(&request);
    let target = Target::container(&request.id);
    receive_until(&mut connection, &target, &mut Seen::default(), |seen| !seen.stdout.is_empty());
    let monitor = rustix::process::Pid::from_raw(connection.monitor_pid().unwrap()).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::TERM).unwrap();
    let exit = until_exit(&mut connection, &target).exit.unwrap();
    assert_eq!((exit.code, exit.restarting), (Some(19), false));
    until_gone(&request.directory);
}

fn orphans_are_reaped(sandbox: &Sandbox) {
    // Without a PID namespace the container's orphans become the monitor's children.
    let request = sandbox
        .container("c", &["sh", "-c", "for i in 1 2 3; do (sh -c 'sleep 0.2' &); done; sleep 100"]);
    edit(&request, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let mut connection = sandbox.run(&request);
    connection.attach(&request.id, Streams::NONE, SlowClient::Wait).unwrap();
    let monitor = connection.monitor_pid().unwrap();
    let children = || {
        std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children"))
            .unwrap()
            .split_ascii_whitespace()
            .count()
    };
    eventually("they are the monitor's", || children() == 4);
    eventually("they are gone", || children() == 1);
    let target = Target::container(&request.id);
    connection.request(&Request::Signal { target: target.clone(), signal: 9 }).unwrap();
    until_exit(&mut connection, &target);
}

fn its_files_and_its_socket_are_its_own(sandbox: &Sandbox) {
    use std::os::unix::fs::MetadataExt as _;
    let victim = sandbox.path("victim");
    std::fs::write(&victim, "precious").unwrap();
    for name in ["request", "status.json.new", "events", "members", "monitor.pid", "monitor.lock"] {
        let request = sandbox.container(&format!("c-{name}"), &["true"]);
        std::os::unix::fs::symlink(&victim, request.directory.join(name)).unwrap();
        // Some it can do without, and some not; what it tells by then has been written.
        let monitor = client::launch(&sandbox.options(&request.directory));
        let created = monitor.map(|mut monitor| monitor.create(request.clone()).is_ok());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}, {created:?}");
        // It may be gone with the monitor.
        let _ = std::fs::remove_file(request.directory.join(name));
    }
    let request = sandbox.container("c", &["sleep", "100"]);
    let _connection = sandbox.run(&request);
    let socket = std::fs::metadata(request.directory.join("monitor.sock")).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o600);
}
