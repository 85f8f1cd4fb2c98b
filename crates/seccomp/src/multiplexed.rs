//! The calls of 32-bit x86 that are also cases of one other call.
//!
//! `socketcall` and `ipc` take the case as their first argument and the real call's arguments in
//! memory (`linux/net.h` and `linux/ipc.h`; the upper half of `ipc`'s first argument is a version).

use crate::architecture::Architecture;

/// One of the calls that another one stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    /// Its place in that call's list.
    pub(crate) value: u16,
    /// The bits of the first argument that hold it.
    pub(crate) mask: u32,
}

/// The number of the call that `name` is a case of, and which one.
pub(crate) fn case(name: &[u8], architecture: Architecture) -> Option<(u32, Case)> {
    if architecture != Architecture::X86 {
        return None;
    }
    let socketcall = |value| Some((102, Case { value, mask: u32::MAX }));
    let ipc = |value| Some((117, Case { value, mask: 0xffff }));
    match name {
        b"socket" => socketcall(1),
        b"bind" => socketcall(2),
        b"connect" => socketcall(3),
        b"listen" => socketcall(4),
        b"accept" => socketcall(5),
        b"getsockname" => socketcall(6),
        b"getpeername" => socketcall(7),
        b"socketpair" => socketcall(8),
        b"send" => socketcall(9),
        b"recv" => socketcall(10),
        b"sendto" => socketcall(11),
        b"recvfrom" => socketcall(12),
        b"shutdown" => socketcall(13),
        b"setsockopt" => socketcall(14),
        b"getsockopt" => socketcall(15),
        b"sendmsg" => socketcall(16),
        b"recvmsg" => socketcall(17),
        b"accept4" => socketcall(18),
        b"recvmmsg" => socketcall(19),
        b"sendmmsg" => socketcall(20),
        b"semop" => ipc(1),
        b"semget" => ipc(2),
        b"semctl" => ipc(3),
        b"semtimedop" => ipc(4),
        b"msgsnd" => ipc(11),
        b"msgrcv" => ipc(12),
        b"msgget" => ipc(13),
        b"msgctl" => ipc(14),
        b"shmat" => ipc(21),
        b"shmdt" => ipc(22),
        b"shmget" => ipc(23),
        b"shmctl" => ipc(24),
        _ => None,
    }
}
