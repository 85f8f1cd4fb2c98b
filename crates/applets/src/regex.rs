//! Patterns of `grep`: POSIX basic regular expressions without groups and back references.
//!
//! Literals, `.`, `[...]`, `*`, `^`, `$`; with `-E` also `+`, `?` and top-level `|`. Anything else
//! is refused by name rather than taken for a literal.

use crate::outcome::Failure;

/// A pattern ready to match lines.
pub struct Regex {
    branches: Vec<Branch>,
}

/// One alternative.
struct Branch {
    at_start: bool,
    at_end: bool,
    pieces: Vec<Piece>,
}

/// One atom and how often it may stand.
struct Piece {
    atom: Atom,
    least: usize,
    most: usize,
}

/// What one byte is matched against.
enum Atom {
    Any,
    Byte(u8),
    Set { negated: bool, ranges: Vec<(u8, u8)> },
}

impl Atom {
    fn matches(&self, byte: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Byte(wanted) => *wanted == byte,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated
            }
        }
    }
}

impl Regex {
    /// Reads a pattern.
    pub fn parse(pattern: &[u8], extended: bool) -> Result<Self, Failure> {
        let branches: Vec<&[u8]> =
            if extended { pattern.split(|byte| *byte == b'|').collect() } else { vec![pattern] };
        let branches = branches.into_iter().map(|branch| parse_branch(branch, extended));
        Ok(Self { branches: branches.collect::<Result<_, _>>()? })
    }

    /// Whether the pattern matches somewhere in the line.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.branches.iter().any(|branch| {
            let starts = if branch.at_start { 0 } else { line.len() };
            (0..=starts).any(|start| branch.matches_at(line.get(start..).unwrap_or_default(), 0))
        })
    }
}

impl Branch {
    /// Whether the pieces from number `from` on match at the start of `text`.
    fn matches_at(&self, text: &[u8], from: usize) -> bool {
        let Some(piece) = self.pieces.get(from) else {
            return !self.at_end || text.is_empty();
        };
        let run = text.iter().take(piece.most).take_while(|byte| piece.atom.matches(**byte));
        let longest = run.count();
        (piece.least..=longest)
            .rev()
            .any(|count| self.matches_at(text.get(count..).unwrap_or_default(), from + 1))
    }
}

/// Reads one alternative.
fn parse_branch(pattern: &[u8], extended: bool) -> Result<Branch, Failure> {
    let mut rest = pattern;
    let at_start = rest.first() == Some(&b'^');
    if at_start {
        rest = rest.get(1..).unwrap_or_default();
    }
    let mut at_end = false;
    let mut pieces: Vec<Piece> = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let atom = match byte {
            b'$' if rest.is_empty() => {
                at_end = true;
                break;
            }
            b'*' if !pieces.is_empty() => {
                repeat(&mut pieces, 0, usize::MAX);
                continue;
            }
            b'+' if extended && !pieces.is_empty() => {
                repeat(&mut pieces, 1, usize::MAX);
                continue;
            }
            b'?' if extended && !pieces.is_empty() => {
                repeat(&mut pieces, 0, 1);
                continue;
            }
            b'(' | b')' | b'{' if extended => {
                return Err(Failure::usage("groups and bounds are not supported in patterns"));
            }
            b'.' => Atom::Any,
            b'[' => parse_set(&mut rest)?,
            b'\\' => {
                let Some((&escaped, after)) = rest.split_first() else {
                    return Err(Failure::usage("the pattern ends in a backslash"));
                };
                if escaped.is_ascii_alphanumeric() || (!extended && b"(){}|".contains(&escaped)) {
                    let escaped = char::from(escaped);
                    return Err(Failure::usage(format!(
                        "\\{escaped} is not supported in patterns"
                    )));
                }
                rest = after;
                Atom::Byte(escaped)
            }
            literal => Atom::Byte(literal),
        };
        pieces.push(Piece { atom, least: 1, most: 1 });
    }
    Ok(Branch { at_start, at_end, pieces })
}

/// Sets how often the last piece may stand.
fn repeat(pieces: &mut [Piece], least: usize, most: usize) {
    if let Some(piece) = pieces.last_mut() {
        (piece.least, piece.most) = (least, most);
    }
}

/// Reads a bracket expression after its `[`.
fn parse_set(rest: &mut &[u8]) -> Result<Atom, Failure> {
    let unclosed = || Failure::usage("a [ in the pattern is not closed");
    let mut left = *rest;
    let negated = left.first() == Some(&b'^');
    if negated {
        left = left.get(1..).unwrap_or_default();
    }
    let mut ranges = Vec::new();
    loop {
        let (&byte, after) = left.split_first().ok_or_else(unclosed)?;
        match (byte, after) {
            (b']', _) if !ranges.is_empty() => {
                *rest = after;
                return Ok(Atom::Set { negated, ranges });
            }
            (b'[', [b':', class @ ..]) => {
                let end = class.iter().position(|byte| *byte == b':').ok_or_else(unclosed)?;
                let (name, after) = class.split_at(end);
                ranges.extend(class_ranges(name)?);
                left = after.get(2..).ok_or_else(unclosed)?;
            }
            (low, [b'-', high, after @ ..]) if *high != b']' => {
                ranges.push((low, *high));
                left = after;
            }
            (single, _) => {
                ranges.push((single, single));
                left = after;
            }
        }
    }
}

/// The byte ranges of a character class.
fn class_ranges(name: &[u8]) -> Result<Vec<(u8, u8)>, Failure> {
    Ok(match name {
        b"alpha" => vec![(b'a', b'z'), (b'A', b'Z')],
        b"digit" => vec![(b'0', b'9')],
        b"alnum" => vec![(b'a', b'z'), (b'A', b'Z'), (b'0', b'9')],
        b"upper" => vec![(b'A', b'Z')],
        b"lower" => vec![(b'a', b'z')],
        b"space" => vec![(b'\t', b'\r'), (b' ', b' ')],
        b"xdigit" => vec![(b'0', b'9'), (b'a', b'f'), (b'A', b'F')],
        _ => {
            let name = String::from_utf8_lossy(name);
            return Err(Failure::usage(format!("the character class {name} is not known")));
        }
    })
}
