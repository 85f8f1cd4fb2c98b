//! A process in the foreground: its streams joined with ours until it ends or we detach.
//!
//! Three things go on at once and none waits for another: input (with back-pressure from the
//! container, looking out for the detach keys), output (with back-pressure from our reader), and
//! signals. The terminal is raw only while this runs.

use std::io;
use std::os::fd::AsFd;
use std::pin::pin;

use berth_engine::{AttachEvent, Attachment, ErrorKind, ExitStatus, Signal, TerminalSize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::output;
use crate::parse::detach_keys::{DetachKeys, DetachScanner, Typed};
use crate::stdio::Stream;
use crate::terminal::{self, RawMode};

/// How many bytes of input are read at once.
const CHUNK: usize = 32 * 1024;
/// After so many interrupts the user wants out, whatever the process does with them.
const PATIENCE: u32 = 3;
/// Signals that are passed on: all that ask a process for something. Job control (TSTP, TTIN,
/// TTOU) stays ours, WINCH becomes a resize, and CHLD, URG and PIPE mean this process.
const PROXIED: [i32; 12] = [1, 2, 3, 6, 10, 12, 14, 15, 18, 24, 29, 30];
/// Signals that end a session on a terminal.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// What a session connects.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Whether our input goes to it.
    pub stdin: bool,
    /// Whether its output is shown.
    pub stdout: bool,
    /// Whether its errors are shown.
    pub stderr: bool,
    /// What detaches.
    pub detach_keys: DetachKeys,
    /// Whether signals are passed on (never with a terminal: keys make them there).
    pub sig_proxy: bool,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The process ended.
    Exited(ExitStatus),
    /// The user left; the process goes on.
    Detached,
    /// A signal to us ended the session; the process goes on.
    Interrupted(i32),
    /// Nobody reads our output any more; the process was told.
    Unread,
}

impl Ended {
    /// What the command exits with.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(status) => status.exit_code(),
            Self::Detached => 0,
            Self::Interrupted(number) => 128_u8.saturating_add(number as u8),
            Self::Unread => 128 + 13,
        }
    }
}

/// Signals, caught from the moment this is made, so that none is lost while a container starts.
#[derive(Debug)]
pub struct Signals {
    received: mpsc::Receiver<i32>,
    resized: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches what `session` needs.
    pub fn catch(session: &Session) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::cannot("catch signals", &error);
        let caught: &[i32] = match session {
            Session { tty: true, .. } => &ENDING,
            Session { sig_proxy: true, .. } => &PROXIED,
            Session { .. } => &[],
        };
        let (sender, received) = mpsc::channel(PROXIED.len());
        for number in caught {
            let mut stream = signal(SignalKind::from_raw(*number)).map_err(failed)?;
            let sender = sender.clone();
            let number = *number;
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(number).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { received, resized: signal(SignalKind::window_change()).map_err(failed)? })
    }
}

/// The size of the user's terminal.
pub fn terminal_size() -> Option<TerminalSize> {
    terminal::size(io::stdin())
        .or_else(|| terminal::size(io::stdout()))
        .map(|(rows, columns)| TerminalSize { rows, columns })
}

/// Joins the streams until the process ends or we leave.
pub async fn drive(
    attachment: Attachment,
    session: &Session,
    signals: Signals,
) -> Result<Ended, Failure> {
    let raw = enter_raw_mode(session)?;
    let ended = {
        let mut input = pin!(forward_input(&attachment, session));
        let mut output = pin!(copy_output(&attachment, session));
        let mut signals = pin!(handle_signals(&attachment, session, signals));
        tokio::select! {
            biased;
            ended = &mut output => ended,
            ended = &mut input => ended,
            ended = &mut signals => ended,
        }
    };
    drop(raw);
    if ended.as_ref().is_ok_and(|ended| !matches!(ended, Ended::Exited(_))) {
        // Letting go needs no answer: the monitor notices a closed connection too.
        let _closed_anyway = attachment.detach().await;
    }
    ended
}

fn enter_raw_mode(session: &Session) -> Result<Option<RawMode>, Failure> {
    let stdin = io::stdin();
    if !(session.tty && session.stdin && terminal::is_terminal(&stdin)) {
        return Ok(None);
    }
    RawMode::enter(stdin.as_fd())
        .map(Some)
        .map_err(|error| Failure::cannot("put the terminal into raw mode", &error))
}

