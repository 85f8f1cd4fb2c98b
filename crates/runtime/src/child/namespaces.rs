//! Joining and making namespaces from within the new process (namespaces(7)).

use berth_spec::runtime::LinuxNamespaceType;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use super::step::{At as _, Failure, Step};
use crate::plan::{NamespacePlan, Plan};
use crate::procfs::Procfs;
use crate::sys;

/// Becomes root of a user namespace that the process is new to, so that what it makes belongs to
/// somebody there.
pub(crate) fn become_root(plan: &Plan) -> Result<(), Failure<'_>> {
    if !plan.namespaces.become_root {
        return Ok(());
    }
    match sys::set_gid(0) {
        Err(Errno::INVAL) => sys::set_gid(plan.process.gid),
        result => result,
    }
    .at(Step::BecomeRoot, b"")?;
    let result = match sys::set_uid(0) {
        Err(Errno::INVAL) => {
            // No root there: the capabilities must not go with the change of ids.
            sys::keep_capabilities(true)
                .and_then(|()| sys::set_uid(plan.process.uid))
                .and_then(|()| sys::capabilities())
                .and_then(|sets| {
                    sys::set_capabilities(sys::ThreadCapabilities {
                        effective: sets.permitted,
                        ..sets
                    })
                })
        }
        result => result,
    };
    result.at(Step::BecomeRoot, b"")?;
    match sys::set_groups(&[]) {
        // The namespace may have given up setgroups.
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(Failure::new(Step::BecomeRoot, b"", errno)),
    }
}

/// Joins the namespaces that others have made.
pub(crate) fn join(plan: &NamespacePlan) -> Result<(), Failure<'_>> {
    for join in &plan.join {
        sys::setns(&join.file, join.flags)
            .at(Step::JoinNamespace, join.kind.as_str().as_bytes())?;
    }
    Ok(())
}

/// Makes the namespaces that the clone has left to the process.
pub(crate) fn make_first(plan: &NamespacePlan) -> Result<(), Failure<'_>> {
    match plan.first {
        0 => Ok(()),
        flags => sys::unshare(flags).at(Step::MakeNamespaces, b""),
    }
}

/// Makes the namespaces that could not be made by the clone.
pub(crate) fn make(plan: &NamespacePlan) -> Result<(), Failure<'_>> {
    if plan.unshare == 0 {
        return Ok(());
    }
    sys::unshare(plan.unshare).at(Step::MakeNamespaces, b"")?;
    if plan.unshare & libc::CLONE_NEWTIME as u64 == 0 {
        return Ok(());
    }
    // The mount namespace may be one that was joined, and its /proc anything.
    let procfs = Procfs::own().at(Step::TimeOffsets, b"")?;
    if !plan.time_offsets.is_empty() {
        write_offsets(&procfs, plan).at(Step::TimeOffsets, b"")?;
    }
    enter_own(&procfs).at(Step::TimeOffsets, b"")
}

fn write_offsets(procfs: &Procfs, plan: &NamespacePlan) -> Result<(), Errno> {
    const FILE: &std::ffi::CStr = c"self/timens_offsets";
    match procfs.write(FILE, &plan.time_offsets) {
        // In a new user namespace the files of a process that is not dumpable belong to the host's
        // root. Nobody else is in there yet, so nobody can look meanwhile.
        Err(Errno::ACCESS) if plan.map_ids => {
            sys::set_dumpable(true)?;
            let written = procfs.write(FILE, &plan.time_offsets);
            sys::set_dumpable(false)?;
            written
        }
        result => result,
    }
}

fn enter_own(procfs: &Procfs) -> Result<(), Errno> {
    let directory = procfs.open(c"self/ns", OFlags::PATH | OFlags::DIRECTORY)?;
    // This is a magic link, which leads out of any procfs; `setns` takes nothing but a namespace.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::openat(directory, c"time_for_children", flags, Mode::empty())?;
    sys::setns(&namespace, libc::CLONE_NEWTIME as u64)
}

/// Sets up the loopback device of a new network namespace, as runc and crun do: programs that talk
/// to themselves expect it.
pub(crate) fn set_up_loopback(plan: &NamespacePlan) -> Result<(), Failure<'_>> {
    if !plan.has_new(LinuxNamespaceType::Network) {
        return Ok(());
    }
    match loopback() {
        // What may make the namespace, but may or can do nothing in it.
        Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => {
            Ok(())
        }
        Err(errno) => Err(Failure::new(Step::Loopback, b"", errno)),
    }
}

fn loopback() -> Result<(), Errno> {
    const NEWLINK: u16 = 16;
    const REQUEST: u16 = 1;
    const ACK: u16 = 4;
    // The first device of every namespace.
    const LOOPBACK: u32 = 1;
    const UP: u32 = 1;
    let kinds = u32::from_ne_bytes(pair(NEWLINK, REQUEST | ACK));
    // A struct nlmsghdr and a struct ifinfomsg, in words of four bytes.
    let words = [32, kinds, 0, 0, 0, LOOPBACK, UP, UP];
    let mut message = [0u8; 32];
    for (place, word) in message.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0u8; 256];
    recv(&socket, &mut answer[..], RecvFlags::empty())?;
    match answer.get(16..).and_then(|rest| rest.first_chunk()).map(|code| i32::from_ne_bytes(*code))
    {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(code.wrapping_neg())),
        None => Err(Errno::BADMSG),
    }
}

/// Two numbers of two bytes, one behind the other.
fn pair(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
}
