//! sh: a POSIX-like shell (POSIX 1003.1, shell command language) of moderate size.
//!
//! It has simple commands, quoting, parameters with their usual operators, arithmetic, command
//! substitution, pipelines, lists, redirections, globs, if, while, until, for, case, functions,
//! subshells and traps. Here-documents, job control and aliases are refused by name.
//!
//! `syntax` turns text into the tree of `tree`; `expand` makes words into arguments; `run` carries
//! the tree out; `builtins` are the commands that must run in the shell's own process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::outcome::{Failure, Outcome};
use crate::sys;

mod arithmetic;
mod builtins;
mod expand;
mod run;
mod syntax;
mod tree;

/// A shell variable.
#[derive(Debug, Clone, Default)]
struct Variable {
    value: Vec<u8>,
    exported: bool,
    read_only: bool,
}

/// A variable's name with its value as it was, `None` for unset.
type Hidden = (Vec<u8>, Option<Variable>);

/// Options that `set` changes.
#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    /// `-e`: leave after a failed command.
    exit_on_error: bool,
    /// `-u`: an unset variable is an error.
    unset_is_error: bool,
    /// `-x`: print commands before they run.
    trace: bool,
    /// `-f`: no globbing.
    no_glob: bool,
    /// `-o pipefail`: a pipeline fails with any of its commands.
    pipe_fail: bool,
}

/// The state of a shell.
#[derive(Debug, Default)]
struct Shell {
    variables: BTreeMap<Vec<u8>, Variable>,
    functions: BTreeMap<Vec<u8>, tree::Command>,
    /// `$1` and on.
    positional: Vec<Vec<u8>>,
    /// `$0`.
    name: Vec<u8>,
    /// `$?`.
    status: u8,
    /// `$!`.
    last_background: Option<i32>,
    /// Background processes that were not waited for yet, with the status of those that ended.
    jobs: BTreeMap<i32, Option<u8>>,
    /// The status of the last command substitution of the command that is being expanded.
    substituted: Option<u8>,
    settings: Settings,
    /// Commands by signal number; 0 is EXIT.
    traps: BTreeMap<i32, Vec<u8>>,
    interactive: bool,
    /// How many conditions (`if`, `while`, `&&`) enclose the command, where -e does not count.
    conditions: usize,
    /// How many function calls and `.` files are being run.
    depth: usize,
    /// The values that `local` hid, by function call.
    hidden: Vec<Vec<Hidden>>,
}

/// Why a list of commands was left before its end.
#[derive(Debug)]
enum Leave {
    /// `exit`, or an error in a shell that is not interactive.
    Exit(u8),
    /// `break N`
    Break(usize),
    /// `continue N`
    Continue(usize),
    /// `return`
    Return(u8),
    /// An error that abandons the current command line.
    Error(Failure),
}

impl From<Failure> for Leave {
    fn from(failure: Failure) -> Self {
        Self::Error(failure)
    }
}

impl From<io::Error> for Leave {
    fn from(error: io::Error) -> Self {
        Self::Error(error.into())
    }
}

