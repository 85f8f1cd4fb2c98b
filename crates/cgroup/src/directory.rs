//! One directory of a hierarchy and the files in it.

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::error::FileError;
use crate::hierarchy::HierarchyKind;

/// The container's directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) kind: HierarchyKind,
    pub(crate) path: PathBuf,
    fd: OnceCell<OwnedFd>,
}

impl Directory {
    pub(crate) fn new(kind: HierarchyKind, path: PathBuf) -> Self {
        Self { kind, path, fd: OnceCell::new() }
    }

    /// The directory's descriptor, opened when first needed.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, FileError> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_fd());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(|e| FileError::Open { path: self.path.clone(), source: e.into() })?;
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, FileError> {
        let flags = flags | OFlags::CLOEXEC;
        // One walk down the path costs less than opening the directory for a file or two.
        let opened = match self.fd.get() {
            Some(dir) => retry(|| openat(dir, name, flags, Mode::empty())),
            None => retry(|| rustix::fs::open(self.file(name), flags, Mode::empty())),
        };
        opened.map_err(|source| FileError::Open { path: self.file(name), source })
    }

    /// Writes a value to a file that must exist, in one call.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<(), FileError> {
        let file = self.open(name, OFlags::WRONLY)?;
        self.write_to(&file, name, value)
    }

    /// Writes to a file opened before; `name` is for the error.
    pub(crate) fn write_to(
        &self,
        file: &OwnedFd,
        name: &str,
        value: &str,
    ) -> Result<(), FileError> {
        match retry(|| rustix::io::write(file, value.as_bytes())) {
            Ok(_) => Ok(()),
            Err(source) => {
                Err(FileError::Write { path: self.file(name), value: value.to_owned(), source })
            }
        }
    }

    /// Reads a whole file.
    pub(crate) fn read(&self, name: &str) -> Result<String, FileError> {
        let file = self.open(name, OFlags::RDONLY)?;
        read_all(&file).map_err(|source| FileError::Read { path: self.file(name), source })
    }

    /// Reads a file that not every kernel or configuration has.
    pub(crate) fn read_optional(&self, name: &str) -> Result<Option<String>, FileError> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether the file is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::access(self.file(name), rustix::fs::Access::EXISTS).is_ok()
    }

    /// Every process here and below. A group that is gone has none.
    pub(crate) fn processes(&self) -> Result<Vec<i32>, FileError> {
        let mut found = Vec::new();
        collect(&self.path, &mut found)?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// The file, its controller or the whole group is not there.
pub(crate) fn is_absent(error: &FileError) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP))
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    rustix::io::retry_on_intr(&mut call).map_err(io::Error::from)
}

/// Reads to the end, from the start.
pub(crate) fn read_all(file: &OwnedFd) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(4096);
    let mut chunk = [0_u8; 4096];
    loop {
        let n = match rustix::io::read(file, &mut chunk) {
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        bytes.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if n == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

fn collect(path: &Path, found: &mut Vec<i32>) -> Result<(), FileError> {
    let procs = path.join("cgroup.procs");
    let text = match std::fs::read_to_string(&procs) {
        Ok(text) => text,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        // A threaded group of version 2 lists its processes in its domain alone.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            found.extend(threads_processes(path));
            String::new()
        }
        Err(source) => return Err(FileError::Read { path: procs, source }),
    };
    // Processes of other PID namespaces read as 0.
    found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|&pid| pid > 0));
    for child in children(path) {
        collect(&child, found)?;
    }
    Ok(())
}

/// The processes that the threads of a threaded group belong to.
#[cold]
fn threads_processes(path: &Path) -> Vec<i32> {
    let threads = std::fs::read_to_string(path.join("cgroup.threads")).unwrap_or_default();
    let process = |thread: &str| {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
        status.lines().find_map(|l| l.strip_prefix("Tgid:")?.trim().parse().ok())
    };
    threads.lines().filter_map(process).collect()
}

/// The groups directly below.
pub(crate) fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}
