//! Who the process is and what it may do: limits, capabilities, ids, working directory, program.
//!
//! The order matters: what needs privileges comes first, then the ids, then the capabilities, and
//! the filter last of all, so that a profile needs to allow hardly anything but the program's own
//! calls.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::resolve::{self, Kind};
use super::step::{At as _, Failure, Step};
use crate::plan::ProcessPlan;
use crate::plan::capabilities::SYS_ADMIN;
use crate::plan::process::{Affinity, rlimit_name};
use crate::sys::{self, ThreadCapabilities};

/// More than any kernel numbers.
const EVERY_CPU: [u64; 128] = [u64::MAX; 128];

/// Sets what needs the privileges that are given up next.
pub(crate) fn limits(plan: &ProcessPlan) -> Result<(), Failure<'_>> {
    // Before the scheduling: a deadline needs all CPUs that there are, and keeps them.
    match &plan.affinity {
        Affinity::Unchanged => {}
        Affinity::These(mask) => sys::set_affinity(&mask.words).at(Step::Affinity, b"")?,
        // Some sandboxes forbid it, and then it stays as it was.
        Affinity::Any => drop(sys::set_affinity(&EVERY_CPU)),
    }
    if let Some(attributes) = &plan.scheduler {
        sys::set_scheduling(attributes).at(Step::Scheduler, b"")?;
    }
    if let Some(priority) = plan.io_priority {
        sys::set_io_priority(priority).at(Step::IoPriority, b"")?;
    }
    if let Some(persona) = plan.personality {
        sys::set_personality(persona).at(Step::Personality, b"")?;
    }
    if let Some((mode, nodes)) = &plan.memory_policy {
        sys::set_memory_policy(*mode, nodes).at(Step::MemoryPolicy, b"")?;
    }
    for &(number, soft, hard) in &plan.rlimits {
        set_rlimit(number, soft, hard).at(Step::Rlimit, rlimit_name(number).as_bytes())?;
    }
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    Ok(())
}

fn set_rlimit(number: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let value = |limit: u64| (limit != u64::MAX).then_some(limit);
    let limit = Rlimit { current: value(soft), maximum: value(hard) };
    match resource(number) {
        Some(resource) => rustix::process::setrlimit(resource, limit),
        None => Err(Errno::INVAL),
    }
}

/// The limit of a number.
pub(crate) fn resource(number: u32) -> Option<Resource> {
    Some(match number {
        libc::RLIMIT_AS => Resource::As,
        libc::RLIMIT_CORE => Resource::Core,
        libc::RLIMIT_CPU => Resource::Cpu,
        libc::RLIMIT_DATA => Resource::Data,
        libc::RLIMIT_FSIZE => Resource::Fsize,
        libc::RLIMIT_LOCKS => Resource::Locks,
        libc::RLIMIT_MEMLOCK => Resource::Memlock,
        libc::RLIMIT_MSGQUEUE => Resource::Msgqueue,
        libc::RLIMIT_NICE => Resource::Nice,
        libc::RLIMIT_NOFILE => Resource::Nofile,
        libc::RLIMIT_NPROC => Resource::Nproc,
        libc::RLIMIT_RSS => Resource::Rss,
        libc::RLIMIT_RTPRIO => Resource::Rtprio,
        libc::RLIMIT_RTTIME => Resource::Rttime,
        libc::RLIMIT_SIGPENDING => Resource::Sigpending,
        libc::RLIMIT_STACK => Resource::Stack,
        _ => return None,
    })
}

/// Whether the file may be given to the container's user: a pipe, socket or terminal that was made
/// for it, not a file or device that others use.
fn is_stream(descriptor: BorrowedFd<'_>, uid: u32) -> bool {
    let Ok(status) = rustix::fs::fstat(descriptor) else { return false };
    let kind = FileType::from_raw_mode(status.st_mode);
    status.st_uid != uid
        && (matches!(kind, FileType::Fifo | FileType::Socket)
            || kind == FileType::CharacterDevice && rustix::termios::isatty(descriptor))
}

/// Lets the user open its standard streams again by /dev/stdout and the like.
pub(crate) fn give_streams(plan: &ProcessPlan) {
    if plan.uid == 0 {
        return;
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if is_stream(stream, plan.uid) {
            // A stream that cannot be given away is used as it is.
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(plan.uid)), None::<Gid>);
        }
    }
}

