//! The engine with a real monitor and a real runtime, as root, in scratch directories.
//!
//! Monitors are given this program to clean up with (`cleanup_child`), and it is started again to be
//! killed (`victim_child`), so that nothing but `berth-monitor` need be built.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say why they are skipped"
)]

#[macro_use]
mod support;

mod files;
mod healing;
mod lifecycle;

/// The role in which a monitor calls this program.
#[test]
fn cleanup_child() {
    support::cleanup_child();
}

/// The role in which `healing` starts it to be killed at some moment.
#[test]
fn victim_child() {
    healing::victim_child();
}
