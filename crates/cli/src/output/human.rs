//! Sizes, times and durations as people read them in tables.
//!
//! The words are those that podman and docker print ("About an hour", "12.3MB"), so that scripts
//! and eyes trained on them find what they expect.

use std::time::Duration;

use jiff::Timestamp;

const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size in powers of a thousand, as image and disk sizes are given: `12.3MB`.
pub fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// A size in powers of 1024, as memory is given: `12.25MiB`.
pub fn memory(bytes: u64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str; 7], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = units[0];
    for next in &units[1..] {
        if value < base {
            break;
        }
        value /= base;
        unit = next;
    }
    format!("{}{unit}", significant(value, digits))
}

/// `value` with at most `digits` significant digits and no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value >= 1000.0 {
        4
    } else if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A duration in one rough unit: `5 seconds`, `About a minute`, `3 weeks`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (minutes + 30) / 60;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago `then` was: `5 seconds ago`. A time in the future counts as now.
pub fn ago(then: Timestamp) -> String {
    format!("{} ago", since(then))
}

/// The rough duration from `then` until now.
pub fn since(then: Timestamp) -> String {
    duration(Duration::try_from(then.duration_until(Timestamp::now())).unwrap_or_default())
}

/// A moment as RFC 3339 in UTC with nanoseconds, as inspection and logs print it.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// A moment in tables: `2026-11-21 11:51:08 +0000 UTC`.
pub fn table_time(time: Timestamp) -> String {
    format!("{} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S"))
}

/// The first twelve digits of an ID, without the name of its digest algorithm.
pub fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// `text` cut to `width` characters, the last of which is then an ellipsis.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_significant_digits() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_000), "1kB");
        assert_eq!(size(12_345_678), "12.3MB");
        assert_eq!(size(123_456_789_000), "123GB");
    }

    #[test]
    fn memory_counts_in_powers_of_1024() {
        assert_eq!(memory(512), "512B");
        assert_eq!(memory(64 << 20), "64MiB");
        assert_eq!(memory((1 << 30) + (1 << 29)), "1.5GiB");
        assert_eq!(memory(1023 * 1024), "1023KiB");
    }

    #[test]
    fn durations_are_rough() {
        let text = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(text(0), "Less than a second");
        assert_eq!(text(1), "1 second");
        assert_eq!(text(59), "59 seconds");
        assert_eq!(text(60), "About a minute");
        assert_eq!(text(150), "2 minutes");
        assert_eq!(text(3600), "About an hour");
        assert_eq!(text(7200), "2 hours");
        assert_eq!(text(3 * 86400), "3 days");
        assert_eq!(text(21 * 86400), "3 weeks");
        assert_eq!(text(90 * 86400), "3 months");
        assert_eq!(text(3 * 365 * 86400), "3 years");
    }

    #[test]
    fn times_are_utc() {
        let time = Timestamp::new(1_700_000_000, 5).unwrap();
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(table_time(time), "2023-11-14 22:13:20 +0000 UTC");
    }

    #[test]
    fn identifiers_are_cut_behind_the_algorithm() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        assert_eq!(ellipsis("short", 10), "short");
        assert_eq!(ellipsis("/bin/sh -c sleep", 8), "/bin/sh…");
    }
}
