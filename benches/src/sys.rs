//! The one system call here without a safe wrapper.

use rustix::thread::UnshareFlags;

/// Gives this process mounts of its own.
pub fn unshare_mounts() -> rustix::io::Result<()> {
    // SAFETY: the process has one thread, and nothing else of it is changed.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
}
