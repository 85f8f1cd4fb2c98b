//! Filters in the kernel: each test forks a child that installs one and makes calls under it.
//!
//! Between fork and exit the children only make system calls.

mod common;

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_seccomp::{Architecture, Filter, compile, default_profile};
use berth_spec::runtime::{LinuxSeccomp, LinuxSyscall, SeccompAction, SeccompOperator};
use common::{profile, rule, when};

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Exit(i32),
    Signal(i32),
}

/// Runs `body` in a child that is under `filter`; its result is the exit code.
fn under(filter: &Filter, body: impl FnOnce(Option<OwnedFd>) -> i32) -> End {
    in_child(|| {
        no_new_privileges();
        match filter.install() {
            Ok(listener) => body(listener),
            Err(_) => 99,
        }
    })
}

fn in_child(body: impl FnOnce() -> i32) -> End {
    // SAFETY: the child makes system calls only and ends with `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let code = body();
        // SAFETY: ends the child without running anything else.
        unsafe { libc::_exit(code) };
    }
    end_of(child)
}

fn end_of(child: libc::pid_t) -> End {
    let mut status = 0;
    // SAFETY: `child` is a child of this process, `status` is a place to write to.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "waitpid");
    if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Exit(libc::WEXITSTATUS(status))
    }
}

fn no_new_privileges() {
    // SAFETY: this option takes plain numbers.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
}

