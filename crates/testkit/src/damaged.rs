//! Bytes for parsers of foreign input: something that is understood, damaged in a few places.

use proptest::prelude::*;

/// Any bytes, or `original` with parts overwritten, repeated, removed or cut off.
pub fn damaged(original: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let original = original.to_vec();
    let edit = (0..4_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>());
    let edits = proptest::collection::vec(edit, 0..6);
    let edited = edits.prop_map(move |edits| {
        let mut bytes = original.clone();
        for (kind, one, other, byte) in edits {
            let (one, other) = (one.index(bytes.len() + 1), other.index(bytes.len() + 1));
            let range = one.min(other)..one.max(other);
            match kind {
                0 if one < bytes.len() => bytes[one] = byte,
                1 => drop(bytes.drain(range)),
                2 => {
                    let part = bytes[range].to_vec();
                    bytes.splice(one..one, part);
                }
                _ => bytes.insert(one, byte),
            }
        }
        bytes
    });
    let any = proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![6 => edited, 1 => any]
}
