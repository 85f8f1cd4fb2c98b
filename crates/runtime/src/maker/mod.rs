//! The maker's side: preparing, cloning, accompanying the new process, and cleaning up when that
//! fails. What the new process does itself is in `child`.

mod additions;
pub(crate) mod create;
pub(crate) mod dialogue;
pub(crate) mod exec;
mod launch;
mod network;
mod ownership;
pub(crate) mod reports;
mod terminal;

pub(crate) use launch::{Birthplace, Launched, launch};
