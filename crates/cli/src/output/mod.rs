//! Everything that is printed goes through here.
//!
//! Results go to standard output; warnings, errors and progress to standard error. A reader that
//! went away (`berth ps | head -1`) is no error worth a message.

pub mod human;
pub mod listing;
pub mod progress;
pub mod table;
pub mod template;

use std::io::{self, Write};

use berth_engine::ErrorKind;
use serde_json::Value;

use crate::failure::Failure;

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The reader of standard output is gone.
    #[error("nobody reads standard output any more")]
    Closed,
    /// Anything else, such as a full disk behind a redirection.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Write(error),
        }
    }
}

impl berth_engine::EngineError for OutputError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// Prints `text` as it is.
pub fn print(text: &str) -> Result<(), OutputError> {
    write(text.as_bytes())
}

/// Prints a line.
pub fn line(text: &str) -> Result<(), OutputError> {
    write(format!("{text}\n").as_bytes())
}

/// Prints bytes.
pub fn write(bytes: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Prints bytes to standard error.
pub fn write_error(bytes: &[u8]) {
    // There is nowhere left to tell that standard error cannot be written to.
    let _nowhere = io::stderr().lock().write_all(bytes);
}

/// JSON as podman prints it: indented by four spaces.
pub fn json(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    if serde::Serialize::serialize(value, &mut serializer).is_err() {
        return value.to_string();
    }
    String::from_utf8(text).unwrap_or_else(|_| value.to_string())
}

/// Tells something that is worth knowing and stops nothing.
pub fn warning(text: &str) {
    write_error(format!("Warning: {text}\n").as_bytes());
}

/// Tells what went wrong and what to try.
pub fn failure(failure: &Failure) {
    write_error(report(failure).as_bytes());
}

fn report(failure: &Failure) -> String {
    let mut text = format!("Error: {}\n", failure.message());
    for hint in failure.hints() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

/// Asks a yes-or-no question; only `y` and `yes` are yes.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    write_error(format!("{question}\nAre you sure you want to continue? [y/N] ").as_bytes());
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::cannot("read the answer", &error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_and_its_hints() {
        let failure = Failure::invalid("cannot do x: because").with_hint("try y").with_hint("or z");
        assert_eq!(report(&failure), "Error: cannot do x: because\nhint: try y\nhint: or z\n");
    }

    #[test]
    fn json_is_indented_by_four() {
        assert_eq!(json(&serde_json::json!([{"a": 1}])), "[\n    {\n        \"a\": 1\n    }\n]");
    }
}
