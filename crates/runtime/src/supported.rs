//! What of the specification is understood here, by name, for `features`.

use crate::plan::{capabilities, options, process};

/// Every mount option.
pub fn mount_options() -> Vec<String> {
    options::names()
}

/// Every capability.
pub fn capabilities() -> Vec<String> {
    capabilities::NAMES.iter().map(|&name| name.to_owned()).collect()
}

/// Every mode of the NUMA memory policy.
pub fn memory_policy_modes() -> Vec<String> {
    process::MEMORY_MODES.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Every flag of the NUMA memory policy.
pub fn memory_policy_flags() -> Vec<String> {
    process::MEMORY_FLAGS.iter().map(|(name, _)| (*name).to_owned()).collect()
}
