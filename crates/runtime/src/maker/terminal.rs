//! The console socket: checked and connected before the clone.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use berth_spec::runtime::Process;

use crate::error::SetupError;
use crate::options::Console;
use crate::plan::TerminalPlan;

/// Whether the process and the options agree; if not, what the process says and the problem.
pub(crate) fn check(process: &Process, console: &Console) -> Result<(), (bool, &'static str)> {
    match (process.terminal, console) {
        (true, Console::None) => Err((true, "there is no console socket to send it over")),
        (false, Console::Socket(_) | Console::Connected(_)) => {
            Err((false, "a console socket was given"))
        }
        _ => Ok(()),
    }
}

/// What the maker keeps of a terminal that it is to return: the end that the master arrives at.
pub(crate) type Arrival = Option<OwnedFd>;

/// Connects to the console socket, if a terminal is wanted.
pub(crate) fn connect(
    process: &Process,
    console: Console,
) -> Result<(Option<TerminalPlan>, Arrival), SetupError> {
    if !process.terminal {
        return Ok((None, None));
    }
    let mut arrival = None;
    let keeps_newlines = matches!(console, Console::Return);
    let socket: OwnedFd = match console {
        Console::None => return Ok((None, None)),
        Console::Return => {
            let (ours, theirs) = UnixStream::pair().map_err(|source| SetupError::Step {
                action: "make a socket pair for the terminal".to_owned(),
                source,
            })?;
            arrival = Some(ours.into());
            theirs.into()
        }
        Console::Connected(socket) => socket,
        Console::Socket(path) => UnixStream::connect(&path)
            .map_err(|source| SetupError::Step {
                action: format!("connect to the console socket {}", path.display()),
                source,
            })?
            .into(),
    };
    let size = process.console_size.as_ref().filter(|size| size.height > 0 && size.width > 0);
    let clamp = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let size = size.map(|size| (clamp(size.height), clamp(size.width)));
    // The caller's own terminal, that the other is to be seen in, has the last word.
    let size = if keeps_newlines { own_size().or(size) } else { size };
    Ok((Some(TerminalPlan { socket, size, keeps_newlines }), arrival))
}

/// Rows and columns of the caller's terminal, if it has one.
fn own_size() -> Option<(u16, u16)> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let size = streams.into_iter().find_map(|stream| rustix::termios::tcgetwinsize(stream).ok())?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Takes the master that has arrived.
pub(crate) fn receive(arrival: Arrival) -> Result<Option<OwnedFd>, SetupError> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let Some(socket) = arrival else { return Ok(None) };
    let failed = |source: io::Error| SetupError::Step {
        action: "receive the container's terminal".to_owned(),
        source,
    };
    let mut bytes = [0u8; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut bytes)];
    // It was sent before the program was executed, so this does not wait.
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(&socket, &mut data, &mut control, flags).map_err(|errno| failed(errno.into()))?;
    let master = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    master.map(Some).ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))
}
