//! The kernel facilities that have no safe wrapper elsewhere, one function each.
//!
//! Knows nothing of containers or the protocol.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub(crate) mod launch;

/// Which side of a fork this is.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The caller, with the new process's ID.
    Parent(i32),
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks. The child may do anything, because this process has one thread only.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the monitor never makes a thread, so no lock is held by another one in the child.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Ends this process at once, without any of the parent's clean-up.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` only ends the process.
    unsafe { libc::_exit(code) }
}

/// Makes every signal wait, and gives a descriptor from which `SIGCHLD` and `SIGTERM` are read.
pub(crate) fn signal_descriptor() -> io::Result<OwnedFd> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is a place for a signal set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled above; a null old set is allowed.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) })?;
    let mut wanted = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `wanted` is a place for a signal set.
    unsafe { libc::sigemptyset(wanted.as_mut_ptr()) };
    for signal in [libc::SIGCHLD, libc::SIGTERM] {
        // SAFETY: the set was initialised above.
        unsafe { libc::sigaddset(wanted.as_mut_ptr(), signal) };
    }
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, wanted.as_ptr(), flags) })?;
    // SAFETY: the call above made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of the next pending signal, if there is one.
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut info) {
        Ok(length) if length == info.len() => {
            let number = info.first_chunk::<4>().copied().unwrap_or_default();
            Some(u32::from_ne_bytes(number) as i32)
        }
        _ => None,
    }
}

/// Gives a child the signal state that a program expects: none waits, `SIGPIPE` ends it.
pub(crate) fn default_signals() {
    // SAFETY: the default action needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `none` is a place for a signal set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was emptied above; a null old set is allowed.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

/// Takes ownership of a descriptor that this process was given by number at its start.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asking for the flags of a number is harmless, also when it is no descriptor.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is an open descriptor, and whoever executed this process left it for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on except `kept`.
pub(crate) fn close_all_but(first: RawFd, kept: RawFd) {
    for (from, to) in [(first, kept - 1), (kept.max(first - 1) + 1, RawFd::MAX)] {
        if from <= to {
            // SAFETY: only called in a child that uses no other descriptor again.
            unsafe { libc::close_range(from as libc::c_uint, to as libc::c_uint, 0) };
        }
    }
}

/// A child that has ended and has not been reaped, if there is one. It stays that way.
pub(crate) fn peek_zombie() -> Option<i32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a place for a `siginfo_t`.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    // SAFETY: it was zeroed, which is a valid value.
    let info = unsafe { info.assume_init() };
    // SAFETY: after `waitid` the field is the child's ID, or 0 as before.
    let pid = unsafe { info.si_pid() };
    (result == 0 && pid > 0).then_some(pid)
}

/// A signal by its number, real-time ones included.
pub(crate) fn signal(number: i32) -> Option<rustix::process::Signal> {
    (1..=64).contains(&number).then(|| {
        // SAFETY: the signal is only sent to other processes, never handled or blocked here, so it
        // does not matter that the C library keeps two of them for itself.
        unsafe { rustix::process::Signal::from_raw_unchecked(number) }
    })
}

fn whole_file_lock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Locks a file for this open file description. False when another one has it.
pub(crate) fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    let lock = whole_file_lock();
    // SAFETY: `lock` is a valid description of a lock, and lives through the call.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether somebody else holds a lock on the file, without taking it even for a moment.
pub(crate) fn is_locked(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut lock = whole_file_lock();
    // SAFETY: `lock` is a valid description of a lock, and lives through the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) })?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// The kernel's `struct pidfd_info` in its first version, 64 bytes (linux/pidfd.h).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// The wait status of a process that was reaped by whoever its parent was (Linux 6.15 and later).
/// `None` when the kernel doesn't tell (yet).
pub(crate) fn reaped_wait_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    const PIDFD_GET_INFO: u32 = 0xC040_FF0B;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request's size field says 64 bytes, which is what `info` has.
    let result =
        unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as libc::Ioctl, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Leaves the mount namespace for a private copy of it.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: this process has one thread, and only its view of mounts changes.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    Ok(())
}

/// Executes the program behind `program` with `arguments` and this process's environment. Only
/// comes back with an error.
pub(crate) fn execute(program: BorrowedFd<'_>, arguments: &[&CStr]) -> io::Error {
    let arguments = launch::pointers(arguments);
    let environment = launch::environment();
    let environment: Vec<&CStr> = environment.iter().map(AsRef::as_ref).collect();
    let environment = launch::pointers(&environment);
    // SAFETY: both lists are null-terminated arrays of C strings that outlive the call.
    unsafe {
        libc::execveat(
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Makes a detached mount read-only.
pub(crate) fn set_mount_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let attributes: [u64; 4] = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    // SAFETY: `attributes` is a `struct mount_attr` of the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_by_others_and_ends_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let open = || std::fs::File::options().write(true).create(true).truncate(false).open(&path);
        let holder = open().unwrap();
        let other = open().unwrap();
        assert!(!is_locked(other.as_fd()).unwrap());
        assert!(try_lock(holder.as_fd()).unwrap());
        assert!(is_locked(other.as_fd()).unwrap());
        assert!(!try_lock(other.as_fd()).unwrap());
        drop(holder);
        assert!(!is_locked(other.as_fd()).unwrap());
    }
}
