//! The applets as a user calls them: every test starts the built program.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

mod files;
mod network;
mod shell;
mod system;
mod text;

/// What a call gave.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

/// The built program, called by an applet's name.
fn applet(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-applets"));
    command.arg(name).env_clear().env("PATH", "/nowhere").stdin(Stdio::null());
    command
}

/// Collects what a child does.
fn collect(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs an applet to its end, with some input.
fn run_with(name: &str, arguments: &[&str], input: &str) -> Ran {
    let mut command = applet(name);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command may end without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    collect(child)
}

/// Runs an applet to its end.
fn run(name: &str, arguments: &[&str]) -> Ran {
    run_with(name, arguments, "")
}

/// What an applet prints; it must succeed.
fn out(name: &str, arguments: &[&str]) -> String {
    let ran = run(name, arguments);
    assert_eq!((ran.code, ran.error.as_str()), (Some(0), ""), "{name} {arguments:?}: {ran:?}");
    ran.out
}

/// What an applet makes of some input; it must succeed.
fn filter(name: &str, arguments: &[&str], input: &str) -> String {
    let ran = run_with(name, arguments, input);
    assert_eq!((ran.code, ran.error.as_str()), (Some(0), ""), "{name} {arguments:?}: {ran:?}");
    ran.out
}

/// A directory of a test's own, removed with all in it when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("applets-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
