//! The kernel's `seccomp` call.

use std::os::fd::{FromRawFd as _, OwnedFd};

use crate::filter::{Flags, Instruction};

/// Puts the calling thread under a program; the error is the errno.
pub(crate) fn install(instructions: &[Instruction], flags: u32) -> Result<Option<OwnedFd>, i32> {
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| libc::EINVAL)?,
        filter: instructions.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions of the kernel's layout (`repr(C)`), which live
    // as long as the call, and which the kernel only reads.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if result < 0 {
        return Err(errno());
    }
    if flags & Flags::NEW_LISTENER.0 == 0 {
        // With TSYNC alone the result is the id of a thread that could not follow.
        return if result == 0 { Ok(None) } else { Err(libc::ESRCH) };
    }
    let descriptor = i32::try_from(result).map_err(|_| libc::EBADF)?;
    // SAFETY: with NEW_LISTENER the result is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

/// Whether the kernel knows these flags: it looks at them before it looks at the program, and
/// there is none.
pub(crate) fn knows_flags(flags: u32) -> bool {
    let nothing: *const libc::sock_fprog = std::ptr::null();
    // SAFETY: the kernel refuses to read a null pointer with EFAULT.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nothing) };
    result < 0 && errno() == libc::EFAULT
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
