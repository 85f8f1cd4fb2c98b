//! Progress of long work on images: bars when standard error is a terminal, nothing otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_image::{Progress, Step, StepKind};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::human;
use crate::terminal;

/// Whether progress may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Bars on a terminal.
    Normal,
    /// `--quiet`
    Quiet,
}

/// A listener for the image store.
pub fn listener(verbosity: Verbosity) -> Box<dyn Progress> {
    match verbosity {
        Verbosity::Normal if terminal::is_terminal(std::io::stderr()) => Box::new(Bars::default()),
        _ => Box::new(Warnings),
    }
}

/// Warnings only.
#[derive(Debug)]
struct Warnings;

impl Progress for Warnings {
    fn warned(&self, message: &str) {
        super::warning(message);
    }
}

/// A bar for each step.
#[derive(Debug, Default)]
struct Bars {
    screen: MultiProgress,
    bars: Mutex<HashMap<(StepKind, String), ProgressBar>>,
}

impl Bars {
    fn with_bar(&self, step: &Step<'_>, action: impl FnOnce(&ProgressBar)) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(&(step.kind, step.subject.to_owned())) {
            action(bar);
        }
    }
}

impl Progress for Bars {
    fn started(&self, step: &Step<'_>) {
        let bar = self.screen.add(bar(step));
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        bars.insert((step.kind, step.subject.to_owned()), bar);
    }

    fn advanced(&self, step: &Step<'_>, bytes: u64) {
        self.with_bar(step, |bar| bar.inc(bytes));
    }

    fn finished(&self, step: &Step<'_>) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.remove(&(step.kind, step.subject.to_owned())) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
    }

    fn warned(&self, message: &str) {
        self.screen.suspend(|| super::warning(message));
    }
}

fn bar(step: &Step<'_>) -> ProgressBar {
    let (bar, template) = match step.total {
        Some(total) => (
            ProgressBar::new(total),
            "{prefix} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
        ),
        None => (ProgressBar::new_spinner(), "{prefix} {msg} {spinner} {bytes} {bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(verb(step.kind));
    bar.set_message(human::short_id(step.subject).to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn verb(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Copying => "Copying   ",
        StepKind::Unpacking => "Unpacking ",
        StepKind::Verifying => "Verifying ",
        StepKind::Assembling => "Assembling",
        _ => "Working on",
    }
}
