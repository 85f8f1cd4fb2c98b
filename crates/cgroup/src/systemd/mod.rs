//! systemd as the owner of control groups: transient scopes, their limits and their end.
//!
//! A small synchronous D-Bus client ([`bus`], [`wire`]) speaks to systemd's manager; [`manager`]
//! knows its methods, [`unit`] starts and stops a scope for a
//! container; [`properties`] knows limits by systemd's names.

mod bus;
pub(crate) mod manager;
pub(crate) mod properties;
pub(crate) mod unit;
pub(crate) mod wire;

use std::io;
use std::path::PathBuf;

/// Speaking to systemd.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// There is no bus.
    #[error("cannot connect to the D-Bus socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The address is of a kind that is not spoken.
    #[error("the D-Bus address {address:?} names no unix socket")]
    Address {
        /// The address.
        address: String,
    },
    /// The connection broke, or took too long.
    #[error("cannot {action} on the D-Bus connection")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The bus did not accept this user.
    #[error("the D-Bus daemon refused authentication: {answer:?}")]
    Authentication {
        /// Its answer.
        answer: String,
    },
    /// A message that breaks the protocol.
    #[error("the D-Bus peer sent a malformed message: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The method failed.
    #[error("{method} failed: {name}: {message}")]
    Method {
        /// The method.
        method: &'static str,
        /// The error's D-Bus name.
        name: String,
        /// Its text.
        message: String,
    },
    /// The job did not succeed.
    #[error("the job for {unit} ended with {result:?}")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word, such as `failed` or `timeout`.
        result: String,
    },
}
