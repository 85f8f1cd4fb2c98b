//! Attributes of the calling process, mount attributes, and the end of it (`execve`, `_exit`).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;

use rustix::io::Errno;

use super::check;

/// Attributes for `mount_setattr` (`struct mount_attr`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MountAttributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or none.
    pub propagation: u64,
    /// The descriptor of a user namespace for `MOUNT_ATTR_IDMAP`.
    pub user_namespace: u64,
}

impl MountAttributes {
    /// Whether there is nothing to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// What `mount_setattr` reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The mount itself.
    One,
    /// The mount and all below it.
    Tree,
}

/// Changes the mount that `mount` is the root of.
pub(crate) fn mount_setattr(
    mount: impl AsFd,
    reach: Reach,
    attributes: &MountAttributes,
) -> Result<(), Errno> {
    let recursive = if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static string, and the attributes' layout and size are given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    check(result).map(drop)
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(flags: u64) -> Result<(), Errno> {
    // SAFETY: takes no pointer; no CLONE_FILES is ever among the flags.
    check(unsafe { libc::unshare(flags as libc::c_int) }.into()).map(drop)
}

/// Joins the namespaces of a pidfd, or the one of a namespace file.
pub(crate) fn setns(descriptor: impl AsFd, flags: u64) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::setns(descriptor.as_fd().as_raw_fd(), flags as libc::c_int) }.into())
        .map(drop)
}

/// Joins a new session keyring of this name and lets its possessor do everything with it.
pub(crate) fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    const KEYCTL_SETPERM: libc::c_long = 5;
    /// All for the possessor, all but changing for the owner.
    const PERMISSIONS: libc::c_long = 0x3f3b_0000;
    // SAFETY: the name is a C string that outlives the call.
    let key = check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
    })?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, PERMISSIONS) }).map(drop)
}

fn prctl(option: libc::c_int, a: u64, b: u64) -> Result<libc::c_long, Errno> {
    // SAFETY: used only with options that take numbers, no pointers.
    check(unsafe { libc::prctl(option, a, b, 0u64, 0u64) }.into())
}

/// Sets whether `/proc/PID` of this process is its user's, and whether it may be traced.
pub(crate) fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable), 0).map(drop)
}

/// Whether the process is dumpable.
pub(crate) fn dumpable() -> bool {
    prctl(libc::PR_GET_DUMPABLE, 0, 0) == Ok(1)
}

/// Drops a capability from the bounding set.
pub(crate) fn drop_bounding(capability: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// Whether the bounding set has a capability; an error for one the kernel does not know.
pub(crate) fn bounding_has(capability: u32) -> Result<bool, Errno> {
    prctl(libc::PR_CAPBSET_READ, capability.into(), 0).map(|has| has == 1)
}

/// Keeps capabilities when all user ids become other than 0.
pub(crate) fn keep_capabilities(keep: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0).map(drop)
}

/// Empties the ambient set.
pub(crate) fn clear_ambient() -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// Adds a capability to the ambient set.
pub(crate) fn raise_ambient(capability: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability.into()).map(drop)
}

/// Has a command leave behind what its parent was left by whoever executed that: descriptors from
/// 3 on that are not marked close-on-exec.
pub(crate) fn leave_descriptors(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let mark = || {
        // Kernels before 5.11 cannot, and what was left is the caller's own choice.
        let _ = close_on_exec_from(3);
        Ok(())
    };
    // SAFETY: the closure makes one system call and touches no memory of the parent's.
    unsafe { command.pre_exec(mark) };
}

/// Gives up gaining privileges by exec.
pub(crate) fn set_no_new_privileges() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Makes orphaned descendants this process' children.
pub(crate) fn become_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// The three capability sets that `capset` sets, as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ThreadCapabilities {
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over exec, together with the file's.
    pub inheritable: u64,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets the calling thread's capabilities.
pub(crate) fn set_capabilities(sets: ThreadCapabilities) -> Result<(), Errno> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let word = |shift: u32| CapabilityData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: version 3 of the header is followed by two words of each set, as `data` has them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(result).map(drop)
}

