//! Reading directories: opendir(3) and its relatives.

use std::ffi::{c_char, c_int, c_void};

use super::set_errno;

/// How much is read at once: enough for every directory that a runtime looks into.
const BUFFER: usize = 4096 - 24;

/// A directory that is being read.
pub(super) struct Directory {
    descriptor: c_int,
    next: usize,
    filled: usize,
    buffer: Buffer,
}

/// Entries as the kernel writes them, each aligned to 8.
#[repr(C, align(8))]
struct Buffer([u8; BUFFER]);

unsafe extern "C" {
    fn openat64(directory: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn close(descriptor: c_int) -> c_int;
    fn syscall(number: i64, ...) -> i64;
}

/// opendir(3).
#[unsafe(no_mangle)]
extern "C" fn opendir(path: *const c_char) -> *mut Directory {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the caller passes a C string.
    let descriptor = unsafe { openat64(libc::AT_FDCWD, path, flags) };
    if descriptor < 0 { std::ptr::null_mut() } else { fdopendir(descriptor) }
}

/// fdopendir(3).
#[unsafe(no_mangle)]
extern "C" fn fdopendir(descriptor: c_int) -> *mut Directory {
    let buffer = Buffer([0; BUFFER]);
    Box::into_raw(Box::new(Directory { descriptor, next: 0, filled: 0, buffer }))
}

/// dirfd(3).
#[unsafe(no_mangle)]
extern "C" fn dirfd(directory: *const Directory) -> c_int {
    // SAFETY: the caller passes what `fdopendir` has given.
    unsafe { (*directory).descriptor }
}

/// readdir(3). The kernel's entry is laid out as the C library's is, but as short as its name.
#[unsafe(no_mangle)]
extern "C" fn readdir64(directory: *mut Directory) -> *const c_void {
    // SAFETY: the caller passes what `fdopendir` has given, and nothing else refers to it.
    let directory = unsafe { &mut *directory };
    if directory.next >= directory.filled {
        let buffer = (&raw mut directory.buffer).cast::<c_void>();
        let descriptor = i64::from(directory.descriptor);
        // SAFETY: the buffer has the length that is given.
        let read = unsafe { syscall(libc::SYS_getdents64, descriptor, buffer, BUFFER) };
        directory.next = 0;
        directory.filled = usize::try_from(read).unwrap_or(0);
        if directory.filled == 0 {
            return std::ptr::null();
        }
    }
    // `struct linux_dirent64`: two words, the entry's length, its type, its name.
    let Some([low, high]) = directory.buffer.0.get(directory.next + 16..directory.next + 18) else {
        set_errno(libc::EIO);
        return std::ptr::null();
    };
    let entry = (&raw const directory.buffer).cast::<u8>().wrapping_add(directory.next);
    directory.next += usize::from(u16::from_ne_bytes([*low, *high]));
    entry.cast()
}

/// closedir(3).
#[unsafe(no_mangle)]
extern "C" fn closedir(directory: *mut Directory) -> c_int {
    // SAFETY: the caller passes what `fdopendir` has given, for the last time.
    let directory = unsafe { Box::from_raw(directory) };
    // SAFETY: the directory owns its descriptor.
    unsafe { close(directory.descriptor) }
}
