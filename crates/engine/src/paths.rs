//! Where everything is, below the root (persistent) and the runroot (tmpfs).

use std::path::{Path, PathBuf};

use crate::error::FileError;

/// The directories.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) root: PathBuf,
    pub(crate) runroot: PathBuf,
}

impl Paths {
    /// Makes the directories that must be there.
    pub(crate) fn make(&self) -> Result<(), FileError> {
        for directory in
            [self.root.clone(), self.root.join("containers"), self.root.join("volumes")]
        {
            make_private(&directory)?;
        }
        for name in ["containers", "locks", "runtime"] {
            make_private(&self.runroot.join(name))?;
        }
        Ok(())
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("berth.db")
    }

    /// A container's persistent directory: writable layer and log.
    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    /// All of those.
    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// A container's log.
    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.container(id).join("container.log")
    }

    /// A container's run directory: bundle, and the monitor's files.
    pub(crate) fn run(&self, id: &str) -> PathBuf {
        self.runroot.join("containers").join(id)
    }

    /// All of those.
    pub(crate) fn runs(&self) -> PathBuf {
        self.runroot.join("containers")
    }

    /// The files that serialize changes of a container.
    pub(crate) fn locks(&self) -> PathBuf {
        self.runroot.join("locks")
    }

    /// The state directory of our own runtime.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.runroot.join("runtime")
    }

    /// All volumes.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// What happened to containers, in this boot.
    pub(crate) fn events(&self) -> PathBuf {
        self.runroot.join("events")
    }

    /// The built-in init program, written out.
    pub(crate) fn init(&self) -> PathBuf {
        self.runroot.join("init")
    }
}

/// Makes a directory, and those above it, for its owner alone (others may pass through); nothing
/// happens when it is there.
pub(crate) fn make_private(directory: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(directory)
        .map_err(FileError::new("make the directory", directory))
}

/// Removes a directory and all below it; nothing happens when it is gone.
pub(crate) fn remove_all(directory: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::new("remove the directory", directory)(error)),
    }
}
