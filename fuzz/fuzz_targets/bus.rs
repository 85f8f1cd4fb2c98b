//! A message of the D-Bus wire format.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_cgroup::fuzzing::bus(data));
