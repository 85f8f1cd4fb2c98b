//! Applets about processes: env, kill, sleep, pwd, true, false.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::options::Options;
use crate::outcome::{Failure, Outcome, Tally, plain};
use crate::sys;

/// `true`
#[expect(clippy::unnecessary_wraps, reason = "every applet has this signature")]
pub fn yes_status(_arguments: &[OsString]) -> Outcome {
    Ok(0)
}

/// `false`
#[expect(clippy::unnecessary_wraps, reason = "every applet has this signature")]
pub fn no(_arguments: &[OsString]) -> Outcome {
    Ok(1)
}

/// `pwd`
pub fn pwd(_arguments: &[OsString]) -> Outcome {
    let mut line = std::env::current_dir()?.into_os_string();
    line.push("\n");
    io::stdout().write_all(line.as_bytes())?;
    Ok(0)
}

/// The exit status for a program that could not be executed: 127 not found, 126 otherwise.
pub fn exec_status(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// `env [-i] [-u NAME] [NAME=VALUE...] [COMMAND [ARGUMENT...]]`
pub fn env(arguments: &[OsString]) -> Outcome {
    let options = Options::parse_leading(arguments, "iu:")?;
    let mut variables: Vec<(OsString, OsString)> =
        if options.has('i') { Vec::new() } else { std::env::vars_os().collect() };
    variables.retain(|(name, _)| options.values('u').all(|gone| gone != name));
    let mut operands = options.operands.iter();
    let mut words: Vec<&OsString> = Vec::new();
    for operand in operands.by_ref() {
        let bytes = operand.as_bytes();
        let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
            words.push(operand);
            break;
        };
        let (name, value) = bytes.split_at(at);
        let (name, value) = (OsStr::from_bytes(name), value.get(1..).unwrap_or_default());
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), OsStr::from_bytes(value).to_owned()));
    }
    words.extend(operands);
    let Some((program, rest)) = words.split_first() else {
        let mut out = io::stdout().lock();
        for (name, value) in variables {
            out.write_all(&[name.as_bytes(), b"=", value.as_bytes(), b"\n"].concat())?;
        }
        return Ok(0);
    };
    io::stdout().flush()?;
    let error = Command::new(program).args(rest).env_clear().envs(variables).exec();
    Err(Failure::new(exec_status(&error), format!("{}: {}", program.display(), plain(&error))))
}

/// `kill [-SIGNAL | -s SIGNAL] PID...` or `kill -l`
pub fn kill(arguments: &[OsString]) -> Outcome {
    let unknown = |text: &OsStr| Failure::usage(format!("unknown signal {}", text.display()));
    let mut signal = sys::SIGTERM;
    let mut operands = arguments;
    match arguments {
        [list] if list == "-l" => {
            let mut out = io::stdout().lock();
            for (at, name) in sys::signal_names().iter().enumerate() {
                writeln!(out, "{:2} {name}", at + 1)?;
            }
            return Ok(0);
        }
        [option, name, rest @ ..] if option == "-s" => {
            signal = name.to_str().and_then(sys::signal_number).ok_or_else(|| unknown(name))?;
            operands = rest;
        }
        [option, rest @ ..] => {
            if let Some(name) = option.to_str().and_then(|text| text.strip_prefix('-')) {
                if name != "-" {
                    signal = sys::signal_number(name).ok_or_else(|| unknown(option))?;
                }
                operands = rest;
            }
        }
        [] => {}
    }
    if operands.is_empty() {
        return Err(Failure::usage("missing operand: PID"));
    }
    let mut tally = Tally::new("kill");
    for operand in operands {
        let pid = operand.to_str().and_then(|text| text.parse().ok());
        let sent = pid
            .ok_or_else(|| Failure::usage(format!("{} is not a process id", operand.display())))
            .and_then(|pid| {
                sys::send_signal(pid, signal).map_err(|error| Failure::file(operand, &error))
            });
        tally.note(sent);
    }
    Ok(tally.status())
}

/// Reads a span of time: a decimal number with an optional `s`, `m`, `h` or `d`.
fn duration(text: &OsStr) -> Result<Duration, Failure> {
    let bad = || Failure::usage(format!("{} is not a span of time", text.display()));
    let string = text.to_str().ok_or_else(bad)?;
    if string == "infinity" {
        return Ok(Duration::MAX);
    }
    let (number, factor) = match string.char_indices().last() {
        Some((at, 's')) => (string.get(..at), 1.0),
        Some((at, 'm')) => (string.get(..at), 60.0),
        Some((at, 'h')) => (string.get(..at), 3600.0),
        Some((at, 'd')) => (string.get(..at), 86400.0),
        _ => (Some(string), 1.0),
    };
    let seconds: f64 = number.and_then(|number| number.parse().ok()).ok_or_else(bad)?;
    Duration::try_from_secs_f64(seconds * factor).map_err(|_| bad())
}

/// `sleep SPAN...`
pub fn sleep(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "")?;
    let mut total = Duration::ZERO;
    for span in options.at_least(1, "a span of time")? {
        total = total.saturating_add(duration(span)?);
    }
    std::thread::sleep(total);
    Ok(0)
}
