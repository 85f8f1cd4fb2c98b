//! The container monitor: one small process per container (or pod) and the library to talk to it.
//!
//! The process owns standard streams, logs, exit status, attach and exec of its containers, and
//! outlives whoever started it. It never parses a container's configuration in its own memory:
//! short-lived workers, forked from it, call the runtime. Nothing here knows images, networks or
//! records.
#![deny(unsafe_code)]

pub mod client;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod protocol;
#[doc(hidden)]
pub mod server;
pub mod status;

#[expect(unsafe_code, reason = "system calls that have no safe wrapper")]
mod sys;
mod time;
