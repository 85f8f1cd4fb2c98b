//! `/proc/self/mountinfo` and `/proc/self/cgroup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_cgroup::fuzzing::mounts(data));
