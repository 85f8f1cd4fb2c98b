//! Dates of the Gregorian calendar in UTC, and the date applet.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::options::Options;
use crate::outcome::{Failure, Outcome};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// A date and time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    year: i64,
    /// From 1.
    month: usize,
    /// From 1.
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// From Sunday, 0.
    weekday: usize,
}

impl Civil {
    /// From seconds since 1970.
    pub fn from_seconds(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
        // Years are counted from March here, so that a leap day comes last.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: usize::try_from(month).unwrap_or(1),
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
        }
    }

    /// The month's short name.
    fn month_name(self) -> &'static str {
        MONTHS.get(self.month.wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// The day's short name.
    fn day_name(self) -> &'static str {
        DAYS.get(self.weekday).copied().unwrap_or_default()
    }

    /// The form of HTTP's header fields.
    pub fn http(self) -> String {
        let Self { year, day, hour, minute, second, .. } = self;
        let (name, month) = (self.day_name(), self.month_name());
        format!("{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

impl Display for Civil {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, .. } = self;
        write!(formatter, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// The time since 1970.
pub fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `date [-u] [+FORMAT]`
pub fn date(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "u")?;
    let format = match options.operands.as_slice() {
        [] => "%a %b %e %H:%M:%S UTC %Y".to_owned(),
        [format] => match format.to_string_lossy().strip_prefix('+') {
            Some(format) => format.to_owned(),
            None => return Err(Failure::usage("setting the time is not supported")),
        },
        _ => return Err(Failure::usage("wanted: [+FORMAT]")),
    };
    let now = now();
    let date = Civil::from_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        out += &match letters.next() {
            Some('s') => now.as_secs().to_string(),
            Some('N') => format!("{:09}", now.subsec_nanos()),
            Some('Y') => format!("{:04}", date.year),
            Some('m') => format!("{:02}", date.month),
            Some('d') => format!("{:02}", date.day),
            Some('e') => format!("{:2}", date.day),
            Some('H') => format!("{:02}", date.hour),
            Some('M') => format!("{:02}", date.minute),
            Some('S') => format!("{:02}", date.second),
            Some('F') => format!("{:04}-{:02}-{:02}", date.year, date.month, date.day),
            Some('T') => format!("{:02}:{:02}:{:02}", date.hour, date.minute, date.second),
            Some('a') => date.day_name().to_owned(),
            Some('b') => date.month_name().to_owned(),
            Some('Z') => "UTC".to_owned(),
            Some('%') => "%".to_owned(),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(Failure::usage(format!("unknown conversion %{other}")));
            }
        };
    }
    writeln!(io::stdout(), "{out}")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(Civil::from_seconds(0).to_string(), "1970-01-01 00:00:00");
        assert_eq!(Civil::from_seconds(951_782_400).to_string(), "2000-02-29 00:00:00");
        assert_eq!(Civil::from_seconds(-1).to_string(), "1969-12-31 23:59:59");
        assert_eq!(Civil::from_seconds(784_111_777).http(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
