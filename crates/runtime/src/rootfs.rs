//! A root file system as a detached mount (`rootfs.json`, [`berth_spec::rootfs`]): it appears in no
//! mount table before somebody attaches it, and is gone when its descriptor is closed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use berth_spec::rootfs::{OverlayMount, RootfsMount};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree,
};

/// Mounting or attaching a root file system.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// A directory of it.
    #[error("cannot open the root file system's directory {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// There is no layer.
    #[error("the root file system has no lower directory")]
    NoLayers,
    /// An option that the file system did not take.
    #[error("overlay did not take {option}{}", message_suffix(message))]
    Option {
        /// The option and its value.
        option: String,
        /// What the kernel had to say.
        message: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The mount itself.
    #[error("cannot mount the root file system{}", message_suffix(message))]
    Mount {
        /// What the kernel had to say.
        message: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Attaching it.
    #[error("cannot attach the root file system at {}", path.display())]
    Attach {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl RootfsError {
    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        let source = match self {
            Self::NoLayers => return Some("an image needs at least one layer"),
            Self::Open { source, .. }
            | Self::Option { source, .. }
            | Self::Mount { source, .. }
            | Self::Attach { source, .. } => source,
        };
        match source.raw_os_error() {
            Some(libc::ENODEV) => {
                Some("this kernel has no overlay file system: use the copy driver")
            }
            Some(libc::EPERM) => Some("root or a user namespace is needed"),
            _ => None,
        }
    }
}

fn message_suffix(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Mounts it without attaching it anywhere.
pub fn mount_detached(rootfs: &RootfsMount) -> Result<OwnedFd, RootfsError> {
    match rootfs {
        RootfsMount::Overlay(overlay) => mount_overlay(overlay),
        RootfsMount::Directory { path } => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            open_tree(CWD, path, flags)
                .map_err(|errno| RootfsError::Open { path: path.clone(), source: errno.into() })
        }
    }
}

/// Attaches a detached mount over a directory.
pub fn attach(mount: impl AsFd, directory: &Path) -> Result<(), RootfsError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", CWD, directory, flags)
        .map_err(|errno| RootfsError::Attach { path: directory.to_owned(), source: errno.into() })
}

fn open_directory(path: &Path) -> Result<OwnedFd, RootfsError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| RootfsError::Open { path: path.to_owned(), source: errno.into() })
}

fn mount_overlay(overlay: &OverlayMount) -> Result<OwnedFd, RootfsError> {
    if overlay.lower.is_empty() {
        return Err(RootfsError::NoLayers);
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| RootfsError::Mount { message: String::new(), source: errno.into() })?;
    set_layers(context.as_fd(), &overlay.lower)?;
    if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
        set_string(context.as_fd(), "upperdir", upper.as_os_str())?;
        set_string(context.as_fd(), "workdir", work.as_os_str())?;
    }
    for option in &overlay.options {
        match option.split_once('=') {
            Some((key, value)) => set_string(context.as_fd(), key, OsStr::new(value))?,
            None => fsconfig_set_flag(&context, option.as_str())
                .map_err(|errno| refused(context.as_fd(), option.clone(), errno))?,
        }
    }
    let failed = |errno: Errno| RootfsError::Mount {
        message: kernel_message(context.as_fd()),
        source: errno.into(),
    };
    fsconfig_create(&context).map_err(failed)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(failed)
}

/// Gives the lower directories, topmost first: one by one by descriptor (Linux 6.13) or by path
/// (6.5), and before that in one string, in which `:` and `\` must be escaped.
fn set_layers(context: BorrowedFd<'_>, lower: &[PathBuf]) -> Result<(), RootfsError> {
    for (index, path) in lower.iter().enumerate() {
        let directory = open_directory(path)?;
        let by_descriptor = fsconfig_set_fd(context, "lowerdir+", &directory);
        let result = match by_descriptor {
            Err(Errno::INVAL | Errno::BADF) => {
                fsconfig_set_string(context, "lowerdir+", path.as_path())
            }
            result => result,
        };
        match result {
            Ok(()) => {}
            Err(Errno::INVAL) if index == 0 => {
                return set_string(context, "lowerdir", OsStr::from_bytes(&joined(lower)));
            }
            Err(errno) => {
                return Err(refused(context, format!("lowerdir+={}", path.display()), errno));
            }
        }
    }
    Ok(())
}

fn joined(lower: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for path in lower {
        if !text.is_empty() {
            text.push(b':');
        }
        for &byte in path.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\' | b',') {
                text.push(b'\\');
            }
            text.push(byte);
        }
    }
    text
}

fn set_string(context: BorrowedFd<'_>, key: &str, value: &OsStr) -> Result<(), RootfsError> {
    fsconfig_set_string(context, key, value)
        .map_err(|errno| refused(context, format!("{key}={}", value.display()), errno))
}

fn refused(context: BorrowedFd<'_>, option: String, errno: Errno) -> RootfsError {
    RootfsError::Option { option, message: kernel_message(context), source: errno.into() }
}

/// The kernel's last words on a mount, such as `overlay: ...`.
fn kernel_message(context: BorrowedFd<'_>) -> String {
    let mut buffer = [0u8; 512];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) => {
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            text.trim_start_matches("e ").trim_end().to_owned()
        }
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn an_overlay_is_mounted_and_nowhere_to_be_seen() {
        if !is_root() {
            eprintln!("SKIPPED: mounting needs root");
            return;
        }
        let directory = tempfile::Builder::new().prefix("a:b,c\\d").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["one", "two", "upper", "work"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("one/file"), "one").unwrap();
        fs::write(path("two/file"), "two").unwrap();
        let rootfs = RootfsMount::Overlay(OverlayMount {
            lower: vec![path("one"), path("two")],
            upper: None,
            work: None,
            options: Vec::new(),
        });
        let mount = mount_detached(&rootfs).unwrap();
        let file = rustix::fs::openat(&mount, "file", OFlags::RDONLY, Mode::empty()).unwrap();
        let mut buffer = [0u8; 8];
        let length = rustix::io::read(&file, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"one");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(directory.path().file_name().unwrap().to_str().unwrap()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let rootfs = RootfsMount::Overlay(OverlayMount {
            lower: vec!["/nonexistent/layer".into()],
            upper: None,
            work: None,
            options: Vec::new(),
        });
        if !is_root() {
            eprintln!("SKIPPED: mounting needs root");
            return;
        }
        let message = mount_detached(&rootfs).unwrap_err().to_string();
        assert!(message.contains("/nonexistent/layer"), "{message}");
        let empty = OverlayMount { lower: vec![], upper: None, work: None, options: vec![] };
        let error = mount_detached(&RootfsMount::Overlay(empty)).unwrap_err();
        assert!(matches!(error, RootfsError::NoLayers));
    }

    #[test]
    fn separators_in_a_path_are_escaped() {
        let lower = [PathBuf::from("/a:b"), PathBuf::from("/c\\d")];
        assert_eq!(joined(&lower), b"/a\\:b:/c\\\\d");
    }
}
