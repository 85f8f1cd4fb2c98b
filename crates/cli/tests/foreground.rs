//! Processes in the foreground: the terminal comes back as it was, no byte is lost, signals arrive.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_testkit::{Scratch, require};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// A command on a terminal that the test holds the other end of.
struct OnTerminal {
    master: File,
    slave: OwnedFd,
    before: String,
    child: Child,
    seen: String,
}

impl OnTerminal {
    fn start(command: &mut Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave: OwnedFd = File::options().read(true).write(true).open(name).unwrap().into();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let before = settings(&slave);
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        Self { master: master.into(), slave, before, child, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.seen);
            let mut ready =
                [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            if rustix::event::poll(&mut ready, Some(&limit)).unwrap_or(0) > 0 {
                let count = self.master.read(&mut buffer).unwrap_or(0);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }

    fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn is_as_before(&self) -> bool {
        settings(&self.slave) == self.before
    }

    fn code(&mut self) -> i32 {
        code(&mut self.child)
    }
}

fn settings(terminal: impl AsFd) -> String {
    format!("{:?}", tcgetattr(terminal).unwrap())
}

/// Waits for a command's end and gives its exit code.
fn code(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the command did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn wait_until_running(scratch: &Scratch, name: &str) {
    let wait = scratch.berth(&["ps", "--format", "{{.Names}}"]);
    if !wait.success().contains(name) {
        std::thread::sleep(Duration::from_millis(20));
        wait_until_running(scratch, name);
    }
}

#[test]
fn the_terminal_is_raw_meanwhile_and_restored_on_every_way_out() {
    let scratch = require!(Scratch::new());
    let run = |name: &str| {
        let mut command = scratch.command();
        command.args(["run", "-it", "--name", name, "demo", "sh"]);
        let mut shell = OnTerminal::start(&mut command);
        shell.send("echo rea''dy\n");
        shell.wait_for("ready");
        assert!(!shell.is_as_before());
        shell
    };
    let mut shell = run("exits");
    shell.send("exit 9\r");
    assert_eq!(shell.code(), 9);
    assert!(shell.is_as_before());

    let mut shell = run("detaches");
    shell.send("\u{10}");
    std::thread::sleep(Duration::from_millis(50));
    shell.send("\u{11}");
    assert_eq!(shell.code(), 0);
    assert!(shell.is_as_before());

    let mut shell = run("terminated");
    signal(&shell.child, Signal::TERM);
    assert_eq!(shell.code(), 128 + 15);
    assert!(shell.is_as_before());
    // Whoever leaves a terminal finds the process again.
    for name in ["detaches", "terminated"] {
        assert_eq!(scratch.inspect(name)["State"]["Running"], true);
    }
    scratch.assert_clean();
}

#[test]
fn half_a_detach_sequence_reaches_the_process() {
    let scratch = require!(Scratch::new());
    let mut command = scratch.command();
    command.args(["run", "--rm", "-it", "--detach-keys", "x,y,z", "demo", "cat"]);
    let mut cat = OnTerminal::start(&mut command);
    cat.send("axyb\r");
    cat.wait_for("axyb\r\naxyb");
    cat.send("xyz");
    assert_eq!(cat.code(), 0);
    scratch.assert_clean();
}

#[test]
fn the_size_of_the_window_follows() {
    let scratch = require!(Scratch::new());
    let mut command = scratch.command();
    command.args(["run", "--rm", "-it", "demo", "sh"]);
    let mut shell = OnTerminal::start(&mut command);
    shell.send("echo rea''dy\n");
    shell.wait_for("ready");
    let size = Winsize { ws_row: 41, ws_col: 139, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&shell.slave, size).unwrap();
    // The kernel tells the foreground process group; here there is none, so the test tells.
    signal(&shell.child, Signal::WINCH);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !shell.seen.contains("139") && Instant::now() < deadline {
        shell.send("ttysize; echo do''ne\n");
        shell.wait_for("done");
        shell.seen = shell.seen.replace("done", "");
    }
    assert!(shell.seen.contains("41") && shell.seen.contains("139"), "{}", shell.seen);
    shell.send("exit\n");
    shell.code();
    scratch.assert_clean();
}

#[test]
fn input_and_output_pass_unchanged_through_a_slow_reader() {
    let scratch = require!(Scratch::new());
    let data: Vec<u8> =
        (0_u32..1 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut command = scratch.command();
    command.args(["run", "--rm", "-i", "demo", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let mut output = child.stdout.take().unwrap();
    let mut received = Vec::new();
    let mut buffer = vec![0; 50_000];
    loop {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            count => received.extend_from_slice(&buffer[..count]),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    writer.join().unwrap().unwrap();
    assert_eq!(code(&mut child), 0);
    assert!(received == data, "{} of {} bytes", received.len(), data.len());
    scratch.assert_clean();
}

#[test]
fn signals_are_passed_on_unless_told_otherwise() {
    let scratch = require!(Scratch::new());
    let mut command = scratch.command();
    command.args(["run", "--rm", "--init", "--name", "proxied", "demo", "sleep", "1000"]);
    let mut child = command.spawn().unwrap();
    wait_until_running(&scratch, "proxied");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::TERM);
    assert_eq!(code(&mut child), 128 + 15);

    let mut command = scratch.command();
    command.args(["run", "--rm", "--init", "--sig-proxy=false", "--name", "alone"]);
    let mut child = command.args(["demo", "sleep", "1000"]).spawn().unwrap();
    wait_until_running(&scratch, "alone");
    signal(&child, Signal::TERM);
    assert_eq!(code(&mut child), -1, "the signal ends the command itself");
    assert_eq!(scratch.inspect("alone")["State"]["Running"], true);
    scratch.assert_clean();
}

#[test]
fn who_insists_gets_out_of_a_process_that_takes_no_notice() {
    let scratch = require!(Scratch::new());
    let mut command = scratch.command();
    // The first process of a namespace ignores what it has no handler for.
    command.args(["run", "--rm", "--name", "deaf", "demo", "sleep", "1000"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until_running(&scratch, "deaf");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, Signal::INT);
    }
    assert_eq!(code(&mut child), 128 + 2);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("takes no notice"), "{told}");
    assert_eq!(scratch.inspect("deaf")["State"]["Running"], true);
    scratch.assert_clean();
}

#[test]
fn a_reader_that_went_away_ends_the_command() {
    let scratch = require!(Scratch::new());
    let mut command = scratch.command();
    command.args(["run", "--rm", "demo", "sh", "-c", "while true; do echo y; done"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 2]).unwrap();
    drop(output);
    assert_eq!(code(&mut child), 128 + 13);
    scratch.assert_clean();
}
