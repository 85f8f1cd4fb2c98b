//! Processes named for good: by pid and start time (proc_pid_stat(5)).

use std::path::PathBuf;

use berth_image::bundle::DirectoryRoot;
use rustix::fs::{Mode, OFlags};

/// When a process began, in clock ticks since boot; `None` when there is no such process. A zombie
/// has ended and counts as none.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether the process that had this pid and start time lives. Without a start time any will do.
pub(crate) fn is_alive(pid: i32, started: Option<u64>) -> bool {
    match (start_time(pid), started) {
        (Some(now), Some(then)) => now == then,
        (now, None) => now.is_some(),
        (None, Some(_)) => false,
    }
}

/// The root directory of a process, as it sees it.
pub(crate) fn root(pid: i32) -> std::io::Result<DirectoryRoot> {
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&path, flags, Mode::empty())?;
    Ok(DirectoryRoot::from_fd(directory, &path))
}

/// This boot's id; without /proc a constant, and then no reboot is noticed.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_another_start_time_is_another_process() {
        let pid = std::process::id() as i32;
        let started = start_time(pid).unwrap();
        assert!(is_alive(pid, Some(started)));
        assert!(is_alive(pid, None));
        assert!(!is_alive(pid, Some(started + 1)));
        assert!(!is_alive(i32::MAX, None));
    }
}
