//! The words that people write on a command line, in podman's syntax.
//!
//! Types implement [`FromStr`](std::str::FromStr) so that a front end can name them as value parsers; what is not a
//! type of its own has a function here. Nothing in here looks at the system.

use std::path::PathBuf;

use crate::error::ParseError;
use crate::request::*;

/// Bytes with an optional unit: `512`, `64k`, `64kb`, `1.5g`, `10MiB` (1024-based; b k m g t p).
pub fn bytes(text: &str) -> Result<u64, ParseError> {
    let refuse = || {
        ParseError::new("size", text, "a number of bytes with an optional unit b, k, m, g, t or p")
    };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let factor: u64 = match unit {
        "" | "b" => 1,
        "k" | "kb" | "ki" | "kib" => 1 << 10,
        "m" | "mb" | "mi" | "mib" => 1 << 20,
        "g" | "gb" | "gi" | "gib" => 1 << 30,
        "t" | "tb" | "ti" | "tib" => 1 << 40,
        "p" | "pb" | "pi" | "pib" => 1 << 50,
        _ => return Err(refuse()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(refuse);
    }
    let fraction: f64 = number.parse().map_err(|_| refuse())?;
    let value = fraction * factor as f64;
    if value.is_finite() && (0.0..9.0e18).contains(&value) {
        Ok(value as u64)
    } else {
        Err(refuse())
    }
}

/// Bytes, or `-1` for unlimited (`--memory-swap`).
pub fn bytes_or_unlimited(text: &str) -> Result<i64, ParseError> {
    if text.trim() == "-1" {
        return Ok(-1);
    }
    i64::try_from(bytes(text)?).map_err(|_| ParseError::new("size", text, "less than 8 EiB"))
}

/// `--cpus 1.5` in billionths of a CPU.
pub fn cpus(text: &str) -> Result<i64, ParseError> {
    let refuse = || ParseError::new("number of CPUs", text, "a decimal number such as 1.5");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return Err(refuse());
    }
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(refuse());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| refuse())? };
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| refuse())?;
    whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(fraction)).ok_or_else(refuse)
}

/// The environment from `--env` arguments (`NAME=value`, `NAME` from the caller's environment,
/// `PREFIX*` likewise) and from the text of `--env-file` files, files first, in order.
///
/// `host` lists the caller's environment; `--env-host` is the front end's to prepend.
pub fn environment(
    files: &[String],
    arguments: &[String],
    host: &[(String, String)],
) -> Result<Vec<(String, String)>, ParseError> {
    let mut all = Vec::new();
    let lines = files.iter().flat_map(|text| text.lines()).map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    for word in lines.chain(arguments.iter().map(String::as_str)) {
        match word.split_once('=') {
            // A name may hold anything else: what the program makes of it is its own affair.
            Some(("", _)) => {
                return Err(ParseError::new("environment variable", word, "NAME=value"));
            }
            Some((name, value)) => all.push((name.to_owned(), value.to_owned())),
            None if word.is_empty() => {
                return Err(ParseError::new("environment variable", word, "NAME=value"));
            }
            None => {
                let name = word.trim_end();
                let wanted = |known: &str| match name.strip_suffix('*') {
                    Some(prefix) => known.starts_with(prefix),
                    None => known == name,
                };
                all.extend(host.iter().filter(|(known, _)| wanted(known)).cloned());
            }
        }
    }
    Ok(all)
}

/// `--since`, `--until`: RFC 3339 (date, time or zone may be left out), seconds since 1970 with a
/// fraction, or a duration back from `now` such as `10m` or `1h30m`.
pub fn moment(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp, ParseError> {
    let refuse =
        || ParseError::new("time", text, "RFC 3339, seconds since 1970, or a duration such as 10m");
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(timestamp);
    }
    if let Ok(civil) = text.parse::<jiff::civil::DateTime>() {
        return civil
            .to_zoned(jiff::tz::TimeZone::system())
            .map(|z| z.timestamp())
            .map_err(|_| refuse());
    }
    if let Some((seconds, nanoseconds)) = decimal_seconds(text) {
        return jiff::Timestamp::new(seconds, nanoseconds).map_err(|_| refuse());
    }
    let back: jiff::SignedDuration = text.trim_start_matches('-').parse().map_err(|_| refuse())?;
    now.checked_sub(back).map_err(|_| refuse())
}

fn decimal_seconds(text: &str) -> Option<(i64, i32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// `--umask`, octal.
pub fn umask(text: &str) -> Result<u32, ParseError> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| ParseError::new("umask", text, "an octal number up to 0777"))
}

/// `--pids-limit`: -1 and 0 are unlimited.
pub fn pids_limit(text: &str) -> Result<i64, ParseError> {
    let limit = text.parse().ok().filter(|limit| *limit >= -1);
    limit.ok_or_else(|| ParseError::new("number of processes", text, "-1 (unlimited) or more"))
}

/// `--annotation`: `KEY=VALUE`, as podman wants it.
pub fn annotation(text: &str) -> Result<(String, String), ParseError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(ParseError::new("annotation", text, "KEY=VALUE with a key that is not empty")),
    }
}

/// `--label`, `--sysctl`, `--cgroup-conf`: `KEY=VALUE`; a bare key has no value.
pub fn key_value(text: &str) -> Result<(String, String), ParseError> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(ParseError::new("key and value", text, "KEY=VALUE"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `--volume [SOURCE:]TARGET[:OPTIONS]`: a source with a slash is a host path, else a volume's name.
///
/// Relative host paths (`./x`) are made absolute below `directory`, the caller's current one.
pub fn volume(text: &str, directory: &std::path::Path) -> Result<MountRequest, ParseError> {
    mounts::volume(text, directory)
}

/// `--mount type=bind|volume|tmpfs|devpts|ramfs,source=…,target=…[,OPTION…]`.
pub fn mount(text: &str, directory: &std::path::Path) -> Result<MountRequest, ParseError> {
    mounts::mount(text, directory)
}

/// `--tmpfs TARGET[:OPTIONS]`.
pub fn tmpfs(text: &str) -> Result<MountRequest, ParseError> {
    mounts::tmpfs(text)
}

/// `--log-opt KEY=VALUE` into a log request: `max-size`, `max-file`.
pub fn log_option(log: &mut LogRequest, text: &str) -> Result<(), ParseError> {
    match key_value(text)? {
        (key, value) if key == "max-size" => log.max_size = Some(bytes(&value)?),
        (key, value) if key == "max-file" => {
            let files = value.parse().ok().filter(|files| *files > 0);
            log.max_files =
                Some(files.ok_or_else(|| ParseError::new("max-file", value, "a number above 0"))?);
        }
        _ => return Err(ParseError::new("log option", text, "max-size=SIZE or max-file=NUMBER")),
    }
    Ok(())
}

/// `--device-read-bps` and its like: `PATH:RATE[unit]`.
pub fn device_rate(text: &str) -> Result<DeviceRate, ParseError> {
    let refuse =
        || ParseError::new("device rate", text, "DEVICE:NUMBER[unit] such as /dev/sda:10mb");
    let (path, rate) = text.rsplit_once(':').ok_or_else(refuse)?;
    if !path.starts_with('/') {
        return Err(refuse());
    }
    Ok(DeviceRate { path: PathBuf::from(path), rate: bytes(rate).map_err(|_| refuse())? })
}

mod mounts;
#[cfg(test)]
mod tests;
mod words;
