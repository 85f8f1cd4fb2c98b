//! Making processes: `clone3`, and a helper that shares memory with its maker (clone(2)).

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use super::{SharedNote, check};

/// What `clone3` is to do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CloneArguments<'a> {
    /// `CLONE_*` flags; `CLONE_PIDFD` is added.
    pub flags: u64,
    /// A v2 cgroup directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Where the kernel notes the new process' id before that runs.
    pub note: Option<&'a SharedNote>,
}

/// Which side of the clone this is.
#[derive(Debug)]
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the new process' id and pidfd.
    Parent {
        /// Its id, as seen from the caller's PID namespace.
        pid: i32,
        /// Its pidfd (close-on-exec).
        pidfd: OwnedFd,
    },
}

/// `struct clone_args`, up to `cgroup` (version 2).
#[repr(C)]
#[derive(Default)]
struct RawArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process that is a copy of the calling one.
///
/// The child has the calling thread only. It must neither allocate nor take a lock, since another
/// thread may have held one, and it must end in `execve` or `_exit`.
pub(crate) fn clone3(arguments: CloneArguments<'_>) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    let exit_signal = libc::SIGCHLD as u64;
    let mut raw = RawArguments {
        flags: arguments.flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        // A sibling inherits the maker's exit signal; the kernel refuses another.
        exit_signal: if arguments.flags & libc::CLONE_PARENT as u64 != 0 { 0 } else { exit_signal },
        ..RawArguments::default()
    };
    if let Some(directory) = arguments.cgroup {
        raw.flags |= CLONE_INTO_CGROUP;
        raw.cgroup = directory.as_raw_fd() as u64;
    }
    if let Some(note) = arguments.note {
        raw.flags |= libc::CLONE_PARENT_SETTID as u64;
        raw.parent_tid = note.pid_address();
    }
    // SAFETY: `raw` has the layout and size that are given, its pointers are to a local that lives
    // on and to a note's pid, and without CLONE_VM the child gets copies of what is not shared.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const raw, size_of::<RawArguments>()) };
    let result = match check(result) {
        // Filters answer so, since they cannot look at what it is asked for.
        Err(Errno::NOSYS) if arguments.cgroup.is_none() && arguments.note.is_none() => {
            clone_with_pidfd(raw.flags | raw.exit_signal, &mut pidfd)
        }
        result => result,
    };
    match result? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: with CLONE_PIDFD the kernel has put a new descriptor there, owned by nobody.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// The older call, which takes fewer flags and has no place for both a pidfd and a note.
#[cold]
fn clone_with_pidfd(flags: u64, pidfd: &mut libc::c_int) -> Result<i64, Errno> {
    let place: *mut libc::c_int = pidfd;
    // SAFETY: without a stack and without CLONE_VM it is as fork(2) is; the kernel puts the pidfd
    // where the third argument points, which is the caller's own.
    check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, place, 0_usize, 0_usize) })
}

/// A step that a helper process takes on the caller's behalf.
pub(crate) trait Intermediate {
    /// Runs in the helper, which shares the caller's memory and descriptors and has a small stack.
    /// Must not allocate or panic. `false` when it failed.
    fn run(&mut self) -> bool;
}

/// Only what is used of it costs memory; the process that the helper makes goes on using it.
const STACK: usize = 1 << 20;

extern "C" fn enter<I: Intermediate>(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `run_intermediate` passes the address of an `I`, and waits for this process before
    // it uses it again.
    let step = unsafe { &mut *argument.cast::<I>() };
    libc::c_int::from(!step.run())
}

/// Runs a step in a process that shares memory and descriptors with the caller, but neither
/// namespaces' membership nor the root directory; the caller waits for its end.
pub(crate) fn run_intermediate<I: Intermediate>(step: &mut I) -> Result<bool, Errno> {
    // SAFETY: a new private anonymous mapping touches nothing that exists.
    let stack = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
            -1,
            0,
        )
    };
    if stack == libc::MAP_FAILED {
        return Err(Errno::NOMEM);
    }
    // SAFETY: the mapping is STACK bytes long, so its end may be pointed at.
    let top = unsafe { stack.cast::<u8>().add(STACK) };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: the stack is unshared and large enough, and with CLONE_VFORK the caller sleeps until
    // the helper is gone, so that nothing is used by both at once.
    let result =
        unsafe { libc::clone(enter::<I>, top.cast(), flags, std::ptr::from_mut(step).cast()) };
    let pid = check(result.into());
    let status = pid.map(|pid| wait(pid as i32));
    // SAFETY: the helper is gone (CLONE_VFORK) and the mapping is this function's own.
    unsafe { libc::munmap(stack, STACK) };
    Ok(status? == 0)
}

fn wait(pid: i32) -> libc::c_int {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a local that outlives the call.
        let result = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if check(result.into()) != Err(Errno::INTR) {
            return status;
        }
    }
}
