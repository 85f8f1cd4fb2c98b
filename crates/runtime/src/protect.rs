//! Whether the running executable could be overwritten through `/proc/PID/exe`, and executing it
//! again in a way that it cannot.
//!
//! A container can make the runtime's process in it execute `/proc/self/exe`, and so get hold of
//! the runtime's file. The file is out of its reach when it was executed from a read-only mount:
//! a detached one, which no mount namespace has, cannot be made writable again.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags};

use crate::sys::{self, MountAttributes, Pointers, Reach};

/// The running executable.
const SELF: &str = "/proc/self/exe";

/// Where the executable is, if it could be overwritten.
pub fn writable_executable() -> io::Result<Option<PathBuf>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let executable = rustix::fs::open(SELF, flags, Mode::empty())?;
    let mount = rustix::fs::fstatvfs(&executable)?;
    if mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(None);
    }
    if rustix::fs::accessat(CWD, SELF, Access::WRITE_OK, AtFlags::EACCESS)
        == Err(rustix::io::Errno::ACCESS)
    {
        return Ok(None);
    }
    if let Ok(file) = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        && rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
    {
        return Ok(None);
    }
    Ok(Some(std::fs::read_link(SELF)?))
}

/// Executes this program again, with the same arguments, from where it cannot be overwritten.
/// Returns only when that failed.
pub fn execute_again() -> io::Error {
    let file = match read_only_clone().or_else(|_| sealed_copy()) {
        Ok(file) => file,
        Err(error) => return error,
    };
    let strings = |list: Vec<std::ffi::OsString>| -> Vec<CString> {
        use std::os::unix::ffi::OsStringExt as _;
        // What came from the kernel as C strings has no NUL in it.
        list.into_iter().filter_map(|text| CString::new(text.into_vec()).ok()).collect()
    };
    let arguments = strings(std::env::args_os().collect());
    let environment = strings(
        std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .collect(),
    );
    let (argv, envp) = (Pointers::new(&arguments, 0), Pointers::new(&environment, 0));
    let errno = sys::execveat(&file, &argv, &envp);
    // The pointers are into these.
    drop((arguments, environment));
    errno.into()
}

/// A read-only detached mount of the executable alone.
fn read_only_clone() -> io::Result<OwnedFd> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, SELF, flags)?;
    let attributes = MountAttributes {
        set: crate::plan::options::ATTRIBUTE_RDONLY,
        propagation: libc::MS_PRIVATE,
        ..MountAttributes::default()
    };
    sys::mount_setattr(&mount, Reach::One, &attributes)?;
    Ok(mount)
}

/// A copy in memory that nobody can change.
fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create("berth-runtime", flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("berth-runtime", flags),
        result => result,
    }?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(SELF)?, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    // Executed by a descriptor that is open for reading only, or the kernel says it is busy.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    File::open(path).map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_and_a_copy_cannot_be_written() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: cloning a mount needs root");
            return;
        }
        let write = |file: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
            rustix::fs::open(path, OFlags::WRONLY, Mode::empty())
        };
        // While it is executed the kernel calls it busy first, so the mount is asked instead.
        let clone = rustix::fs::fstatvfs(read_only_clone().unwrap()).unwrap();
        assert!(clone.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
        let copy = sealed_copy().unwrap();
        let writable = write(&copy).and_then(|file| rustix::io::write(&file, b"x"));
        assert!(writable.is_err());
    }
}
