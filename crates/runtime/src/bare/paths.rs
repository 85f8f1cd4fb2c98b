//! Paths: getcwd(3), realpath(3), and the search of execvp(3).

use std::ffi::{CStr, CString, c_char, c_int};

use super::set_errno;

unsafe extern "C" {
    fn close(descriptor: c_int) -> c_int;
    fn free(pointer: *mut u8);
    fn execve(
        path: *const c_char,
        arguments: *const *const c_char,
        environment: *const *const c_char,
    ) -> c_int;
    fn getenv(name: *const c_char) -> *const c_char;
    fn malloc(size: usize) -> *mut u8;
    fn open64(path: *const c_char, flags: c_int, ...) -> c_int;
    fn readlink(path: *const c_char, buffer: *mut u8, size: usize) -> isize;
    fn syscall(number: i64, ...) -> i64;
    static mut environ: *const *const c_char;
}

/// getcwd(3), into a buffer of the caller's.
#[unsafe(no_mangle)]
extern "C" fn getcwd(buffer: *mut c_char, size: usize) -> *mut c_char {
    // SAFETY: the caller's buffer has this size.
    let length = unsafe { syscall(libc::SYS_getcwd, buffer, size) };
    if length <= 0 {
        return std::ptr::null_mut();
    }
    // SAFETY: the kernel has written at least one byte.
    if unsafe { *buffer } != b'/' as c_char {
        // Outside of this process' root.
        set_errno(libc::ENOENT);
        return std::ptr::null_mut();
    }
    buffer
}

/// realpath(3), into memory that the caller frees: what procfs calls an open file.
#[unsafe(no_mangle)]
extern "C" fn realpath(path: *const c_char, _buffer: *mut c_char) -> *mut c_char {
    // SAFETY: the caller passes a C string.
    let descriptor = unsafe { open64(path, libc::O_PATH | libc::O_CLOEXEC) };
    if descriptor < 0 {
        return std::ptr::null_mut();
    }
    let found = name_of(descriptor);
    // SAFETY: it was opened above.
    unsafe { close(descriptor) };
    found
}

/// The path of an open file, in memory from `malloc`.
fn name_of(descriptor: c_int) -> *mut c_char {
    let size = libc::PATH_MAX as usize;
    let Ok(link) = CString::new(format!("/proc/self/fd/{descriptor}")) else {
        return std::ptr::null_mut();
    };
    // SAFETY: takes a number.
    let memory = unsafe { malloc(size) };
    if memory.is_null() {
        return std::ptr::null_mut();
    }
    // SAFETY: the memory has room for one more byte than is asked for.
    let length = unsafe { readlink(link.as_ptr(), memory, size - 1) };
    match usize::try_from(length) {
        Ok(length) if length < size - 1 => {
            let end = memory.wrapping_add(length);
            // SAFETY: `length` is less than `size`.
            unsafe { end.write(0) };
            memory.cast()
        }
        outcome => {
            // SAFETY: it was taken above, and nobody else knows it.
            unsafe { free(memory) };
            if outcome.is_ok() {
                // The kernel cuts what is too long for the buffer.
                set_errno(libc::ENAMETOOLONG);
            }
            std::ptr::null_mut()
        }
    }
}

/// execvp(3): a name without a slash is looked for in `PATH`.
#[unsafe(no_mangle)]
extern "C" fn execvp(file: *const c_char, arguments: *const *const c_char) -> c_int {
    // SAFETY: it is written once, before anybody reads it; the standard library sets it itself for
    // a program that it starts with another environment.
    let environment = unsafe { environ };
    // SAFETY: the caller passes a C string.
    let name = unsafe { CStr::from_ptr(file) }.to_bytes();
    if name.contains(&b'/') {
        // SAFETY: the caller passes a list; the environment is one too.
        return unsafe { execve(file, arguments, environment) };
    }
    // SAFETY: a C string.
    let path = unsafe { getenv(c"PATH".as_ptr()) };
    let path = if path.is_null() { c"/bin:/usr/bin".as_ptr() } else { path };
    // SAFETY: a variable's value is a C string.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let mut denied = false;
    for directory in path.split(|byte| *byte == b':') {
        let mut whole = [0_u8; libc::PATH_MAX as usize];
        let text = [directory, if directory.is_empty() { b"" } else { b"/" }, name];
        let mut length = 0;
        for part in text {
            if let Some(place) = whole.get_mut(length..length + part.len()) {
                place.copy_from_slice(part);
            }
            length += part.len();
        }
        if length < whole.len() {
            // SAFETY: the path ends with a zero, since it is shorter than what holds it.
            unsafe { execve(whole.as_ptr().cast(), arguments, environment) };
            match super::errno() {
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ENOTDIR => {}
                _ => return -1,
            }
        }
    }
    set_errno(if denied { libc::EACCES } else { libc::ENOENT });
    -1
}
