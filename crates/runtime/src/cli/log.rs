//! What is told: errors and warnings to standard error and the log file, results to standard output.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use berth_runtime::error::chain;
use berth_runtime::{
    CgroupOperationError, CreateError, DeleteError, ErrorKind, ExecError, KillError, LookupError,
    StartError,
};

use super::arguments::{Globals, LogFormat};

/// An error on its way to a person.
#[derive(Debug)]
pub(crate) struct Fault {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Fault {
    /// An error of the command line itself.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        let hint = Some("`berth-runtime --help` lists commands and options".to_owned());
        Self { message: message.into(), hint, code: 1 }
    }

    /// Any other error.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    /// A failed system call.
    pub(crate) fn io(action: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::new(format!("cannot {action}: {error}"))
    }

    /// The same with something to try.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    fn of(error: &dyn std::error::Error, kind: ErrorKind, hint: Option<&str>) -> Self {
        let code = match kind {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::CommandNotExecutable => 126,
            _ => 1,
        };
        Self { message: chain(error), hint: hint.map(str::to_owned), code }
    }
}

macro_rules! faults {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::of(&error, error.kind(), error.hint())
            }
        })*
    };
}

faults!(
    CreateError,
    StartError,
    ExecError,
    KillError,
    DeleteError,
    LookupError,
    CgroupOperationError,
    berth_runtime::state::StateFileError
);

/// Where errors and warnings go.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    format: LogFormat,
}

impl Log {
    /// Standard error only.
    pub(crate) fn to_standard_error() -> Self {
        Self { file: None, format: LogFormat::Text }
    }

    /// What the command line says.
    pub(crate) fn open(globals: &Globals) -> Result<Self, Fault> {
        let file = match &globals.log {
            None => None,
            Some(path) => Some(
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path)
                    .map_err(|e| Fault::io(format!("open the log {}", path.display()), &e))?,
            ),
        };
        Ok(Self { file, format: globals.log_format })
    }

    /// Tells an error and gives the exit code.
    pub(crate) fn fatal(&self, fault: &Fault) -> ExitCode {
        self.record("error", &fault.message);
        let mut text = format!("berth-runtime: {}\n", fault.message);
        if let Some(hint) = &fault.hint {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "hint: {hint}");
        }
        // There is nobody left to tell of a standard error that is closed.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(fault.code)
    }

    /// Tells a warning.
    pub(crate) fn warn(&self, message: &str) {
        self.record("warning", message);
        let _ = writeln!(io::stderr(), "berth-runtime: warning: {message}");
    }

    fn record(&self, level: &str, message: &str) {
        let Some(mut file) = self.file.as_ref() else { return };
        let time = berth_spec::time::Stamp::from(SystemTime::now()).to_string();
        let line = match self.format {
            LogFormat::Json => serde_json::to_string(&Line { level, msg: message, time: &time })
                .unwrap_or_default(),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
        };
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// A line of a JSON log, as runc writes it.
#[derive(serde::Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

/// Prints a result.
pub(crate) fn print(text: &str) -> Result<(), Fault> {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Fault::io("write to standard output", &error)),
    }
}
