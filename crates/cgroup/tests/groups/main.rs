//! Real control groups, in sub-groups of the tests' own that are removed afterwards.
//!
//! They need root. Those of the version that this machine does not have are skipped: run this
//! test's binary in a virtual machine that has it.
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod common;
mod systemd;
mod v1;
mod v2;
