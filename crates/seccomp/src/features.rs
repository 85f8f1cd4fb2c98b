//! What of the specification is known here, and what this kernel takes (features.md, "seccomp").

use berth_spec::features::SeccompFeatures;
use berth_spec::runtime::{SeccompAction, SeccompOperator};

use crate::architecture::{Architecture, FOREIGN};
use crate::filter::Flags;
use crate::sys;

/// The `seccomp` object of the runtime's features document.
pub fn features() -> SeccompFeatures {
    let owned = |word: &str| word.to_owned();
    SeccompFeatures {
        enabled: true,
        actions: SeccompAction::ALL.iter().map(|action| owned(action.as_str())).collect(),
        operators: SeccompOperator::ALL.iter().map(|operator| owned(operator.as_str())).collect(),
        archs: Architecture::ALL
            .iter()
            .map(|known| known.as_str())
            .chain(FOREIGN.iter().copied())
            .map(owned)
            .collect(),
        known_flags: Flags::KNOWN.iter().map(|(name, _)| owned(name)).collect(),
        supported_flags: Flags::KNOWN
            .iter()
            .filter(|(_, flag)| is_supported(*flag))
            .map(|(name, _)| owned(name))
            .collect(),
    }
}

/// Whether this kernel takes the flag.
fn is_supported(flag: Flags) -> bool {
    let flags = match flag {
        // Is only taken together with a listener.
        Flags::WAIT_KILLABLE_RECV => flag.with(Flags::NEW_LISTENER),
        _ => flag,
    };
    sys::knows_flags(flags.0)
}
