//! Terminals (config.md, `process.terminal`; runc's console socket).

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod common;

use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use common::{Bundle, json, text};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

fn accept(listener: &UnixListener) -> (OwnedFd, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut bytes = [0u8; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut bytes)];
    let length = recvmsg(&stream, &mut data, &mut control, RecvFlags::empty()).unwrap().bytes;
    let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = control.drain().next() else {
        panic!("no descriptor came");
    };
    let master = descriptors.next().unwrap();
    (master, bytes[..length].to_vec())
}

fn read_all(master: OwnedFd) -> String {
    let mut text = Vec::new();
    // A master whose slave is gone ends in an error.
    let _ = std::fs::File::from(master).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn the_master_goes_over_the_console_socket() {
    let Some(mut bundle) = Bundle::new() else { return };
    let path = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.set("/process/terminal", json!(true));
    bundle.set("/process/consoleSize", json!({ "height": 33, "width": 77 }));
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    bundle.script(
        "tty; stty size; readlink /proc/self/fd/0; readlink /proc/self/fd/1; stat -c '%U %F' $(tty); \
         [ /dev/console -ef /dev/pts/0 ] && echo console; \
         : </dev/tty && echo controlling",
    );
    bundle.write();
    let child = bundle
        .runtime(&["run", "--console-socket", path.to_str().unwrap(), &bundle.id])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (master, name) = accept(&listener);
    assert_eq!(name, b"/dev/ptmx");
    let printed = read_all(master);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        printed.replace('\r', ""),
        "/dev/pts/0\n33 77\n/dev/pts/0\n/dev/pts/0\nuser character special file\nconsole\ncontrolling\n"
    );
    bundle.assert_nothing_left();
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let path = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap();
    let status = bundle
        .runtime(&[
            "exec",
            "-d",
            "-t",
            "--console-socket",
            socket,
            &bundle.id,
            "/bin/sh",
            "-c",
            "tty; exit 3",
        ])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let (master, _) = accept(&listener);
    assert_eq!(read_all(master), "/dev/pts/0\r\n");
}

#[test]
fn in_the_foreground_it_is_copied_to_ours() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/terminal", json!(true));
    bundle.script("tty; read line; echo \"<$line>\"; exit 6").write();
    let mut child = bundle
        .runtime(&["run", &bundle.id])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let printed = text(&output.stdout).replace('\r', "");
    assert!(printed.contains("/dev/pts/0\n") && printed.ends_with("<typed>\n"), "{printed}");
    bundle.assert_nothing_left();
}

#[test]
fn a_terminal_without_a_socket_is_refused_and_the_other_way_round() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/terminal", json!(true)).write();
    for words in [&["create"][..], &["run", "-d"]] {
        let output = bundle.call(&[words, &[&bundle.id]].concat());
        assert!(text(&output.stderr).contains("process.terminal is true"), "{output:?}");
    }
    bundle.set("/process/terminal", json!(false)).write();
    let output = bundle.call(&["create", "--console-socket", "/x", &bundle.id]);
    assert!(text(&output.stderr).contains("process.terminal is false"), "{output:?}");
    bundle.set("/process/terminal", json!(true)).write();
    let output = bundle.call(&["create", "--console-socket", "/nosuch", &bundle.id]);
    assert!(text(&output.stderr).contains("connect to the console socket /nosuch"), "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn a_newline_stays_one_from_the_first_on() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/terminal", json!(true));
    bundle.args(&["/bin/echo", "first"]).write();
    for _ in 0..10 {
        let output = bundle.call(&["run", &bundle.id]);
        assert_eq!(text(&output.stdout), "first\n", "{output:?}");
    }
    bundle.set("/process/terminal", json!(false));
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let output = bundle.call(&["exec", "-t", &bundle.id, "/bin/echo", "first"]);
    assert_eq!(text(&output.stdout), "first\n", "{output:?}");
}

#[test]
fn much_goes_both_ways_at_once() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/terminal", json!(true));
    // It writes more than any buffer holds before it reads the first line.
    bundle.script("stty -echo; seq 1 100000; for i in 1 2 3; do read line; echo \"<$line>\"; done");
    bundle.write();
    let mut child = bundle
        .runtime(&["run", &bundle.id])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"one\ntwo\nthree\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = text(&output.stdout);
    assert!(printed.contains("\n100000\n"), "{}", printed.len());
    assert!(printed.ends_with("<one>\n<two>\n<three>\n"), "{printed:.200}");
}

#[test]
fn our_terminal_gives_its_size_and_gets_its_mode_back() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/terminal", json!(true));
    bundle.script(
        "stty size; trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.05; done",
    );
    bundle.write();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let slave =
        std::fs::File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    let size = |rows, columns| {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
    };
    size(33, 77);
    let before = tcgetattr(&slave).unwrap();
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let mut child = bundle
        .runtime(&["run", &bundle.id])
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    let mut seen = String::new();
    let mut read = |until: &str| {
        let mut buffer = [0u8; 256];
        while !seen.contains(until) {
            let length = rustix::io::read(&master, &mut buffer).unwrap();
            seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        seen.clone()
    };
    // What the container's terminal leaves alone ours puts right.
    assert_eq!(read("ready\r\n"), "33 77\r\nready\r\n");
    assert!(!tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ICANON));
    size(22, 66);
    let runtime = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(runtime, rustix::process::Signal::WINCH).unwrap();
    read("22 66\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let after = tcgetattr(&slave).unwrap();
    assert_eq!(
        (after.local_modes, after.output_modes, after.input_modes),
        (before.local_modes, before.output_modes, before.input_modes)
    );
    bundle.assert_nothing_left();
}
