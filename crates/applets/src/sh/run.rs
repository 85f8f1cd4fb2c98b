//! Carries out the syntax tree: lists, pipelines, commands, redirections (POSIX 2.7, 2.9).

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;

use super::builtins::{self, Builtin};
use super::tree::{
    Command, Connector, Item, Kind, List, Mode, Pipeline, Redirection, Simple, Word,
};
use super::{Hidden, Leave, Shell};
use crate::outcome::{Failure, plain};
use crate::process::exec_status;
use crate::sys::{self, Fork, Wait};
use crate::{Applet, pattern};

/// How deep function calls may nest before the stack is in danger.
const DEEPEST: usize = 200;

/// A variable's name and the value it gets.
type Assignment = (Vec<u8>, Vec<u8>);

/// A descriptor as it was before a redirection.
pub(super) struct Saved {
    descriptor: i32,
    before: Option<OwnedFd>,
}

/// What a command's name stands for.
enum Found {
    Function(Command),
    Builtin(Builtin),
    Applet(&'static Applet),
    Program,
}

impl Shell {
    /// Runs commands one after another.
    pub(super) fn run_list(&mut self, list: &List) -> Result<(), Leave> {
        for item in list {
            self.run_item(item)?;
            self.run_traps()?;
        }
        Ok(())
    }

    fn run_item(&mut self, item: &Item) -> Result<(), Leave> {
        if !item.background {
            return self.run_connected(item);
        }
        match self.fork()? {
            Fork::Child => {
                sys::ignore_signal(sys::SIGINT);
                sys::ignore_signal(sys::SIGQUIT);
                let status = self.run_as_child(|shell| {
                    if !shell.interactive
                        && let Ok(null) = File::open("/dev/null")
                    {
                        sys::redirect(null.as_fd(), 0)?;
                    }
                    // `$!` is the number of the command itself where there is only one.
                    match (item.rest.as_slice(), item.first.commands.as_slice()) {
                        ([], [command]) if !item.first.negated => shell.run_last(command),
                        _ => shell.run_connected(item),
                    }
                });
                sys::exit_now(status)
            }
            Fork::Parent(child) => {
                self.jobs.insert(child, None);
                self.last_background = Some(child);
                self.status = 0;
                if self.interactive {
                    writeln!(io::stderr(), "[{child}]")?;
                }
                Ok(())
            }
        }
    }

    /// Runs the pipelines of an item as far as `&&` and `||` let it.
    fn run_connected(&mut self, item: &Item) -> Result<(), Leave> {
        let mut left = item.rest.len();
        self.run_pipeline(&item.first, left > 0)?;
        for (connector, pipeline) in &item.rest {
            left -= 1;
            if (*connector == Connector::And) == (self.status == 0) {
                self.run_pipeline(pipeline, left > 0)?;
            }
        }
        Ok(())
    }

    /// Runs a pipeline. Where it is a condition its failure doesn't count for `set -e`.
    fn run_pipeline(&mut self, pipeline: &Pipeline, condition: bool) -> Result<(), Leave> {
        let condition = usize::from(condition || pipeline.negated);
        self.conditions += condition;
        let done = match pipeline.commands.as_slice() {
            [command] => self.run_command(command),
            commands => self.run_piped(commands),
        };
        self.conditions -= condition;
        done?;
        if pipeline.negated {
            self.status = u8::from(self.status == 0);
            return Ok(());
        }
        if self.status != 0 && self.settings.exit_on_error && self.conditions == 0 && condition == 0
        {
            return Err(Leave::Exit(self.status));
        }
        Ok(())
    }

