//! A `config.json` and all that is planned from it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_runtime::fuzzing::config(data));
