//! test and `[`: expressions on strings, numbers and files.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::outcome::{Failure, Outcome};
use crate::proc;

/// `[ EXPRESSION ]`
pub fn bracket(arguments: &[OsString]) -> Outcome {
    match arguments.split_last() {
        Some((last, expression)) if last == "]" => test(expression),
        _ => Err(Failure::usage("missing ]")),
    }
}

/// `test EXPRESSION`
pub fn test(arguments: &[OsString]) -> Outcome {
    let mut words = arguments;
    if words.is_empty() {
        return Ok(1);
    }
    let value = either(&mut words)?;
    match words.first() {
        None => Ok(u8::from(!value)),
        Some(extra) => Err(Failure::usage(format!("unexpected {}", extra.display()))),
    }
}

/// Takes the next word.
fn next<'a>(words: &mut &'a [OsString]) -> Result<&'a OsString, Failure> {
    let (first, rest) =
        words.split_first().ok_or_else(|| Failure::usage("the expression ends too early"))?;
    *words = rest;
    Ok(first)
}

/// Takes the next word when it is the one wanted.
fn take(words: &mut &[OsString], wanted: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if first == wanted => {
            *words = rest;
            true
        }
        _ => false,
    }
}

/// `a -o b`
fn either(words: &mut &[OsString]) -> Result<bool, Failure> {
    let mut value = both(words)?;
    while take(words, "-o") {
        value |= both(words)?;
    }
    Ok(value)
}

/// `a -a b`
fn both(words: &mut &[OsString]) -> Result<bool, Failure> {
    let mut value = term(words)?;
    while take(words, "-a") {
        value &= term(words)?;
    }
    Ok(value)
}

/// One test, its negation, or a group.
fn term(words: &mut &[OsString]) -> Result<bool, Failure> {
    // Three words with an operator in the middle are that, whatever the first looks like.
    if let [left, operator, right, ..] = *words
        && let Some(value) = binary(left, operator, right)
    {
        *words = words.get(3..).unwrap_or_default();
        return value;
    }
    let first = next(words)?;
    if first == "!" && !words.is_empty() {
        return Ok(!term(words)?);
    }
    if first == "(" && !words.is_empty() {
        let value = either(words)?;
        if !take(words, ")") {
            return Err(Failure::usage("missing )"));
        }
        return Ok(value);
    }
    match (first.as_bytes(), words.first()) {
        ([b'-', letter], Some(operand)) if unary_exists(*letter) => {
            next(words)?;
            Ok(unary(*letter, operand))
        }
        _ => Ok(!first.is_empty()),
    }
}

/// Whether there is a test with this letter.
fn unary_exists(letter: u8) -> bool {
    b"nzefdLhbcpSsrwxtugk".contains(&letter)
}

/// A test of one operand.
fn unary(letter: u8, operand: &OsStr) -> bool {
    let kind = || fs::metadata(operand).map(|data| data.file_type());
    let mode = |bits: u32| fs::metadata(operand).is_ok_and(|data| data.mode() & bits != 0);
    match letter {
        b'n' => !operand.is_empty(),
        b'z' => operand.is_empty(),
        b'e' => fs::metadata(operand).is_ok(),
        b'f' => kind().is_ok_and(|kind| kind.is_file()),
        b'd' => kind().is_ok_and(|kind| kind.is_dir()),
        b'b' => kind().is_ok_and(|kind| kind.is_block_device()),
        b'c' => kind().is_ok_and(|kind| kind.is_char_device()),
        b'p' => kind().is_ok_and(|kind| kind.is_fifo()),
        b'S' => kind().is_ok_and(|kind| kind.is_socket()),
        b'L' | b'h' => fs::symlink_metadata(operand).is_ok_and(|data| data.is_symlink()),
        b's' => fs::metadata(operand).is_ok_and(|data| data.len() > 0),
        b'u' => mode(0o4000),
        b'g' => mode(0o2000),
        b'k' => mode(0o1000),
        b'r' => may(operand, 4),
        b'w' => may(operand, 2),
        b'x' => may(operand, 1),
        b't' => match operand.to_str() {
            Some("0") => io::stdin().is_terminal(),
            Some("1") => io::stdout().is_terminal(),
            Some("2") => io::stderr().is_terminal(),
            _ => false,
        },
        _ => false,
    }
}

/// Whether permission bits allow the caller something; the superuser may read and write all.
fn may(path: &OsStr, bit: u32) -> bool {
    let (Ok(data), Ok(status)) = (fs::metadata(path), proc::status("self")) else { return false };
    let mode = data.mode();
    let user = status.user.1;
    if user == 0 {
        return bit != 1 || mode & 0o111 != 0;
    }
    let group = data.gid();
    let shift = if user == data.uid() {
        6
    } else if group == status.group.1 || status.groups.contains(&group) {
        3
    } else {
        0
    };
    mode >> shift & bit != 0
}

/// A test of two operands; `None` when the word between them is no operator.
fn binary(left: &OsStr, operator: &OsStr, right: &OsStr) -> Option<Result<bool, Failure>> {
    let numbers = |wanted: fn(Ordering) -> bool| {
        let number = |text: &OsStr| -> Result<i64, Failure> {
            let parsed = text.to_str().and_then(|text| text.trim().parse().ok());
            parsed.ok_or_else(|| Failure::usage(format!("{} is not a number", text.display())))
        };
        Ok(wanted(number(left)?.cmp(&number(right)?)))
    };
    let modified = |path: &OsStr| fs::metadata(path).and_then(|data| data.modified()).ok();
    Some(match operator.to_str()? {
        "=" | "==" => Ok(left == right),
        "!=" => Ok(left != right),
        "-eq" => numbers(Ordering::is_eq),
        "-ne" => numbers(Ordering::is_ne),
        "-lt" => numbers(Ordering::is_lt),
        "-le" => numbers(Ordering::is_le),
        "-gt" => numbers(Ordering::is_gt),
        "-ge" => numbers(Ordering::is_ge),
        "-nt" => Ok(modified(left) > modified(right)),
        "-ot" => Ok(modified(left) < modified(right)),
        "-ef" => Ok(match (fs::metadata(left), fs::metadata(right)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }),
        _ => return None,
    })
}
