//! `run` and `create`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use berth_engine::request::StdinMode;
use berth_engine::{Attach, StartOptions, Streams};

use super::request;
use crate::args::create::{Create, Run, StreamName};
use crate::context::Context;
use crate::failure::Failure;
use crate::foreground::{self, Session, Signals};
use crate::{output, terminal};

/// `berth create`
pub fn create(arguments: Create, context: &Context) -> Result<u8, Failure> {
    let options = arguments.container;
    let (cid_file, pid_file) = (options.general.cidfile.clone(), options.general.pidfile.clone());
    if pid_file.is_some() {
        let message = "--pidfile: a created container has no process yet";
        return Err(Failure::invalid(message).with_hint("use it with berth run"));
    }
    let stdin = stdin_mode(options.general.interactive, options.general.tty);
    let cid_file = cid_file.as_deref().map(IdFile::reserve).transpose()?;
    let request = request::build(options, stdin)?;
    let engine = context.engine()?;
    let created = context.block_on(async { Ok(engine.create(request).await?) })?;
    created.warnings.iter().for_each(|warning| output::warning(warning));
    if let Some(file) = cid_file {
        file.write(&created.id)?;
    }
    output::line(&created.id)?;
    Ok(0)
}

/// `berth run`
pub fn run(arguments: Run, context: &Context) -> Result<u8, Failure> {
    let Run { container, detach, attach, detaching, proxy } = arguments;
    let general = &container.general;
    let (cid_file, pid_file) = (general.cidfile.clone(), general.pidfile.clone());
    let interactive = general.interactive || attach.contains(&StreamName::Stdin);
    let stdin = stdin_mode(interactive, general.tty || detach);
    let wants = |stream| attach.is_empty() || attach.contains(&stream);
    let session = Session {
        tty: general.tty,
        stdin: interactive && wants(StreamName::Stdin),
        stdout: wants(StreamName::Stdout),
        stderr: wants(StreamName::Stderr),
        detach_keys: detaching.detach_keys,
        sig_proxy: proxy.sig_proxy,
    };
    if session.tty && session.stdin && !detach && !terminal::is_terminal(std::io::stdin()) {
        output::warning(
            "standard input is not a terminal: --tty and --interactive may not do what you expect",
        );
    }
    let cid_file = cid_file.as_deref().map(IdFile::reserve).transpose()?;
    let request = request::build(container, stdin)?;
    let streams = Streams { stdin: session.stdin, stdout: session.stdout, stderr: session.stderr };
    let options = StartOptions {
        attach: if detach { Attach::None } else { Attach::Streams(streams) },
        size: session.tty.then(foreground::terminal_size).flatten(),
    };
    let engine = context.engine()?;
    context.block_on(async {
        let signals = if detach { None } else { Some(Signals::catch(&session)?) };
        let running = engine.run(request, options).await?;
        let created = running.created;
        created.warnings.iter().for_each(|warning| output::warning(warning));
        if let Some(file) = cid_file {
            file.write(&created.id)?;
        }
        if let Some(path) = pid_file
            && let Some(pid) = engine.state(&created.id).await?.pid
        {
            write_file(&path, &pid.to_string())?;
        }
        match (running.attachment, signals) {
            (Some(attachment), Some(signals)) => {
                Ok(foreground::drive(attachment, &session, signals).await?.exit_code())
            }
            _ => {
                output::line(&created.id)?;
                Ok(0)
            }
        }
    })
}

/// A pipe's end is the end of the input; who leaves a terminal, or has not come yet, may come back.
fn stdin_mode(interactive: bool, comes_back: bool) -> StdinMode {
    match (interactive, comes_back) {
        (false, _) => StdinMode::Null,
        (true, true) => StdinMode::Open,
        (true, false) => StdinMode::Once,
    }
}

/// A file that will hold a container's ID: taken before the container is made, so that two
/// commands never write to the same one, and taken back when there is nothing to write.
struct IdFile<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl<'a> IdFile<'a> {
    fn reserve(path: &'a Path) -> Result<Self, Failure> {
        let file = File::options().write(true).create_new(true).open(path).map_err(|error| {
            let failure = Failure::cannot(format!("make --cidfile {}", path.display()), &error);
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => failure
                    .with_hint("remove the file, or use another name, if its container is gone"),
                _ => failure,
            }
        })?;
        Ok(Self { path, file: Some(file) })
    }

    fn write(mut self, id: &str) -> Result<(), Failure> {
        match self.file.take() {
            None => Ok(()),
            Some(mut file) => file
                .write_all(id.as_bytes())
                .map_err(|error| Failure::cannot(format!("write {}", self.path.display()), &error)),
        }
    }
}

impl Drop for IdFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // An empty file that cannot be removed names no container: nothing to add to the error.
            let _still_there = std::fs::remove_file(self.path);
        }
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::cannot(format!("write {}", path.display()), &error))
}
