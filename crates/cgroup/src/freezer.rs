//! Freezing and thawing (freezer-subsystem.rst; cgroup-v2.rst, "cgroup.freeze").

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::FreezerState;
use crate::cgroup::Cgroup;
use crate::directory::{Directory, is_absent};
use crate::error::{FileError, FreezeError};
use crate::hierarchy::HierarchyKind;

/// How long all processes may take to stop; one that waits for a dead disk does not stop.
const PATIENCE: Duration = Duration::from_secs(4);
/// After this long the v1 freezer is nudged: a process that forks while it is frozen can leave the
/// group in FREEZING for good.
const NUDGE: Duration = Duration::from_millis(40);

impl Cgroup {
    /// Stops every process and waits until all have stopped. When they do not, they are let go
    /// again and the call fails.
    pub fn freeze(&self) -> Result<(), FreezeError> {
        let directory = self.freezer()?;
        ask(directory, FreezerState::Frozen)?;
        let begin = Instant::now();
        let mut nudged = begin;
        let mut pause = Duration::from_micros(20);
        while state(directory)? != FreezerState::Frozen {
            if begin.elapsed() > PATIENCE {
                ask(directory, FreezerState::Thawed)?;
                return Err(timeout(directory, "frozen"));
            }
            if directory.kind != HierarchyKind::Unified && nudged.elapsed() > NUDGE {
                nudged = Instant::now();
                ask(directory, FreezerState::Thawed)?;
                sleep(Duration::from_millis(1));
                ask(directory, FreezerState::Frozen)?;
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets them run again.
    pub fn thaw(&self) -> Result<(), FreezeError> {
        let directory = self.freezer()?;
        ask(directory, FreezerState::Thawed)?;
        let begin = Instant::now();
        while state(directory)? == FreezerState::Frozen {
            if begin.elapsed() > PATIENCE {
                return Err(timeout(directory, "thawed"));
            }
            sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// Whether they are stopped. A group that is gone is thawed.
    pub fn freezer_state(&self) -> Result<FreezerState, FreezeError> {
        match state(self.freezer()?) {
            Ok(state) => Ok(state),
            Err(error) if is_absent(&error) => Ok(FreezerState::Thawed),
            Err(error) => Err(error.into()),
        }
    }

    /// The v1 controller, or else the v2 group.
    fn freezer(&self) -> Result<&Directory, FreezeError> {
        self.controller("freezer").or_else(|| self.unified()).ok_or(FreezeError::NoFreezer)
    }
}

fn ask(directory: &Directory, wanted: FreezerState) -> Result<(), FileError> {
    let frozen = wanted == FreezerState::Frozen;
    match directory.kind {
        HierarchyKind::Unified => directory.write("cgroup.freeze", if frozen { "1" } else { "0" }),
        _ => directory.write("freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
    }
}

pub(crate) fn state(directory: &Directory) -> Result<FreezerState, FileError> {
    if directory.kind != HierarchyKind::Unified {
        let text = directory.read("freezer.state")?;
        return match text.trim() {
            "THAWED" => Ok(FreezerState::Thawed),
            "FREEZING" => Ok(FreezerState::Freezing),
            "FROZEN" => Ok(FreezerState::Frozen),
            _ => Err(FileError::Content { path: directory.file("freezer.state"), text }),
        };
    }
    let frozen = directory
        .read("cgroup.events")?
        .lines()
        .any(|line| line.strip_prefix("frozen ").is_some_and(|v| v.trim() == "1"));
    if frozen {
        return Ok(FreezerState::Frozen);
    }
    let asked = directory.read("cgroup.freeze")?.trim() == "1";
    Ok(if asked { FreezerState::Freezing } else { FreezerState::Thawed })
}

fn timeout(directory: &Directory, wanted: &'static str) -> FreezeError {
    FreezeError::Timeout {
        path: directory.path.clone(),
        wanted,
        milliseconds: PATIENCE.as_millis() as u64,
    }
}
