//! One lock a container: whoever changes a container's state across several steps holds it, in
//! whatever process. Reading takes none.
//!
//! It is `flock` on a file on tmpfs: the kernel lets go of it when its holder dies.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::FileError;

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub(crate) struct ContainerLock {
    _file: File,
    path: PathBuf,
}

/// Whether to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

impl ContainerLock {
    /// Takes the lock; `None` when somebody has it and waiting is not wanted.
    pub(crate) fn take(locks: &Path, id: &str, wait: Wait) -> Result<Option<Self>, FileError> {
        let path = locks.join(id);
        let operation = match wait {
            Wait::Yes => FlockOperation::LockExclusive,
            Wait::No => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(FileError::new("open the lock", &path))?;
            match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if wait == Wait::No => return Ok(None),
                Err(errno) => return Err(FileError::new("take the lock", &path)(errno)),
            }
            // Its last holder may have removed the file with the container: then it locks nobody
            // else out any more.
            let metadata = file.metadata().map_err(FileError::new("look at the lock", &path))?;
            if metadata.nlink() > 0 {
                return Ok(Some(Self { _file: file, path }));
            }
        }
    }

    /// Lets go of it for good: the container is gone.
    pub(crate) fn discard(self) {
        // What stays behind is an empty file on tmpfs that `system prune` takes.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_locks_out_others_until_it_is_dropped() {
        let scratch = tempfile::tempdir().unwrap();
        let held = ContainerLock::take(scratch.path(), "a", Wait::No).unwrap().unwrap();
        assert!(ContainerLock::take(scratch.path(), "a", Wait::No).unwrap().is_none());
        assert!(ContainerLock::take(scratch.path(), "b", Wait::No).unwrap().is_some());
        drop(held);
        assert!(ContainerLock::take(scratch.path(), "a", Wait::No).unwrap().is_some());
    }

    #[test]
    fn a_waiter_on_a_discarded_lock_takes_the_new_one() {
        let scratch = tempfile::tempdir().unwrap();
        let held = ContainerLock::take(scratch.path(), "a", Wait::Yes).unwrap().unwrap();
        let path = scratch.path().to_owned();
        let waiter = std::thread::spawn(move || {
            ContainerLock::take(&path, "a", Wait::Yes).unwrap().unwrap()
        });
        std::thread::sleep(std::time::Duration::from_millis(30));
        held.discard();
        let _second = waiter.join().unwrap();
        assert!(ContainerLock::take(scratch.path(), "a", Wait::No).unwrap().is_none());
    }
}
