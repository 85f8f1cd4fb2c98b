//! The calls of 32-bit x86 that are also cases of one other call.
//!
//! `socketcall` and `ipc` take the case as their first argument and the real call's arguments in
//! memory (`linux/net.h` and `linux/ipc.h`; the upper half of `ipc`'s first argument is a version).

use crate::architecture::Architecture;
use crate::condition::Condition;

const SOCKETCALL: u32 = 102;
const SOCKETCALL_MASK: u32 = u32::MAX;
const SOCKETCALL_CASES: &[(&str, u32)] = &[
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

const IPC: u32 = 117;
const IPC_MASK: u32 = 0xffff;
const IPC_CASES: &[(&str, u32)] = &[
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// The number of the call that `name` is a case of, and the condition that tells it from others.
pub(crate) fn case(name: &str, architecture: Architecture) -> Option<(u32, Condition)> {
    if architecture != Architecture::X86 {
        return None;
    }
    let find = |cases: &[(&str, u32)]| {
        cases.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    };
    find(SOCKETCALL_CASES)
        .map(|value| (SOCKETCALL, Condition::selects(value, SOCKETCALL_MASK)))
        .or_else(|| find(IPC_CASES).map(|value| (IPC, Condition::selects(value, IPC_MASK))))
}
