//! Waiting for files to change: inotify, with a look now and then in case it says nothing.

use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::net::unix::pipe::Receiver;

/// How long a change may go unnoticed where inotify fails (too many watches, another file system).
const LONGEST: Duration = Duration::from_millis(250);

/// Watches some paths.
#[derive(Debug)]
pub(crate) struct Watch {
    /// An inotify descriptor, which is read like a pipe.
    descriptor: Option<Receiver>,
}

impl Watch {
    /// Watches paths, as far as they are there.
    pub(crate) fn new(paths: &[&Path]) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let descriptor = inotify::init(flags).ok().and_then(|descriptor| {
            let events = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::DELETE_SELF
                | inotify::WatchFlags::MOVE_SELF;
            for path in paths {
                // What cannot be watched is looked at now and then.
                let _ = inotify::add_watch(&descriptor, *path, events);
            }
            Receiver::from_owned_fd_unchecked(descriptor).ok()
        });
        Self { descriptor }
    }

    /// Returns after a change, or after a while without one.
    pub(crate) async fn changed(&self) {
        let readable = async {
            let Some(descriptor) = &self.descriptor else {
                return std::future::pending::<()>().await;
            };
            if descriptor.readable().await.is_ok() {
                let mut buffer = [0u8; 4096];
                // The events themselves do not matter; everything is looked at anew.
                while descriptor.try_read(&mut buffer).is_ok_and(|length| length > 0) {}
            }
        };
        let _ = tokio::time::timeout(LONGEST, readable).await;
    }
}
