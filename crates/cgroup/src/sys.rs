//! The bpf(2) system call, as far as device filters need it. The only unsafe code of this crate.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::apply::Instruction;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// How our programs are named in the kernel, so that those of systemd are left alone.
const NAME: &[u8; 16] = b"berth_devices\0\0\0";

/// How many programs of a group are looked at; the kernel permits 64.
const MOST_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttributes {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    head: [u64; 8],
    name: [u8; 16],
}

/// The call itself. The attributes must be those of the command.
#[expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is a live, exclusively borrowed, fully initialised repr(C) value whose
    // size is passed with it; the pointers inside were made from borrows that the callers in this
    // module hold across the call, with lengths that match.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            std::mem::size_of::<T>() as libc::c_uint,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[expect(unsafe_code, reason = "taking over a descriptor that bpf(2) returned")]
fn owned(result: libc::c_long) -> OwnedFd {
    // SAFETY: the command that gave `result` returns a new descriptor that nothing else owns.
    unsafe { OwnedFd::from_raw_fd(result as libc::c_int) }
}

fn number(fd: impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

/// Loads a device filter.
pub(crate) fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attributes = LoadAttributes {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: *NAME,
        ..LoadAttributes::default()
    };
    match bpf(PROG_LOAD, &mut attributes) {
        // Kernels before 4.15 know no names.
        Err(e) if matches!(e.raw_os_error(), Some(libc::E2BIG | libc::EINVAL)) => {
            attributes.prog_name = [0; 16];
            bpf(PROG_LOAD, &mut attributes).map(owned)
        }
        result => result.map(owned),
    }
}

/// Our programs that are attached to the group itself.
pub(crate) fn attached_device_programs(group: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut attributes = QueryAttributes {
        target_fd: number(group),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST_PROGRAMS as u32,
        ..QueryAttributes::default()
    };
    bpf(PROG_QUERY, &mut attributes)?;
    let mut programs = Vec::new();
    for &id in ids.iter().take(attributes.prog_cnt as usize) {
        let mut by_id = IdAttributes { id, ..IdAttributes::default() };
        let program = match bpf(PROG_GET_FD_BY_ID, &mut by_id) {
            // Detached meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
            result => owned(result?),
        };
        if is_ours(&program)? {
            programs.push(program);
        }
    }
    Ok(programs)
}

fn is_ours(program: &OwnedFd) -> io::Result<bool> {
    let mut info = ProgramInfo::default();
    let mut attributes = InfoAttributes {
        bpf_fd: number(program),
        info_len: std::mem::size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info.name == *NAME)
}

/// Attaches a filter, in place of another one where there is one.
pub(crate) fn attach_device_program(
    group: BorrowedFd<'_>,
    program: &OwnedFd,
    replace: Option<&OwnedFd>,
) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
        ..AttachAttributes::default()
    };
    let Some(old) = replace else {
        return bpf(PROG_ATTACH, &mut attributes).map(|_| ());
    };
    attributes.attach_flags |= REPLACE;
    attributes.replace_bpf_fd = number(old);
    match bpf(PROG_ATTACH, &mut attributes) {
        // Kernels before 5.6 cannot replace: the new one beside the old one is the stricter of
        // both for a moment, never the laxer.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::E2BIG)) => {
            attributes.attach_flags = ALLOW_MULTI;
            attributes.replace_bpf_fd = 0;
            bpf(PROG_ATTACH, &mut attributes)?;
            detach_device_program(group, old)
        }
        result => result.map(|_| ()),
    }
}

/// Detaches a filter.
pub(crate) fn detach_device_program(group: BorrowedFd<'_>, program: &OwnedFd) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        ..AttachAttributes::default()
    };
    bpf(PROG_DETACH, &mut attributes).map(|_| ())
}
