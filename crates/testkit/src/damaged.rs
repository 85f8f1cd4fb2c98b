//! Bytes for parsers of foreign input: something that is understood, damaged in a few places.

use std::ops::Range;

use proptest::prelude::*;

/// Any bytes, or `original` with parts overwritten, repeated, removed or cut off, and with words put in
/// the place of others, which leaves the syntax of most formats whole.
pub fn damaged(original: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let place = any::<prop::sample::Index>;
    let original = original.to_vec();
    let words = words(&original);
    let exchange = proptest::collection::vec((place(), place()), 0..4);
    let edits = proptest::collection::vec((0..4_u8, place(), place(), any::<u8>()), 0..4);
    let exchanged = exchange.prop_map(move |pairs| {
        let mut bytes = original.clone();
        for (target, source) in pairs {
            let places = words_at(&bytes);
            if !places.is_empty() {
                let word = source.get(&words).iter().copied();
                bytes.splice(target.get(&places).clone(), word);
            }
        }
        bytes
    });
    let edited = (exchanged.clone(), edits).prop_map(|(mut bytes, edits)| {
        for (kind, one, other, byte) in edits {
            edit(&mut bytes, kind, (one, other), byte);
        }
        bytes
    });
    let any = proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![4 => exchanged, 4 => edited, 1 => any]
}

fn edit(
    bytes: &mut Vec<u8>,
    kind: u8,
    (one, other): (prop::sample::Index, prop::sample::Index),
    byte: u8,
) {
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

/// Where the words and numbers are.
fn words_at(bytes: &[u8]) -> Vec<Range<usize>> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let mut places = Vec::new();
    let mut at = 0;
    for run in bytes.chunk_by(|one, other| is_word(one) == is_word(other)) {
        if run.first().is_some_and(is_word) {
            places.push(at..at + run.len());
        }
        at += run.len();
    }
    places
}

/// The words themselves, and numbers at the limits of their kinds.
fn words(bytes: &[u8]) -> Vec<Vec<u8>> {
    const LIMITS: [&str; 7] = [
        "0",
        "-1",
        "2147483647",
        "4294967295",
        "9223372036854775807",
        "18446744073709551615",
        "..",
    ];
    let own = words_at(bytes).into_iter().map(|place| bytes[place].to_vec());
    own.chain(LIMITS.map(|limit| limit.as_bytes().to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_between_the_marks_of_a_format() {
        assert_eq!(words_at(br#"{"a_b":-1,"#), [2..5, 7..9]);
        assert!(words_at(b"").is_empty());
    }
}
