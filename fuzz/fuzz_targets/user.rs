//! A user against `/etc/passwd` and `/etc/group`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_image::fuzzing::user(data));
