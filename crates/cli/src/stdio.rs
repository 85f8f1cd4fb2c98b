//! Standard streams for the foreground loop, without threads and without `O_NONBLOCK`.
//!
//! The descriptors are shared with whoever started this process, so their flags must not change.
//! Instead each read and write waits for readiness, and a write is never longer than a pipe is
//! sure to take when it is ready. Regular files and `/dev/null` can't be polled: they are always
//! ready, and are used directly.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// A pipe that polls writable takes this many bytes without blocking (POSIX's `PIPE_BUF`).
const SURE_WRITE: usize = 4096;

/// One standard stream.
#[derive(Debug)]
pub struct Stream {
    descriptor: Descriptor,
}

#[derive(Debug)]
enum Descriptor {
    Polled(AsyncFd<OwnedFd>),
    AlwaysReady(OwnedFd),
}

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

impl Stream {
    /// Reads from `stream`.
    pub fn reader(stream: impl AsFd) -> io::Result<Self> {
        Self::new(stream.as_fd(), Interest::READABLE)
    }

    /// Writes to `stream`.
    pub fn writer(stream: impl AsFd) -> io::Result<Self> {
        Self::new(stream.as_fd(), Interest::WRITABLE)
    }

    fn new(stream: BorrowedFd<'_>, interest: Interest) -> io::Result<Self> {
        let owned = stream.try_clone_to_owned()?;
        let descriptor = match register(owned, interest) {
            Ok(polled) => Descriptor::Polled(polled),
            Err(refused) => match refused.into_parts() {
                (owned, error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                    Descriptor::AlwaysReady(owned)
                }
                (_, error) => return Err(error),
            },
        };
        Ok(Self { descriptor })
    }

    fn file(&self) -> BorrowedFd<'_> {
        match &self.descriptor {
            Descriptor::Polled(polled) => polled.get_ref().as_fd(),
            Descriptor::AlwaysReady(file) => file.as_fd(),
        }
    }

    async fn ready(&self, direction: Direction) -> io::Result<()> {
        let Descriptor::Polled(polled) = &self.descriptor else { return Ok(()) };
        loop {
            let mut guard = match direction {
                Direction::Read => polled.readable().await?,
                Direction::Write => polled.writable().await?,
            };
            if is_ready(polled.get_ref().as_fd(), direction)? {
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    /// Reads what is there, at most `buffer` long; zero at the end. Safe to cancel: nothing is
    /// read unless it is returned.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.ready(Direction::Read).await?;
            match rustix::io::read(self.file(), &mut *buffer) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // A terminal whose other end is gone.
                Err(Errno::IO) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a beginning of `bytes` and returns its length. Safe to cancel.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let piece = match self.descriptor {
            Descriptor::Polled(_) => &bytes[..bytes.len().min(SURE_WRITE)],
            Descriptor::AlwaysReady(_) => bytes,
        };
        loop {
            self.ready(Direction::Write).await?;
            match rustix::io::write(self.file(), piece) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio trusts its caller to keep the descriptor open")]
fn register(
    file: OwnedFd,
    interest: Interest,
) -> Result<AsyncFd<OwnedFd>, AsyncFdRegisterError<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and the same file, until it is dropped; the `AsyncFd` owns it
    // and nothing here takes it out or puts another in its place.
    unsafe { AsyncFd::register_with_interest(file, interest) }
}

fn is_ready(file: BorrowedFd<'_>, direction: Direction) -> io::Result<bool> {
    let wanted = match direction {
        Direction::Read => PollFlags::IN,
        Direction::Write => PollFlags::OUT,
    };
    let mut set = [PollFd::from_borrowed_fd(file, wanted)];
    match poll(&mut set, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        // Errors and hang-ups count as ready: the read or write then tells.
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::time::Duration;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn pipes_are_read_to_their_end_and_keep_their_flags() {
        let (reader, mut writer) = io::pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&reader).unwrap();
        block_on(async {
            let stream = Stream::reader(&reader).unwrap();
            let mut buffer = [0; 16];
            let early =
                tokio::time::timeout(Duration::from_millis(20), stream.read(&mut buffer)).await;
            assert!(early.is_err(), "an empty pipe is not ready");
            writer.write_all(b"abc").unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 3);
            drop(writer);
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
        });
        assert_eq!(rustix::fs::fcntl_getfl(&reader).unwrap(), flags);
    }

    #[test]
    fn a_full_pipe_delays_the_writer_but_never_blocks_the_thread() {
        let (mut reader, writer) = io::pipe().unwrap();
        block_on(async {
            let stream = Stream::writer(&writer).unwrap();
            let data = vec![7; 1 << 20];
            let mut written = 0;
            while let Ok(count) =
                tokio::time::timeout(Duration::from_millis(50), stream.write(&data)).await
            {
                written += count.unwrap();
            }
            assert!(written >= SURE_WRITE);
            let mut sink = vec![0; written];
            reader.read_exact(&mut sink).unwrap();
            assert!(stream.write(b"more").await.unwrap() > 0);
        });
    }

    #[test]
    fn regular_files_and_null_are_always_ready() {
        let mut file = tempfile::tempfile().unwrap();
        block_on(async {
            assert_eq!(Stream::writer(&file).unwrap().write(b"text").await.unwrap(), 4);
            file.rewind().unwrap();
            let mut buffer = [0; 8];
            assert_eq!(Stream::reader(&file).unwrap().read(&mut buffer).await.unwrap(), 4);
            let null = std::fs::File::open("/dev/null").unwrap();
            assert_eq!(Stream::reader(&null).unwrap().read(&mut buffer).await.unwrap(), 0);
        });
    }
}
