//! Ids and generated names of containers and volumes.

use rustix::rand::{GetRandomFlags, getrandom};

const ADJECTIVES: [&str; 64] = [
    "able", "agile", "airy", "amber", "ample", "azure", "bold", "brave", "bright", "brisk", "calm",
    "clear", "clever", "cosy", "crisp", "deft", "eager", "early", "fair", "fleet", "fond", "frank",
    "fresh", "gentle", "glad", "golden", "grand", "green", "hardy", "hasty", "humble", "jolly",
    "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild", "neat",
    "nimble", "noble", "patient", "plain", "polite", "prompt", "proud", "quick", "quiet", "rapid",
    "ready", "sharp", "silver", "sober", "solid", "steady", "sunny", "swift", "tidy", "vivid",
    "warm", "wise",
];

const NOUNS: [&str; 64] = [
    "anchor", "barge", "beacon", "binnacle", "boom", "bosun", "bow", "brig", "buoy", "cabin",
    "canoe", "capstan", "cargo", "cleat", "clipper", "compass", "coracle", "crane", "current",
    "cutter", "davit", "deck", "dinghy", "dock", "dory", "ferry", "fjord", "flotilla", "frigate",
    "galley", "gangway", "gull", "harbour", "hatch", "hawser", "helm", "hull", "island", "jetty",
    "kayak", "keel", "ketch", "lagoon", "launch", "lighter", "mast", "mooring", "oar", "pier",
    "pilot", "porthole", "prow", "quay", "rigging", "rudder", "sail", "schooner", "sextant",
    "sloop", "stern", "tide", "trawler", "tug", "wharf",
];

/// Random bytes; the kernel has them at all times once it has booted.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let Some(rest) = bytes.get_mut(filled..) else { break };
        if let Ok(more) = getrandom(rest, GetRandomFlags::empty()) {
            filled += more;
        }
    }
    bytes
}

/// A new id: 64 lower-case hexadecimal digits.
pub(crate) fn new_id() -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    random::<32>().iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// A name for people. From the fourth attempt on it has a number, so that a free one is found among
/// thousands of containers.
pub(crate) fn new_name(attempt: u32) -> String {
    let [a, b, c, d] = random::<4>();
    let adjective = ADJECTIVES[usize::from(a) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(b) % NOUNS.len()];
    if attempt < 3 {
        format!("{adjective}_{noun}")
    } else {
        format!("{adjective}_{noun}{}", u16::from_le_bytes([c, d]))
    }
}

/// Whether a name may be given: letters, digits, `_`, `.`, `-`, the first one a letter or digit.
pub(crate) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && name.len() <= 200
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_hexadecimal_digits_and_differ() {
        let (one, two) = (new_id(), new_id());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_ne!(one, two);
    }

    #[test]
    fn generated_names_may_be_given_too() {
        for attempt in 0..8 {
            let name = new_name(attempt);
            assert!(is_name(&name), "{name}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", &"x".repeat(201)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
