//! The C functions that are a system call and nothing else.
//!
//! Each is six instructions: arguments stand where the kernel expects them but for the fourth, and
//! an error becomes -1 and `errno`. They are not Rust functions because some of them take a varying
//! number of arguments. Each has a section of its own, so that the linker leaves out what nobody
//! calls.

/// A function in assembly, in a section of its own: its name, its instructions, and constants.
macro_rules! function {
    ($name:literal: $($instruction:expr),*; $($constant:ident)*) => {
        std::arch::global_asm!(
            concat!(".pushsection .text.", $name, ", \"ax\", @progbits"),
            concat!(".globl ", $name),
            concat!(".type ", $name, ", @function"),
            concat!($name, ":"),
            $($instruction,)*
            ".popsection",
            $($constant = const libc::$constant,)*
        );
    };
}
pub(super) use function;

// The number of the call is the first argument, and its sixth lies on the stack.
function!("syscall":
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    "cmp rax, -4095",
    "jae bare_failed",
    "ret";);

function!("bare_failed":
    "neg eax",
    "mov [rip + BARE_ERRNO], eax",
    "mov rax, -1",
    "ret";);

// Answers the error rather than setting it.
function!("clock_nanosleep":
    "mov r10, rcx",
    "mov eax, {SYS_clock_nanosleep}",
    "syscall",
    "neg eax",
    "ret"; SYS_clock_nanosleep);

// clone(function, stack, flags, argument, parent's id, TLS, child's id): the child finds the
// function and its argument on its stack.
function!("clone":
    "and rsi, -16",
    "sub rsi, 16",
    "mov [rsi], rdi",
    "mov [rsi + 8], rcx",
    "mov rdi, rdx",
    "mov rdx, r8",
    "mov r8, r9",
    "mov r10, [rsp + 8]",
    "mov eax, {SYS_clone}",
    "syscall",
    "cmp rax, -4095",
    "jae bare_failed",
    "test eax, eax",
    "jz 2f",
    "ret",
    "2:",
    "xor ebp, ebp",
    "pop rax",
    "pop rdi",
    "call rax",
    "mov edi, eax",
    "mov eax, {SYS_exit}",
    "syscall",
    "ud2"; SYS_clone SYS_exit);

// waitpid(2) is wait4 without a place for the usage of resources.
function!("waitpid":
    "xor r10d, r10d",
    "mov eax, {SYS_wait4}",
    "syscall",
    "cmp rax, -4095",
    "jae bare_failed",
    "ret"; SYS_wait4);

// So is waitid(2) to the call of that name.
function!("waitid":
    "xor r8d, r8d",
    "mov r10, rcx",
    "mov eax, {SYS_waitid}",
    "syscall",
    "cmp rax, -4095",
    "jae bare_failed",
    "ret"; SYS_waitid);

// recv(2) and send(2) are recvfrom and sendto without an address.
function!("recv":
    "xor r8d, r8d",
    "xor r9d, r9d",
    "jmp recvfrom";);
function!("send":
    "xor r8d, r8d",
    "xor r9d, r9d",
    "jmp sendto";);

/// Writes functions that are a call each: the name and the kernel's number.
macro_rules! calls {
    ($($name:literal $number:ident)*) => {
        $(function!($name:
            "mov r10, rcx",
            concat!("mov eax, {", stringify!($number), "}"),
            "syscall",
            "cmp rax, -4095",
            "jae bare_failed",
            "ret"; $number);)*
    };
}

