//! Running programs with a time limit.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a program ended and what it printed.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; 128 + n where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The command line, for messages.
    pub command: String,
}

impl Finished {
    /// The standard output without white space around it, of a program that must have succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(
            self.code == 0,
            "`{}` ended with {}\nstdout: {}\nstderr: {}",
            self.command,
            self.code,
            self.stdout,
            self.stderr
        );
        self.stdout.trim().to_owned()
    }

    /// Asserts the exit code; gives the standard error without white space around it.
    #[track_caller]
    pub fn failure(self, code: i32) -> String {
        assert!(
            self.code == code,
            "`{}` ended with {}, not {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.code,
            self.stdout,
            self.stderr
        );
        self.stderr.trim().to_owned()
    }
}

/// Runs a command to its end, giving it `input`; panics when it lasts longer than `limit`.
#[track_caller]
pub fn finish_with(command: &mut Command, input: &[u8], limit: Duration) -> Finished {
    let shown = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start `{shown}`: {error}"));
    let mut stdin = child.stdin.take().expect("standard input was asked for as a pipe");
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A program that reads nothing closes the pipe early, which is its right.
        drop(stdin.write_all(&input));
    });
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let code = wait(&mut child, limit, &shown);
    writer.join().expect("the writing thread does not panic");
    Finished {
        code,
        stdout: stdout.join().expect("the reading thread does not panic"),
        stderr: stderr.join().expect("the reading thread does not panic"),
        command: shown,
    }
}

/// Runs a command to its end without input, within a minute.
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    finish_with(command, b"", Duration::from_mins(1))
}

fn reader(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            drop(stream.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[track_caller]
fn wait(child: &mut Child, limit: Duration, shown: &str) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
            return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        }
        if Instant::now() > deadline {
            drop(child.kill());
            drop(child.wait());
            panic!("`{shown}` did not end within {limit:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Calls `condition` until it holds; panics with `what` after ten seconds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
