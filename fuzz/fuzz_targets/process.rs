//! A process file of `exec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_runtime::fuzzing::process(data));
