//! Replacing the programs of running monitors by the one that is installed now.
//!
//! A monitor executes the new program in place: its pid, its children, its log and its clients stay.
//! The new program is asked before whether it can take over, so a refusal changes nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use berth_monitor::protocol::{Reply, Request};

use crate::core::Core;
use crate::error::{FileError, MigrateError, MonitorError};
use crate::view::{MigratedMonitor, MonitorChange};

impl Core {
    /// Replaces the program of one container's monitor. `None` when no monitor runs for it.
    pub(crate) fn migrate(&self, word: &str) -> Result<Option<MigratedMonitor>, MigrateError> {
        let (record, observed) = self.settled::<MigrateError>(word)?;
        let id = record.id.as_str();
        if observed.state.monitor_pid.is_none() {
            return Ok(None);
        }
        let program = std::fs::canonicalize(self.monitor_program()?)
            .map_err(FileError::new("find", self.monitor_program()?))?;
        let mut monitor = match self.monitor(id) {
            Ok(monitor) => monitor,
            // It has ended between the two looks.
            Err(MonitorError::Connect {
                source: berth_monitor::client::ConnectError::NotRunning { .. },
                ..
            }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let before = ask(&mut monitor, id)?;
        let pid = monitor.monitor_pid().unwrap_or_default();
        let change = if runs(pid, &program)? {
            MonitorChange::None
        } else {
            monitor
                .request(&Request::Replace { binary: program })
                .map_err(MonitorError::request("replace the monitor of", id))?;
            MonitorChange::Replaced { before, after: ask(&mut monitor, id)? }
        };
        Ok(Some(MigratedMonitor { id: record.id, name: record.name, pid, change }))
    }
}

/// The version of a monitor's program.
fn ask(monitor: &mut berth_monitor::client::Connection, id: &str) -> Result<String, MonitorError> {
    let reply = monitor.request(&Request::Status).map_err(MonitorError::request("ask", id))?;
    match reply {
        Reply::Status { program, .. } => Ok(program),
        _ => Err(MonitorError::Lost { action: "answer", id: id.to_owned(), source: None }),
    }
}

/// Whether a process executes this very file.
fn runs(pid: i32, program: &Path) -> Result<bool, FileError> {
    let look = |path: &Path| std::fs::metadata(path).map_err(FileError::new("look at", path));
    let wanted = look(program)?;
    let running = look(Path::new(&format!("/proc/{pid}/exe")))?;
    Ok((wanted.dev(), wanted.ino()) == (running.dev(), running.ino()))
}
