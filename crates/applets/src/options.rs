//! Short options, in the way of POSIX's `getopts`: grouped letters, values attached or apart, `--`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::outcome::Failure;

/// Where options may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Anywhere among the operands.
    Mixed,
    /// Only before the first operand, which may be a command with options of its own.
    Leading,
}

/// The options and operands of a call.
#[derive(Debug, Default)]
pub struct Options {
    flags: Vec<(char, OsString)>,
    /// What is not an option.
    pub operands: Vec<OsString>,
}

impl Options {
    /// Takes options anywhere. `accepted` has a letter per option, with `:` after those that want
    /// a value.
    pub fn parse(arguments: &[OsString], accepted: &str) -> Result<Self, Failure> {
        Self::read(arguments, accepted, Order::Mixed)
    }

    /// Takes options before the first operand only.
    pub fn parse_leading(arguments: &[OsString], accepted: &str) -> Result<Self, Failure> {
        Self::read(arguments, accepted, Order::Leading)
    }

    fn read(arguments: &[OsString], accepted: &str, order: Order) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                break;
            }
            let Some(letters) = bytes.strip_prefix(b"-").filter(|letters| !letters.is_empty())
            else {
                options.operands.push(argument.clone());
                if order == Order::Leading {
                    break;
                }
                continue;
            };
            options.read_group(letters, accepted, &mut rest)?;
        }
        options.operands.extend(rest.cloned());
        Ok(options)
    }

    /// Reads the letters after one dash.
    fn read_group<'a>(
        &mut self,
        letters: &[u8],
        accepted: &str,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), Failure> {
        let mut left = letters;
        while let Some((&letter, after)) = left.split_first() {
            let letter = char::from(letter);
            let mut known = accepted.chars().skip_while(|&known| known != letter);
            if letter == ':' || known.next().is_none() {
                let whole = OsStr::from_bytes(letters).display();
                return Err(Failure::usage(format!("unknown option -{letter} in -{whole}")));
            }
            if known.next() != Some(':') {
                self.flags.push((letter, OsString::new()));
                left = after;
                continue;
            }
            let value = if after.is_empty() {
                let missing = || Failure::usage(format!("option -{letter} wants a value"));
                rest.next().cloned().ok_or_else(missing)?
            } else {
                OsString::from_vec(after.to_vec())
            };
            self.flags.push((letter, value));
            break;
        }
        Ok(())
    }

    /// Whether an option was given.
    pub fn has(&self, letter: char) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == letter)
    }

    /// The value of an option; the last one counts.
    pub fn value(&self, letter: char) -> Option<&OsStr> {
        self.flags
            .iter()
            .rev()
            .find(|(flag, _)| *flag == letter)
            .map(|(_, value)| value.as_os_str())
    }

    /// Every value of an option that may be repeated.
    pub fn values(&self, letter: char) -> impl Iterator<Item = &OsStr> {
        self.flags
            .iter()
            .filter(move |(flag, _)| *flag == letter)
            .map(|(_, value)| value.as_os_str())
    }

    /// The value of an option as a size (see [`size`]).
    pub fn size(&self, letter: char) -> Result<Option<u64>, Failure> {
        self.value(letter).map(size).transpose()
    }

    /// The operands, of which there must be at least `count`.
    pub fn at_least(&self, count: usize, what: &str) -> Result<&[OsString], Failure> {
        if self.operands.len() < count {
            return Err(Failure::usage(format!("missing operand: {what}")));
        }
        Ok(&self.operands)
    }
}

/// Reads a number of bytes or lines, with an optional suffix `k`, `M` or `G` (powers of 1024).
pub fn size(text: &OsStr) -> Result<u64, Failure> {
    let bad = || Failure::usage(format!("{} is not a number", text.display()));
    let string = text.to_str().ok_or_else(bad)?;
    let (digits, factor) = match string.char_indices().last() {
        Some((at, 'k' | 'K')) => (string.get(..at), 1 << 10),
        Some((at, 'M' | 'm')) => (string.get(..at), 1 << 20),
        Some((at, 'G' | 'g')) => (string.get(..at), 1 << 30),
        _ => (Some(string), 1),
    };
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
    number.checked_mul(factor).ok_or_else(bad)
}

/// Reads a number in a given base.
pub fn number(text: &OsStr, base: u32) -> Result<u32, Failure> {
    text.to_str()
        .and_then(|text| u32::from_str_radix(text, base).ok())
        .ok_or_else(|| Failure::usage(format!("{} is not a number", text.display())))
}