/// `sh [-eufx] [-c TEXT [NAME [ARGUMENT...]] | -s | FILE [ARGUMENT...]]`
pub fn run(arguments: &[OsString]) -> Outcome {
    let mut shell = Shell::new();
    let mut command = false;
    let mut force_interactive = false;
    let mut operands = arguments.iter();
    let mut rest: Vec<Vec<u8>> = Vec::new();
    for argument in operands.by_ref() {
        let bytes = argument.as_bytes();
        match bytes.strip_prefix(b"-") {
            Some(letters) if !letters.is_empty() && letters != b"-" => {
                for letter in letters {
                    match letter {
                        b'c' => command = true,
                        b'i' => force_interactive = true,
                        // Reading standard input is what happens without operands; a login shell
                        // has no files to read here.
                        b's' | b'l' => {}
                        letter => shell.set_letter(*letter, true)?,
                    }
                }
            }
            Some(b"-") => break,
            _ => {
                rest.push(bytes.to_vec());
                break;
            }
        }
    }
    rest.extend(operands.map(|operand| operand.as_bytes().to_vec()));
    let mut rest = rest.into_iter();
    if command {
        let text = rest.next().ok_or_else(|| Failure::usage("-c wants a command"))?;
        shell.name = rest.next().unwrap_or_else(|| b"sh".to_vec());
        shell.positional = rest.collect();
        return Ok(shell.finish_script(&text));
    }
    if let Some(file) = rest.next() {
        let path = OsStr::from_bytes(&file).to_owned();
        shell.name = file;
        shell.positional = rest.collect();
        let text = fs::read(&path).map_err(|error| {
            Failure::new(
                crate::process::exec_status(&error),
                Failure::file(&path, &error).to_string(),
            )
        })?;
        return Ok(shell.finish_script(&text));
    }
    shell.name = b"sh".to_vec();
    shell.interactive = force_interactive || io::stdin().is_terminal();
    if shell.interactive {
        // An interrupt ends the command, not the shell.
        sys::catch_signal(sys::SIGINT);
        sys::ignore_signal(sys::SIGQUIT);
        sys::ignore_signal(sys::SIGTERM);
    }
    Ok(shell.read_input())
}

impl Shell {
    /// A shell with the environment's variables.
    fn new() -> Self {
        let mut shell = Self::default();
        for (name, value) in std::env::vars_os() {
            let variable =
                Variable { value: value.into_vec(), exported: true, ..Variable::default() };
            shell.variables.insert(name.into_vec(), variable);
        }
        if let Ok(directory) = std::env::current_dir() {
            shell.assign_quietly(b"PWD", directory.into_os_string().into_vec());
        }
        for (name, value) in [(&b"IFS"[..], &b" \t\n"[..]), (b"PS1", b"$ "), (b"PS2", b"> ")] {
            if name == b"IFS" || !shell.variables.contains_key(name) {
                shell.assign_quietly(name, value.to_vec());
            }
        }
        shell
    }

    /// Runs a whole script and gives the shell's exit status.
    fn finish_script(&mut self, text: &[u8]) -> u8 {
        let left = self.run_text(text);
        self.finish(left)
    }

    /// Turns the way the last command was left into the shell's exit status; runs the EXIT trap.
    fn finish(&mut self, left: Result<(), Leave>) -> u8 {
        let status = match left {
            Ok(()) => self.status,
            Err(leave) => self.settle(leave).unwrap_or(self.status),
        };
        self.status = status;
        match self.traps.remove(&0) {
            None => status,
            Some(text) => match self.run_text(&text) {
                Err(Leave::Exit(status)) => status,
                _ => status,
            },
        }
    }

    /// Reports an error; gives the status to exit with, when the shell is to exit.
    fn settle(&mut self, leave: Leave) -> Option<u8> {
        match leave {
            Leave::Exit(status) => Some(status),
            Leave::Return(status) => {
                self.status = status;
                None
            }
            Leave::Break(_) | Leave::Continue(_) => None,
            Leave::Error(failure) => {
                self.status = self.complain(&failure);
                (!self.interactive).then_some(self.status)
            }
        }
    }

    /// Prints an error.
    fn complain(&self, failure: &Failure) -> u8 {
        // What the commands printed before comes first. A failing stream has no better place.
        let _ = io::stdout().flush();
        let name = OsStr::from_bytes(&self.name).display();
        let _ = writeln!(io::stderr(), "{name}: {failure}");
        failure.status()
    }

    /// Parses and runs a text, complete commands at a time.
    fn run_text(&mut self, text: &[u8]) -> Result<(), Leave> {
        let mut parser = syntax::Parser::new(text);
        while let Some(list) = parser.next_line()? {
            self.run_list(&list)?;
        }
        Ok(())
    }