    /// Runs several commands with pipes between them.
    fn run_piped(&mut self, commands: &[Command]) -> Result<(), Leave> {
        let mut children = Vec::new();
        let mut input: Option<OwnedFd> = None;
        for (at, command) in commands.iter().enumerate() {
            let (next, output) = if at + 1 < commands.len() {
                let (read, write) = sys::pipe()?;
                (Some(read), Some(write))
            } else {
                (None, None)
            };
            match self.fork()? {
                Fork::Child => {
                    drop(next);
                    let status = self.run_as_child(|shell| {
                        if let Some(input) = input {
                            sys::redirect(input.as_fd(), 0)?;
                        }
                        if let Some(output) = output {
                            sys::redirect(output.as_fd(), 1)?;
                        }
                        shell.run_last(command)
                    });
                    sys::exit_now(status)
                }
                Fork::Parent(child) => {
                    // While one is waited for, another may end.
                    self.jobs.insert(child, None);
                    children.push(child);
                }
            }
            input = next;
        }
        let mut failed = 0;
        for child in children {
            self.status = self.wait_for(child)?;
            if self.status != 0 {
                failed = self.status;
            }
        }
        if self.settings.pipe_fail {
            self.status = failed;
        }
        Ok(())
    }

    /// Makes a copy of the shell. In the child traps and signals are as at the start.
    pub(super) fn fork(&mut self) -> Result<Fork, Leave> {
        io::stdout().flush()?;
        // `$$` stays the first shell's number in all of its subshells.
        if self.value(b"$").is_none() {
            let number = process::id().to_string().into_bytes();
            self.assign_quietly(b"$", number);
        }
        let fork = sys::fork_process()
            .map_err(|error| Failure::new(1, format!("cannot fork: {}", plain(&error))))?;
        if fork == Fork::Child {
            for (signal, text) in std::mem::take(&mut self.traps) {
                // What is ignored stays ignored.
                if signal != 0 && !text.is_empty() {
                    sys::default_signal(signal);
                }
            }
            if self.interactive {
                for signal in [sys::SIGINT, sys::SIGQUIT, sys::SIGTERM] {
                    sys::default_signal(signal);
                }
            }
            self.interactive = false;
            self.jobs.clear();
        }
        Ok(fork)
    }

    /// Runs something in the child of a fork, and gives the status to exit with.
    pub(super) fn run_as_child(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Leave>) -> u8 {
        let left = work(self);
        let status = self.finish(left);
        match io::stdout().flush() {
            Ok(()) => status,
            Err(_) => status.max(1),
        }
    }

