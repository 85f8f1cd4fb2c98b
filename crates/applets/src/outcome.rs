//! How an applet ends: with an exit status, or with a failure that `main` prints.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;

/// What an applet returns: its exit status, or why it could not go on.
pub type Outcome = Result<u8, Failure>;

/// Why an applet stopped: one line for a person, and the exit status.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// A failure with a status and a message.
    pub fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A wrong call of the applet.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    /// An input or output error on a file.
    pub fn file(path: impl AsRef<Path>, error: &io::Error) -> Self {
        Self::new(1, format!("{}: {}", path.as_ref().display(), plain(error)))
    }

    /// The exit status that goes with the failure.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(1, plain(&error))
    }
}

/// The system's own words, without the error number that the standard library adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text.get(..at).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// Keeps going over several operands: reports each failure and remembers that there was one.
#[derive(Debug)]
pub struct Tally {
    name: &'static str,
    status: u8,
}

impl Tally {
    /// Starts a tally for the applet `name`.
    pub fn new(name: &'static str) -> Self {
        Self { name, status: 0 }
    }

    /// Notes the result of one operand.
    pub fn note(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.status = self.status.max(crate::report(self.name, &failure));
        }
    }

    /// The status to exit with: the worst of those noted.
    pub fn status(&self) -> u8 {
        self.status
    }
}
