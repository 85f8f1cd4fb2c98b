//! The birth of a container's first process, noted so that no moment of it can be missed.
//!
//! Between the clone of a process and the next line of its maker the maker can be killed, and then
//! nobody would know of the process. So the kernel itself writes the process' id into a file of the
//! container's directory as part of the clone. The maker's word that the process is the
//! container's, its start time, follows. This module keeps the file; it makes and ends nothing.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

use crate::state::{Directory, StateFileError, failed, start_time};
use crate::sys::SharedNote;

/// The file.
pub(crate) const BIRTH: &str = "process";
/// Where the time at which the birth was expected is in the note.
const EXPECTED: usize = 0;
/// Where the start time is.
const STARTED: usize = 1;
/// Clock ticks a second, in which Linux gives start times on every architecture.
const TICKS: u64 = 100;
/// How many ticks after it was expected a birth is still believed to be that one: an id is not
/// given out again so soon.
const WINDOW: u64 = 10 * TICKS;

/// A birth that is awaited.
#[derive(Debug)]
pub(crate) struct Birth {
    note: SharedNote,
}

impl Birth {
    /// Begins to await one.
    pub(crate) fn expect(directory: &Directory) -> Result<Self, StateFileError> {
        let path = directory.file(BIRTH);
        let file: OwnedFd = directory.create_file(BIRTH)?.into();
        let mut bytes = [0u8; SharedNote::LENGTH];
        if let Some(expected) = bytes.get_mut(8..16) {
            expected.copy_from_slice(&now().to_ne_bytes());
        }
        rustix::io::write(&file, &bytes).map_err(|errno| failed("write", &path)(errno.into()))?;
        let note = SharedNote::map(&file).map_err(|errno| failed("map", &path)(errno.into()))?;
        Ok(Self { note })
    }

    /// What a clone notes the process' id in.
    pub(crate) fn note(&self) -> &SharedNote {
        &self.note
    }

    /// Says that the process that was born is the container's and when it started.
    pub(crate) fn confirm(&self, start_time: u64) {
        self.note.store(STARTED, start_time);
    }
}

/// What is known of the first process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Born {
    /// There never was one.
    #[default]
    No,
    /// There was one, of which its maker never heard.
    Unheard(Unheard),
    /// The container's.
    Confirmed {
        /// Its id.
        pid: i32,
        /// Its start time.
        start_time: u64,
    },
}

impl Born {
    /// What a file says.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = bytes.get(8 * at..)?.first_chunk()?;
            Some(u64::from_ne_bytes(*bytes))
        };
        let pid = bytes.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        match (pid, number(1 + EXPECTED), number(1 + STARTED)) {
            (1.., Some(expected), Some(0)) => Self::Unheard(Unheard { pid, expected }),
            (1.., Some(_), Some(start_time)) => Self::Confirmed { pid, start_time },
            _ => Self::No,
        }
    }
}

/// A process whose maker was killed before it heard of its birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unheard {
    pid: i32,
    expected: u64,
}

impl Unheard {
    /// A pidfd of it, if it lives and is not another one of the same id.
    pub(crate) fn pidfd(self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        let started = start_time(self.pid)?;
        (self.expected..=self.expected + WINDOW).contains(&started).then_some(pidfd)
    }
}

/// The time, as start times are given.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned() * TICKS + now.tv_nsec.cast_unsigned() / (1_000_000_000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pid: i32, expected: u64, started: u64) -> Vec<u8> {
        let pid = u64::from(pid.cast_unsigned());
        [pid, expected, started].iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    #[test]
    fn a_birth_is_heard_of_or_not() {
        assert_eq!(Born::parse(&[]), Born::No);
        assert_eq!(Born::parse(&bytes(0, 7, 0)), Born::No);
        let unheard = Unheard { pid: 5, expected: 7 };
        assert_eq!(Born::parse(&bytes(5, 7, 0)), Born::Unheard(unheard));
        assert_eq!(Born::parse(&bytes(5, 7, 8)), Born::Confirmed { pid: 5, start_time: 8 });
    }

    #[test]
    fn a_process_of_another_time_is_not_the_one_that_was_expected() {
        let pid = std::process::id() as i32;
        let started = start_time(pid).unwrap();
        assert!(now() >= started);
        assert!(Unheard { pid, expected: started }.pidfd().is_some());
        assert!(Unheard { pid, expected: started.saturating_sub(WINDOW / 2) }.pidfd().is_some());
        assert!(Unheard { pid, expected: started + 1 }.pidfd().is_none());
        assert!(Unheard { pid, expected: started.saturating_sub(WINDOW + 1) }.pidfd().is_none());
    }
}
