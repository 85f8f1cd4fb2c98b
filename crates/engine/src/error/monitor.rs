//! Monitors: what keeps a command from starting, reaching or asking one.

use std::io;
use std::path::Path;

use berth_monitor::client::{ConnectError, LaunchError};

use super::{DISK_FULL, EngineError, ErrorKind};
use crate::records::short;

/// A monitor that cannot be started or reached, or that refused.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// There is no monitor program.
    #[error("the program berth-monitor was not found")]
    Missing,
    /// It could not be started.
    #[error("cannot start a monitor for container {}", short(id))]
    Launch {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: LaunchError,
    },
    /// It could not be reached.
    #[error("cannot reach the monitor of container {}", short(id))]
    Connect {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// It refused a request.
    #[error("{}", refusal(action, id, text))]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The container.
        id: String,
        /// The sort of failure.
        kind: ErrorKind,
        /// Its words.
        text: String,
        /// Its advice.
        hint: Option<String>,
    },
    /// The connection broke.
    #[error("lost the monitor of container {} while it was to {action}", short(id))]
    Lost {
        /// What was asked.
        action: &'static str,
        /// The container.
        id: String,
        /// Why, if anybody knows.
        #[source]
        source: Option<berth_monitor::client::ConnectionError>,
    },
    /// It does not answer or end in time.
    #[error("the monitor of container {} does not {action} in time", short(id))]
    Slow {
        /// What is awaited.
        action: &'static str,
        /// The container.
        id: String,
    },
}

/// A refusal in words: the worker's own, which mostly say already what could not be done.
fn refusal(action: &str, id: &str, text: &str) -> String {
    if text.starts_with("cannot ") {
        return text.to_owned();
    }
    format!("cannot {action} container {}: {text}", short(id))
}

impl MonitorError {
    /// For `map_err`: a request to the monitor that failed.
    pub(crate) fn request(
        action: &'static str,
        id: &str,
    ) -> impl FnOnce(berth_monitor::client::RequestError) -> Self {
        use berth_monitor::client::RequestError as E;
        use berth_monitor::protocol::ErrorKind as K;
        move |error| match error {
            E::Refused { kind, text, hint } => {
                let kind = match kind {
                    K::NotFound => ErrorKind::NotFound,
                    K::Exists | K::State => ErrorKind::Conflict,
                    K::Invalid => ErrorKind::Invalid,
                    K::CommandNotFound => ErrorKind::CommandNotFound,
                    K::CommandNotExecutable => ErrorKind::CommandNotExecutable,
                    K::Permission => ErrorKind::Denied,
                    K::Protocol => ErrorKind::Unavailable,
                    K::Other => ErrorKind::Internal,
                };
                let text = text.replace(id, short(id));
                Self::Refused { action, id: id.to_owned(), kind, text, hint }
            }
            E::Connection(source) => Self::Lost { action, id: id.to_owned(), source: Some(source) },
            E::Gone => Self::Lost { action, id: id.to_owned(), source: None },
        }
    }

    /// For `map_err`: a connection that broke.
    pub(crate) fn lost(
        action: &'static str,
        id: &str,
    ) -> impl FnOnce(berth_monitor::client::ConnectionError) -> Self {
        move |source| Self::Lost { action, id: id.to_owned(), source: Some(source) }
    }
}

impl EngineError for MonitorError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::Slow { .. } | Self::Connect { .. } => ErrorKind::Unavailable,
            Self::Refused { kind, .. } => *kind,
            Self::Launch { .. } | Self::Lost { .. } => ErrorKind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing => {
                vec!["install berth-monitor beside berth, or name it with BERTH_MONITOR".to_owned()]
            }
            Self::Launch { source, .. } => {
                let full = matches!(source, LaunchError::Refused { text, .. } if tells_full(text));
                let hint = if full { Some(DISK_FULL) } else { source.hint() };
                hint.map(str::to_owned).into_iter().collect()
            }
            Self::Connect { source: ConnectError::Connect { directory, .. }, .. } => {
                socket_hint(directory).into_iter().collect()
            }
            Self::Lost { .. } => vec![
                "`berth system prune` takes up or cleans up what a killed monitor left".to_owned(),
            ],
            Self::Refused { kind: ErrorKind::CommandNotFound, .. } => {
                vec!["give a program that is in the image".to_owned()]
            }
            Self::Refused { hint: Some(hint), .. } => vec![hint.clone()],
            Self::Refused { text, .. } if tells_full(text) => vec![DISK_FULL.to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Whether the words of another process end in the system's for a full disk.
fn tells_full(text: &str) -> bool {
    let full = io::Error::from(rustix::io::Errno::NOSPC).to_string();
    let words = full.split(" (os error").next().unwrap_or(&full);
    text.contains(words)
}

/// What to do about a monitor that lives and cannot be reached: somebody removed its socket.
fn socket_hint(directory: &Path) -> Option<String> {
    let pid = std::fs::read_to_string(directory.join(berth_monitor::client::PID_FILE)).ok()?;
    Some(format!(
        "its socket is gone, or refuses: `kill -9 {}` ends the monitor, the next command gives the \
         container another",
        pid.trim()
    ))
}
