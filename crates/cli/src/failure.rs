//! A failure as a person sees it: one line with the chain of causes, hints, and an exit code.
//!
//! Exit codes are podman's and docker's: 125 when berth itself fails, 126 and 127 when a
//! container's command cannot be executed or is not there. The engine decides which it is.

use std::error::Error;

use berth_engine::{EngineError, ErrorKind};

use crate::output::OutputError;

/// berth's own failures, and wrong command lines.
pub const FAILED: u8 = 125;

/// What is printed and returned when a command fails.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hints: Vec<String>,
    kind: ErrorKind,
    is_silent: bool,
}

impl Failure {
    /// A failure that the command line itself found.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), kind, is_silent: false }
    }

    /// The command line asks for something that cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An error of a crate that has no kind, with what could not be done.
    pub fn cannot(act: impl std::fmt::Display, error: &(dyn Error + 'static)) -> Self {
        let kind = match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(std::io::ErrorKind::NotFound) => ErrorKind::NotFound,
            Some(std::io::ErrorKind::PermissionDenied) => ErrorKind::Denied,
            Some(std::io::ErrorKind::AlreadyExists) => ErrorKind::Conflict,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, format!("cannot {act}: {}", chain(error)))
    }

    /// An error of the image store.
    pub fn image<E: berth_image::Explain + 'static>(error: E) -> Self {
        use berth_image::ErrorKind as ImageKind;
        tracing::debug!(?error, "failed");
        let kind = match error.kind() {
            ImageKind::NotFound => ErrorKind::NotFound,
            ImageKind::Conflict => ErrorKind::Conflict,
            ImageKind::Invalid => ErrorKind::Invalid,
            ImageKind::Denied => ErrorKind::Denied,
            ImageKind::Unavailable => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        let hints = error.hints();
        Self { message: chain(&error), hints, kind, is_silent: false }
    }

    /// Adds advice.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what was being done, where the cause alone does not name it.
    pub fn during(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether there is nobody to tell: our reader is gone.
    pub fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// What happened, with all causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to try.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }
}

impl<E: EngineError> From<E> for Failure {
    fn from(error: E) -> Self {
        tracing::debug!(?error, "failed");
        let closed: Option<&OutputError> = (&error as &dyn std::any::Any).downcast_ref();
        Self {
            kind: error.kind(),
            hints: error.hints(),
            message: chain(&error),
            is_silent: matches!(closed, Some(OutputError::Closed)),
        }
    }
}

/// The error and its causes, separated by colons. A cause whose text an outer one already ends
/// with is not said twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    without_numbers(&text.replace('\n', " "))
}

/// Leaves out the ` (os error 2)` that the standard library adds to every system error: its words
/// say the same.
fn without_numbers(text: &str) -> String {
    let mut pieces = text.split(" (os error ");
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                clean.push_str(rest);
            }
            _ => {
                clean.push_str(" (os error ");
                clean.push_str(piece);
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start {name}")]
    struct Outer {
        name: &'static str,
        #[source]
        source: Middle,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the file: {0}")]
    struct Middle(#[source] std::io::Error);

    #[test]
    fn every_cause_is_said_once() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = Outer { name: "web", source: Middle(cause) };
        assert_eq!(
            chain(&error),
            "cannot start web: cannot read the file: No such file or directory"
        );
        assert_eq!(without_numbers("a (os error 2): b (os error 13)"), "a: b");
        assert_eq!(without_numbers("a (os error x) b"), "a (os error x) b");
        let failure = Failure::cannot("open x", &std::io::Error::from_raw_os_error(2));
        assert_eq!(failure.kind(), ErrorKind::NotFound);
        assert_eq!(failure.exit_code(), 125);
    }
}
