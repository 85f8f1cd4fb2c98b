//! System calls without a safe wrapper.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// What a program cost, with all its descendants that were waited for.
pub struct Cost {
    /// From before its start until it was reaped.
    pub wall: Duration,
    /// Time on processors, of itself and of the kernel for it.
    pub processor: Duration,
    /// The largest resident size of any one process.
    pub peak_kibibytes: i64,
    /// How it ended; 128 and the signal's number for a signal.
    pub exit_code: i32,
}

/// Runs a program and waits for it.
pub fn measure(program: &OsStr, arguments: &[OsString]) -> anyhow::Result<Cost> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    // A program that hangs must not hang the benchmark.
    // SAFETY: takes a number; the signal's default action ends this process.
    unsafe { libc::alarm(120) };
    let start = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("start {}", Command::new(program).get_program().display()))?;
    let mut status = 0;
    let pid = child.id().cast_signed();
    // SAFETY: all fields of the structure may be zero.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the child is ours and not waited for yet; both places may be written to.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let wall = start.elapsed();
    if waited != pid {
        return Err(io::Error::last_os_error()).context("wait for the program");
    }
    Ok(Cost {
        wall,
        processor: duration(usage.ru_utime) + duration(usage.ru_stime),
        peak_kibibytes: usage.ru_maxrss,
        exit_code: exit_code(status),
    })
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs())
        + Duration::from_micros(time.tv_usec.unsigned_abs())
}

fn exit_code(status: libc::c_int) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Forks a child in new namespaces. `Ok(None)` is the child.
pub fn clone_into(namespaces: i32) -> io::Result<Option<libc::pid_t>> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without a stack and without shared memory this is a fork; there is one thread.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match child {
        0 => Ok(None),
        child if child > 0 => Ok(Some(child as libc::pid_t)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for a child; gives its exit code.
pub fn wait(child: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: the child is ours; the place may be written to.
    match unsafe { libc::waitpid(child, &raw mut status, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(exit_code(status)),
    }
}

/// The numbers of the capabilities that the default bundle keeps.
const KEPT: [u32; 3] = [
    5,  // CAP_KILL
    10, // CAP_NET_BIND_SERVICE
    29, // CAP_AUDIT_WRITE
];
/// The highest capability that this program knows.
const LAST_CAPABILITY: u32 = 40;
const PR_CAP_AMBIENT: i32 = 47;
const PR_CAP_AMBIENT_RAISE: u64 = 2;

/// Sets the capabilities, the limit and the flag of the default bundle.
pub fn drop_privileges() -> io::Result<()> {
    for capability in (0..=LAST_CAPABILITY).filter(|capability| !KEPT.contains(capability)) {
        prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0)?;
    }
    let limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: the structure is read only.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    let set = KEPT.iter().fold(0_u32, |set, capability| set | 1 << capability);
    // struct __user_cap_header_struct (version 3, this process) and two of
    // struct __user_cap_data_struct (effective, permitted, inheritable).
    let header = [0x2008_0522_u32, 0];
    let data = [set, set, set, 0, 0, 0];
    // SAFETY: both point to what the kernel reads, of the right size.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    check(result as i32)?;
    for capability in KEPT {
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, u64::from(capability))?;
    }
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

fn prctl(option: i32, first: u64, second: u64) -> io::Result<()> {
    // SAFETY: the options used here take plain numbers.
    check(unsafe { libc::prctl(option, first, second, 0, 0) })
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets up the loopback device of the new network namespace.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: takes numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    // SAFETY: all zeros are a value of the structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the structure is read only, and of this request's type.
    let result = check(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) });
    // SAFETY: a descriptor of ours that nobody else has.
    unsafe { libc::close(socket) };
    result
}

/// Becomes the command. Returns only an error.
pub fn execute(command: &[OsString]) -> anyhow::Error {
    let strings: Vec<CString> =
        command.iter().filter_map(|word| CString::new(word.as_bytes()).ok()).collect();
    let mut pointers: Vec<*const libc::c_char> = strings.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment = [
        c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ptr(),
        c"TERM=xterm".as_ptr(),
        std::ptr::null(),
    ];
    let program = pointers.first().copied().unwrap_or(std::ptr::null());
    // SAFETY: C strings in lists that end with null pointers, all alive.
    unsafe { libc::execve(program, pointers.as_ptr(), environment.as_ptr()) };
    anyhow::Error::new(io::Error::last_os_error()).context("execute the command")
}

/// Waits for ever: only a signal ends it.
pub fn pause() -> ! {
    loop {
        // SAFETY: takes nothing and changes nothing.
        unsafe { libc::pause() };
    }
}

/// How often a call is made to see what it costs.
const CALLS: u32 = 100_000;
/// Asks for the personality rather than setting one.
const ASK: libc::c_ulong = 0xffff_ffff;

/// What two system calls cost, in nanoseconds: one that a filter passes whatever its arguments are,
/// and one whose argument the usual profile looks at.
pub fn cost_of_calls() -> [f64; 2] {
    let each = |start: Instant| start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS);
    let start = Instant::now();
    for _ in 0..CALLS {
        // SAFETY: takes nothing and changes nothing.
        unsafe { libc::syscall(libc::SYS_getpid) };
    }
    let plain = each(start);
    let start = Instant::now();
    for _ in 0..CALLS {
        // SAFETY: changes nothing when asked like this.
        unsafe { libc::personality(ASK) };
    }
    [plain, each(start)]
}