calls! {
    "_exit" SYS_exit_group
    "accept4" SYS_accept4
    "access" SYS_access
    "bind" SYS_bind
    "chdir" SYS_chdir
    "chmod" SYS_chmod
    "chown" SYS_chown
    "chroot" SYS_chroot
    "clock_gettime" SYS_clock_gettime
    "close" SYS_close
    "connect" SYS_connect
    "dup" SYS_dup
    "dup2" SYS_dup2
    "dup3" SYS_dup3
    "eventfd" SYS_eventfd2
    "execve" SYS_execve
    "exit" SYS_exit_group
    "faccessat2" SYS_faccessat2
    "fallocate64" SYS_fallocate
    "fchdir" SYS_fchdir
    "fchmod" SYS_fchmod
    "fchown" SYS_fchown
    "fchownat" SYS_fchownat
    "fcntl" SYS_fcntl
    "fdatasync" SYS_fdatasync
    "flock" SYS_flock
    "fork" SYS_fork
    "fstat64" SYS_fstat
    "fstatat64" SYS_newfstatat
    "fstatfs64" SYS_fstatfs
    "fsync" SYS_fsync
    "ftruncate64" SYS_ftruncate
    "getegid" SYS_getegid
    "geteuid" SYS_geteuid
    "getgid" SYS_getgid
    "getgroups" SYS_getgroups
    "getpeername" SYS_getpeername
    "getpgid" SYS_getpgid
    "getpid" SYS_getpid
    "getppid" SYS_getppid
    "getrandom" SYS_getrandom
    "getresgid" SYS_getresgid
    "getresuid" SYS_getresuid
    "getrlimit64" SYS_getrlimit
    "getsockname" SYS_getsockname
    "getsockopt" SYS_getsockopt
    "getuid" SYS_getuid
    "ioctl" SYS_ioctl
    "kill" SYS_kill
    "lchown" SYS_lchown
    "link" SYS_link
    "linkat" SYS_linkat
    "listen" SYS_listen
    "lseek64" SYS_lseek
    "lstat64" SYS_lstat
    "madvise" SYS_madvise
    "memfd_create" SYS_memfd_create
    "mkdir" SYS_mkdir
    "mkdirat" SYS_mkdirat
    "mknod" SYS_mknod
    "mknodat" SYS_mknodat
    "mmap" SYS_mmap
    "mmap64" SYS_mmap
    "mount" SYS_mount
    "mprotect" SYS_mprotect
    "mremap" SYS_mremap
    "munmap" SYS_munmap
    "nanosleep" SYS_nanosleep
    "open64" SYS_open
    "openat64" SYS_openat
    "pause" SYS_pause
    "personality" SYS_personality
    "pipe2" SYS_pipe2
    "pivot_root" SYS_pivot_root
    "poll" SYS_poll
    "prctl" SYS_prctl
    "pread64" SYS_pread64
    "prlimit64" SYS_prlimit64
    "pwrite64" SYS_pwrite64
    "read" SYS_read
    "readlink" SYS_readlink
    "readlinkat" SYS_readlinkat
    "readv" SYS_readv
    "recvfrom" SYS_recvfrom
    "recvmsg" SYS_recvmsg
    "rename" SYS_rename
    "renameat" SYS_renameat
    "rmdir" SYS_rmdir
    "sched_yield" SYS_sched_yield
    "sendfile64" SYS_sendfile
    "sendmsg" SYS_sendmsg
    "sendto" SYS_sendto
    "setdomainname" SYS_setdomainname
    "setgid" SYS_setgid
    "setgroups" SYS_setgroups
    "sethostname" SYS_sethostname
    "setns" SYS_setns
    "setpgid" SYS_setpgid
    "setpriority" SYS_setpriority
    "setregid" SYS_setregid
    "setresgid" SYS_setresgid
    "setresuid" SYS_setresuid
    "setreuid" SYS_setreuid
    "setrlimit64" SYS_setrlimit
    "setsid" SYS_setsid
    "setsockopt" SYS_setsockopt
    "setuid" SYS_setuid
    "shutdown" SYS_shutdown
    "sigaltstack" SYS_sigaltstack
    "socket" SYS_socket
    "socketpair" SYS_socketpair
    "splice" SYS_splice
    "stat64" SYS_stat
    "statfs64" SYS_statfs
    "symlink" SYS_symlink
    "symlinkat" SYS_symlinkat
    "sysinfo" SYS_sysinfo
    "truncate64" SYS_truncate
    "umask" SYS_umask
    "umount2" SYS_umount2
    "uname" SYS_uname
    "unlink" SYS_unlink
    "unlinkat" SYS_unlinkat
    "unshare" SYS_unshare
    "utimensat" SYS_utimensat
    "write" SYS_write
    "writev" SYS_writev
}

/// Functions that the standard library refers to and, told that there is no such thing (`ENOSYS`),
/// does without: it starts programs by fork and exec, and leaves the main thread's stack alone.
macro_rules! refusals {
    ($($name:literal)*) => { $(function!($name: "mov eax, 38", "ret";);)* };
}

refusals! {
    "posix_spawn_file_actions_adddup2"
    "posix_spawn_file_actions_destroy"
    "posix_spawn_file_actions_init"
    "posix_spawnattr_destroy"
    "posix_spawnattr_init"
    "posix_spawnattr_setflags"
    "posix_spawnattr_setpgroup"
    "posix_spawnattr_setsigdefault"
    "posix_spawnp"
    "pthread_attr_destroy"
    "pthread_attr_getstack"
    "pthread_getattr_np"
    "pthread_self"
}
