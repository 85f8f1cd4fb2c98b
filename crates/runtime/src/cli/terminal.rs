//! A container's terminal in the foreground: everything is copied between it and our own standard
//! streams, and our own terminal, if there is one, is raw meanwhile.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::log::Fault;

/// As much as a pipe that can be written to takes without waiting.
const PIECE: usize = 4096;

/// One direction.
struct Flow {
    buffer: [u8; PIECE],
    /// What of the buffer is still to be written.
    begin: usize,
    end: usize,
    /// Whether there may be more to read.
    open: bool,
}

impl Flow {
    fn new() -> Self {
        Self { buffer: [0; PIECE], begin: 0, end: 0, open: true }
    }

    fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// What has to be waited for.
    fn source<'f>(&self, from: BorrowedFd<'f>, to: BorrowedFd<'f>) -> Option<PollFd<'f>> {
        if !self.is_empty() {
            Some(PollFd::from_borrowed_fd(to, PollFlags::OUT))
        } else if self.open {
            Some(PollFd::from_borrowed_fd(from, PollFlags::IN))
        } else {
            None
        }
    }

    /// Reads or writes once, whichever is next; false when there was nothing to read.
    fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
        if self.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut self.buffer)) {
                Ok(0) => self.open = false,
                Ok(length) => (self.begin, self.end) = (0, length),
                Err(Errno::AGAIN) => return false,
                Err(_) => self.open = false,
            }
            return self.open;
        }
        let rest = self.buffer.get(self.begin..self.end).unwrap_or_default();
        match rustix::io::retry_on_intr(|| rustix::io::write(to, rest)) {
            Ok(written) => self.begin += written,
            Err(Errno::AGAIN) => {}
            // Nobody reads it any more; what comes is still taken, so that nobody waits for it.
            Err(_) => self.begin = self.end,
        }
        true
    }
}

/// Our terminal and the container's.
pub(crate) struct Terminal {
    master: OwnedFd,
    /// Which of our streams is a terminal, and how that was before.
    own: Option<(BorrowedFd<'static>, Termios)>,
    input: Flow,
    output: Flow,
}

impl Terminal {
    /// Takes over the container's terminal by its master.
    pub(crate) fn new(master: OwnedFd) -> Result<Self, Fault> {
        let failed = |errno: Errno| Fault::io("take over the terminal", &io::Error::from(errno));
        rustix::io::ioctl_fionbio(&master, true).map_err(failed)?;
        let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let own = match streams.into_iter().find(|stream| isatty(stream)) {
            None => None,
            Some(stream) => {
                let saved = tcgetattr(stream).map_err(failed)?;
                let mut raw = saved.clone();
                raw.make_raw();
                // The container's terminal leaves the ends of lines to ours.
                raw.output_modes |= saved.output_modes & (OutputModes::OPOST | OutputModes::ONLCR);
                tcsetattr(stream, OptionalActions::Now, &raw).map_err(failed)?;
                Some((stream, saved))
            }
        };
        let terminal = Self { master, own, input: Flow::new(), output: Flow::new() };
        terminal.resize();
        Ok(terminal)
    }

    /// Takes over the size of ours.
    pub(crate) fn resize(&self) {
        if let Some((stream, _)) = &self.own
            && let Ok(size) = tcgetwinsize(stream)
        {
            // A master whose slave is gone needs no size.
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// What has to be waited for.
    pub(crate) fn sources(&self) -> impl Iterator<Item = PollFd<'_>> {
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let master = self.master.as_fd();
        let output = self.output.source(master, stdout);
        output.into_iter().chain(self.input.source(stdin, master))
    }

    /// Copies what can be, after each of `sources` was found ready or not.
    pub(crate) fn copy(&mut self, ready: &[bool]) {
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let waited = |flow: &Flow| flow.open || !flow.is_empty();
        let mut ready = ready.iter().copied();
        if waited(&self.output) && ready.next() == Some(true) {
            self.output.step(self.master.as_fd(), stdout);
        }
        if waited(&self.input) && ready.next() == Some(true) {
            self.input.step(stdin, self.master.as_fd());
            if !waited(&self.input) {
                // As a terminal tells of the end of its input.
                let _ = rustix::io::write(&self.master, &[4]);
            }
        }
    }

    /// Copies what the process has still written.
    pub(crate) fn drain(&mut self) {
        let stdout = rustix::stdio::stdout();
        while !self.output.is_empty() || self.output.open {
            if !self.output.step(self.master.as_fd(), stdout) {
                break;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some((stream, saved)) = &self.own {
            // There is nothing to be done about a terminal that is gone.
            let _ = tcsetattr(stream, OptionalActions::Now, saved);
        }
    }
}
