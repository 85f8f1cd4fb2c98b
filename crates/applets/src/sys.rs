//! The few system calls that the standard library does not offer, each in a safe wrapper.
//!
//! The program has no crates, so the C library's functions are declared here. Everything that
//! forks does so while the program has a single thread: only `httpd` starts threads, and it never
//! forks.

#![expect(unsafe_code, reason = "the one module that calls the C library")]

use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Interrupt from the terminal.
pub const SIGINT: i32 = 2;
/// Quit from the terminal.
pub const SIGQUIT: i32 = 3;
/// Cannot be caught.
pub const SIGKILL: i32 = 9;
/// A pipe without readers.
pub const SIGPIPE: i32 = 13;
/// Termination.
pub const SIGTERM: i32 = 15;
/// A child changed its state.
pub const SIGCHLD: i32 = 17;
/// Stop; cannot be caught.
pub const SIGSTOP: i32 = 19;

const WNOHANG: c_int = 1;
const F_DUPFD_CLOEXEC: c_int = 1030;
const O_CLOEXEC: c_int = 0o2000000;
const TIOCGWINSZ: c_ulong = 0x5413;
const SIG_SETMASK: c_int = 2;
const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
/// The lowest descriptor number for those that must stay out of a script's way.
const HIGH: c_int = 10;

/// The C library's `sigset_t` on Linux: 1024 bits.
#[repr(C)]
struct SignalSet([u64; 16]);

/// `struct winsize`.
#[repr(C)]
#[derive(Default)]
struct WindowSize {
    rows: u16,
    columns: u16,
    width: u16,
    height: u16,
}

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    safe fn kill(pid: c_int, signal: c_int) -> c_int;
    safe fn _exit(status: c_int) -> !;
    safe fn setpgid(pid: c_int, group: c_int) -> c_int;
    safe fn umask(mask: c_uint) -> c_uint;
    fn signal(number: c_int, handler: usize) -> usize;
    safe fn siginterrupt(number: c_int, flag: c_int) -> c_int;
    fn sigfillset(set: *mut SignalSet) -> c_int;
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, number: *mut c_int) -> c_int;
    fn pipe2(descriptors: *mut c_int, flags: c_int) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
    fn close(descriptor: c_int) -> c_int;
    fn ioctl(descriptor: c_int, request: c_ulong, ...) -> c_int;
}

/// Turns the C library's -1 into an error.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Which of the two processes a fork returns in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old process, with the new one's id.
    Parent(i32),
}

/// Makes a copy of this process. Flush standard output before.
pub fn fork_process() -> io::Result<Fork> {
    // SAFETY: the process has one thread (see the module's text), so the child may go on as usual.
    let pid = check(unsafe { fork() })?;
    Ok(if pid == 0 { Fork::Child } else { Fork::Parent(pid) })
}

/// Ends the process at once, without running exit handlers: for the child of a fork.
pub fn exit_now(status: u8) -> ! {
    _exit(c_int::from(status))
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The child.
    pub pid: i32,
    /// The status as shells give it: the exit code, or 128 and the signal.
    pub status: u8,
}

/// Whether to block until a child ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Block.
    Block,
    /// Return `None` when no child has ended yet.
    Poll,
}

/// Waits for one child (`Some`) or any of them (`None`). An error of the kind `Interrupted` means
/// that a signal with a handler came first.
pub fn wait_child(pid: Option<i32>, wait: Wait) -> io::Result<Option<Ended>> {
    let mut raw: c_int = 0;
    let options = if wait == Wait::Poll { WNOHANG } else { 0 };
    // SAFETY: `raw` outlives the call.
    let ended = check(unsafe { waitpid(pid.unwrap_or(-1), &raw mut raw, options) })?;
    if ended == 0 {
        return Ok(None);
    }
    let signal = raw & 0x7f;
    let status = if signal == 0 { (raw >> 8) & 0xff } else { 128 + signal };
    Ok(Some(Ended { pid: ended, status: u8::try_from(status).unwrap_or(u8::MAX) }))
}

/// Sends a signal (0 only asks whether one could).
pub fn send_signal(pid: i32, number: i32) -> io::Result<()> {
    check(kill(pid, number)).map(drop)
}

/// Puts the calling process into a process group of its own.
pub fn own_process_group() -> io::Result<()> {
    check(setpgid(0, 0)).map(drop)
}

/// Sets the file mode mask and gives the old one.
pub fn set_umask(mask: u32) -> u32 {
    umask(mask)
}

/// Gives a signal its default action.
pub fn default_signal(number: i32) {
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { signal(number, SIG_DFL) };
}

/// Ignores a signal.
pub fn ignore_signal(number: i32) {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { signal(number, SIG_IGN) };
}

/// The signals that came since they were last taken, one bit each.
static PENDING: AtomicU64 = AtomicU64::new(0);

