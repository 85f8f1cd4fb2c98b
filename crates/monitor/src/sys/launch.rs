//! Starting a process that belongs to nobody: its parent is `init` (or a sub-reaper), its session
//! its own, and of the caller's descriptors it has exactly one.
//!
//! The caller may be large and have threads, so nothing is copied: two processes are cloned that
//! share the caller's memory while it waits, the first to be the parent that goes away, the second
//! to execute the program. What runs there makes system calls only.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

/// Bytes of stack for each of the two processes: they call a handful of system calls.
const STACK: usize = 32 * 1024;

/// The number that the kept descriptor has in the new process.
pub(crate) const KEPT: RawFd = 3;

/// A null-terminated array of the strings' addresses, good for as long as they are.
pub(super) fn pointers(strings: &[&CStr]) -> Vec<*mut c_char> {
    let ends = std::iter::once(std::ptr::null_mut());
    strings.iter().map(|text| text.as_ptr().cast_mut()).chain(ends).collect()
}

/// This process's environment.
pub(super) fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut text = name.into_vec();
            text.push(b'=');
            text.append(&mut value.into_vec());
            CString::new(text).ok()
        })
        .collect()
}

/// What the two processes need, all of it prepared by the caller.
struct Plan {
    program: RawFd,
    kept: RawFd,
    null: RawFd,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
    stack_top: *mut c_void,
    error: c_int,
}

/// Executes `program` as described above. The descriptor `kept` becomes number [`KEPT`].
pub(crate) fn launch(program: &OwnedFd, arguments: &[&CStr], kept: &OwnedFd) -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    // Above every number that is assigned in the child.
    let high = |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 10);
    let (program, kept, null) = (high(program.as_fd())?, high(kept.as_fd())?, high(null.as_fd())?);
    let environment = environment();
    let environment: Vec<&CStr> = environment.iter().map(AsRef::as_ref).collect();
    let (arguments, environment) = (pointers(arguments), pointers(&environment));
    let mut outer_stack = vec![0_u128; STACK / 16];
    let mut inner_stack = vec![0_u128; STACK / 16];
    let mut plan = Plan {
        program: program.as_raw_fd(),
        kept: kept.as_raw_fd(),
        null: null.as_raw_fd(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        stack_top: inner_stack.as_mut_ptr_range().end.cast(),
        error: 0,
    };
    let result = with_signals_blocked(|| {
        let stack = outer_stack.as_mut_ptr_range().end.cast();
        let plan = (&raw mut plan).cast();
        // SAFETY: `outer` only makes system calls; the stack and the plan outlive the child,
        // because CLONE_VFORK suspends this thread until the child is gone.
        let pid = unsafe { libc::clone(outer, stack, libc::CLONE_VM | libc::CLONE_VFORK, plan) };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: waiting for our own child, which is not told of by a signal (hence __WALL).
        while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(())
    });
    drop((outer_stack, inner_stack));
    result?;
    if plan.error != 0 { Err(io::Error::from_raw_os_error(plan.error)) } else { Ok(()) }
}

/// No handler may run in a process that shares our memory. The mask is inherited by the program,
/// which sets its own at once.
fn with_signals_blocked<T>(action: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is a place for a signal set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` is initialised, `old` is a place for a set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
    let result = action();
    // SAFETY: `old` was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    result
}

/// The process that is the parent for a moment.
extern "C" fn outer(plan: *mut c_void) -> c_int {
    let plan: *mut Plan = plan.cast();
    // SAFETY: the caller passes its plan and waits.
    let stack = unsafe { (*plan).stack_top };
    // SAFETY: leads a new session; no argument.
    unsafe { libc::setsid() };
    // SIGCHLD so that whoever inherits the monitor is told of its end in the usual way.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: as in `launch`: the child's stack is its own and the plan outlives it.
    if unsafe { libc::clone(inner, stack, flags, plan.cast()) } < 0 {
        // SAFETY: the plan is the caller's, who is suspended.
        unsafe { fail(plan) };
    }
    0
}

/// The process that executes the program.
extern "C" fn inner(plan: *mut c_void) -> c_int {
    let plan: *mut Plan = plan.cast();
    // SAFETY: the caller passes its plan and waits.
    let Plan { program, kept, null, arguments, environment, .. } = unsafe { plan.read() };
    for (source, target) in [(null, 0), (null, 1), (null, 2), (kept, KEPT)] {
        // SAFETY: both are descriptors of this process's own table.
        if unsafe { libc::dup2(source, target) } < 0 {
            // SAFETY: the plan is the caller's, who is suspended.
            unsafe { fail(plan) };
            return 1;
        }
    }
    let close_on_exec = libc::CLOSE_RANGE_CLOEXEC as c_int;
    // SAFETY: this table is this process's own.
    unsafe { libc::close_range(KEPT as u32 + 1, u32::MAX, close_on_exec) };
    // SAFETY: a constant path.
    unsafe { libc::chdir(c"/".as_ptr()) };
    // SAFETY: null-terminated arrays of C strings that the caller keeps.
    unsafe { libc::execveat(program, c"".as_ptr(), arguments, environment, libc::AT_EMPTY_PATH) };
    // SAFETY: the plan is the caller's, who is suspended.
    unsafe { fail(plan) };
    1
}

/// Leaves the error for the caller.
///
/// # Safety
/// `plan` must be the plan of a caller that waits.
unsafe fn fail(plan: *mut Plan) {
    let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    // SAFETY: by this function's contract.
    unsafe { (*plan).error = error };
}