    /// Reads commands from standard input, with prompts when interactive.
    fn read_input(&mut self) -> u8 {
        let mut pending: Vec<u8> = Vec::new();
        loop {
            self.prompt(if pending.is_empty() { b"PS1" } else { b"PS2" });
            // Not read past the line's end, so that the commands of a script read the rest.
            let read = builtins::read_line(&mut pending);
            if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                pending.clear();
                if let Err(Leave::Exit(status)) = self.run_traps() {
                    return self.finish(Err(Leave::Exit(status)));
                }
                continue;
            }
            let at_end = !matches!(read, Ok(true));
            let mut parser = syntax::Parser::new(&pending);
            let mut lists = Vec::new();
            let parsed = loop {
                match parser.next_line() {
                    Ok(Some(list)) => lists.push(list),
                    Ok(None) => break Ok(()),
                    Err(failure) => break Err((parser.wants_more(), failure)),
                }
            };
            match parsed {
                Err((true, _)) if !at_end => continue,
                Err((_, failure)) => {
                    self.status = self.complain(&failure);
                    if !self.interactive {
                        return self.status;
                    }
                    lists.clear();
                }
                Ok(()) => {}
            }
            pending.clear();
            for list in &lists {
                if let Err(leave) = self.run_list(list) {
                    if let Some(status) = self.settle(leave) {
                        return self.finish(Err(Leave::Exit(status)));
                    }
                    break;
                }
            }
            if at_end {
                if self.interactive {
                    let _ = writeln!(io::stderr());
                }
                return self.finish(Ok(()));
            }
        }
    }

    /// Prints a prompt.
    fn prompt(&self, variable: &[u8]) {
        if !self.interactive {
            return;
        }
        let prompt = self.variables.get(variable).map(|v| v.value.as_slice()).unwrap_or_default();
        let mut text = Vec::new();
        let mut rest = prompt;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match (byte, rest.first()) {
                (b'\\', Some(b'w')) => {
                    let directory = std::env::current_dir().unwrap_or_default();
                    text.extend(directory.as_os_str().as_bytes());
                    rest = rest.get(1..).unwrap_or_default();
                }
                (b'\\', Some(b'h')) => {
                    text.extend(crate::proc::hostname().unwrap_or_default().into_bytes());
                    rest = rest.get(1..).unwrap_or_default();
                }
                _ => text.push(byte),
            }
        }
        // A terminal that is gone shows at the next read.
        let _ = io::stderr().write_all(&text);
    }

    /// The environment for programs.
    fn environment(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables
            .iter()
            .filter(|(_, variable)| variable.exported)
            .map(|(name, variable)| (OsStr::from_bytes(name), OsStr::from_bytes(&variable.value)))
    }

    /// A variable's value.
    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.variables.get(name).map(|variable| variable.value.as_slice())
    }

    /// Sets a variable that can't be read-only.
    fn assign_quietly(&mut self, name: &[u8], value: Vec<u8>) {
        self.variables.entry(name.to_vec()).or_default().value = value;
    }

    /// Sets a variable.
    fn assign(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), Failure> {
        let variable = self.variables.entry(name.to_vec()).or_default();
        if variable.read_only {
            let name = OsStr::from_bytes(name).display();
            return Err(Failure::usage(format!("{name}: the variable is read-only")));
        }
        variable.value = value;
        Ok(())
    }

    /// Turns an option on or off by its letter.
    fn set_letter(&mut self, letter: u8, on: bool) -> Result<(), Failure> {
        match letter {
            b'e' => self.settings.exit_on_error = on,
            b'u' => self.settings.unset_is_error = on,
            b'x' => self.settings.trace = on,
            b'f' => self.settings.no_glob = on,
            other => {
                let other = char::from(other);
                return Err(Failure::usage(format!("unknown option -{other}")));
            }
        }
        Ok(())
    }
}