    /// Waits for one child, noting others that end meanwhile.
    pub(super) fn wait_for(&mut self, child: i32) -> Result<u8, Leave> {
        loop {
            if let Some(Some(status)) = self.jobs.get(&child).copied() {
                self.jobs.remove(&child);
                return Ok(status);
            }
            match sys::wait_child(None, Wait::Block) {
                Ok(Some(ended)) if ended.pid == child => {
                    self.jobs.remove(&child);
                    return Ok(ended.status);
                }
                Ok(Some(ended)) => self.note_end(ended),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Remembers how a background process ended.
    pub(super) fn note_end(&mut self, ended: sys::Ended) {
        if let Some(status) = self.jobs.get_mut(&ended.pid) {
            *status = Some(ended.status);
        }
    }

    /// Runs the commands of traps whose signals came.
    pub(super) fn run_traps(&mut self) -> Result<(), Leave> {
        if !sys::signal_pending() {
            return Ok(());
        }
        while let Some(signal) = sys::take_signal() {
            if let Some(text) = self.traps.get(&signal).cloned() {
                let status = self.status;
                self.run_text(&text)?;
                self.status = status;
            } else if signal == sys::SIGINT && self.interactive {
                writeln!(io::stderr())?;
                self.status = 130;
                return Err(Leave::Break(usize::MAX));
            }
        }
        Ok(())
    }

    fn run_command(&mut self, command: &Command) -> Result<(), Leave> {
        match &command.kind {
            Kind::Simple(simple) => self.run_simple(simple, &command.redirections, Place::Shell),
            Kind::Function { name, body } => {
                self.functions.insert(name.clone(), (**body).clone());
                self.status = 0;
                Ok(())
            }
            Kind::Subshell(list) => match self.fork()? {
                Fork::Child => {
                    let status = self.run_as_child(|shell| {
                        shell.redirect(&command.redirections)?;
                        shell.run_list(list)
                    });
                    sys::exit_now(status)
                }
                Fork::Parent(child) => {
                    self.status = self.wait_for(child)?;
                    Ok(())
                }
            },
            kind => {
                let saved = match self.redirect(&command.redirections) {
                    Ok(saved) => saved,
                    Err(leave) => return self.failed_redirection(leave),
                };
                let done = self.run_compound(kind);
                self.restore(saved)?;
                done
            }
        }
    }

    /// Runs the last command of a process that ends after it.
    fn run_last(&mut self, command: &Command) -> Result<(), Leave> {
        match &command.kind {
            Kind::Simple(simple) => self.run_simple(simple, &command.redirections, Place::Child),
            _ => self.run_command(command),
        }
    }

    /// A redirection that failed makes its command fail, not the script.
    fn failed_redirection(&mut self, leave: Leave) -> Result<(), Leave> {
        let Leave::Error(failure) = leave else { return Err(leave) };
        self.complain(&failure);
        self.status = 1;
        Ok(())
    }

    fn run_compound(&mut self, kind: &Kind) -> Result<(), Leave> {
        match kind {
            Kind::Group(list) => self.run_list(list),
            Kind::If { branches, otherwise } => {
                for (condition, list) in branches {
                    if self.holds(condition)? {
                        return self.run_list(list);
                    }
                }
                self.status = 0;
                otherwise.as_ref().map_or(Ok(()), |list| self.run_list(list))
            }
            Kind::While { until, condition, body } => {
                let mut status = 0;
                while self.holds(condition)? != *until {
                    let left = self.run_list(body);
                    status = self.status;
                    if leaves_loop(left)? {
                        break;
                    }
                }
                self.status = status;
                Ok(())
            }
            Kind::For { name, words, body } => {
                let values = match words {
                    Some(words) => self.expand_words(words)?,
                    None => self.positional.clone(),
                };
                self.status = 0;
                for value in values {
                    self.assign(name, value)?;
                    if leaves_loop(self.run_list(body))? {
                        break;
                    }
                }
                Ok(())
            }
            Kind::Case { word, arms } => {
                let text = self.expand_single(word)?;
                self.status = 0;
                for (patterns, list) in arms {
                    for wanted in patterns {
                        let wanted = self.expand_pattern(wanted)?;
                        if pattern::matches(&wanted, &text) {
                            return self.run_list(list);
                        }
                    }
                }
                Ok(())
            }
            Kind::Simple(_) | Kind::Subshell(_) | Kind::Function { .. } => Ok(()),
        }
    }

    /// Runs a condition.
    fn holds(&mut self, condition: &List) -> Result<bool, Leave> {
        self.conditions += 1;
        let done = self.run_list(condition);
        self.conditions -= 1;
        done?;
        Ok(self.status == 0)
    }

    /// Finds what a command's name stands for.
    fn find(&self, name: &[u8]) -> Found {
        if let Some(body) = self.functions.get(name) {
            return Found::Function(body.clone());
        }
        if let Some(builtin) = builtins::find(name) {
            return Found::Builtin(builtin);
        }
        match crate::find(OsStr::from_bytes(name)) {
            Some(applet) if builtins::runs_in_process(applet.name) => Found::Applet(applet),
            _ => Found::Program,
        }
    }

    fn run_simple(
        &mut self,
        simple: &Simple,
        redirections: &[Redirection],
        place: Place,
    ) -> Result<(), Leave> {
        self.substituted = None;
        let words = self.expand_words(&simple.words)?;
        let Some((name, arguments)) = words.split_first() else {
            return self.assign_only(simple, redirections);
        };
        let found = self.find(name);
        let assignments = self.expand_assignments(&simple.assignments)?;
        if self.settings.trace {
            let shown = words.join(&b' ');
            writeln!(io::stderr(), "+ {}", OsStr::from_bytes(&shown).display())?;
        }
        if let Found::Program = found {
            return self.run_program(&words, assignments, redirections, place);
        }
        let saved = match self.redirect(redirections) {
            Ok(saved) => saved,
            Err(leave) => return self.failed_redirection(leave),
        };
        let exec = name == b"exec" && arguments.is_empty();
        let hidden = self.assign_for_call(assignments)?;
        let done = match found {
            Found::Function(body) => self.call_function(&body, arguments),
            Found::Builtin(builtin) => builtin(self, arguments).map(|status| self.status = status),
            Found::Applet(applet) => {
                let arguments: Vec<_> =
                    arguments.iter().map(|word| OsStr::from_bytes(word).to_owned()).collect();
                self.status = crate::run_applet(applet, &arguments);
                Ok(())
            }
            Found::Program => Ok(()),
        };
        self.unhide(hidden);
        if exec {
            drop(saved);
        } else {
            self.restore(saved)?;
        }
        match done {
            // A wrong call of a builtin makes it fail; the script goes on.
            Err(Leave::Error(failure)) => {
                let name = OsStr::from_bytes(name).display();
                self.status =
                    self.complain(&Failure::new(failure.status(), format!("{name}: {failure}")));
                Ok(())
            }
            done => done,
        }
    }

    /// Assignments without a command last.
    fn assign_only(&mut self, simple: &Simple, redirections: &[Redirection]) -> Result<(), Leave> {
        let assignments = self.expand_assignments(&simple.assignments)?;
        for (name, value) in assignments {
            self.assign(&name, value)?;
        }
        self.status = self.substituted.unwrap_or(0);
        match self.redirect(redirections) {
            Ok(saved) => self.restore(saved),
            Err(leave) => self.failed_redirection(leave),
        }
    }

    fn expand_assignments(
        &mut self,
        assignments: &[(Vec<u8>, Word)],
    ) -> Result<Vec<Assignment>, Leave> {
        let mut expanded = Vec::with_capacity(assignments.len());
        for (name, word) in assignments {
            expanded.push((name.clone(), self.expand_single(word)?));
        }
        Ok(expanded)
    }

    /// Sets variables for one call, and gives what they hide.
    fn assign_for_call(&mut self, assignments: Vec<Assignment>) -> Result<Vec<Hidden>, Leave> {
        let mut hidden = Vec::new();
        for (name, value) in assignments {
            let before = self.variables.get(&name).cloned();
            self.assign(&name, value)?;
            if let Some(variable) = self.variables.get_mut(&name) {
                variable.exported = true;
            }
            hidden.push((name, before));
        }
        Ok(hidden)
    }

    /// Brings hidden variables back, the last first.
    pub(super) fn unhide(&mut self, hidden: Vec<Hidden>) {
        for (name, before) in hidden.into_iter().rev() {
            match before {
                Some(variable) => self.variables.insert(name, variable),
                None => self.variables.remove(&name),
            };
        }
    }

    fn call_function(&mut self, body: &Command, arguments: &[Vec<u8>]) -> Result<(), Leave> {
        if self.depth >= DEEPEST {
            return Err(Failure::usage("functions call each other too deep").into());
        }
        let before = std::mem::replace(&mut self.positional, arguments.to_vec());
        self.depth += 1;
        self.hidden.push(Vec::new());
        let done = self.run_command(body);
        let hidden = self.hidden.pop().unwrap_or_default();
        self.unhide(hidden);
        self.depth -= 1;
        self.positional = before;
        match done {
            Err(Leave::Return(status)) => {
                self.status = status;
                Ok(())
            }
            done => done,
        }
    }

    /// Runs a program, in a child unless this process already is one made for it.
    fn run_program(
        &mut self,
        words: &[Vec<u8>],
        assignments: Vec<Assignment>,
        redirections: &[Redirection],
        place: Place,
    ) -> Result<(), Leave> {
        if place == Place::Shell
            && let Fork::Parent(child) = self.fork()?
        {
            self.status = self.wait_for(child)?;
            return Ok(());
        }
        let status = self.run_as_child(|shell| {
            shell.redirect(redirections)?;
            shell.assign_for_call(assignments)?;
            Err(Leave::Error(shell.execute(words)))
        });
        sys::exit_now(status)
    }

    /// Replaces the process by a program; returns only when that fails.
    pub(super) fn execute(&mut self, words: &[Vec<u8>]) -> Failure {
        let Some((name, arguments)) = words.split_first() else {
            return Failure::usage("no command");
        };
        let program = OsStr::from_bytes(name);
        let arguments = arguments.iter().map(|word| OsStr::from_bytes(word));
        // A failure to flush shows in the program's own output.
        let _ = io::stdout().flush();
        let error = process::Command::new(program)
            .args(arguments.clone())
            .env_clear()
            .envs(self.environment())
            .exec();
        let shown = program.display();
        if error.kind() == io::ErrorKind::NotFound && !name.contains(&b'/') {
            // Without its links the program still has its applets.
            if crate::find(program).is_some() {
                let error = process::Command::new("/proc/self/exe")
                    .arg0(program)
                    .args(arguments)
                    .env_clear()
                    .envs(self.environment())
                    .exec();
                return Failure::new(
                    exec_status(&error),
                    format!("{}: {}", program.display(), plain(&error)),
                );
            }
            return Failure::new(127, format!("{shown}: command not found"));
        }
        if Path::new(program).is_dir() {
            return Failure::new(126, format!("{shown}: is a directory"));
        }
        Failure::new(exec_status(&error), format!("{shown}: {}", plain(&error)))
    }

    /// Applies redirections in order, and gives what to restore.
    fn redirect(&mut self, redirections: &[Redirection]) -> Result<Vec<Saved>, Leave> {
        let mut saved = Vec::with_capacity(redirections.len());
        for redirection in redirections {
            if let Err(leave) = self.redirect_one(redirection, &mut saved) {
                self.restore(saved)?;
                return Err(leave);
            }
        }
        Ok(saved)
    }

    fn redirect_one(
        &mut self,
        redirection: &Redirection,
        saved: &mut Vec<Saved>,
    ) -> Result<(), Leave> {
        let target = self.expand_single(&redirection.target)?;
        io::stdout().flush()?;
        let descriptor = redirection.descriptor;
        // A descriptor that isn't open is closed again afterwards.
        saved.push(Saved { descriptor, before: sys::duplicate_high(descriptor).ok() });
        let path = OsStr::from_bytes(&target);
        let mut options = OpenOptions::new();
        match redirection.mode {
            Mode::Read => options.read(true),
            Mode::Write => options.write(true).create(true).truncate(true),
            Mode::Append => options.append(true).create(true),
            Mode::ReadWrite => options.read(true).write(true).create(true).truncate(false),
            Mode::Duplicate if target == b"-" => {
                sys::close_number(descriptor);
                return Ok(());
            }
            Mode::Duplicate => {
                let bad = || Failure::new(1, format!("{}: not an open descriptor", path.display()));
                let number = path.to_str().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
                let from = sys::duplicate_high(number).map_err(|_| bad())?;
                sys::redirect(from.as_fd(), descriptor)?;
                return Ok(());
            }
        };
        let file = options.open(path).map_err(|error| Failure::file(path, &error))?;
        // Opening may have given just the number that is redirected, so that one must close first.
        let opened = sys::duplicate_high(file.as_raw_fd())?;
        drop(file);
        sys::redirect(opened.as_fd(), descriptor)?;
        Ok(())
    }

    /// Undoes redirections, the last first.
    fn restore(&mut self, saved: Vec<Saved>) -> Result<(), Leave> {
        if saved.is_empty() {
            return Ok(());
        }
        // A full disk or the like belongs to the command whose output it was.
        if io::stdout().flush().is_err() {
            self.status = self.status.max(1);
        }
        for Saved { descriptor, before } in saved.into_iter().rev() {
            match before {
                Some(before) => sys::redirect(before.as_fd(), descriptor)?,
                None => sys::close_number(descriptor),
            }
        }
        Ok(())
    }
}

/// Where a simple command runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the shell itself, which goes on after it.
    Shell,
    /// In a process made for it.
    Child,
}

/// Whether a loop ends after its body was left so.
fn leaves_loop(left: Result<(), Leave>) -> Result<bool, Leave> {
    match left {
        Ok(()) | Err(Leave::Continue(1)) => Ok(false),
        Err(Leave::Break(1)) => Ok(true),
        Err(Leave::Break(levels)) => Err(Leave::Break(levels - 1)),
        Err(Leave::Continue(levels)) => Err(Leave::Continue(levels - 1)),
        Err(leave) => Err(leave),
    }
}