extern "C" fn note_signal(number: c_int) {
    PENDING.fetch_or(1 << (number & 63), Ordering::SeqCst);
}

/// Notes a signal when it comes (see [`take_signal`]); calls that block return `Interrupted`.
pub fn catch_signal(number: i32) {
    let handler: extern "C" fn(c_int) = note_signal;
    // SAFETY: the handler does one atomic operation, which is async-signal-safe.
    unsafe { signal(number, handler as usize) };
    siginterrupt(number, 1);
}

extern "C" fn end_by_signal(number: c_int) {
    _exit(128 + number);
}

/// Ends the process when a signal comes, for programs that may be a PID 1: there the default action
/// of a signal is nothing.
pub fn end_on_signal(number: i32) {
    let handler: extern "C" fn(c_int) = end_by_signal;
    // SAFETY: the handler only ends the process, which is async-signal-safe.
    unsafe { signal(number, handler as usize) };
}

/// Takes one noted signal, the lowest first.
pub fn take_signal() -> Option<i32> {
    let pending = PENDING.load(Ordering::SeqCst);
    if pending == 0 {
        return None;
    }
    let number = pending.trailing_zeros();
    PENDING.fetch_and(!(1 << number), Ordering::SeqCst);
    i32::try_from(number).ok()
}

/// Whether a noted signal waits to be taken.
pub fn signal_pending() -> bool {
    PENDING.load(Ordering::SeqCst) != 0
}

/// Blocks every signal, for [`next_signal`] to take them one by one.
pub fn block_signals() {
    let mut set = SignalSet([0; 16]);
    // SAFETY: `set` has the size of the C library's `sigset_t`.
    unsafe { sigfillset(&raw mut set) };
    // SAFETY: `set` was filled in above; the old set isn't asked for.
    unsafe { sigprocmask(SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// Unblocks every signal.
pub fn unblock_signals() {
    let mut set = SignalSet([0; 16]);
    // SAFETY: `set` has the size of the C library's `sigset_t`.
    unsafe { sigemptyset(&raw mut set) };
    // SAFETY: `set` was filled in above; the old set isn't asked for.
    unsafe { sigprocmask(SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for the next blocked signal.
pub fn next_signal() -> i32 {
    let mut set = SignalSet([0; 16]);
    // SAFETY: `set` has the size of the C library's `sigset_t`.
    unsafe { sigfillset(&raw mut set) };
    let mut number: c_int = 0;
    // SAFETY: both pointers are valid for the call.
    unsafe { sigwait(&raw const set, &raw mut number) };
    number
}

/// Makes a pipe: the end to read and the end to write, both closed on exec and out of the range of
/// descriptors that scripts name.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [c_int; 2] = [-1, -1];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { pipe2(ends.as_mut_ptr(), O_CLOEXEC) })?;
    let [read, write] = ends;
    // SAFETY: the kernel just made `read`, and nothing else owns it.
    let read = unsafe { OwnedFd::from_raw_fd(read) };
    // SAFETY: the kernel just made `write`, and nothing else owns it.
    let write = unsafe { OwnedFd::from_raw_fd(write) };
    Ok((duplicate_high(read.as_raw_fd())?, duplicate_high(write.as_raw_fd())?))
}

/// A duplicate of a descriptor by its number, at 10 or above and closed on exec.
pub fn duplicate_high(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes one integer, and fails on a number that is not open.
    let copy = check(unsafe { fcntl(number, F_DUPFD_CLOEXEC, HIGH) })?;
    // SAFETY: the kernel just made `copy`, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes descriptor `number` a duplicate of `from`, kept on exec.
pub fn redirect(from: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: `number` is one of the numbers below 10 that scripts name; nothing in this program
    // owns one but the standard streams, which stay valid.
    check(unsafe { dup2(from.as_raw_fd(), number) }).map(drop)
}

/// Closes a descriptor by its number, as `2>&-` asks.
pub fn close_number(number: RawFd) {
    // SAFETY: as in `redirect`; the standard library's streams tolerate a closed descriptor.
    unsafe { close(number) };
}

/// The terminal's columns and rows.
pub fn window_size(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = WindowSize::default();
    // SAFETY: TIOCGWINSZ fills in one `struct winsize`.
    check(unsafe { ioctl(terminal.as_raw_fd(), TIOCGWINSZ, (&raw mut size).cast::<c_void>()) })?;
    Ok((size.columns, size.rows))
}

/// The signals' names without `SIG`, by number from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal's number from a number, `TERM` or `SIGTERM`.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let at = SIGNALS.iter().position(|known| *known == name)?;
    i32::try_from(at + 1).ok()
}

/// The signals' names without `SIG`, from number 1 on.
pub fn signal_names() -> &'static [&'static str] {
    &SIGNALS
}
