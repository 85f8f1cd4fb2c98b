//! The wall clock, as stamps.

use berth_spec::time::Stamp;
use rustix::time::{ClockId, clock_gettime};

/// The time now.
pub(crate) fn now() -> Stamp {
    let time = clock_gettime(ClockId::Realtime);
    Stamp::new(u64::try_from(time.tv_sec).unwrap_or_default(), time.tv_nsec as u32)
}

/// Milliseconds since boot, time in suspension included.
pub(crate) fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
