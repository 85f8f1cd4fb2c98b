//! System calls that rustix does not wrap, one function each. Nothing here knows containers.
//!
//! Every function is async-signal-safe and allocates nothing, so that all of them may be used
//! between clone and exec.

mod clone;
mod note;
mod process;

pub(crate) use clone::{CloneArguments, Cloned, Intermediate, clone3, run_intermediate};
pub(crate) use note::SharedNote;
pub(crate) use process::*;

use rustix::io::Errno;

/// The result of a raw system call.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: the C library has an errno for every thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it is this thread's, and nothing else refers to it now.
    Err(Errno::from_raw_os_error(unsafe { *errno }))
}
