//! `events`: statistics and out-of-memory kills, a line of JSON each, as runc prints them.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use berth_cgroup::{OomWatch, Statistics};
use berth_runtime::{ContainerId, ErrorKind, Runtime};
use berth_spec::state::ContainerState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::log::{Fault, Log};

/// An event.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Statistics>,
}

/// Prints an event; false when nobody reads them any more.
fn emit(kind: &str, id: &ContainerId, data: Option<&Statistics>) -> Result<bool, Fault> {
    let event = Event { kind, id: id.as_str(), data };
    let text = serde_json::to_string(&event)
        .map_err(|error| Fault::new(format!("cannot write JSON: {error}")))?;
    match io::stdout().write_all(format!("{text}\n").as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fault::io("write to standard output", &error)),
    }
}

/// `events`, once or until the container ends.
pub(crate) fn events(
    runtime: &Runtime,
    id: &ContainerId,
    interval: Option<Duration>,
    log: &Log,
) -> Result<(), Fault> {
    if runtime.state(id)?.status == ContainerState::Stopped {
        return Err(Fault::new(format!("container {id} is not running")));
    }
    let Some(interval) = interval else {
        return emit("stats", id, Some(&runtime.statistics(id)?)).map(drop);
    };
    let Some((_, pidfd)) = runtime.pidfd(id)? else { return Ok(()) };
    let watch = match runtime.oom_watch(id) {
        Ok(watch) => Some(watch),
        Err(error) => {
            log.warn(&format!("no out-of-memory events: {}", berth_runtime::error::chain(&error)));
            None
        }
    };
    let mut kills = Kills { count: runtime.oom_kill_count(id).ok().flatten().unwrap_or(0) };
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(
            watch.iter().map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)),
        );
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Fault::io("wait for events", &errno.into())),
        }
        let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
        let (ended, notified) = (ready.next() == Some(true), ready.next() == Some(true));
        drop(polled);
        if let Some(watch) = watch.as_ref().filter(|_| notified || ended)
            && !kills.tell(watch, id)?
        {
            return Ok(());
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            next += interval;
            match runtime.statistics(id) {
                Ok(statistics) => {
                    if !emit("stats", id, Some(&statistics))? {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::State => return Ok(()),
                Err(error) => log.warn(&berth_runtime::error::chain(&error)),
            }
        }
    }
}

/// The kills that have been told of.
struct Kills {
    count: u64,
}

impl Kills {
    /// Tells of new ones.
    fn tell(&mut self, watch: &OomWatch, id: &ContainerId) -> Result<bool, Fault> {
        let count = watch.acknowledge().ok().flatten().unwrap_or(self.count);
        while self.count < count {
            self.count += 1;
            if !emit("oom", id, None)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A time as Go writes it: decimal numbers with units, such as `1.5s` or `1m30s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(length)?;
        let scale = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_nanos(scaled(number, scale)?))?;
        rest = after;
    }
    Some(total)
}

/// A decimal number times `scale`; what is less than one is cut.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in part.chars() {
        place /= 10;
        value = value.checked_add(u64::from(digit.to_digit(10)?).checked_mul(place)?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("5s", 5_000),
            ("100ms", 100),
            ("1.5s", 1_500),
            ("1m30s", 90_000),
            (".5h", 1_800_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "5x", "1..5s", ".s", "+", "99999999999999h", "é"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
