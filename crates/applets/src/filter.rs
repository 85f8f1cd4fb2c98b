//! Applets that choose or rearrange lines: grep, sort, uniq, tr.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;

use crate::options::Options;
use crate::outcome::{Failure, Outcome, Tally};
use crate::regex::Regex;
use crate::text::{inputs, open};

/// Reads the next line into `line`, without its newline. `false` at the end.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(true)
}

/// What `grep` looks for.
enum Wanted {
    Fixed(Vec<u8>),
    Pattern(Regex),
}

impl Wanted {
    fn matches(&self, line: &[u8]) -> bool {
        match self {
            Self::Fixed(text) if text.is_empty() => true,
            Self::Fixed(text) => line.windows(text.len()).any(|window| window == text),
            Self::Pattern(regex) => regex.matches(line),
        }
    }
}

/// `grep [-FEivcqnlho] [-e] PATTERN [FILE...]`
pub fn grep(arguments: &[OsString]) -> Outcome {
    let mut options = Options::parse(arguments, "FEivcqnlhe:")?;
    let pattern = match options.value('e') {
        Some(pattern) => pattern.to_owned(),
        None if options.operands.is_empty() => {
            return Err(Failure::usage("missing operand: PATTERN"));
        }
        None => options.operands.remove(0),
    };
    let fold = |bytes: &[u8]| {
        if options.has('i') { bytes.to_ascii_lowercase() } else { bytes.to_vec() }
    };
    let mut wanted = Vec::new();
    for pattern in fold(pattern.as_bytes()).split(|byte| *byte == b'\n') {
        wanted.push(if options.has('F') {
            Wanted::Fixed(pattern.to_vec())
        } else {
            Wanted::Pattern(Regex::parse(pattern, options.has('E'))?)
        });
    }
    let names = inputs(&options);
    let prefix = names.len() > 1 && !options.has('h');
    let mut out = io::stdout().lock();
    let mut tally = Tally::new("grep");
    let mut found = false;
    for name in &names {
        let mut search = || -> Result<(), Failure> {
            let mut input = open(name)?;
            let mut line = Vec::new();
            let (mut number, mut count) = (0_u64, 0_u64);
            while next_line(&mut *input, &mut line).map_err(|error| Failure::file(name, &error))? {
                number += 1;
                let folded = fold(&line);
                if wanted.iter().any(|wanted| wanted.matches(&folded)) == options.has('v') {
                    continue;
                }
                count += 1;
                found = true;
                if options.has('q') || options.has('l') {
                    break;
                }
                if options.has('c') {
                    continue;
                }
                if prefix {
                    write!(out, "{}:", name.display())?;
                }
                if options.has('n') {
                    write!(out, "{number}:")?;
                }
                out.write_all(&line)?;
                out.write_all(b"\n")?;
            }
            if options.has('l') && count > 0 {
                writeln!(out, "{}", name.display())?;
            } else if options.has('c') && !options.has('q') {
                let name = if prefix { format!("{}:", name.display()) } else { String::new() };
                writeln!(out, "{name}{count}")?;
            }
            Ok(())
        };
        tally.note(search());
    }
    match tally.status() {
        _ if found && options.has('q') => Ok(0),
        0 => Ok(u8::from(!found)),
        _ => Ok(2),
    }
}

/// The number that a line starts with, for `sort -n`.
fn leading_number(line: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_start();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && *c == '-')))
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// `sort [-nru] [FILE...]`
pub fn sort(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "nru")?;
    let mut lines = Vec::new();
    for name in inputs(&options) {
        let mut input = open(&name)?;
        let mut line = Vec::new();
        while next_line(&mut *input, &mut line).map_err(|error| Failure::file(&name, &error))? {
            lines.push(line.clone());
        }
    }
    let compare = |a: &Vec<u8>, b: &Vec<u8>| {
        if options.has('n') { leading_number(a).total_cmp(&leading_number(b)) } else { a.cmp(b) }
    };
    lines.sort_by(|a, b| {
        // Lines with equal numbers are told apart as text, unless -u drops them.
        let order = match compare(a, b) {
            Ordering::Equal if !options.has('u') => a.cmp(b),
            order => order,
        };
        if options.has('r') { order.reverse() } else { order }
    });
    if options.has('u') {
        lines.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in lines {
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(0)
}

/// `uniq [-cd] [FILE]`
pub fn uniq(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "cd")?;
    let name = inputs(&options).remove(0);
    let mut input = open(&name)?;
    let mut out = io::stdout().lock();
    let mut print = |line: &[u8], count: u64| -> io::Result<()> {
        if options.has('d') && count < 2 {
            return Ok(());
        }
        if options.has('c') {
            write!(out, "{count:7} ")?;
        }
        out.write_all(line)?;
        out.write_all(b"\n")
    };
    let mut last: Option<(Vec<u8>, u64)> = None;
    let mut line = Vec::new();
    while next_line(&mut *input, &mut line).map_err(|error| Failure::file(&name, &error))? {
        match &mut last {
            Some((same, count)) if *same == line => *count += 1,
            _ => {
                if let Some((line, count)) = last.replace((line.clone(), 1)) {
                    print(&line, count)?;
                }
            }
        }
    }
    if let Some((line, count)) = last {
        print(&line, count)?;
    }
    Ok(0)
}

/// The characters of a `tr` set: ranges and the usual escapes.
fn characters(set: &OsString) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    let mut rest = set.as_bytes();
    let next = |rest: &mut &[u8]| -> Option<u8> {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        if byte != b'\\' {
            return Some(byte);
        }
        let Some((&letter, after)) = rest.split_first() else { return Some(b'\\') };
        *rest = after;
        Some(match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'0' => 0,
            other => other,
        })
    };
    while let Some(first) = next(&mut rest) {
        match rest {
            [b'-', _, ..] => {
                rest = rest.get(1..).unwrap_or_default();
                let last = next(&mut rest).unwrap_or(first);
                if last < first {
                    return Err(Failure::usage(format!("{}: a range goes down", set.display())));
                }
                all.extend(first..=last);
            }
            _ => all.push(first),
        }
    }
    Ok(all)
}

/// `tr SET1 SET2` or `tr -d SET1`
pub fn tr(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "d")?;
    let (from, to) = match options.operands.as_slice() {
        [from] if options.has('d') => (characters(from)?, Vec::new()),
        [from, to] if !options.has('d') => (characters(from)?, characters(to)?),
        _ => return Err(Failure::usage("wanted: SET1 SET2, or -d SET1")),
    };
    let mut table: Vec<Option<u8>> = (0..=u8::MAX).map(Some).collect();
    for (at, byte) in from.iter().enumerate() {
        if let Some(entry) = table.get_mut(usize::from(*byte)) {
            *entry = to.get(at).or(to.last()).copied();
        }
    }
    let mut input = io::stdin().lock();
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = input.read(&mut buffer)?;
        let data = buffer.get(..count).unwrap_or_default();
        if data.is_empty() {
            return Ok(0);
        }
        let new: Vec<u8> = data
            .iter()
            .filter_map(|byte| table.get(usize::from(*byte)).copied().flatten())
            .collect();
        out.write_all(&new)?;
        out.flush()?;
    }
}
