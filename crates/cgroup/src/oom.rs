//! Out-of-memory kills: counted, and waited for (memory.rst, "OOM Control"; cgroup-v2.rst,
//! "memory.events").

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, inotify};

use crate::cgroup::Cgroup;
use crate::directory::{Directory, read_all};
use crate::error::OomError;
use crate::hierarchy::HierarchyKind;

/// Tells of out-of-memory kills: its descriptor is readable when something happened.
#[derive(Debug)]
pub struct OomWatch {
    /// v1: an eventfd; v2: an inotify instance.
    notifications: OwnedFd,
    /// The file with the count; reading fails once the group is gone.
    counter: OwnedFd,
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notifications.as_fd()
    }
}

impl OomWatch {
    /// Takes the notification, so that the descriptor is not readable any more, and returns how
    /// many processes the kernel has killed in the group so far. `None` when the group is gone,
    /// which is a notification too.
    pub fn acknowledge(&self) -> Result<Option<u64>, OomError> {
        let mut buffer = [0_u8; 1024];
        match rustix::io::read(&self.notifications, &mut buffer) {
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(e) => return Err(descriptor("read", e)),
        }
        if rustix::fs::seek(&self.counter, rustix::fs::SeekFrom::Start(0)).is_err() {
            return Ok(None);
        }
        Ok(read_all(&self.counter).ok().and_then(|text| kills(&text)))
    }
}

impl Cgroup {
    /// How many processes the kernel has killed because memory ran out; `None` without a memory
    /// controller or when the group is gone.
    pub fn oom_kill_count(&self) -> Option<u64> {
        let (directory, file) = self.oom_file()?;
        kills(&directory.read(file).ok()?)
    }

    /// Begins to watch.
    pub fn oom_watch(&self) -> Result<OomWatch, OomError> {
        let (directory, file) = self.oom_file().ok_or(OomError::NoMemoryController)?;
        let counter = directory.open(file, OFlags::RDONLY)?;
        let notifications = if directory.kind == HierarchyKind::Unified {
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let notify = inotify::init(flags).map_err(|e| descriptor("create", e))?;
            inotify::add_watch(&notify, directory.file(file), inotify::WatchFlags::MODIFY)
                .map_err(|e| descriptor("set up", e))?;
            notify
        } else {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|e| descriptor("create", e))?;
            let line = format!("{} {}", event.as_raw_fd(), counter.as_raw_fd());
            directory.write("cgroup.event_control", &line)?;
            event
        };
        Ok(OomWatch { notifications, counter })
    }

    fn oom_file(&self) -> Option<(&Directory, &'static str)> {
        self.controller("memory").map(|d| (d, "memory.oom_control")).or_else(|| {
            self.unified().filter(|d| d.has("memory.events")).map(|d| (d, "memory.events"))
        })
    }
}

fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok())
}

fn descriptor(action: &'static str, error: rustix::io::Errno) -> OomError {
    OomError::Descriptor { action, source: io::Error::from(error) }
}
