//! The monitor's ends of a process's standard streams.
//!
//! A container's pipes are FIFOs in its run directory. The monitor holds each output FIFO open for
//! reading and writing, and so does the container: the monitor never sees a premature end, and if
//! the monitor is killed, the container's output stays in the FIFO until another monitor opens it.
//! Standard input is open in one direction only on the container's side, because it must be able
//! to end. Exec sessions have anonymous pipes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;

use crate::protocol::{StdinMode, Streams, TerminalSize};

/// The FIFOs' names.
pub(super) const FIFOS: [&str; 3] = ["stdin", "stdout", "stderr"];

/// How long a terminal that nobody has open on the other side is left alone.
const HUNG_UP_PAUSE: Duration = Duration::from_millis(100);

/// The three descriptors that a worker makes the new process's 0, 1 and 2.
pub(super) type ChildStdio = [OwnedFd; 3];

/// Bytes of input on their way.
#[derive(Debug)]
pub(super) struct PendingInput {
    /// Who sent them.
    pub(super) client: u32,
    pub(super) data: Vec<u8>,
    pub(super) written: usize,
}

/// Input that is off a client's account: (client, bytes).
pub(super) type Taken = Vec<(u32, usize)>;

/// The monitor's ends.
#[derive(Debug, Default)]
pub(super) struct Stdio {
    /// Where input goes, unless there is a terminal.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
    /// With a terminal: whether it takes input.
    pub(super) interactive: bool,
    pub(super) pending: VecDeque<PendingInput>,
    pub(super) close_when_written: bool,
    pub(super) hung_up_until: Option<Instant>,
}

/// What reading output gave.
pub(super) enum Output {
    Data(usize),
    /// Nothing for now.
    Empty,
    /// The other side is gone.
    End,
}

impl Stdio {
    /// Makes the FIFOs of a container, and opens both sides.
    pub(super) fn make_fifos(
        directory: &OwnedFd,
        mode: StdinMode,
    ) -> Result<(Self, ChildStdio), Errno> {
        for name in FIFOS {
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            if name == "stdin" && mode == StdinMode::Null {
                continue;
            }
            rustix::fs::mknodat(directory, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        }
        let mut stdio = Self::open_outputs(directory)?;
        let child = stdio.open_child(directory, mode)?;
        Ok((stdio, child))
    }

    /// The monitor's side of the output FIFOs that are there.
    pub(super) fn open_outputs(directory: &OwnedFd) -> Result<Self, Errno> {
        let open = |name| open_fifo(directory, name, OFlags::RDWR | OFlags::NONBLOCK);
        Ok(Self { stdout: Some(open("stdout")?), stderr: Some(open("stderr")?), ..Self::default() })
    }

    /// Opens the container's side, and the monitor's end of standard input with it.
    pub(super) fn open_child(
        &mut self,
        directory: &OwnedFd,
        mode: StdinMode,
    ) -> Result<ChildStdio, Errno> {
        let stdin = if mode == StdinMode::Null {
            open_null()?
        } else {
            let both = open_fifo(directory, "stdin", OFlags::RDWR | OFlags::NONBLOCK)?;
            let reader = open_fifo(directory, "stdin", OFlags::RDONLY)?;
            self.stdin = Some(open_fifo(directory, "stdin", OFlags::WRONLY | OFlags::NONBLOCK)?);
            drop(both);
            reader
        };
        let stdout = open_fifo(directory, "stdout", OFlags::RDWR)?;
        let stderr = open_fifo(directory, "stderr", OFlags::RDWR)?;
        Ok([stdin, stdout, stderr])
    }

    /// Takes up the monitor's end of the standard input of a living container, if it reads any.
    pub(super) fn reopen_stdin(&mut self, directory: &OwnedFd) {
        self.stdin = open_fifo(directory, "stdin", OFlags::WRONLY | OFlags::NONBLOCK).ok();
    }

    /// Anonymous pipes for the streams that are wanted, `/dev/null` for the others.
    pub(super) fn make_pipes(streams: Streams) -> Result<(Self, ChildStdio), Errno> {
        let mut stdio = Self::default();
        let mut stdin = open_null()?;
        if streams.stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            set_nonblocking(&write)?;
            (stdio.stdin, stdin) = (Some(write), read);
        }
        let output = |wanted: bool| -> Result<(Option<OwnedFd>, OwnedFd), Errno> {
            if !wanted {
                return Ok((None, open_null()?));
            }
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            set_nonblocking(&read)?;
            Ok((Some(read), write))
        };
        let (ours, stdout) = output(streams.stdout)?;
        stdio.stdout = ours;
        let (ours, stderr) = output(streams.stderr)?;
        stdio.stderr = ours;
        Ok((stdio, [stdin, stdout, stderr]))
    }

