//! What is told: errors and warnings to standard error and the log file, results to standard output.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use berth_runtime::error::chain;
use berth_runtime::{
    CgroupOperationError, CreateError, DeleteError, ExecError, KillError, LookupError, MountsError,
    StartError,
};

use super::arguments::{Globals, LogFormat};
use super::destination::Destination;

/// What a log has in it: this, and what is more important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What ends the command.
    Error,
    /// What a person should know.
    Warning,
    /// What is done.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

/// An error on its way to a person.
#[derive(Debug)]
pub(crate) struct Fault {
    message: String,
    hint: Option<String>,
    code: u8,
    help: bool,
}

impl Fault {
    /// An error of the command line itself.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        let hint = Some("`berth-runtime --help` lists commands and options".to_owned());
        Self { hint, ..Self::new(message) }
    }

    /// No error, but a wish to be told of a command's options.
    pub(crate) fn help() -> Self {
        Self { help: true, ..Self::new("") }
    }

    /// Whether it is such a wish.
    pub(crate) fn wants_help(&self) -> bool {
        self.help
    }

    /// Any other error.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1, help: false }
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

    /// The same with another exit code, and what was being done.
    pub(crate) fn ending(mut self, action: &str, code: u8) -> Self {
        self.message = format!("{action}: {}", self.message);
        self.code = code;
        self
    }

    fn of(error: &dyn std::error::Error, hint: Option<&str>) -> Self {
        Self { hint: hint.map(str::to_owned), ..Self::new(chain(error)) }
    }
}

macro_rules! faults {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::of(&error, error.hint())
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
    MountsError,
    berth_runtime::checkpoint::CheckpointError,
    berth_runtime::checkpoint::RestoreError,
    berth_runtime::state::StateFileError
);

/// Where errors and warnings go.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<Destination>,
    format: LogFormat,
    level: Level,
}

impl Log {
    /// Standard error only.
    pub(crate) fn to_standard_error() -> Self {
        Self { file: None, format: LogFormat::Text, level: Level::Warning }
    }

    /// What the command line says.
    pub(crate) fn open(globals: &Globals) -> Result<Self, Fault> {
        let file =
            globals.log.as_ref().map(|path| Destination::open(path.as_os_str())).transpose()?;
        Ok(Self { file, format: globals.log_format, level: globals.log_level })
    }

    /// Tells an error and gives the exit code.
    pub(crate) fn fatal(&self, fault: &Fault) -> ExitCode {
        self.tell(Level::Error, &fault.message, fault.hint.as_deref());
        ExitCode::from(fault.code)
    }

    /// Tells a warning.
    pub(crate) fn warn(&self, message: &str) {
        self.tell(Level::Warning, message, None);
    }

    /// Tells what is done.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.level >= Level::Debug {
            self.tell(Level::Debug, &message(), None);
        }
    }

    /// To the log file, and to standard error: there in words for people, unless it is the log
    /// itself and is to be JSON.
    fn tell(&self, level: Level, message: &str, hint: Option<&str>) {
        if level > self.level {
            return;
        }
        let line = if self.file.is_some() || self.format == LogFormat::Json || level == Level::Debug
        {
            self.line(level, message)
        } else {
            String::new()
        };
        if let Some(file) = &self.file {
            file.write(level, message, &line);
            if level == Level::Debug {
                return;
            }
        }
        let mut text = match (level, &self.file, self.format) {
            (Level::Debug, ..) | (_, None, LogFormat::Json) => line,
            (Level::Error, ..) => format!("berth-runtime: {message}\n"),
            (Level::Warning, ..) => format!("berth-runtime: warning: {message}\n"),
        };
        if let Some(hint) = hint
            && (self.file.is_some() || self.format == LogFormat::Text)
        {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "hint: {hint}");
        }
        // There is nobody left to tell of a standard error that is closed.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// A line of a log, as runc writes it.
    fn line(&self, level: Level, message: &str) -> String {
        let time = berth_spec::time::Stamp::from(SystemTime::now()).to_string();
        let level = level.name();
        let mut line = match self.format {
            LogFormat::Json => serde_json::to_string(&Line { level, msg: message, time: &time })
                .unwrap_or_default(),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
        };
        line.push('\n');
        line
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
