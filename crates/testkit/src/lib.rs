//! What tests share: the built binaries, scratch state that must be left clean, peers, and images
//! made by somebody else. It knows berth only from outside: by its commands and its files.
#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "tests end with a panic, and tell by printing"
)]

pub mod binaries;
pub mod cgroups;
pub mod command;
mod damaged;
pub mod debian;
pub mod peers;
pub mod scratch;

pub use command::{Finished, finish};
pub use damaged::damaged;
pub use scratch::Scratch;

/// Says that the calling test cannot run here, and why; the test returns after it.
///
/// `cargo xtask test` counts these lines: such a test is reported as skipped, never as passed.
pub fn skip(reason: impl std::fmt::Display) {
    println!("SKIPPED: {reason}");
}

/// Unwraps an `Option`-like requirement of a test: the value, or a skipped test with the reason.
#[macro_export]
macro_rules! require {
    ($requirement:expr) => {
        match $requirement {
            Ok(value) => value,
            Err(reason) => {
                $crate::skip(reason);
                return;
            }
        }
    };
}

/// Whether this process is root, which most of these tests need.
///
/// # Errors
/// The reason for skipping.
pub fn root() -> Result<(), &'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|line| line.split_whitespace().nth(1).map(str::to_owned));
    if uid.as_deref() == Some("0") { Ok(()) } else { Err("this test needs root") }
}
