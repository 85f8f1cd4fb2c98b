//! File name patterns (POSIX 2.13): `*`, `?`, `[...]`, and backslash for a literal character.

/// Whether a pattern matches all of a text.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let Some((&first, after)) = pattern.split_first() else { return text.is_empty() };
    match first {
        b'*' => (0..=text.len()).any(|skip| matches(after, text.get(skip..).unwrap_or_default())),
        b'?' => text.split_first().is_some_and(|(_, rest)| matches(after, rest)),
        b'[' => match set(after) {
            Some((members, after)) => text
                .split_first()
                .is_some_and(|(byte, rest)| members.contain(*byte) && matches(after, rest)),
            None => literal(b'[', after, text),
        },
        b'\\' => match after.split_first() {
            Some((&escaped, after)) => literal(escaped, after, text),
            None => text == b"\\",
        },
        other => literal(other, after, text),
    }
}

/// Matches one byte and goes on.
fn literal(byte: u8, after: &[u8], text: &[u8]) -> bool {
    text.split_first().is_some_and(|(&first, rest)| first == byte && matches(after, rest))
}

/// A bracket expression.
struct Set {
    negated: bool,
    ranges: Vec<(u8, u8)>,
}

impl Set {
    fn contain(&self, byte: u8) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != self.negated
    }
}

/// Reads a bracket expression after its `[`; `None` when it isn't closed, and so is a literal.
fn set(text: &[u8]) -> Option<(Set, &[u8])> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut rest = if negated { text.get(1..)? } else { text };
    let mut ranges = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        match after {
            _ if byte == b']' && !ranges.is_empty() => {
                return Some((Set { negated, ranges }, after));
            }
            [b'-', high, after @ ..] if *high != b']' => {
                ranges.push((byte, *high));
                rest = after;
            }
            _ => {
                ranges.push((byte, byte));
                rest = after;
            }
        }
    }
}

/// Whether a pattern has something to match with, so that it isn't a plain name.
pub fn is_pattern(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// Removes the backslashes of a pattern.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        out.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_posix_says() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("?", "", false),
            ("?b", "ab", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[x", "[x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_escaped_star_is_no_pattern() {
        assert!(!is_pattern(b"\\*"));
        assert!(is_pattern(b"\\**"));
        assert_eq!(unescape(b"\\*a"), b"*a");
    }
}
