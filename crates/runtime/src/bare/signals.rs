//! Signals: the C library's structures and sets as the kernel has them, and ending by one.

use std::ffi::c_int;

use super::calls::function;
use super::set_errno;

/// How many bytes the kernel's set of signals has; the C library's is larger.
const KERNEL_SET: usize = 8;

/// The kernel's `struct sigaction`.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// A handler returns into this (the kernel has no code of its own for it on x86-64).
const SA_RESTORER: u64 = 0x0400_0000;

function!("bare_restore":
    "mov eax, {SYS_rt_sigreturn}",
    "syscall"; SYS_rt_sigreturn);

unsafe extern "C" {
    fn bare_restore();
    fn syscall(number: i64, ...) -> i64;
}

/// The first word of a set, which is all that the kernel knows.
fn word(set: *const libc::sigset_t) -> u64 {
    // SAFETY: the callers pass sets of the C library, which are longer than this and aligned to it.
    unsafe { set.cast::<u64>().read() }
}

/// Writes a set that has this first word.
fn put(set: *mut libc::sigset_t, word: u64) {
    // SAFETY: as above; all bits zero is the empty set.
    unsafe { set.write_bytes(0, 1) };
    // SAFETY: as above.
    unsafe { set.cast::<u64>().write(word) };
}

/// sigaction(2).
#[unsafe(no_mangle)]
extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the caller passes null or a structure.
    let wanted = unsafe { new.as_ref() }.map(|new| KernelAction {
        handler: new.sa_sigaction,
        flags: u64::from(new.sa_flags.cast_unsigned()) | SA_RESTORER,
        restorer: bare_restore as *const () as usize,
        mask: word(&raw const new.sa_mask),
    });
    let wanted_pointer = wanted.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut before = KernelAction { handler: 0, flags: 0, restorer: 0, mask: 0 };
    let before_pointer = &raw mut before;
    // SAFETY: both structures are the kernel's, and live on.
    let result = unsafe {
        syscall(
            libc::SYS_rt_sigaction,
            i64::from(signal),
            wanted_pointer,
            before_pointer,
            KERNEL_SET,
        )
    };
    // SAFETY: the caller passes null or a structure to write to.
    if let Some(old) = unsafe { old.as_mut() }
        && result == 0
    {
        old.sa_sigaction = before.handler;
        old.sa_flags = (before.flags & !SA_RESTORER) as c_int;
        put(&raw mut old.sa_mask, before.mask);
    }
    result as c_int
}

/// signal(2): calls that the signal interrupts go on.
#[unsafe(no_mangle)]
extern "C" fn signal(number: c_int, handler: usize) -> usize {
    // SAFETY: all bits zero is a structure without flags and with an empty set.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = handler;
    new.sa_flags = libc::SA_RESTART;
    match sigaction(number, &raw const new, &raw mut old) {
        0 => old.sa_sigaction,
        _ => libc::SIG_ERR,
    }
}

/// sigprocmask(2).
#[unsafe(no_mangle)]
extern "C" fn sigprocmask(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    let mut before = 0_u64;
    // SAFETY: `new` is null or a set, `before` is as long as the kernel's.
    let result = unsafe {
        syscall(libc::SYS_rt_sigprocmask, i64::from(how), new, &raw mut before, KERNEL_SET)
    };
    if result == 0 && !old.is_null() {
        put(old, before);
    }
    result as c_int
}

/// pthread_sigmask(3): sigprocmask that answers its error.
#[unsafe(no_mangle)]
extern "C" fn pthread_sigmask(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    if sigprocmask(how, new, old) == 0 { 0 } else { libc::EINVAL }
}

/// signalfd(2).
#[unsafe(no_mangle)]
extern "C" fn signalfd(fd: c_int, set: *const libc::sigset_t, flags: c_int) -> c_int {
    // SAFETY: the kernel reads a set of its own length from the caller's longer one.
    let result =
        unsafe { syscall(libc::SYS_signalfd4, i64::from(fd), set, KERNEL_SET, i64::from(flags)) };
    result as c_int
}

/// Writes the empty set.
#[unsafe(no_mangle)]
extern "C" fn sigemptyset(set: *mut libc::sigset_t) -> c_int {
    put(set, 0);
    0
}

/// Writes the set of all signals.
#[unsafe(no_mangle)]
extern "C" fn sigfillset(set: *mut libc::sigset_t) -> c_int {
    put(set, u64::MAX);
    0
}

/// Adds a signal to a set.
#[unsafe(no_mangle)]
extern "C" fn sigaddset(set: *mut libc::sigset_t, signal: c_int) -> c_int {
    match signal {
        1..=64 => {
            put(set, word(set) | 1 << (signal - 1));
            0
        }
        _ => {
            set_errno(libc::EINVAL);
            -1
        }
    }
}

// abort(3): by SIGABRT, let through and with its default effect; else by an illegal instruction.
function!("abort":
    "mov eax, {SYS_getpid}",
    "syscall",
    "mov edi, eax",
    "mov esi, 6",
    "mov eax, {SYS_kill}",
    "syscall",
    "ud2"; SYS_getpid SYS_kill);
