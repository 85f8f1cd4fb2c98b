//! The key sequence that detaches from a container, and finding it in what is typed.

use std::str::FromStr;

/// A sequence of bytes as a terminal sends them; empty when detaching is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// Why a text is not a key sequence.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "`{0}` is not a key: a single character, or ctrl- with one of a to z, @, [, \\, ], ^ or _, is \
     expected, separated by commas"
)]
pub struct DetachKeysError(String);

impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = DetachKeysError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

fn key(text: &str) -> Result<u8, DetachKeysError> {
    let error = || DetachKeysError(text.to_owned());
    let (control, character) = match text.strip_prefix("ctrl-") {
        Some(name) => (true, name),
        None => (false, text),
    };
    match *character.as_bytes() {
        [byte] if !control && byte.is_ascii_graphic() => Ok(byte),
        [byte] if control && (byte.is_ascii_alphabetic() || b"@[\\]^_".contains(&byte)) => {
            Ok(byte.to_ascii_uppercase() & 0x1f)
        }
        _ => Err(error()),
    }
}

/// What to do with a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Pass these bytes on (perhaps none: they may begin the sequence).
    Forward(Vec<u8>),
    /// Pass these bytes on, then detach.
    Detach(Vec<u8>),
}

/// Finds the sequence in a stream of input, across reads.
#[derive(Debug)]
pub struct DetachScanner {
    keys: DetachKeys,
    matched: usize,
}

impl DetachScanner {
    /// A scanner at the beginning of the input.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys, matched: 0 }
    }

    /// Looks at the next piece of input. Bytes that may begin the sequence are held back until
    /// it is clear that they do not.
    pub fn scan(&mut self, input: &[u8]) -> Typed {
        let keys = &self.keys.0;
        if keys.is_empty() {
            return Typed::Forward(input.to_vec());
        }
        let mut forward = Vec::with_capacity(input.len() + self.matched);
        for byte in input {
            let mut held = keys[..self.matched].to_vec();
            held.push(*byte);
            // The longest end of what is held that begins the sequence stays held.
            let start = (0..=held.len()).find(|at| keys.starts_with(&held[*at..])).unwrap_or(0);
            forward.extend_from_slice(&held[..start]);
            self.matched = held.len() - start;
            if self.matched == keys.len() {
                self.matched = 0;
                return Typed::Detach(forward);
            }
        }
        Typed::Forward(forward)
    }

    /// What is held back when the input ends.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = self.keys.0[..self.matched].to_vec();
        self.matched = 0;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(keys: &str) -> DetachScanner {
        DetachScanner::new(keys.parse().unwrap())
    }

    #[test]
    fn keys_are_parsed() {
        assert_eq!("ctrl-p,ctrl-q".parse(), Ok(DetachKeys::default()));
        assert_eq!("ctrl-@,a,ctrl-_".parse(), Ok(DetachKeys(vec![0, b'a', 0x1f])));
        assert_eq!("".parse(), Ok(DetachKeys(vec![])));
        for text in ["ctrl-1", "ab", "ctrl-", ",", "ctrl-pp"] {
            assert!(text.parse::<DetachKeys>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_reads() {
        let mut scanner = scanner("ctrl-p,ctrl-q");
        assert_eq!(scanner.scan(b"ab\x10"), Typed::Forward(b"ab".to_vec()));
        assert_eq!(scanner.scan(b"\x11rest"), Typed::Detach(vec![]));
    }

    #[test]
    fn a_beginning_that_goes_on_otherwise_is_passed_on() {
        let mut scanner = scanner("ctrl-p,ctrl-q");
        assert_eq!(scanner.scan(b"\x10"), Typed::Forward(vec![]));
        assert_eq!(scanner.scan(b"x"), Typed::Forward(b"\x10x".to_vec()));
        assert_eq!(scanner.scan(b"\x10\x10\x11"), Typed::Detach(b"\x10".to_vec()));
    }

    #[test]
    fn repeated_prefixes_lose_nothing() {
        let mut scanner = scanner("a,a,b");
        assert_eq!(scanner.scan(b"aaab"), Typed::Detach(b"a".to_vec()));
        assert_eq!(scanner.scan(b"aa"), Typed::Forward(vec![]));
        assert_eq!(scanner.finish(), b"aa".to_vec());
    }

    #[test]
    fn an_empty_sequence_never_detaches() {
        assert_eq!(scanner("").scan(b"\x10\x11"), Typed::Forward(b"\x10\x11".to_vec()));
    }
}
