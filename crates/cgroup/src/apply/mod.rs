//! Limits: from the specification's resources (config-linux.md, "Control groups") to the kernel's
//! files.
//!
//! Zero, where it can only mean "not set" (a memory limit, CPU shares, a weight), sets nothing, as
//! with every other runtime: callers that have no pointers send it.

mod convert;
mod device_program;
mod devices;
mod hugetlb;
mod set;
mod v1;
mod v2;

pub(crate) use convert::{blkio_to_io_weight, shares_to_weight, tasks};
pub(crate) use device_program::Instruction;
pub(crate) use devices::{NodeType, Rule, letters, rules};
pub(crate) use v2::swap_value;

use berth_spec::runtime::LinuxResources;

use crate::FreezerState;
use crate::cgroup::Cgroup;
use crate::error::{ApplyError, FreezeError};
use crate::hierarchy::Layout;

impl Cgroup {
    /// Applies limits. Only what is present is touched, so that the same call serves for updates.
    ///
    /// A device list is complete in itself: it starts from "deny everything", and the devices
    /// that the specification gives every container are allowed after it
    /// ([`berth_spec::runtime::default_device_rules`]). An empty one changes nothing.
    pub fn apply(&self, resources: &LinuxResources) -> Result<(), ApplyError> {
        let Some(unit) = &self.unit else { return self.apply_to_files(resources) };
        if self.postpone(resources)? {
            return Ok(());
        }
        // With v1 systemd denies every device before it allows some again.
        let freeze = self.layout != Layout::V2
            && !resources.devices.is_empty()
            && self.freezer_state().is_ok_and(|state| state == FreezerState::Thawed)
            && self.freeze().is_ok();
        let applied =
            unit.limit(self.context(), resources).and_then(|()| self.apply_to_files(resources));
        if freeze && let Err(FreezeError::File(source)) = self.thaw() {
            return applied.and(Err(ApplyError::File { field: "devices".to_owned(), source }));
        }
        applied
    }

    /// The same, past systemd.
    pub(crate) fn apply_to_files(&self, resources: &LinuxResources) -> Result<(), ApplyError> {
        match self.layout {
            Layout::V2 => v2::apply(self, resources)?,
            Layout::V1 | Layout::Hybrid => v1::apply(self, resources)?,
        }
        self.fresh.set(false);
        Ok(())
    }
}
