//! Applets that pass text through: cat, head, tail, wc, tee, yes, seq.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::options::Options;
use crate::outcome::{Failure, Outcome, Tally, plain};

/// Opens an operand for reading; `-` is standard input.
pub fn open(operand: &OsStr) -> Result<Box<dyn BufRead>, Failure> {
    if operand == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(operand).map_err(|error| Failure::file(operand, &error))?;
    Ok(Box::new(BufReader::with_capacity(64 << 10, file)))
}

/// Standard input when there are no operands.
pub fn inputs(options: &Options) -> Vec<OsString> {
    if options.operands.is_empty() { vec!["-".into()] } else { options.operands.clone() }
}

/// Copies all of a reader to standard output, as it comes.
fn copy_out(name: &OsStr, input: &mut dyn Read) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = input.read(&mut buffer).map_err(|error| Failure::file(name, &error))?;
        if count == 0 {
            return Ok(());
        }
        out.write_all(buffer.get(..count).unwrap_or_default())?;
        out.flush()?;
    }
}

/// `cat [FILE...]`
pub fn cat(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "u")?;
    let mut tally = Tally::new("cat");
    for name in inputs(&options) {
        tally.note(open(&name).and_then(|mut input| copy_out(&name, &mut input)));
    }
    Ok(tally.status())
}

/// What `head` and `tail` count.
#[derive(Clone, Copy)]
enum Amount {
    Lines(u64),
    Bytes(u64),
}

impl Amount {
    /// From `-n` or `-c`; ten lines otherwise.
    fn from_options(options: &Options) -> Result<Self, Failure> {
        if let Some(bytes) = options.size('c')? {
            return Ok(Self::Bytes(bytes));
        }
        Ok(Self::Lines(options.size('n')?.unwrap_or(10)))
    }
}

/// Turns the old form `-5` into `-n5`.
fn old_form(arguments: &[OsString]) -> Vec<OsString> {
    let rewrite = |argument: &OsString| match argument.as_bytes() {
        [b'-', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let mut new = OsString::from("-n");
            new.push(OsStr::from_bytes(digits));
            new
        }
        _ => argument.clone(),
    };
    arguments.iter().map(rewrite).collect()
}

/// `head [-n LINES | -c BYTES] [FILE...]`
pub fn head(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(&old_form(arguments), "n:c:q")?;
    let amount = Amount::from_options(&options)?;
    let names = inputs(&options);
    let mut tally = Tally::new("head");
    for (at, name) in names.iter().enumerate() {
        let print = || -> Result<(), Failure> {
            let mut input = open(name)?;
            title(&names, at, &options)?;
            match amount {
                Amount::Bytes(bytes) => copy_out(name, &mut input.take(bytes)),
                Amount::Lines(lines) => {
                    let mut out = io::stdout().lock();
                    let mut line = Vec::new();
                    for _ in 0..lines {
                        line.clear();
                        let read = input.read_until(b'\n', &mut line);
                        if read.map_err(|error| Failure::file(name, &error))? == 0 {
                            break;
                        }
                        out.write_all(&line)?;
                    }
                    Ok(())
                }
            }
        };
        tally.note(print());
    }
    Ok(tally.status())
}

/// Prints the heading that separates several files.
fn title(names: &[OsString], at: usize, options: &Options) -> Result<(), Failure> {
    if names.len() > 1 && !options.has('q') {
        let gap = if at == 0 { "" } else { "\n" };
        let name = names.get(at).map(OsString::as_os_str).unwrap_or_default();
        writeln!(io::stdout(), "{gap}==> {} <==", name.display())?;
    }
    Ok(())
}

/// `tail [-f] [-n LINES | -c BYTES] [FILE...]`
pub fn tail(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(&old_form(arguments), "n:c:qf")?;
    let amount = Amount::from_options(&options)?;
    let names = inputs(&options);
    let mut tally = Tally::new("tail");
    for (at, name) in names.iter().enumerate() {
        tally.note(open(name).and_then(|mut input| {
            title(&names, at, &options)?;
            let kept = last(&mut *input, amount).map_err(|error| Failure::file(name, &error))?;
            io::stdout().write_all(&kept)?;
            Ok(())
        }));
    }
    if let (true, [name]) = (options.has('f'), names.as_slice()) {
        return follow(name);
    }
    Ok(tally.status())
}

/// Reads all of a reader and keeps its end.
fn last(input: &mut dyn BufRead, amount: Amount) -> io::Result<Vec<u8>> {
    match amount {
        Amount::Bytes(bytes) => {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let mut kept: VecDeque<u8> = VecDeque::new();
            let mut buffer = vec![0; 64 << 10];
            loop {
                let count = input.read(&mut buffer)?;
                if count == 0 {
                    return Ok(kept.into());
                }
                kept.extend(buffer.get(..count).unwrap_or_default());
                kept.drain(..kept.len().saturating_sub(bytes));
            }
        }
        Amount::Lines(lines) => {
            let lines = usize::try_from(lines).unwrap_or(usize::MAX);
            let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
            loop {
                let mut line = Vec::new();
                if input.read_until(b'\n', &mut line)? == 0 {
                    return Ok(kept.into_iter().flatten().collect());
                }
                kept.push_back(line);
                if kept.len() > lines {
                    kept.pop_front();
                }
            }
        }
    }
}

