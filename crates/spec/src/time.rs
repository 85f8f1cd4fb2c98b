//! Times as the records and logs of containers spell them: RFC 3339 in UTC with nanoseconds.
//!
//! The one calendar of the runtime and the monitor, which link no library of dates. Nothing here
//! reads a clock, allocates (until a stamp is made a `String`) or fails.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Length of `2026-11-21T11:00:00.123456789Z`.
pub const STAMP_LENGTH: usize = 30;

/// A point in time as ASCII text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; STAMP_LENGTH]);

impl Stamp {
    /// Of seconds since 1970 (up to the year 9999) and nanoseconds below a second.
    pub fn new(seconds: u64, nanoseconds: u32) -> Self {
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let (year, month, day) = civil(seconds / 86_400);
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], seconds / 3_600 % 24);
        digits(&mut text[14..16], seconds / 60 % 60);
        digits(&mut text[17..19], seconds % 60);
        digits(&mut text[20..29], u64::from(nanoseconds));
        Self(text)
    }

    /// Its bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8; STAMP_LENGTH] {
        &self.0
    }
}

impl From<SystemTime> for Stamp {
    /// A time before 1970 becomes 1970.
    fn from(time: SystemTime) -> Self {
        let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::new(elapsed.as_secs(), elapsed.subsec_nanos())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.0).expect("a stamp is made of ASCII"))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Writes `value` right-aligned with leading zeros; higher digits that find no room are dropped.
fn digits(out: &mut [u8], mut value: u64) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The Gregorian year, month and day of a day counted from 1970-01-01, in eras of 400 years that
/// begin on the first of March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_written_as_rfc_3339() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199, 7, "2024-02-29T23:59:59.000000007Z"),
            (1_795_262_478, 123_456_789, "2026-11-21T12:01:18.123456789Z"),
            (4_102_444_799, 999_999_999, "2099-12-31T23:59:59.999999999Z"),
            (4_107_542_400, 7, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(Stamp::new(seconds, nanoseconds).to_string(), text);
        }
    }

    #[test]
    fn a_time_before_1970_becomes_1970() {
        let time = UNIX_EPOCH - std::time::Duration::from_secs(5);
        assert_eq!(Stamp::from(time).to_string(), "1970-01-01T00:00:00.000000000Z");
    }
}
