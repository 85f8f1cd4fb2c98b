//! Containers with a terminal, used through a pseudo-terminal of the test's own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_testkit::{Scratch, require};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A command on a terminal of 33 rows and 77 columns.
struct OnTerminal {
    master: File,
    child: Child,
    seen: String,
}

impl OnTerminal {
    fn start(command: &mut Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("the size can be set");
        let name = ptsname(&master, Vec::new()).expect("a terminal has a name");
        let slave: OwnedFd = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a name in UTF-8"))
            .expect("the terminal opens")
            .into();
        let stdio = || Stdio::from(slave.try_clone().expect("a descriptor can be duplicated"));
        let child =
            command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().expect("berth starts");
        Self { master: master.into(), child, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.seen);
            let mut ready =
                [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            if rustix::event::poll(&mut ready, Some(&limit)).unwrap_or(0) > 0 {
                let count = self.master.read(&mut buffer).unwrap_or(0);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }

    fn type_(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("a terminal takes input");
    }

    fn code(mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code().unwrap_or(-1);
            }
            let late = Instant::now() > deadline;
            if late {
                drop(self.child.kill());
            }
            assert!(!late, "the command did not end; seen {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_shell_on_a_terminal_has_its_size_and_passes_its_code() {
    let scratch = require!(Scratch::new());
    let mut shell = OnTerminal::start(scratch.command().args(["run", "--rm", "-it", "demo", "sh"]));
    shell.type_("ttysize\n");
    shell.wait_for("33");
    shell.wait_for("77");
    shell.type_("echo con''fused\n");
    shell.wait_for("confused");
    shell.type_("exit 11\n");
    assert_eq!(shell.code(), 11);
    scratch.assert_clean();
}

#[test]
fn the_detach_keys_leave_it_running_and_attach_comes_back() {
    let scratch = require!(Scratch::new());
    let mut shell =
        OnTerminal::start(scratch.command().args(["run", "-it", "--name", "d", "demo", "sh"]));
    shell.type_("echo rea''dy\n");
    shell.wait_for("ready");
    shell.type_("\u{10}\u{11}");
    assert_eq!(shell.code(), 0);
    assert_eq!(scratch.inspect("d")["State"]["Running"], true);
    let mut again = OnTerminal::start(scratch.command().args(["attach", "d"]));
    again.type_("echo ba''ck\n");
    again.wait_for("back");
    again.type_("exit 0\n");
    assert_eq!(again.code(), 0);
    scratch.assert_clean();
}

#[test]
fn exec_on_a_terminal_is_a_terminal() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "-d", "--name", "e", "demo", "sleep", "1000"]).success();
    let mut shell = OnTerminal::start(scratch.command().args(["exec", "-it", "e", "sh"]));
    shell.type_("test -t 0 && echo ter''minal\n");
    shell.wait_for("terminal");
    shell.type_("exit 12\n");
    assert_eq!(shell.code(), 12);
    scratch.assert_clean();
}
