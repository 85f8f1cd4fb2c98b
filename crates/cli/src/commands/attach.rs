//! `start`, `attach` and `exec`: commands that may join the user's terminal with a process.

use berth_engine::view::ContainerStatus;
use berth_engine::{Attach, Engine, ErrorKind, ExecRequest, StartOptions, Streams};

use super::{lifecycle, request, selection};
use crate::args::container as args;
use crate::context::Context;
use crate::failure::Failure;
use crate::foreground::{self, Session, Signals};
use crate::output;

/// `berth start`
pub fn start(arguments: args::Start, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        if arguments.attach || arguments.interactive {
            return start_attached(engine, arguments).await;
        }
        let startable =
            |status| matches!(status, ContainerStatus::Created | ContainerStatus::Exited);
        let names = if arguments.all {
            selection::all(engine, startable).await?
        } else {
            arguments.containers
        };
        lifecycle::each_started(engine, names, start_detached).await
    })
}

/// Starts a container; that it runs already is as good.
async fn start_detached(engine: &Engine, name: &str) -> Result<(), Failure> {
    match engine.start(name, StartOptions::default()).await.map_err(Failure::from) {
        Err(failure) if failure.kind() == ErrorKind::Conflict => {
            let status = engine.state(name).await?.status;
            if status == ContainerStatus::Running { Ok(()) } else { Err(failure) }
        }
        result => result.map(drop),
    }
}

async fn start_attached(engine: &Engine, arguments: args::Start) -> Result<u8, Failure> {
    let [name] = arguments.containers.as_slice() else {
        return Err(Failure::invalid("--attach and --interactive take one container"));
    };
    let session = Session {
        tty: has_terminal(engine, name).await?,
        stdin: arguments.interactive,
        stdout: true,
        stderr: true,
        detach_keys: arguments.detaching.detach_keys,
        sig_proxy: arguments.proxy.sig_proxy,
    };
    let signals = Signals::catch(&session)?;
    let streams = Streams { stdin: session.stdin, stdout: true, stderr: true };
    let size = session.tty.then(foreground::terminal_size).flatten();
    let options = StartOptions { attach: Attach::Streams(streams), size };
    match engine.start(name, options).await? {
        Some(attachment) => Ok(foreground::drive(attachment, &session, signals).await?.exit_code()),
        None => Ok(0),
    }
}

/// `berth attach`
pub fn attach(arguments: args::Attach, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        let session = Session {
            tty: has_terminal(engine, &arguments.container).await?,
            stdin: !arguments.no_stdin,
            stdout: true,
            stderr: true,
            detach_keys: arguments.detaching.detach_keys,
            sig_proxy: arguments.proxy.sig_proxy,
        };
        let signals = Signals::catch(&session)?;
        let streams = Streams { stdin: session.stdin, stdout: true, stderr: true };
        let attachment = engine.attach(&arguments.container, streams).await?;
        if let (true, Some(size)) = (session.tty, foreground::terminal_size()) {
            attachment.resize(size).await?;
        }
        Ok(foreground::drive(attachment, &session, signals).await?.exit_code())
    })
}

/// `berth exec`
pub fn exec(arguments: args::Exec, context: &Context) -> Result<u8, Failure> {
    let mut words = arguments.words.into_iter();
    let container = words.next().unwrap_or_default();
    let command: Vec<String> = words.collect();
    if command.is_empty() {
        return Err(Failure::invalid(format!("there is no command to execute in {container}"))
            .with_hint("it is written as berth exec CONTAINER COMMAND [ARG...]"));
    }
    let mut request = ExecRequest::new(command);
    request.env = request::environment(&arguments.environment)?;
    request.user = arguments.user;
    request.workdir = arguments.workdir;
    request.tty = arguments.tty;
    request.privileged = arguments.privileged;
    let session = Session {
        tty: arguments.tty,
        stdin: arguments.interactive,
        stdout: true,
        stderr: true,
        detach_keys: arguments.detaching.detach_keys,
        sig_proxy: true,
    };
    request.attach =
        (!arguments.detach).then_some(Streams { stdin: session.stdin, stdout: true, stderr: true });
    request.size = session.tty.then(foreground::terminal_size).flatten();
    let engine = context.engine()?;
    context.block_on(async {
        let signals = if arguments.detach { None } else { Some(Signals::catch(&session)?) };
        let started = engine.exec(&container, request).await?;
        match (started.attachment, signals) {
            (Some(attachment), Some(signals)) => {
                Ok(foreground::drive(attachment, &session, signals).await?.exit_code())
            }
            _ => {
                output::line(&started.id)?;
                Ok(0)
            }
        }
    })
}

/// Whether a container was made with `--tty`.
async fn has_terminal(engine: &Engine, container: &str) -> Result<bool, Failure> {
    let details = engine.inspect(container, false).await?;
    Ok(details.pointer("/Config/Tty").and_then(serde_json::Value::as_bool).unwrap_or(false))
}
