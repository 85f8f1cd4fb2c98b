//! How long operations tell what they are doing. Front ends draw bars or print lines; this crate
//! prints nothing.

use std::io::{self, Read};

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepKind {
    /// Content goes into the store.
    Copying,
    /// A layer becomes a directory.
    Unpacking,
    /// Content is compared with its digest.
    Verifying,
    /// Layers become one plain directory.
    Assembling,
}

/// A step that takes a while; `kind` and `subject` together identify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step<'a> {
    /// What it does.
    pub kind: StepKind,
    /// To what: a digest, or an archive member's name while no digest is known.
    pub subject: &'a str,
    /// How many bytes it will go through, where that is known.
    pub total: Option<u64>,
}

/// A listener. Calls come from several threads at once and must return soon.
pub trait Progress: Send + Sync {
    /// A step begins.
    fn started(&self, step: &Step<'_>) {
        let _ = step;
    }

    /// A step has gone through `bytes` more bytes.
    fn advanced(&self, step: &Step<'_>, bytes: u64) {
        let _ = (step, bytes);
    }

    /// A step is over, well or badly.
    fn finished(&self, step: &Step<'_>) {
        let _ = step;
    }

    /// Something is worth telling that stops nothing, such as an attribute that the file system
    /// cannot hold.
    fn warned(&self, message: &str) {
        let _ = message;
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Reports the start of a step now and its end when dropped.
pub(crate) struct Running<'a> {
    progress: &'a dyn Progress,
    step: Step<'a>,
}

impl<'a> Running<'a> {
    pub(crate) fn start(progress: &'a dyn Progress, step: Step<'a>) -> Self {
        progress.started(&step);
        Self { progress, step }
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.progress.advanced(&self.step, bytes);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.progress.finished(&self.step);
    }
}

/// A reader that tells a step of what is read through it.
pub(crate) struct Counted<'a, R> {
    pub(crate) inner: R,
    pub(crate) running: &'a Running<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.running.advance(read as u64);
        Ok(read)
    }
}
