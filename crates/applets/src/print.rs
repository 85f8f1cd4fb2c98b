//! echo and printf, and the escapes that both understand.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use crate::outcome::{Failure, Outcome};

/// Whether output goes on after an escape: `\c` ends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// Replaces the escapes of `text`, adding the result to `out`.
fn unescape(text: &[u8], out: &mut Vec<u8>) -> Flow {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            out.push(byte);
            rest = after;
            continue;
        }
        let Some((&letter, mut after)) = after.split_first() else {
            out.push(b'\\');
            break;
        };
        match letter {
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'c' => return Flow::Stop,
            b'e' => out.push(27),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'\\' => out.push(b'\\'),
            b'x' => out.push(digits(&mut after, 16, 2)),
            b'0'..=b'7' => {
                // echo writes \0nnn, printf \nnn: both are taken.
                let mut from = if letter == b'0' { after } else { rest.get(1..).unwrap_or(&[]) };
                out.push(digits(&mut from, 8, 3));
                after = from;
            }
            other => out.extend([b'\\', other]),
        }
        rest = after;
    }
    Flow::Continue
}

/// Reads up to `most` digits of a base and moves past them.
fn digits(rest: &mut &[u8], base: u32, most: usize) -> u8 {
    let mut value: u32 = 0;
    for _ in 0..most {
        let Some((&byte, after)) = rest.split_first() else { break };
        let Some(digit) = char::from(byte).to_digit(base) else { break };
        value = value * base + digit;
        *rest = after;
    }
    (value & 0xff) as u8
}

/// `echo [-n] [-e] [WORD...]`
pub fn echo(arguments: &[OsString]) -> Outcome {
    let mut words = arguments;
    let mut newline = true;
    let mut escapes = false;
    while let Some((first, rest)) = words.split_first() {
        match first.as_bytes() {
            b"-n" => newline = false,
            b"-e" => escapes = true,
            b"-ne" | b"-en" => (newline, escapes) = (false, true),
            _ => break,
        }
        words = rest;
    }
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let line = words.join(&b' ');
    let mut out = Vec::with_capacity(line.len() + 1);
    if !escapes {
        out.extend(line);
    } else if unescape(&line, &mut out) == Flow::Stop {
        newline = false;
    }
    if newline {
        out.push(b'\n');
    }
    io::stdout().write_all(&out)?;
    Ok(0)
}

/// One conversion of a printf format.
struct Conversion {
    left: bool,
    zero: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
    kind: u8,
}

/// `printf FORMAT [ARGUMENT...]`
pub fn printf(arguments: &[OsString]) -> Outcome {
    let Some((format, values)) = arguments.split_first() else {
        return Err(Failure::usage("missing operand: FORMAT"));
    };
    let mut out = Vec::new();
    let mut values = values.iter().map(|value| value.as_bytes());
    let mut status = 0;
    loop {
        let before = values.len();
        if format_once(format.as_bytes(), &mut values, &mut out, &mut status)? == Flow::Stop {
            break;
        }
        // The format is used again while it uses up values.
        if values.len() == 0 || values.len() == before {
            break;
        }
    }
    io::stdout().write_all(&out)?;
    Ok(status)
}

/// Goes through the format once.
fn format_once<'a>(
    format: &[u8],
    values: &mut impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
    status: &mut u8,
) -> Result<Flow, Failure> {
    let mut rest = format;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let (plain, from) = rest.split_at(at);
        if unescape(plain, out) == Flow::Stop {
            return Ok(Flow::Stop);
        }
        let (conversion, after) = read_conversion(from.get(1..).unwrap_or_default())?;
        rest = after;
        if conversion.kind == b'%' {
            out.push(b'%');
            continue;
        }
        let value = values.next().unwrap_or_default();
        let mut flow = Flow::Continue;
        let text: Vec<u8> = match conversion.kind {
            b's' => value.to_vec(),
            b'b' => {
                let mut text = Vec::new();
                flow = unescape(value, &mut text);
                text
            }
            b'c' => value.iter().take(1).copied().collect(),
            kind => integer(value, kind, &conversion, status).into_bytes(),
        };
        pad(&text, &conversion, out);
        if flow == Flow::Stop {
            return Ok(Flow::Stop);
        }
    }
    Ok(unescape(rest, out))
}

