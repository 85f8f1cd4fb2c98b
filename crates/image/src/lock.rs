//! Locks between processes (flock(2)): the kernel lets go of them when a process dies.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{self as sys, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// A held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: OwnedFd,
}

/// With whom a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// With others that share.
    Shared,
    /// With nobody.
    Exclusive,
}

impl Lock {
    /// Waits for the lock on the file `name`, which is made when it is not there.
    pub(crate) fn take(at: impl AsFd, name: &str, sharing: Sharing) -> rustix::io::Result<Self> {
        let file = open(at, name)?;
        let operation = match sharing {
            Sharing::Shared => FlockOperation::LockShared,
            Sharing::Exclusive => FlockOperation::LockExclusive,
        };
        while let Err(error) = sys::flock(&file, operation) {
            if error != Errno::INTR {
                return Err(error);
            }
        }
        Ok(Self { _file: file })
    }

    /// Waits for the lock for some time only; `None` when others had it all that time.
    pub(crate) fn take_within(
        at: impl AsFd,
        name: &str,
        patience: Duration,
    ) -> rustix::io::Result<Option<Self>> {
        let file = open(at, name)?;
        let until = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        loop {
            match try_exclusive(&file) {
                Ok(true) => return Ok(Some(Self { _file: file })),
                Ok(false) if Instant::now() >= until => return Ok(None),
                Ok(false) => std::thread::sleep(pause),
                Err(error) => return Err(error),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Locks an open file or directory against everybody, without waiting.
pub(crate) fn try_exclusive(file: impl AsFd) -> rustix::io::Result<bool> {
    loop {
        match sys::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn open(at: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys::openat(at, name, flags, Mode::RUSR | Mode::WUSR)
}
