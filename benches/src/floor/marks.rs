//! What each part took: the clock is looked at between them.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Parts of one process' work, in order; or nothing, where nobody asks for them.
pub struct Marks {
    last: Option<Instant>,
    list: Vec<(String, Duration)>,
}

impl Marks {
    /// Begins with the first part.
    pub fn begin() -> Self {
        Self { last: Some(Instant::now()), list: Vec::with_capacity(32) }
    }

    /// Never looks at the clock.
    pub fn none() -> Self {
        Self { last: None, list: Vec::new() }
    }

    /// Begins anew, if this looks at the clock at all.
    pub fn again(&self) -> Self {
        if self.last.is_some() { Self::begin() } else { Self::none() }
    }

    /// Ends a part, and begins with the next one.
    pub fn mark(&mut self, part: &str) {
        if let Some(last) = &mut self.last {
            let now = Instant::now();
            self.list.push((part.to_owned(), now - *last));
            *last = now;
        }
    }

    /// The way on which one process tells another what it has found, if there will be anything.
    pub fn pipe(&self) -> anyhow::Result<Option<(PipeReader, PipeWriter)>> {
        self.last.map(|_| std::io::pipe()).transpose().context("make a pipe")
    }

    /// The parts and what each took.
    pub fn list(&self) -> &[(String, Duration)] {
        &self.list
    }

    /// Tells another process what this one has found.
    pub fn send(&self, mut to: PipeWriter) -> anyhow::Result<()> {
        let mut text = String::new();
        for (part, time) in &self.list {
            text.push_str(&format!("{} {part}\n", time.as_nanos()));
        }
        to.write_all(text.as_bytes()).context("tell the parts")
    }

    /// Puts what another process has found before what this one has.
    pub fn receive(&mut self, mut from: PipeReader) -> anyhow::Result<()> {
        let mut text = String::new();
        from.read_to_string(&mut text).context("hear of the parts")?;
        let mut list = Vec::new();
        for line in text.lines() {
            let (time, part) = line.split_once(' ').context("a part has a name")?;
            list.push((part.to_owned(), Duration::from_nanos(time.parse()?)));
        }
        list.append(&mut self.list);
        self.list = list;
        Ok(())
    }
}