/// Reads what follows a `%`.
fn read_conversion(text: &[u8]) -> Result<(Conversion, &[u8]), Failure> {
    let mut conversion =
        Conversion { left: false, zero: false, plus: false, width: 0, precision: None, kind: 0 };
    let mut rest = text;
    let number = |rest: &mut &[u8]| -> usize {
        let mut value: usize = 0;
        while let Some((&byte @ b'0'..=b'9', after)) = rest.split_first() {
            value = value.saturating_mul(10).saturating_add(usize::from(byte - b'0')).min(4096);
            *rest = after;
        }
        value
    };
    while let Some((&flag @ (b'-' | b'0' | b'+' | b' '), after)) = rest.split_first() {
        match flag {
            b'-' => conversion.left = true,
            b'0' => conversion.zero = true,
            b'+' => conversion.plus = true,
            _ => {}
        }
        rest = after;
    }
    conversion.width = number(&mut rest);
    if let Some((b'.', after)) = rest.split_first() {
        rest = after;
        conversion.precision = Some(number(&mut rest));
    }
    match rest.split_first() {
        Some((
            &kind @ (b's' | b'b' | b'c' | b'd' | b'i' | b'u' | b'x' | b'X' | b'o' | b'%'),
            after,
        )) => {
            conversion.kind = kind;
            Ok((conversion, after))
        }
        Some((&other, _)) => {
            Err(Failure::usage(format!("unknown conversion %{}", char::from(other))))
        }
        None => Err(Failure::usage("the format ends in the middle of a conversion")),
    }
}

/// Prints a whole number; a value that isn't one counts as 0 and makes the status 1.
fn integer(value: &[u8], kind: u8, conversion: &Conversion, status: &mut u8) -> String {
    let text = String::from_utf8_lossy(value);
    let text = text.trim();
    let parsed = if text.is_empty() {
        Some(0)
    } else if let Some(quoted) = text.strip_prefix(['\'', '"']) {
        quoted.chars().next().map(|c| i64::from(u32::from(c)))
    } else if let Some(hex) = text.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        i64::from_str_radix(text, 8).ok()
    } else {
        text.parse().ok()
    };
    let number = parsed.unwrap_or_else(|| {
        *status = 1;
        0
    });
    match kind {
        b'x' => format!("{number:x}"),
        b'X' => format!("{number:X}"),
        b'o' => format!("{number:o}"),
        b'u' => format!("{}", number.cast_unsigned()),
        _ if conversion.plus && number >= 0 => format!("+{number}"),
        _ => number.to_string(),
    }
}

/// Adds a text cut and padded as its conversion says.
fn pad(text: &[u8], conversion: &Conversion, out: &mut Vec<u8>) {
    let is_text = matches!(conversion.kind, b's' | b'b');
    let cut = match conversion.precision {
        Some(most) if is_text => text.get(..most).unwrap_or(text),
        _ => text,
    };
    let missing = conversion.width.saturating_sub(cut.len());
    if conversion.left {
        out.extend(cut);
        out.extend(std::iter::repeat_n(b' ', missing));
    } else if conversion.zero && !is_text {
        let (sign, digits) = match cut.split_first() {
            Some((sign @ (b'-' | b'+'), digits)) => (Some(*sign), digits),
            _ => (None, cut),
        };
        out.extend(sign);
        out.extend(std::iter::repeat_n(b'0', missing));
        out.extend(digits);
    } else {
        out.extend(std::iter::repeat_n(b' ', missing));
        out.extend(cut);
    }
}
