//! Ids, signals, lists of CPUs, and a new process' reports.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_runtime::fuzzing::words(data));
