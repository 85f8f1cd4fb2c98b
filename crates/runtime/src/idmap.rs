//! Id mappings: written for a new user namespace (user_namespaces(7)), directly or by newuidmap(1)
//! and newgidmap(1), and a user namespace that exists for the sake of its mappings alone.

use std::ffi::CString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use berth_spec::runtime::LinuxIdMapping;
use rustix::fs::{Mode, OFlags};

use crate::procfs::Procfs;
use crate::sys::{self, CloneArguments, Cloned};

/// Mapping ids.
#[derive(Debug, thiserror::Error)]
pub enum IdMapError {
    /// The kernel refused.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The helper is not there.
    #[error("cannot start {helper}")]
    Start {
        /// The program.
        helper: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The helper refused.
    #[error("{helper} refused the mapping {mapping:?}: {message}")]
    Helper {
        /// The program.
        helper: &'static str,
        /// The mapping.
        mapping: String,
        /// What it said.
        message: String,
    },
    /// A user namespace could not be made.
    #[error("cannot make a user namespace for the mapping")]
    Namespace(#[source] io::Error),
    /// The file system cannot.
    #[error("the file system or the kernel cannot map ids of this mount")]
    Mount(#[source] io::Error),
}

impl IdMapError {
    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start { .. } => Some("install the uidmap package (newuidmap, newgidmap)"),
            Self::Helper { .. } => Some("give this user ranges in /etc/subuid and /etc/subgid"),
            Self::Write { .. } => {
                Some("without privileges only the own id can be mapped; see `spec --rootless`")
            }
            Self::Namespace(_) => Some("see /proc/sys/user/max_user_namespaces"),
            Self::Mount(_) => None,
        }
    }
}

fn lines(mappings: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for mapping in mappings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
    }
    text
}

fn write(pid: i32, file: &str, value: &str) -> Result<(), IdMapError> {
    let path = CString::new(format!("{pid}/{file}")).unwrap_or_default();
    let written = Procfs::own().and_then(|procfs| procfs.write(&path, value.as_bytes()));
    written.map_err(|errno| IdMapError::Write {
        path: PathBuf::from(format!("/proc/{pid}/{file}")),
        value: value.trim_end().to_owned(),
        source: errno.into(),
    })
}

/// Writes the mappings of a new user namespace that process `pid` is the first of.
pub(crate) fn write_mappings(
    pid: i32,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<(), IdMapError> {
    // With privileges over the ids both are written directly; without, that works for the own id
    // only, once the namespace has given up setgroups.
    if rustix::process::geteuid().is_root() {
        write(pid, "gid_map", &lines(gids))?;
        return write(pid, "uid_map", &lines(uids));
    }
    let own = |mappings: &[LinuxIdMapping], id: u32| matches!(mappings, [one] if one.size == 1 && one.host_id == id);
    if own(gids, rustix::process::getegid().as_raw()) {
        write(pid, "setgroups", "deny")?;
        write(pid, "gid_map", &lines(gids))?;
    } else {
        run_helper("newgidmap", pid, gids)?;
    }
    if own(uids, rustix::process::geteuid().as_raw()) {
        write(pid, "uid_map", &lines(uids))
    } else {
        run_helper("newuidmap", pid, uids)
    }
}

fn run_helper(
    helper: &'static str,
    pid: i32,
    mappings: &[LinuxIdMapping],
) -> Result<(), IdMapError> {
    let mut command = Command::new(helper);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for mapping in mappings {
        command.args([
            mapping.container_id.to_string(),
            mapping.host_id.to_string(),
            mapping.size.to_string(),
        ]);
    }
    let output = command.output().map_err(|source| IdMapError::Start { helper, source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(IdMapError::Helper {
        helper,
        mapping: lines(mappings).trim_end().replace('\n', ", "),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// A user namespace with these mappings and nobody in it.
pub(crate) fn user_namespace(
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<OwnedFd, IdMapError> {
    let failed = |errno: rustix::io::Errno| IdMapError::Namespace(errno.into());
    let (ours, theirs) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
    let arguments =
        CloneArguments { flags: libc::CLONE_NEWUSER as u64, ..CloneArguments::default() };
    match sys::clone3(arguments).map_err(failed)? {
        Cloned::Child => {
            // Lives until its maker has closed the other end, or is gone.
            drop_writer(theirs);
            let mut byte = [0u8; 1];
            let _ = rustix::io::read(&ours, &mut byte);
            sys::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            let namespace = write_mappings(pid, uids, gids).and_then(|()| {
                let path = format!("/proc/{pid}/ns/user");
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(failed)
            });
            drop(theirs);
            reap(pidfd.as_fd());
            namespace
        }
    }
}

fn drop_writer(writer: OwnedFd) {
    drop(writer);
}

fn reap(pidfd: std::os::fd::BorrowedFd<'_>) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    // It ends by itself; a failure means that somebody else reaped it.
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_exists_for_its_mappings() {
        let map = [LinuxIdMapping { container_id: 0, host_id: 100_000, size: 10 }];
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: mapping foreign ids needs root");
            return;
        }
        let namespace = user_namespace(&map, &map).unwrap();
        let own = rustix::fs::stat("/proc/self/ns/user").unwrap();
        assert_ne!(rustix::fs::fstat(&namespace).unwrap().st_ino, own.st_ino);
    }
}