/// Becomes the user, with the capabilities of the plan; `extra` ones stay permitted.
pub(crate) fn become_user(
    plan: &ProcessPlan,
    in_user_namespace: bool,
    extra: u64,
) -> Result<(), Failure<'_>> {
    let capabilities = &plan.capabilities;
    for number in 0..64 {
        if capabilities.bounding >> number & 1 == 0 {
            match sys::drop_bounding(number) {
                Ok(()) => {}
                // The first one that the kernel does not know.
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(Failure::new(Step::Capabilities, b"", errno)),
            }
        }
    }
    sys::keep_capabilities(true).at(Step::Capabilities, b"")?;
    match sys::set_groups(&plan.groups) {
        // In a user namespace without setgroups there is nothing to drop that could be.
        Err(Errno::PERM) if in_user_namespace && plan.groups.is_empty() => {}
        result => result.at(Step::Groups, b"")?,
    }
    sys::set_gid(plan.gid).at(Step::Gid, b"")?;
    sys::set_uid(plan.uid).at(Step::Uid, b"")?;
    sys::keep_capabilities(false).at(Step::Capabilities, b"")?;
    // Changing ids can have made the process dumpable again.
    sys::set_dumpable(false).at(Step::Uid, b"")?;
    sys::set_capabilities(ThreadCapabilities {
        effective: capabilities.effective,
        permitted: capabilities.permitted | extra,
        inheritable: capabilities.inheritable,
    })
    .at(Step::Capabilities, b"")?;
    sys::clear_ambient().at(Step::Capabilities, b"")?;
    for number in 0..64 {
        if capabilities.ambient >> number & 1 == 1 {
            sys::raise_ambient(number).at(Step::Capabilities, b"")?;
        }
    }
    if plan.no_new_privileges {
        sys::set_no_new_privileges().at(Step::NoNewPrivileges, b"")?;
    }
    Ok(())
}

/// The capability that installing the filter needs beyond the plan's.
pub(crate) fn extra_capabilities(plan: &ProcessPlan) -> u64 {
    if plan.seccomp.is_some() && !plan.no_new_privileges { SYS_ADMIN } else { 0 }
}

/// Installs the filter and gives up what that needed.
pub(crate) fn install_filter(plan: &ProcessPlan) -> Result<Option<OwnedFd>, Failure<'_>> {
    let Some(filter) = &plan.seccomp else { return Ok(None) };
    let extra = extra_capabilities(plan) & !plan.capabilities.effective;
    let sets = ThreadCapabilities {
        effective: plan.capabilities.effective,
        permitted: plan.capabilities.permitted,
        inheritable: plan.capabilities.inheritable,
    };
    if extra != 0 {
        sys::set_capabilities(ThreadCapabilities {
            effective: sets.effective | extra,
            permitted: sets.permitted | extra,
            ..sets
        })
        .at(Step::Seccomp, b"")?;
    }
    let listener = filter.install().map_err(|error| {
        use berth_seccomp::InstallError;
        let errno = match error {
            InstallError::Denied => Errno::ACCESS,
            InstallError::SecondListener => Errno::BUSY,
            InstallError::Kernel(error) => Errno::from_io_error(&error).unwrap_or(Errno::INVAL),
            _ => Errno::INVAL,
        };
        Failure::new(Step::Seccomp, b"", errno)
    })?;
    if extra != 0 {
        sys::set_capabilities(sets).at(Step::Seccomp, b"")?;
    }
    Ok(listener)
}

/// Makes the working directory if the image lacks it, and enters it if that takes privileges.
pub(crate) fn enter_directory(plan: &ProcessPlan, make: bool) -> Result<bool, Failure<'_>> {
    match rustix::process::chdir(&plan.cwd) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) if make => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root =
                rustix::fs::open(c"/", flags, Mode::empty()).at(Step::Cwd, plan.cwd.to_bytes())?;
            let made = resolve::ensure(&root, &plan.cwd, Kind::Directory)
                .at(Step::Cwd, plan.cwd.to_bytes())?;
            rustix::process::fchdir(&made).at(Step::Cwd, plan.cwd.to_bytes())?;
            Ok(true)
        }
        // The user may be allowed what root is not, on a network file system.
        Err(Errno::ACCESS) => Ok(false),
        Err(errno) => Err(Failure::new(Step::Cwd, plan.cwd.to_bytes(), errno)),
    }
}

/// Makes sure that the working directory is the plan's and within the container's root: a
/// descriptor of the host that was left open must not serve as a way out.
pub(crate) fn check_directory(plan: &ProcessPlan, entered: bool) -> Result<(), Failure<'_>> {
    let cwd = plan.cwd.to_bytes();
    if !entered {
        rustix::process::chdir(&plan.cwd).at(Step::Cwd, cwd)?;
    }
    let mut buffer = [0u8; 4096];
    match sys::current_directory(&mut buffer) {
        Ok(path) if path.first() == Some(&b'/') => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Failure::new(Step::CwdOutside, cwd, Errno::XDEV)),
        Err(errno) => Err(Failure::new(Step::Cwd, cwd, errno)),
    }
}

/// The first candidate that can be executed by this process, as it is now.
pub(crate) fn find_program(plan: &ProcessPlan) -> Result<&CStr, Failure<'_>> {
    let mut worst: Option<Failure<'_>> = None;
    for candidate in &plan.candidates {
        match is_executable(candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => {
                worst = worst.or(Some(Failure::new(
                    Step::CommandNotExecutable,
                    candidate.to_bytes(),
                    errno,
                )));
            }
        }
    }
    Err(worst.unwrap_or(Failure::new(Step::CommandNotFound, b"", Errno::NOENT)))
}

fn is_executable(path: &CStr) -> Result<(), Errno> {
    let status = rustix::fs::stat(path)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {}
        // As execve(2) has it.
        _ => return Err(Errno::ACCESS),
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}
