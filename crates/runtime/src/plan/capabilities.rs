//! Capability names and sets (capabilities(7); config.md, "Linux Process").

use berth_spec::runtime::LinuxCapabilities;

use crate::sys;

/// Every capability by number.
pub(crate) use berth_spec::capability::NAMES;

/// CAP_SYS_ADMIN as a bit.
pub(crate) const SYS_ADMIN: u64 = 1 << 21;

/// The sets as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CapabilityPlan {
    /// The bounding set.
    pub bounding: u64,
    /// The effective set.
    pub effective: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// The ambient set.
    pub ambient: u64,
}

impl CapabilityPlan {
    /// Leaves out what this process does not have itself and so cannot grant.
    pub(crate) fn limit_to_own(&mut self, warnings: &mut Vec<String>) {
        let Ok(own) = sys::capabilities() else { return };
        let permitted = own.permitted;
        let missing = (self.permitted | self.effective | self.ambient) & !permitted;
        warn(missing, "cannot be granted: the runtime does not have it", warnings);
        self.permitted &= permitted;
        self.effective &= permitted;
        self.inheritable &= permitted | own.inheritable;
        self.ambient &= self.permitted & self.inheritable;
    }
}

#[cold]
fn warn(bits: u64, problem: &str, warnings: &mut Vec<String>) {
    let named = NAMES.iter().enumerate().filter(|(number, _)| bits >> number & 1 == 1);
    warnings.extend(named.map(|(_, name)| format!("{name} {problem}")));
}

/// How many capabilities this kernel knows.
pub(crate) fn known_to_kernel() -> u32 {
    let mut low = 0;
    let mut high = 64;
    // The bounding set can be asked for a capability exactly if the kernel knows it.
    while low < high {
        let middle = u32::midpoint(low, high);
        if sys::bounding_has(middle).is_ok() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Turns names into masks. A name that is not known, here or to the kernel, and a capability that
/// cannot be granted are warned of and left out, as the specification demands.
pub(crate) fn prepare(sets: &LinuxCapabilities, warnings: &mut Vec<String>) -> CapabilityPlan {
    let count = known_to_kernel();
    let mut unknown: Vec<&str> = Vec::new();
    let lists =
        [&sets.bounding, &sets.effective, &sets.permitted, &sets.inheritable, &sets.ambient];
    let [bounding, effective, permitted, inheritable, ambient] = lists.map(|names| {
        let mut bits = 0u64;
        for name in names {
            match NAMES.iter().position(|known| known == name) {
                Some(number) if (number as u32) < count => bits |= 1 << number,
                _ if unknown.contains(&name.as_str()) => {}
                _ => unknown.push(name),
            }
        }
        bits
    });
    let warning = |name| format!("ignoring the unknown capability {name}");
    warnings.extend(unknown.into_iter().map(warning));
    // The kernel takes nothing into force that is not permitted, and nothing as ambient that is
    // not both permitted and inheritable.
    let raised = ambient & permitted & inheritable;
    warn(
        ambient & !raised,
        "cannot be ambient: it is not both permitted and inheritable",
        warnings,
    );
    let ambient = raised;
    let effective = effective & permitted;
    CapabilityPlan { bounding, effective, permitted, inheritable, ambient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits_and_unknown_ones_warnings() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let sets = LinuxCapabilities {
            bounding: names(&["CAP_KILL", "CAP_SYS_ADMIN", "CAP_MOON"]),
            effective: names(&["CAP_CHOWN", "CAP_FOWNER"]),
            permitted: names(&["CAP_CHOWN"]),
            ambient: names(&["CAP_CHOWN"]),
            ..LinuxCapabilities::default()
        };
        let mut warnings = Vec::new();
        let plan = prepare(&sets, &mut warnings);
        assert_eq!(plan.bounding, 1 << 5 | SYS_ADMIN);
        assert_eq!(plan.effective, 1);
        assert_eq!(plan.ambient, 0);
        assert_eq!(
            warnings,
            [
                "ignoring the unknown capability CAP_MOON",
                "CAP_CHOWN cannot be ambient: it is not both permitted and inheritable",
            ]
        );
    }

    #[test]
    fn the_kernel_knows_at_least_those_of_linux_3() {
        assert!(known_to_kernel() >= 37, "{}", known_to_kernel());
    }
}
