//! A frame of the monitor's protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_monitor::fuzzing::frame(data));