    /// For a process with a terminal: its 0, 1 and 2 are the terminal's, which arrives later.
    pub(super) fn for_terminal(interactive: bool) -> Result<(Self, ChildStdio), Errno> {
        let stdio = Self { interactive, ..Self::default() };
        Ok((stdio, [open_null()?, open_null()?, open_null()?]))
    }

    /// Takes the terminal's master side.
    pub(super) fn set_terminal(&mut self, master: OwnedFd) {
        // A descriptor that blocks would still do no harm: it is only read when it is ready.
        let _ = set_nonblocking(&master);
        self.terminal = Some(master);
    }

    /// The descriptor that input is written to.
    pub(super) fn input(&self) -> Option<BorrowedFd<'_>> {
        match &self.terminal {
            Some(terminal) => self.interactive.then(|| terminal.as_fd()),
            None => self.stdin.as_ref().map(AsFd::as_fd),
        }
    }

    /// Reads output to an empty buffer, as much as it has room for.
    pub(super) fn read(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Output {
        loop {
            match rustix::io::read(fd, spare_capacity(buffer)) {
                Ok(0) => return Output::End,
                Ok(length) => return Output::Data(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Output::Empty,
                // EIO: nobody has the terminal open.
                Err(_) => return Output::End,
            }
        }
    }

    /// The terminal was found without anybody on the other side. That can change, but is not
    /// told by an event.
    pub(super) fn hung_up(&mut self) {
        self.hung_up_until = Some(Instant::now() + HUNG_UP_PAUSE);
    }

    /// Takes input from a client, and writes what can be written.
    pub(super) fn write(&mut self, client: u32, data: Vec<u8>) -> Taken {
        if self.input().is_none() || self.close_when_written {
            return vec![(client, data.len())];
        }
        self.pending.push_back(PendingInput { client, data, written: 0 });
        self.flush()
    }

    /// Writes pending input as far as it is taken.
    pub(super) fn flush(&mut self) -> Taken {
        let mut taken = Taken::new();
        while let Some(mut pending) = self.pending.pop_front() {
            let Some(input) = self.input() else {
                taken.push((pending.client, pending.data.len() - pending.written));
                continue;
            };
            let rest = pending.data.get(pending.written..).unwrap_or_default();
            match rustix::io::write(input, rest) {
                Ok(length) => {
                    taken.push((pending.client, length));
                    pending.written += length;
                    if pending.written < pending.data.len() {
                        self.pending.push_front(pending);
                    }
                }
                Err(Errno::INTR) => self.pending.push_front(pending),
                Err(Errno::AGAIN) => {
                    self.pending.push_front(pending);
                    return taken;
                }
                // Nobody reads any more: this and what follows is thrown away.
                Err(_) => {
                    taken.push((pending.client, pending.data.len() - pending.written));
                    self.stdin = None;
                    self.interactive = false;
                }
            }
        }
        self.pending = VecDeque::new();
        if std::mem::take(&mut self.close_when_written) {
            self.close_now();
        }
        taken
    }

    /// Ends standard input after what is pending.
    pub(super) fn close_stdin(&mut self) {
        if self.pending.is_empty() { self.close_now() } else { self.close_when_written = true }
    }

    fn close_now(&mut self) {
        if let (Some(terminal), true) = (&self.terminal, self.interactive) {
            let end_of_file = rustix::termios::tcgetattr(terminal)
                .map_or(4, |modes| modes.special_codes[rustix::termios::SpecialCodeIndex::VEOF]);
            let _ = rustix::io::write(terminal, &[end_of_file]);
        } else {
            self.stdin = None;
        }
    }

    /// Throws pending input away.
    pub(super) fn discard_input(&mut self) -> Taken {
        let pending = std::mem::take(&mut self.pending);
        self.close_when_written = false;
        pending.into_iter().map(|input| (input.client, input.data.len() - input.written)).collect()
    }

    /// Sets the terminal's size. False without a terminal.
    pub(super) fn resize(&self, size: TerminalSize) -> Result<bool, Errno> {
        let Some(terminal) = &self.terminal else { return Ok(false) };
        set_size(terminal.as_fd(), size)?;
        Ok(true)
    }
}

/// Sets a terminal's size.
pub(super) fn set_size(terminal: BorrowedFd<'_>, size: TerminalSize) -> Result<(), Errno> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

fn open_fifo(directory: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

fn open_null() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}
