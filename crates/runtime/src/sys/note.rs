//! Memory that is a file's, in which the kernel notes the id of a process as it makes it (clone(2),
//! `CLONE_PARENT_SETTID`; mmap(2), `MAP_SHARED`).

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

/// What is in the file: three numbers, as the machine writes them.
#[repr(C)]
#[derive(Debug)]
struct Note {
    /// The process' id, which the kernel writes 32 bits of.
    pid: AtomicU64,
    /// Any two numbers beside it.
    numbers: [AtomicU64; 2],
}

/// A mapped note. What is stored in it is in the file at once and outlives this process.
#[derive(Debug)]
pub(crate) struct SharedNote(NonNull<Note>);

impl SharedNote {
    /// The file's length.
    pub(crate) const LENGTH: usize = size_of::<Note>();

    /// Maps a file that has been written to this length.
    pub(crate) fn map(file: &OwnedFd) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(
                Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM)
            );
        }
        let note = Self(NonNull::new(address.cast()).ok_or(Errno::NOMEM)?);
        // The new process must not have it. SAFETY: the mapping is this value's, of this length.
        let kept = unsafe { libc::madvise(address, Self::LENGTH, libc::MADV_DONTFORK) };
        super::check(kept.into()).map(|_| note)
    }

    /// Where the kernel is to write the process' id.
    pub(crate) fn pid_address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// Stores one of the two numbers.
    pub(crate) fn store(&self, index: usize, value: u64) {
        // SAFETY: the mapping lives as long as this value, is aligned to a page, and is only ever
        // accessed atomically.
        let note = unsafe { self.0.as_ref() };
        if let Some(number) = note.numbers.get(index) {
            number.store(value, Ordering::Release);
        }
    }
}

impl Drop for SharedNote {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and nothing refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), Self::LENGTH) };
    }
}
