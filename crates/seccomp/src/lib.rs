//! Seccomp profiles to BPF: the generator and the default profile.
//!
//! Implements the `seccomp` part of the OCI runtime-spec (config-linux.md, "Seccomp") without
//! libseccomp: [`compile`] turns a profile into a classic BPF program, [`Filter::install`] gives it
//! to the kernel, [`default_profile`] is what a container gets when nobody chose one, and
//! [`features`] says what is known here (features.md, "seccomp").
//!
//! The crate must not know what a container is: it knows profiles, system call numbers and the
//! kernel's `seccomp` call.

#![deny(unsafe_code)]

mod architecture;
mod assembler;
mod compile;
mod condition;
mod default_profile;
mod encoding;
mod features;
mod filter;
mod multiplexed;
mod ranges;
mod rules;
#[expect(unsafe_code, reason = "the kernel's seccomp call has no safe wrapper")]
mod sys;
mod table;
mod verdict;

pub use architecture::Architecture;
pub use compile::{CompileError, compile, compile_for, validate};
pub use default_profile::{default_profile, default_profile_for};
pub use encoding::DecodeError;
pub use features::features;
pub use filter::{Filter, InstallError, Instruction, MAX_INSTRUCTIONS};
