//! `berth-runtime`: the OCI runtime with runc's command line.
//!
//! This program only translates words to the library and back. Before it makes a process in a
//! container it makes sure that its own file is out of the container's reach.
#![deny(unsafe_code)]

#[cfg(bare)]
#[expect(unsafe_code, reason = "what stands in for the C library")]
mod bare;
mod cli;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
#[expect(unsafe_code, reason = "the first instructions of the program")]
mod entry;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os().skip(1).collect())
}
