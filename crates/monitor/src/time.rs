//! Wall-clock time as RFC 3339 text in UTC with nanoseconds, without any table or allocation.

use rustix::time::{ClockId, clock_gettime};

/// Length of `2026-11-21T11:00:00.123456789Z`.
pub(crate) const STAMP_LENGTH: usize = 30;

/// A time stamp as ASCII text.
pub(crate) type Stamp = [u8; STAMP_LENGTH];

/// The time now.
pub(crate) fn now() -> Stamp {
    let time = clock_gettime(ClockId::Realtime);
    format(time.tv_sec, time.tv_nsec as u32)
}

/// The time now as a string.
pub(crate) fn now_string() -> String {
    now().iter().map(|&byte| char::from(byte)).collect()
}

fn digits(out: &mut [u8], mut value: u64) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Formats seconds since the epoch (years 1970 to 9999) and nanoseconds.
fn format(seconds: i64, nanoseconds: u32) -> Stamp {
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let days = seconds.div_euclid(86_400);
    let second_of_day = seconds.rem_euclid(86_400) as u64;
    let (year, month, day) = civil_from_days(days);
    digits(&mut out[0..4], year as u64);
    digits(&mut out[5..7], month);
    digits(&mut out[8..10], day);
    digits(&mut out[11..13], second_of_day / 3600);
    digits(&mut out[14..16], second_of_day / 60 % 60);
    digits(&mut out[17..19], second_of_day % 60);
    digits(&mut out[20..29], u64::from(nanoseconds));
    out
}

/// The proleptic Gregorian date of a day counted from 1970-01-01, in eras of 400 years that begin
/// on the first of March.
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u64;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u64, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_formatted() {
        let text = |s, n| String::from_utf8(format(s, n).to_vec()).unwrap();
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(1_795_258_800, 123_456_789), "2026-11-21T11:00:00.123456789Z");
        assert_eq!(text(4_102_444_799, 999_999_999), "2099-12-31T23:59:59.999999999Z");
    }
}