/// Makes a call with numbers as arguments; tells the errno, or 0.
fn errno_of(number: i64, first: u64, second: u64) -> i32 {
    // SAFETY: the calls of these tests take numbers, or pointers that the kernel refuses.
    let result = unsafe { libc::syscall(number, first, second, 0, 0, 0, 0) };
    if result == -1 { last_errno() } else { 0 }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn filter(action: SeccompAction, errno: Option<u32>) -> Filter {
    let profile = profile(SeccompAction::Allow, vec![rule("getppid", action, errno)]);
    compile(&profile).expect("a valid profile")
}

#[test]
fn a_refused_call_fails_with_the_errno_of_the_rule() {
    let end = under(&filter(SeccompAction::Errno, Some(77)), |_| errno_of(libc::SYS_getppid, 0, 0));
    assert_eq!(end, End::Exit(77));
}

#[test]
fn killing_actions_kill_and_the_others_do_not() {
    for (action, expected) in [
        (SeccompAction::Kill, End::Signal(libc::SIGSYS)),
        (SeccompAction::KillThread, End::Signal(libc::SIGSYS)),
        (SeccompAction::KillProcess, End::Signal(libc::SIGSYS)),
        (SeccompAction::Trap, End::Signal(libc::SIGSYS)),
        (SeccompAction::Trace, End::Exit(libc::ENOSYS)),
        (SeccompAction::Log, End::Exit(0)),
        (SeccompAction::Allow, End::Exit(0)),
    ] {
        let end = under(&filter(action, None), |_| errno_of(libc::SYS_getppid, 0, 0));
        assert_eq!(end, expected, "{action:?}");
    }
}

#[test]
fn a_trapped_call_runs_the_signals_handler() {
    extern "C" fn handler(_: libc::c_int) {
        // SAFETY: ends the process; allowed in a handler.
        unsafe { libc::_exit(42) };
    }
    let end = under(&filter(SeccompAction::Trap, None), |_| {
        let handler: extern "C" fn(libc::c_int) = handler;
        // SAFETY: the handler only makes a system call.
        unsafe { libc::signal(libc::SIGSYS, handler as libc::sighandler_t) };
        errno_of(libc::SYS_getppid, 0, 0)
    });
    assert_eq!(end, End::Exit(42));
}

#[test]
fn all_64_bits_of_an_argument_are_compared() {
    let refusing = LinuxSyscall {
        args: vec![when(1, SeccompOperator::GreaterThan, 0x1_0000_0001, 0)],
        ..rule("getppid", SeccompAction::Errno, Some(33))
    };
    let filter = compile(&profile(SeccompAction::Allow, vec![refusing])).expect("valid");
    for (value, expected) in
        [(0xffff_ffff, 0), (0x1_0000_0001, 0), (0x1_0000_0002, 33), (0x2_0000_0000, 33)]
    {
        let end = under(&filter, |_| errno_of(libc::SYS_getppid, 0, value));
        assert_eq!(end, End::Exit(expected), "{value:#x}");
    }
}

#[test]
fn a_call_that_nobody_knows_does_not_exist() {
    let mut denying = profile(
        SeccompAction::Errno,
        vec![LinuxSyscall {
            names: vec!["exit_group".to_owned(), "exit".to_owned(), "openat2".to_owned()],
            ..rule("", SeccompAction::Allow, None)
        }],
    );
    denying.default_errno_ret = Some(50);
    let filter = compile(&denying).expect("valid");
    assert_eq!(under(&filter, |_| errno_of(5000, 0, 0)), End::Exit(libc::ENOSYS));
    assert_eq!(under(&filter, |_| errno_of(libc::SYS_getppid, 0, 0)), End::Exit(50));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_x32_call_kills_where_x32_is_not_named() {
    let x32_getppid = libc::SYS_getppid | 0x4000_0000;
    let body = |_| errno_of(x32_getppid, 0, 0);
    let end = under(&filter(SeccompAction::Errno, Some(5)), body);
    assert_eq!(end, End::Signal(libc::SIGSYS));

    let refusing = rule("getppid", SeccompAction::Errno, Some(5));
    let mut profile = profile(SeccompAction::Allow, vec![refusing]);
    profile.architectures = vec![Architecture::X32.as_str().to_owned()];
    assert_eq!(under(&compile(&profile).expect("valid"), body), End::Exit(5));
}

/// Makes a call as a 32-bit program does.
#[cfg(target_arch = "x86_64")]
fn call_of_32_bits(number: i32) -> i32 {
    let mut result = number;
    // SAFETY: a system call without arguments; the kernel keeps all registers but eax.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") result, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _);
    };
    result
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_call_of_the_32_bit_architecture_is_filtered_by_its_own_numbers() {
    let getppid = 64;
    if in_child(|| i32::from(call_of_32_bits(getppid) <= 0)) != End::Exit(0) {
        eprintln!("SKIPPED: this kernel runs no 32-bit programs");
        return;
    }
    let end = under(&filter(SeccompAction::Errno, Some(5)), |_| call_of_32_bits(getppid));
    assert_eq!(end, End::Signal(libc::SIGSYS));

    let refusing = rule("getppid", SeccompAction::Errno, Some(5));
    let mut profile = profile(SeccompAction::Allow, vec![refusing]);
    profile.architectures = vec![Architecture::X86.as_str().to_owned()];
    let end = under(&compile(&profile).expect("valid"), |_| -call_of_32_bits(getppid));
    assert_eq!(end, End::Exit(5));
}

#[test]
fn without_privileges_the_kernel_does_not_take_a_filter() {
    let filter = filter(SeccompAction::Allow, None);
    let end = in_child(|| {
        // SAFETY: plain numbers.
        if unsafe { libc::setresuid(65534, 65534, 65534) } != 0 {
            return 98;
        }
        match filter.install() {
            Err(error @ berth_seccomp::InstallError::Denied) if error.hint().is_some() => 1,
            Err(_) => 2,
            Ok(_) => 3,
        }
    });
    assert_eq!(end, End::Exit(1));
}

/// The kernel's `struct seccomp_notif`, as words: id, pid and flags, then the call's data.
const NOTIFICATION_WORDS: usize = 10;
/// `SECCOMP_IOCTL_NOTIF_RECV`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`.
const SEND: libc::c_ulong = 0xc018_2101;

/// Answers one call with an errno; tells whether it was `getppid`.
fn answer_one(listener: &OwnedFd, errno: i32) -> bool {
    let mut notification = [0_u64; NOTIFICATION_WORDS];
    // SAFETY: the buffer has the size that the request's number tells.
    let received = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, notification.as_mut_ptr()) };
    if received != 0 {
        return false;
    }
    // struct seccomp_notif_resp: id, val, error and flags.
    let mut response = [notification[0], 0, u64::from((-errno).cast_unsigned())];
    // SAFETY: the buffer has the size that the request's number tells.
    let sent = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, response.as_mut_ptr()) };
    sent == 0 && notification[2] as u32 == libc::SYS_getppid as u32
}

#[test]
fn a_listener_decides_on_calls() {
    let mut asking =
        profile(SeccompAction::Allow, vec![rule("getppid", SeccompAction::Notify, None)]);
    for flags in [&[][..], &["TSYNC"], &["TSYNC", "LOG"], &["WAIT_KILLABLE_RECV"]] {
        asking.flags = flags.iter().map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}")).collect();
        let supported = berth_seccomp::features().supported_flags;
        if asking.flags.iter().any(|flag| !supported.contains(flag)) {
            eprintln!("SKIPPED: this kernel does not know {flags:?}");
            continue;
        }
        let filter = compile(&asking).expect("valid");
        assert!(filter.notifies());
        let end = under(&filter, |listener| {
            let Some(listener) = listener else { return 1 };
            // SAFETY: the child makes system calls only and ends with `_exit`.
            let caller = unsafe { libc::fork() };
            if caller == 0 {
                let errno = errno_of(libc::SYS_getppid, 0, 0);
                // SAFETY: ends the child without running anything else.
                unsafe { libc::_exit(errno) };
            }
            let asked = answer_one(&listener, 61);
            if asked && end_of(caller) == End::Exit(61) { 0 } else { 2 }
        });
        assert_eq!(end, End::Exit(0), "{flags:?}");
    }
}

