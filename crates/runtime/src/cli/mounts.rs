//! `mounts add` and `mounts remove`.

use std::path::Path;

use berth_runtime::{ContainerId, MountChange, Runtime, config};

use super::log::Fault;

/// `mounts`.
pub(crate) fn change(
    runtime: &Runtime,
    id: &ContainerId,
    change: MountChange,
    file: &Path,
) -> Result<(), Fault> {
    let mounts = config::load_mounts(file)
        .map_err(|error| Fault::new(berth_runtime::error::chain(&error)))?;
    Ok(runtime.change_mounts(id, change, &mounts)?)
}
