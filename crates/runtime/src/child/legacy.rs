//! Mounting by mount(2), at what `/proc/self/fd` leads to: attributes and propagation for kernels
//! before 5.12, which have no `mount_setattr`, and file systems with options that fsconfig(2) does
//! not take.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};

use crate::plan::mounts::ClassicMount;
use crate::plan::options::{
    ATTRIBUTE_ATIME, ATTRIBUTE_NOATIME, ATTRIBUTE_NODEV, ATTRIBUTE_NODIRATIME, ATTRIBUTE_NOEXEC,
    ATTRIBUTE_NOSUID, ATTRIBUTE_RDONLY, ATTRIBUTE_STRICTATIME,
};
use crate::sys::{MountAttributes, Reach};

const TABLE: &[(u64, StatVfsMountFlags, MountFlags)] = &[
    (ATTRIBUTE_RDONLY, StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
    (ATTRIBUTE_NOSUID, StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
    (ATTRIBUTE_NODEV, StatVfsMountFlags::NODEV, MountFlags::NODEV),
    (ATTRIBUTE_NOEXEC, StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    (ATTRIBUTE_NODIRATIME, StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
];

/// Changes the attributes and the propagation of an attached mount, of which `mount` is the root.
pub(super) fn set(mount: impl AsFd, reach: Reach, wanted: &MountAttributes) -> Result<(), Errno> {
    let mut buffer = [0u8; 32];
    let path = path(mount.as_fd().as_raw_fd(), &mut buffer);
    if wanted.set != 0 || wanted.clear != 0 {
        if reach == Reach::Tree {
            // mount(2) has no way to do that.
            return Err(Errno::NOSYS);
        }
        mount_remount(path, flags(mount, wanted)? | MountFlags::BIND, c"")?;
    }
    if wanted.propagation != 0 {
        let mut kind = MountPropagationFlags::from_bits_retain(wanted.propagation as u32);
        if reach == Reach::Tree {
            kind |= MountPropagationFlags::REC;
        }
        mount_change(path, kind)?;
    }
    Ok(())
}

/// Mounts a new file system over what `target` is.
pub(super) fn mount(
    name: &CStr,
    classic: &ClassicMount,
    target: &OwnedFd,
    attributes: u64,
) -> Result<(), Errno> {
    let mut flags = MountFlags::from_bits_retain(classic.flags as u32);
    for &(attribute, _, flag) in TABLE {
        flags.set(flag, flags.contains(flag) || attributes & attribute != 0);
    }
    let mut buffer = [0u8; 32];
    let path = path(target.as_raw_fd(), &mut buffer);
    rustix::mount::mount(&classic.source, path, name, flags, classic.data.as_c_str())
}

/// The flags that the mount has, with what is wanted changed.
fn flags(mount: impl AsFd, wanted: &MountAttributes) -> Result<MountFlags, Errno> {
    let now = rustix::fs::fstatvfs(mount)?.f_flag;
    let mut flags = MountFlags::empty();
    for &(attribute, shown, flag) in TABLE {
        let kept = now.contains(shown) && wanted.clear & attribute == 0;
        flags.set(flag, kept || wanted.set & attribute != 0);
    }
    let known = TABLE.iter().fold(ATTRIBUTE_ATIME, |all, (attribute, ..)| all | attribute);
    if wanted.set & !known != 0 {
        return Err(Errno::NOSYS);
    }
    if wanted.clear & ATTRIBUTE_ATIME == 0 {
        flags.set(MountFlags::NOATIME, now.contains(StatVfsMountFlags::NOATIME));
        flags.set(MountFlags::RELATIME, now.contains(StatVfsMountFlags::RELATIME));
    } else {
        flags |= match wanted.set & ATTRIBUTE_ATIME {
            ATTRIBUTE_NOATIME => MountFlags::NOATIME,
            ATTRIBUTE_STRICTATIME => MountFlags::STRICTATIME,
            _ => MountFlags::RELATIME,
        };
    }
    Ok(flags)
}

/// The path by which a descriptor can be named.
pub(crate) fn path(descriptor: i32, buffer: &mut [u8; 32]) -> &CStr {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    buffer[..PREFIX.len()].copy_from_slice(PREFIX);
    let mut digits = [0u8; 10];
    let mut rest = descriptor.max(0) as u32;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = &digits[at..];
    buffer[PREFIX.len()..PREFIX.len() + digits.len()].copy_from_slice(digits);
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_has_a_path() {
        for (number, text) in [(0, c"/proc/self/fd/0"), (1_234_567, c"/proc/self/fd/1234567")] {
            assert_eq!(path(number, &mut [0; 32]), text);
        }
    }
}
