//! What the kernel passes to a program besides its arguments: the environment, and facts about the
//! machine (getauxval(3)).

use std::ffi::{CStr, c_char, c_int};

use super::calls::function;
use super::set_errno;

/// The C library's variable of that name: a list of `NAME=VALUE` that ends with a null pointer.
#[unsafe(no_mangle)]
static mut environ: *const *const c_char = std::ptr::null();

/// Pairs of a kind and a value, the last of which has the kind 0.
static mut FACTS: *const [u64; 2] = std::ptr::null();

/// Remembers where the kernel has put both.
pub(super) fn remember(list: *const *const c_char, facts: *const [u64; 2]) {
    // SAFETY: the one thread is just starting.
    unsafe { environ = list };
    // SAFETY: as above.
    unsafe { FACTS = facts };
}

/// getauxval(3).
#[unsafe(no_mangle)]
extern "C" fn getauxval(kind: u64) -> u64 {
    fact(kind)
}

/// One of the kernel's facts; 0 and an error if it gives none of that kind.
pub(super) fn fact(kind: u64) -> u64 {
    // SAFETY: it is written once, before anybody reads it.
    let mut entry = unsafe { FACTS };
    loop {
        // SAFETY: the kernel's list ends with an entry of the kind 0.
        match unsafe { *entry } {
            [0, _] => {
                set_errno(libc::ENOENT);
                return 0;
            }
            [found, value] if found == kind => return value,
            // SAFETY: this was not the last.
            _ => entry = unsafe { entry.add(1) },
        }
    }
}

/// getenv(3).
#[unsafe(no_mangle)]
extern "C" fn getenv(name: *const c_char) -> *const c_char {
    // SAFETY: the caller passes a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    // SAFETY: it is written once, before anybody reads it.
    let mut place = unsafe { environ };
    loop {
        // SAFETY: the list ends with a null pointer.
        let entry = unsafe { *place };
        if entry.is_null() {
            return entry;
        }
        // SAFETY: what is not null there is a C string.
        let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if text.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"=")) {
            // SAFETY: the value follows the name and its '='.
            return unsafe { entry.add(name.len() + 1) };
        }
        // SAFETY: this was not the last.
        place = unsafe { place.add(1) };
    }
}

/// sysconf(3), of what the standard library asks for.
#[unsafe(no_mangle)]
extern "C" fn sysconf(name: c_int) -> i64 {
    match name {
        libc::_SC_PAGESIZE => fact(libc::AT_PAGESZ) as i64,
        libc::_SC_CLK_TCK => fact(libc::AT_CLKTCK) as i64,
        _ => {
            set_errno(libc::EINVAL);
            -1
        }
    }
}

// gnu_get_libc_version(3): too old for the standard library to rely on anything that depends on it.
function!("gnu_get_libc_version":
    "lea rax, [rip + 2f]",
    "ret",
    "2: .asciz \"2.0\"";);