/// Ends only by the detach keys or an error; at the end of the input it waits for ever.
async fn forward_input(attachment: &Attachment, session: &Session) -> Result<Ended, Failure> {
    if !session.stdin {
        return std::future::pending().await;
    }
    let failed = |error: io::Error| Failure::cannot("read standard input", &error);
    let stream = Stream::reader(io::stdin()).map_err(failed)?;
    let mut scanner = session.tty.then(|| DetachScanner::new(session.detach_keys.clone()));
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut buffer).await.map_err(failed)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            if let Some(scanner) = &mut scanner {
                send(attachment, &scanner.finish()).await?;
            }
            ignore_if_gone(attachment.close_stdin().await)?;
            return std::future::pending().await;
        }
        match scanner.as_mut().map(|scanner| scanner.scan(bytes)) {
            None => send(attachment, bytes).await?,
            Some(Typed::Forward(bytes)) => send(attachment, &bytes).await?,
            Some(Typed::Detach(bytes)) => {
                send(attachment, &bytes).await?;
                return Ok(Ended::Detached);
            }
        }
    }
}

async fn send(attachment: &Attachment, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    ignore_if_gone(attachment.send_stdin(bytes).await)
}

/// A process that ended while we were sending is told of by the output, with its exit code.
fn ignore_if_gone(result: Result<(), berth_engine::error::AttachError>) -> Result<(), Failure> {
    use berth_engine::EngineError;
    match result {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

async fn copy_output(attachment: &Attachment, session: &Session) -> Result<Ended, Failure> {
    let failed = |error: io::Error| Failure::cannot("write the container's output", &error);
    let stdout = Stream::writer(io::stdout()).map_err(failed)?;
    let stderr = Stream::writer(io::stderr()).map_err(failed)?;
    loop {
        let (stream, bytes) = match attachment.next().await? {
            Some(AttachEvent::Stdout(_)) if !session.stdout => continue,
            Some(AttachEvent::Stderr(_)) if !session.stderr => continue,
            Some(AttachEvent::Stdout(bytes)) => (&stdout, bytes),
            Some(AttachEvent::Stderr(bytes)) => (&stderr, bytes),
            Some(AttachEvent::Exited(status)) => {
                if let Some(error) = attachment.take_cleanup_failure() {
                    // The process did what it did: its exit code is still ours.
                    output::failure(&Failure::from(error));
                }
                return Ok(Ended::Exited(status));
            }
            None => {
                let message = "lost the container's monitor, and with it how the process ended";
                return Err(Failure::new(ErrorKind::Unavailable, message)
                    .with_hint("berth ps --all shows what became of the container"));
            }
        };
        match write_all(stream, &bytes).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                if let (true, Some(pipe)) = (session.sig_proxy, Signal::from_number(13)) {
                    ignore_if_gone(attachment.signal(pipe).await)?;
                }
                output::warning("nobody reads the output any more; the process goes on without");
                return Ok(Ended::Unread);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = stream.write(bytes).await?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Ends when a signal means that we should go.
async fn handle_signals(
    attachment: &Attachment,
    session: &Session,
    signals: Signals,
) -> Result<Ended, Failure> {
    let Signals { mut received, mut resized } = signals;
    let mut interrupts = 0;
    loop {
        tokio::select! {
            Some(()) = resized.recv() => {
                if let (true, Some(size)) = (session.tty, terminal_size()) {
                    ignore_if_gone(attachment.resize(size).await)?;
                }
            }
            Some(number) = received.recv() => {
                if session.tty {
                    return Ok(Ended::Interrupted(number));
                }
                if let Some(signal) = Signal::from_number(number) {
                    ignore_if_gone(attachment.signal(signal).await)?;
                }
                interrupts += u32::from(matches!(number, 2 | 15));
                if interrupts == PATIENCE {
                    output::warning(
                        "the process takes no notice of these signals; it is left running",
                    );
                    return Ok(Ended::Interrupted(number));
                }
            }
            // Neither can come any more.
            else => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_shells() {
        let status = ExitStatus { code: Some(7), signal: None, oom_killed: false };
        assert_eq!(Ended::Exited(status).exit_code(), 7);
        assert_eq!(Ended::Detached.exit_code(), 0);
        assert_eq!(Ended::Interrupted(15).exit_code(), 143);
        assert_eq!(Ended::Unread.exit_code(), 141);
    }
}
