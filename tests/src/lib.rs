//! End-to-end tests that start the built binaries; the suites stand in `tests/`.
#![forbid(unsafe_code)]