/// The calling thread's capabilities.
pub(crate) fn capabilities() -> Result<ThreadCapabilities, Errno> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 of the header makes the kernel write two words of each set.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    check(result)?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(ThreadCapabilities {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Takes a real, effective and saved group id.
pub(crate) fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointer; the raw call changes this thread only, which is the only one.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Takes a real, effective and saved user id.
pub(crate) fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointer; the raw call changes this thread only, which is the only one.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Takes supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length are of one slice of 32-bit ids.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets the execution domain.
pub(crate) fn set_personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::personality(persona.into()) }.into()).map(drop)
}

/// Scheduling attributes (`struct sched_attr`, version 0).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SchedulingAttributes {
    /// Size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub period: u64,
}

/// Sets the calling thread's scheduling.
pub(crate) fn set_scheduling(attributes: &SchedulingAttributes) -> Result<(), Errno> {
    // SAFETY: the structure says its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attributes), 0) })
        .map(drop)
}

/// Sets the calling process' I/O priority.
pub(crate) fn set_io_priority(priority: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes no pointer.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }).map(drop)
}

/// Sets the NUMA memory policy.
pub(crate) fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<(), Errno> {
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the mask is as long as it is said to be.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// Gives every signal its default effect, those that the C library keeps for itself, too.
pub(crate) fn default_signals() {
    // The kernel's `struct sigaction`, with a set of 64 signals: default effect, no flags.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the structure is as long as the kernel's on any architecture, its set is 8 bytes,
        // and the old action is not asked for. SIGKILL and SIGSTOP fail and change nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
}

/// Blocks no signal.
pub(crate) fn unblock_signals() {
    // SAFETY: an all-zero signal set is a valid, empty one.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a local, and the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
}

/// Blocks the signals and gives a descriptor that they can be read from.
pub(crate) fn signal_descriptor(signals: &[i32]) -> Result<OwnedFd, Errno> {
    // SAFETY: an all-zero signal set is a valid, empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for &signal in signals {
        // SAFETY: the set is a valid local.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: the set is a valid local, and the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    // SAFETY: the set is a valid local.
    let descriptor =
        unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    let descriptor = check(descriptor.into())?;
    // SAFETY: a new descriptor, owned by nobody yet.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointer; only used in a process that executes a program or ends without
    // running destructors, so that no owner closes a number a second time.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Has `step` run in the process that `command` starts, before the program is executed. It must
/// make system calls only, on what was prepared before: it takes no lock and allocates nothing.
pub(crate) fn before_exec(
    command: &mut std::process::Command,
    step: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the steps of this crate are as demanded, and it has one thread, so that nothing is
    // locked in the copy of its memory.
    unsafe { command.pre_exec(step) };
}

/// Marks every descriptor from `first` on close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointer and closes nothing now.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        )
    })
    .map(drop)
}

