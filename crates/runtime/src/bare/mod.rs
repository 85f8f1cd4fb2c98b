//! What stands in for the C library in the shipped program: its start, its memory, and the few
//! functions that the standard library calls.
//!
//! A static C library is two thirds of a megabyte of what is never used here, and its start asks
//! the processor for its features by instructions that trap in every virtual machine. This program
//! is single-threaded, loads no libraries, has no locale and looks up no names; what is left of a
//! C library is a table of system calls and a few pages of code.
//!
//! Only the profile `dist`, linked statically for x86-64, is built like this (build.rs): anything
//! else has the platform's C library. A function that is missing here is an undefined symbol when
//! that is linked, never a surprise when it runs, because the linker is not given another library.
//! There are no threads to be had: `pthread_create` is one of the missing.

mod calls;
mod directory;
mod environment;
mod errors;
mod memory;
mod paths;
mod signals;
mod start;
mod text;
mod unwind;

use std::ffi::{c_int, c_void};

/// The C library's variable of that name; there is one thread only.
#[unsafe(no_mangle)]
static mut BARE_ERRNO: c_int = 0;

/// Where `errno` is.
#[unsafe(no_mangle)]
extern "C" fn __errno_location() -> *mut c_int {
    &raw mut BARE_ERRNO
}

/// Sets `errno`.
fn set_errno(errno: c_int) {
    // SAFETY: there is one thread, and nobody holds a reference to the variable.
    unsafe { BARE_ERRNO = errno };
}

/// What the last call that failed has set.
fn errno() -> c_int {
    // SAFETY: there is one thread.
    unsafe { BARE_ERRNO }
}

/// What is to be done with a thread's own storage at its end: nothing, since that is the program's.
#[unsafe(no_mangle)]
extern "C" fn __cxa_thread_atexit_impl(
    _destructor: *const c_void,
    _value: *mut c_void,
    _library: *mut c_void,
) -> c_int {
    0
}
