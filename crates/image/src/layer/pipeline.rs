//! Reading and decompressing, hashing, and writing side by side.
//!
//! One thread reads and decompresses into chunks; each chunk goes to a thread that hashes it and
//! to the caller, who writes it; nothing is copied in between. The chunks are few and used again,
//! so that memory does not depend on the layer's size.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use crate::compression::{Decoder, buffered};
use crate::digest::{Digest, Hasher};

/// The size of a chunk: large enough that passing it on costs nothing, small enough for the cache.
const CHUNK: usize = 256 * 1024;
/// How far reading may be ahead of writing, in chunks.
const AHEAD: usize = 8;

/// What came of a pipeline.
pub(crate) struct Piped<T> {
    /// What the writer gave.
    pub(crate) value: T,
    /// Digest of the decompressed bytes.
    pub(crate) digest: Digest,
}

/// Why a pipeline ended early.
pub(crate) enum PipeError<E> {
    /// Reading or decompressing failed.
    Read(io::Error),
    /// The writer failed.
    Write(E),
}

/// Decompresses `source`, hashes the result, and gives it to `writer`, who need not read all.
pub(crate) fn run<T, E>(
    source: impl Read + Send,
    writer: impl FnOnce(&mut Chunks) -> Result<T, E>,
) -> Result<Piped<T>, PipeError<E>> {
    let pool = Pool::default();
    let (to_writer, chunks) = mpsc::sync_channel::<Chunk>(AHEAD);
    let (to_hasher, hashed) = mpsc::sync_channel::<Chunk>(AHEAD);
    std::thread::scope(|scope| {
        let pool = &pool;
        let reader = scope.spawn(move || read(source, pool, &to_writer, &to_hasher));
        let hasher = scope.spawn(move || {
            let mut hasher = Hasher::new();
            for chunk in hashed {
                hasher.update(chunk.bytes());
            }
            hasher.finish()
        });
        let mut chunks = Chunks { receiver: Some(chunks), current: None, position: 0 };
        let written = writer(&mut chunks);
        if written.is_ok() {
            chunks.drain();
        }
        drop(chunks); // a reader that is still at work stops
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        let digest = hasher.join();
        // What could not be read is why writing could not go on, not the other way round.
        match (read, written, digest) {
            (Err(error), _, _) => Err(PipeError::Read(error)),
            (Ok(()), Err(error), _) => Err(PipeError::Write(error)),
            (Ok(()), Ok(_), Err(_)) => {
                Err(PipeError::Read(io::Error::other("the hashing thread panicked")))
            }
            (Ok(()), Ok(value), Ok(digest)) => Ok(Piped { value, digest }),
        }
    })
}

fn read(
    source: impl Read,
    pool: &Pool,
    to_writer: &SyncSender<Chunk>,
    to_hasher: &SyncSender<Chunk>,
) -> io::Result<()> {
    let mut decoder = Decoder::new(buffered(source)?)?;
    loop {
        let mut buffer = pool.take();
        let mut filled = 0;
        while filled < CHUNK {
            match decoder.read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            return Ok(());
        }
        let chunk = Chunk(Arc::new(Shared { buffer, filled, pool: pool.clone() }));
        // Whoever went away first has failed and says why.
        if to_hasher.send(chunk.clone()).is_err() || to_writer.send(chunk).is_err() {
            return Ok(());
        }
    }
}

/// Buffers to be used again.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<Vec<Box<[u8]>>>>);

impl Pool {
    fn take(&self) -> Box<[u8]> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice())
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Bytes that hasher and writer share.
#[derive(Clone)]
struct Chunk(Arc<Shared>);

struct Shared {
    buffer: Box<[u8]>,
    filled: usize,
    pool: Pool,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        self.0.buffer.get(..self.0.filled).unwrap_or_default()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}

/// The decompressed bytes, as a writer reads them.
pub(crate) struct Chunks {
    receiver: Option<Receiver<Chunk>>,
    current: Option<Chunk>,
    position: usize,
}

impl Chunks {
    /// Lets the rest go by.
    fn drain(&mut self) {
        self.current = None;
        if let Some(receiver) = &self.receiver {
            for chunk in receiver {
                drop(chunk);
            }
        }
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let used_up =
            self.current.as_ref().is_none_or(|chunk| self.position >= chunk.bytes().len());
        if used_up {
            self.position = 0;
            self.current = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok());
        }
        let bytes = self.current.as_ref().map_or(&[][..], Chunk::bytes);
        Ok(bytes.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let read = available.len().min(buffer.len());
        let (now, _) = available.split_at(read);
        buffer.get_mut(..read).unwrap_or_default().copy_from_slice(now);
        self.consume(read);
        Ok(read)
    }
}