/// Marks a descriptor close-on-exec; one that is not open needs no mark.
pub(crate) fn mark_close_on_exec(descriptor: RawFd) {
    // SAFETY: F_SETFD with a number touches no memory, and on a closed descriptor it fails.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Clears close-on-exec of a descriptor by number; an error if it is not open.
pub(crate) fn keep_on_exec(descriptor: RawFd) -> Result<(), Errno> {
    // SAFETY: F_SETFD with a number touches no memory, and on a closed descriptor it fails.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Whether a descriptor was left to this process by whoever executed it. What it has opened itself
/// is marked close-on-exec.
pub(crate) fn is_inherited(descriptor: RawFd) -> bool {
    // SAFETY: F_GETFD touches no memory, and on a closed descriptor it fails.
    check(unsafe { libc::fcntl(descriptor, libc::F_GETFD) }.into()) == Ok(0)
}

/// Takes over a descriptor that this process was started with: another number in its place.
pub(crate) fn take_over(descriptor: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory, and of a closed descriptor it makes none.
    let copy = check(unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: a new descriptor, owned by nobody yet.
    let copy = unsafe { OwnedFd::from_raw_fd(copy as RawFd) };
    if descriptor > 2 {
        // SAFETY: what a process is started with is owned by nobody in it, the three standard
        // streams aside.
        unsafe { libc::close(descriptor) };
    }
    Ok(copy)
}

/// Makes a descriptor number out of another and closes the new one's old file.
pub(crate) fn duplicate_onto(from: impl AsFd, onto: RawFd) -> Result<(), Errno> {
    // SAFETY: only called for 0, 1 and 2, which no OwnedFd of this crate owns.
    check(unsafe { libc::dup2(from.as_fd().as_raw_fd(), onto) }.into()).map(drop)
}

/// A list of C strings as `execve` wants it: pointers, the last of which is null.
#[derive(Debug, Default)]
pub(crate) struct Pointers(Vec<*const libc::c_char>);

impl Pointers {
    /// Pointers to `strings`, which must outlive every use; `spare` slots are left at the end.
    pub(crate) fn new(strings: &[std::ffi::CString], spare: usize) -> Self {
        let mut pointers = Vec::with_capacity(strings.len() + spare + 1);
        pointers.extend(strings.iter().map(|s| s.as_ptr()));
        pointers.resize(strings.len() + spare + 1, std::ptr::null());
        Self(pointers)
    }

    /// Puts another string into the first free slot; false when there is none.
    pub(crate) fn push(&mut self, string: &CStr) -> bool {
        let free = self
            .0
            .split_last_mut()
            .and_then(|(_, slots)| slots.iter_mut().find(|pointer| pointer.is_null()));
        match free {
            Some(slot) => {
                *slot = string.as_ptr();
                true
            }
            None => false,
        }
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.0.as_ptr()
    }
}

/// Replaces the program; returns only when that failed.
pub(crate) fn execve(path: &CStr, arguments: &Pointers, environment: &Pointers) -> Errno {
    // SAFETY: all pointers are to C strings that the callers keep alive, and both lists end in null.
    let result = unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    check(result.into()).err().unwrap_or(Errno::NOEXEC)
}

/// Replaces the program by an open file; returns only when that failed.
pub(crate) fn execveat(file: impl AsFd, arguments: &Pointers, environment: &Pointers) -> Errno {
    // SAFETY: all pointers are to C strings that the callers keep alive, and both lists end in null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    check(result).err().unwrap_or(Errno::NOEXEC)
}

/// Ends the process at once: no destructor, no flushing.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and takes no pointer.
    unsafe { libc::_exit(code) }
}

/// Sets the CPUs that the calling thread may run on.
pub(crate) fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length in bytes are of one slice.
    check(unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr())
    })
    .map(drop)
}

/// Starts a session, unless the process leads one already.
pub(crate) fn new_session() -> Result<(), Errno> {
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The working directory's path, which does not begin with `/` when it is out of reach.
pub(crate) fn current_directory(buffer: &mut [u8; 4096]) -> Result<&[u8], Errno> {
    // SAFETY: the buffer is as long as it is said to be.
    let length =
        check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    // The length counts the NUL.
    Ok(buffer.get(..(length as usize).saturating_sub(1)).unwrap_or_default())
}

/// Closes a descriptor by number.
pub(crate) fn close_number(descriptor: RawFd) {
    // SAFETY: only used in a process that executes a program or ends without running destructors,
    // so that no owner closes the number a second time.
    unsafe { libc::close(descriptor) };
}

/// A signal by a number from 1 to 64, real-time ones among them.
pub(crate) fn signal(number: i32) -> rustix::process::Signal {
    // SAFETY: the numbers that the C library keeps for itself are only sent, never handled, here.
    unsafe { rustix::process::Signal::from_raw_unchecked(number) }
}

/// Has what the command starts killed when the calling thread ends, however that happens.
pub(crate) fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let parent = std::process::id();
    let bind = move || {
        prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)?;
        // The parent may have ended before.
        if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(bind) };
}
