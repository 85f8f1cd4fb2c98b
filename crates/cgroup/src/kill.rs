//! Signals for every process of a group.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::FreezerState;
use crate::cgroup::Cgroup;
use crate::directory::{Directory, is_absent};
use crate::error::KillError;

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Sends the signal to every process in the group and below, except the caller; none escapes
    /// by forking, since they are frozen meanwhile. SIGKILL also reaches frozen processes, and the
    /// call returns once the group has no (other) process left.
    pub fn kill_all(&self, signal: Signal) -> Result<(), KillError> {
        if signal == Signal::KILL { self.kill_for_good() } else { self.signal_once(signal) }
    }

    fn signal_once(&self, signal: Signal) -> Result<(), KillError> {
        if self.others()?.is_empty() {
            return Ok(());
        }
        let running = self.freezer_state().is_ok_and(|s| s == FreezerState::Thawed);
        // Without a freezer the signal is sent all the same; then a fork can escape it.
        let frozen = running && self.freeze().is_ok();
        let sent = self.others().and_then(|pids| send(&pids, signal));
        if frozen && let Err(crate::FreezeError::File(error)) = self.thaw() {
            return Err(error.into());
        }
        sent
    }

    fn kill_for_good(&self) -> Result<(), KillError> {
        let begin = Instant::now();
        let mut pause = Duration::from_micros(50);
        if let Some(directory) = self.unified() {
            kill_file(directory)?;
        }
        loop {
            let mut pids = self.others()?;
            let Some(&pid) = pids.first() else { return Ok(()) };
            if begin.elapsed() > PATIENCE {
                let path = self.process_directory().map(|d| d.path.clone()).unwrap_or_default();
                return Err(KillError::Survivors { path, pid });
            }
            // The first rounds go without freezing, which costs more than it gives against
            // processes that do not fork all the time.
            let frozen = begin.elapsed() > Duration::from_millis(20) && self.freeze().is_ok();
            if frozen {
                pids = self.others()?;
            }
            let sent = send(&pids, Signal::KILL);
            // A v1 freezer keeps even killed processes.
            let _ = self.thaw();
            sent?;
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    fn others(&self) -> Result<Vec<i32>, KillError> {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let mut pids = self.processes()?;
        pids.retain(|&pid| pid != own);
        Ok(pids)
    }
}

/// The kernel's own way (5.14): atomic, below too, whether frozen or not.
fn kill_file(directory: &Directory) -> Result<(), KillError> {
    match directory.write("cgroup.kill", "1") {
        Err(error) if !is_absent(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Signals each; one that is gone is no error.
fn send(pids: &[i32], signal: Signal) -> Result<(), KillError> {
    let mut first = Ok(());
    for &raw in pids {
        let Some(pid) = Pid::from_raw(raw) else { continue };
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) if first.is_ok() => {
                first = Err(KillError::Signal { pid: raw, source: io::Error::from(e) });
            }
            Err(_) => {}
        }
    }
    first
}
