//! Scratch directories: where everything is made before it is renamed to its place.
//!
//! Each is locked as long as the process that made it lives, so that what a killed process left
//! behind can be told from what another one is working on, and swept.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self as sys, Mode};
use rustix::io::Errno;

use crate::at;
use crate::error::{During as _, FileError};
use crate::lock;

/// What the names of this crate's scratch directories begin with: others use the place too.
const PREFIX: &[u8] = b"image-";

/// A directory of this process's own; removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    parent: OwnedFd,
    name: Vec<u8>,
    path: PathBuf,
    directory: OwnedFd,
    next: AtomicU64,
}

impl Scratch {
    /// Makes one in `parent`, which is at `path`.
    pub(crate) fn create(parent: &OwnedFd, path: &Path) -> Result<Self, FileError> {
        const ACTION: &str = "make a scratch directory in";
        let parent = parent.try_clone().during(ACTION, path)?;
        loop {
            let random = at::random().during(ACTION, path)?;
            let name = format!("image-{}-{random:016x}", std::process::id());
            sys::mkdirat(&parent, name.as_str(), Mode::RWXU).during(ACTION, path)?;
            let directory = match at::open_directory(&parent, name.as_bytes()) {
                // A sweeper saw it before it was locked.
                Err(Errno::NOENT) => continue,
                result => result.during(ACTION, path)?,
            };
            if !lock::try_exclusive(&directory).during(ACTION, path)?
                || sys::fstat(&directory).during(ACTION, path)?.st_nlink == 0
            {
                continue;
            }
            // A set-group-ID bit from above would spread to everything that is made below.
            sys::fchmod(&directory, Mode::RWXU).during(ACTION, path)?;
            return Ok(Self {
                parent,
                path: path.join(&name),
                name: name.into_bytes(),
                directory,
                next: AtomicU64::new(0),
            });
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A name that is not used in here yet.
    pub(crate) fn fresh(&self, what: &str) -> String {
        format!("{what}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Moves something here and removes it.
    pub(crate) fn discard(&self, at: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
        let moved = self.fresh("discarded");
        match sys::renameat(at, name, &self.directory, moved.as_str()) {
            Ok(()) => at::remove_tree(&self.directory, moved.as_bytes()),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Scratch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = at::remove_tree(&self.parent, &self.name) {
            tracing::warn!(path = %self.path.display(), %error, "scratch directory left behind");
        }
    }
}

/// Removes what killed processes left in `parent`. Failures are left to the next sweep.
pub(crate) fn sweep(parent: &OwnedFd) -> rustix::io::Result<()> {
    for (name, _) in at::list(parent)? {
        if !name.starts_with(PREFIX) {
            continue;
        }
        let Ok(directory) = at::open_directory(parent, &name) else { continue };
        if matches!(lock::try_exclusive(&directory), Ok(true))
            && let Err(error) = at::remove_tree(parent, &name)
        {
            tracing::debug!(name = %String::from_utf8_lossy(&name), %error, "not swept");
        }
    }
    Ok(())
}