/// Prints what is added to a file, until killed.
fn follow(name: &OsStr) -> Outcome {
    let mut file = File::open(name).map_err(|error| Failure::file(name, &error))?;
    file.seek(SeekFrom::End(0)).map_err(|error| Failure::file(name, &error))?;
    io::stdout().flush()?;
    loop {
        copy_out(name, &mut file)?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Counts of `wc`.
#[derive(Default, Clone, Copy)]
struct Counts {
    lines: u64,
    words: u64,
    bytes: u64,
}

/// `wc [-lwc] [FILE...]`
pub fn wc(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "lwc")?;
    let every = !(options.has('l') || options.has('w') || options.has('c'));
    let show = |counts: Counts, name: &OsStr| -> io::Result<()> {
        let columns: Vec<String> = [('l', counts.lines), ('w', counts.words), ('c', counts.bytes)]
            .iter()
            .filter(|(letter, _)| every || options.has(*letter))
            .map(|(_, count)| count.to_string())
            .collect();
        let gap = if name.is_empty() { "" } else { " " };
        writeln!(io::stdout(), "{}{gap}{}", columns.join(" "), name.display())
    };
    let mut tally = Tally::new("wc");
    let mut total = Counts::default();
    for name in inputs(&options) {
        tally.note(open(&name).and_then(|mut input| {
            let counts = count(&mut *input).map_err(|error| Failure::file(&name, &error))?;
            total.lines += counts.lines;
            total.words += counts.words;
            total.bytes += counts.bytes;
            show(counts, if options.operands.is_empty() { OsStr::new("") } else { &name })?;
            Ok(())
        }));
    }
    if options.operands.len() > 1 {
        show(total, OsStr::new("total"))?;
    }
    Ok(tally.status())
}

/// Counts one input.
fn count(input: &mut dyn Read) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut in_word = false;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(counts);
        }
        for byte in buffer.get(..read).unwrap_or_default() {
            counts.bytes += 1;
            counts.lines += u64::from(*byte == b'\n');
            let space = byte.is_ascii_whitespace();
            counts.words += u64::from(!space && !in_word);
            in_word = !space;
        }
    }
}

/// `tee [-a] [FILE...]`
pub fn tee(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "ai")?;
    let mut tally = Tally::new("tee");
    let mut files = Vec::new();
    for name in &options.operands {
        let mut how = OpenOptions::new();
        how.create(true).write(true).append(options.has('a')).truncate(!options.has('a'));
        tally.note(
            how.open(name)
                .map(|file| files.push((name, file)))
                .map_err(|error| Failure::file(name, &error)),
        );
    }
    let mut input = io::stdin().lock();
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = input.read(&mut buffer)?;
        let data = buffer.get(..count).unwrap_or_default();
        if data.is_empty() {
            return Ok(tally.status());
        }
        out.write_all(data)?;
        out.flush()?;
        for (name, file) in &mut files {
            tally.note(file.write_all(data).map_err(|error| Failure::file(name, &error)));
        }
    }
}

/// `yes [WORD...]`
pub fn yes(arguments: &[OsString]) -> Outcome {
    let mut line = if arguments.is_empty() {
        b"y".to_vec()
    } else {
        let words: Vec<&[u8]> = arguments.iter().map(|word| word.as_bytes()).collect();
        words.join(&b' ')
    };
    line.push(b'\n');
    let block = line.repeat((16 << 10) / line.len() + 1);
    let mut out = io::stdout().lock();
    loop {
        if let Err(error) = out.write_all(&block) {
            return Err(Failure::new(1, plain(&error)));
        }
    }
}

/// `seq [FIRST [STEP]] LAST`
pub fn seq(arguments: &[OsString]) -> Outcome {
    // A negative number is an operand here, so there are no options.
    let number = |text: &OsString| -> Result<i64, Failure> {
        let parsed = text.to_str().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| Failure::usage(format!("{} is not a whole number", text.display())))
    };
    let (first, step, last) = match arguments {
        [last] => (1, 1, number(last)?),
        [first, last] => (number(first)?, 1, number(last)?),
        [first, step, last] => (number(first)?, number(step)?, number(last)?),
        _ => return Err(Failure::usage("one, two or three numbers are wanted")),
    };
    if step == 0 {
        return Err(Failure::usage("the step must not be 0"));
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut at = first;
    while (step > 0 && at <= last) || (step < 0 && at >= last) {
        writeln!(out, "{at}")?;
        let Some(next) = at.checked_add(step) else { break };
        at = next;
    }
    out.flush()?;
    Ok(0)
}
