//! A profile of system calls: its program answers as a plain reading of the profile does. What is
//! checked stands with the generator's own tests.
#![no_main]

#[path = "../../crates/seccomp/tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::naive::check_bytes(data));
