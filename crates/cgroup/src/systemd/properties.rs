//! Limits as properties of a unit (systemd.resource-control(5)).
//!
//! The kernel's files are written too, since systemd knows only some of the limits. Telling it
//! what it does know keeps it from writing something else when it reloads.

use std::collections::BTreeSet;

use berth_spec::runtime::{LinuxDeviceCgroup, LinuxResources, default_device_rules};

use super::wire::{Property, Value};
use crate::apply::{blkio_to_io_weight, shares_to_weight, swap_alone};
use crate::hierarchy::Layout;

/// What systemd is told.
pub(crate) fn of(layout: Layout, r: &LinuxResources) -> Vec<Property> {
    let mut out = Vec::new();
    let v2 = layout == Layout::V2;
    if let Some(m) = &r.memory {
        if let Some(limit) = m.limit.filter(|&l| l != 0) {
            out.push((if v2 { "MemoryMax" } else { "MemoryLimit" }, bytes(limit)));
        }
        if let Some(low) = m.reservation.filter(|&l| l != 0 && v2) {
            out.push(("MemoryLow", bytes(low)));
        }
        let swap = m.swap.filter(|_| v2).map(|sum| swap_alone(sum, m.limit));
        if let Some(Ok(Some(swap))) = swap {
            out.push(("MemorySwapMax", Value::U64(swap.parse().unwrap_or(u64::MAX))));
        }
    }
    if let Some(c) = &r.cpu {
        if let Some(shares) = c.shares.filter(|&s| s != 0) {
            out.push(if v2 {
                ("CPUWeight", Value::U64(shares_to_weight(shares)))
            } else {
                ("CPUShares", Value::U64(shares.clamp(2, 262_144)))
            });
        }
        if let Some(quota) = c.quota.filter(|&q| q != 0) {
            out.extend(quota_of(quota, c.period));
        }
        // The cpuset controller of v1 is not systemd's.
        if let Some(mask) = c.cpus.as_deref().filter(|_| v2).and_then(mask) {
            out.push(("AllowedCPUs", Value::Bytes(mask)));
        }
        if let Some(mask) = c.mems.as_deref().filter(|_| v2).and_then(mask) {
            out.push(("AllowedMemoryNodes", Value::Bytes(mask)));
        }
    }
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        out.push(("TasksMax", if limit <= 0 { Value::U64(u64::MAX) } else { bytes(limit) }));
    }
    if let Some(weight) = r.block_io.as_ref().and_then(|b| b.weight).filter(|&w| w != 0) {
        out.push(if v2 {
            ("IOWeight", Value::U64(blkio_to_io_weight(weight)))
        } else {
            ("BlockIOWeight", Value::U64(u64::from(weight)))
        });
    }
    // With v2 the filter is a program beside systemd's own; with v1 there is one list for both.
    if !r.devices.is_empty() && !v2 {
        out.extend(devices(&r.devices));
    }
    out
}

fn bytes(limit: i64) -> Value {
    Value::U64(u64::try_from(limit).unwrap_or(u64::MAX))
}

/// A quota for each second, in whole hundredths of a CPU, which is systemd's grain.
fn quota_of(quota: i64, period: Option<u64>) -> Vec<Property> {
    let period = period.filter(|&p| p != 0);
    let mut out = Vec::new();
    if let Some(period) = period {
        out.push(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    let each_second = match u64::try_from(quota) {
        Ok(quota) => {
            let exact = quota.saturating_mul(1_000_000) / period.unwrap_or(100_000);
            exact.next_multiple_of(10_000)
        }
        Err(_) => u64::MAX,
    };
    out.push(("CPUQuotaPerSecUSec", Value::U64(each_second)));
    out
}

/// A list such as `0-2,9` as a bit mask, lowest byte first.
fn mask(list: &str) -> Option<Vec<u8>> {
    let mut numbers = BTreeSet::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        numbers.extend(first..=last);
    }
    let mut mask = vec![0_u8; usize::from(*numbers.last()?) / 8 + 1];
    for n in numbers {
        if let Some(byte) = mask.get_mut(usize::from(n) / 8) {
            *byte |= 1 << (n % 8);
        }
    }
    Some(mask)
}

/// The allowed devices, for a list that starts from "deny everything".
fn devices(list: &[LinuxDeviceCgroup]) -> Vec<Property> {
    let all = |d: &LinuxDeviceCgroup| {
        d.major.is_none() && d.minor.is_none() && matches!(d.typ.as_deref(), None | Some("a" | ""))
    };
    let everything = list.iter().rev().find(|d| all(d)).is_some_and(|d| d.allow);
    if everything {
        return vec![("DevicePolicy", Value::Text("auto".to_owned()))];
    }
    let defaults: Vec<LinuxDeviceCgroup> = default_device_rules().collect();
    let entries = list.iter().chain(&defaults).filter(|d| d.allow).flat_map(device).collect();
    vec![
        ("DevicePolicy", Value::Text("strict".to_owned())),
        // An empty list forgets those before it.
        ("DeviceAllow", Value::Pairs(Vec::new())),
        ("DeviceAllow", Value::Pairs(entries)),
    ]
}

fn device(entry: &LinuxDeviceCgroup) -> Vec<(String, String)> {
    let access = entry.access.clone().unwrap_or_else(|| "rwm".to_owned());
    let kinds: &[&str] = match entry.typ.as_deref() {
        Some("c" | "u") => &["char"],
        Some("b") => &["block"],
        _ => &["char", "block"],
    };
    let number = |n: Option<i64>| n.filter(|&n| n >= 0);
    let mut out = Vec::new();
    for kind in kinds {
        let node = match (number(entry.major), number(entry.minor)) {
            (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
            (Some(major), None) => driver(kind, major).map(|name| format!("{kind}-{name}")),
            (None, _) => Some(format!("{kind}-*")),
        };
        out.extend(node.map(|node| (node, access.clone())));
    }
    out
}

/// The driver of a major number, by which systemd knows it.
fn driver(kind: &str, major: i64) -> Option<String> {
    let text = std::fs::read_to_string("/proc/devices").ok()?;
    let heading = if kind == "char" { "Character devices:" } else { "Block devices:" };
    text.lines()
        .skip_while(|l| *l != heading)
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.trim().split_once(' '))
        .find(|(number, _)| number.parse() == Ok(major))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_masks() {
        assert_eq!(mask("0-2,9"), Some(vec![0b111, 0b10]));
        assert_eq!(mask(""), None);
        assert_eq!(mask("x"), None);
    }

    #[test]
    fn a_quota_is_given_for_a_second_and_rounded_up() {
        let of = |quota, period| quota_of(quota, period).pop().map(|p| p.1);
        assert_eq!(of(50_000, Some(100_000)), Some(Value::U64(500_000)));
        assert_eq!(of(1_234, None), Some(Value::U64(20_000)));
        assert_eq!(of(-1, None), Some(Value::U64(u64::MAX)));
    }
}