#[test]
fn flags_of_a_profile_are_taken_by_the_kernel() {
    let refusing = rule("getppid", SeccompAction::Errno, Some(9));
    let mut profile = profile(SeccompAction::Allow, vec![refusing]);
    for flag in berth_seccomp::features().supported_flags {
        profile.flags = vec![flag.clone()];
        let filter = compile(&profile).expect("valid");
        let end = under(&filter, |_| errno_of(libc::SYS_getppid, 0, 0));
        assert_eq!(end, End::Exit(9), "{flag}");
    }
}

const OWN_PROCESS: &str = "BERTH_SECCOMP_TEST_OWN_PROCESS";

/// Filters other threads, and so runs again in a process of its own.
#[test]
fn with_tsync_all_threads_come_under_the_filter() {
    const NAME: &str = "with_tsync_all_threads_come_under_the_filter";
    if std::env::var_os(OWN_PROCESS).is_none() {
        let program = std::env::current_exe().expect("this program");
        let output = Command::new(program)
            .args(["--exact", NAME, "--nocapture"])
            .env(OWN_PROCESS, "1")
            .output()
            .expect("this program runs again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    let other = std::thread::spawn(|| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !INSTALLED.load(Ordering::SeqCst) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        errno_of(libc::SYS_getppid, 0, 0)
    });
    let refusing = rule("getppid", SeccompAction::Errno, Some(71));
    let mut profile = profile(SeccompAction::Allow, vec![refusing]);
    profile.flags = vec!["SECCOMP_FILTER_FLAG_TSYNC".to_owned()];
    no_new_privileges();
    compile(&profile).expect("valid").install().expect("is taken");
    INSTALLED.store(true, Ordering::SeqCst);
    assert_eq!(other.join().expect("no panic"), 71);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_default_profile_keeps_a_process_in_its_place() {
    let filter = compile(&default_profile(&BTreeSet::new())).expect("the default profile");
    let namespace = libc::CLONE_NEWUSER as u64;
    let (inet, vsock, stream) =
        (libc::AF_INET as u64, libc::AF_VSOCK as u64, libc::SOCK_STREAM as u64);
    let open_tree_attr = 467;
    for (call, arguments, expected) in [
        (libc::SYS_getpid, [0, 0], 0),
        (libc::SYS_socket, [inet, stream], 0),
        (libc::SYS_socket, [vsock, stream], libc::EPERM),
        (libc::SYS_unshare, [namespace, 0], libc::EPERM),
        (libc::SYS_clone, [namespace, 0], libc::EPERM),
        (libc::SYS_clone3, [0, 0], libc::ENOSYS),
        (libc::SYS_personality, [0xffff_ffff, 0], 0),
        (libc::SYS_personality, [0x4_0000, 0], libc::EPERM),
        (libc::SYS_keyctl, [0, 0], libc::EPERM),
        (libc::SYS_mount, [0, 0], libc::EPERM),
        (libc::SYS_io_uring_setup, [1, 0], libc::EPERM),
        (libc::SYS_bpf, [0, 0], libc::EPERM),
        (open_tree_attr, [0, 0], libc::ENOSYS),
    ] {
        let end = under(&filter, |_| errno_of(call, arguments[0], arguments[1]));
        assert_eq!(end, End::Exit(expected), "call {call} with {arguments:x?}");
    }
}

#[test]
fn a_program_runs_under_the_default_profile_kept_as_bytes() {
    let bytes = compile(&default_profile(&BTreeSet::new())).expect("valid").to_bytes();
    let filter = Filter::from_bytes(&bytes).expect("its own bytes");
    let end = under(&filter, |_| {
        let program = c"/bin/true";
        let arguments = [program.as_ptr(), std::ptr::null()];
        // SAFETY: a C string and a list that ends with a null pointer.
        unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
        last_errno()
    });
    assert_eq!(end, End::Exit(0));
}

#[test]
fn the_kernel_takes_the_longest_programs() {
    let rules = (0..1000_u64).map(|value| LinuxSyscall {
        args: vec![when(0, SeccompOperator::Equal, value << 32 | value, 0)],
        ..rule("getppid", SeccompAction::Errno, Some(3))
    });
    let long: LinuxSeccomp = profile(SeccompAction::Allow, rules.collect());
    let filter = compile(&long).expect("below the limit");
    assert!(filter.instructions().len() > 4000);
    let last = 0x3e7_0000_03e7;
    assert_eq!(under(&filter, |_| errno_of(libc::SYS_getppid, last, 0)), End::Exit(3));
    assert_eq!(under(&filter, |_| errno_of(libc::SYS_getppid, last + 1, 0)), End::Exit(0));
}
