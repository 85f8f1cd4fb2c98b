//! Limits as properties of a unit (systemd.resource-control(5)).
//!
//! The kernel's files are written too, since systemd knows only some of the limits. Telling it
//! what it does know keeps it from writing something else when it reloads.

use std::collections::BTreeSet;

use berth_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};

use super::wire::{Property, Value};
use crate::apply::{
    NodeType, Rule, blkio_to_io_weight, letters, rules, shares_to_weight, swap_value, tasks,
};
use crate::directory::Directory;
use crate::error::ApplyError;
use crate::hierarchy::Layout;

/// What `memory.oom.group` is to systemd, which takes it with the start of a unit only.
pub(crate) const OOM_POLICY: &str = "OOMPolicy";

/// What the properties depend on beside the limits.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The machine's layout.
    pub(crate) layout: Layout,
    /// Whether it is a user's manager, which may filter no devices.
    pub(crate) users: bool,
    /// The unit's own group, once there is one.
    pub(crate) group: Option<&'a Directory>,
}

/// The version of systemd that brought a property; 0 when every one has it that knows v2.
pub(crate) fn since(property: &Property) -> u32 {
    match property {
        ("CPUQuotaPeriodUSec", _) => 242,
        ("AllowedCPUs" | "AllowedMemoryNodes", _) => 244,
        ("CPUWeight", Value::U64(0)) => 252,
        ("MemoryZSwapMax" | OOM_POLICY, _) => 253,
        _ => 0,
    }
}

/// What systemd is told.
pub(crate) fn of(context: Context<'_>, r: &LinuxResources) -> Result<Vec<Property>, ApplyError> {
    let mut out = Vec::new();
    let v2 = context.layout == Layout::V2;
    if let Some(m) = &r.memory {
        memory(&mut out, context, m)?;
    }
    if let Some(c) = &r.cpu {
        cpu(&mut out, v2, c);
    }
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        out.push(("TasksMax", Value::U64(tasks(limit).unwrap_or(u64::MAX))));
    }
    if let Some(io) = &r.block_io {
        block_io(&mut out, v2, io);
    }
    if !r.devices.is_empty() {
        let rules = rules(&r.devices)?;
        if !context.users {
            out.extend(devices(&rules));
        }
    }
    if v2 {
        r.unified.iter().for_each(|(file, value)| unified(&mut out, file, value.trim()));
    }
    Ok(out)
}

fn memory(
    out: &mut Vec<Property>,
    context: Context<'_>,
    m: &LinuxMemory,
) -> Result<(), ApplyError> {
    let v2 = context.layout == Layout::V2;
    if let Some(limit) = m.limit.filter(|&l| l != 0) {
        out.push((if v2 { "MemoryMax" } else { "MemoryLimit" }, bytes(limit)));
    }
    if !v2 {
        return Ok(());
    }
    if let Some(low) = m.reservation.filter(|&l| l != 0) {
        out.push(("MemoryLow", bytes(low)));
    }
    if let Some(swap) = swap_value(context.group, m)? {
        out.push(("MemorySwapMax", Value::U64(swap.parse().unwrap_or(u64::MAX))));
    }
    Ok(())
}

fn cpu(out: &mut Vec<Property>, v2: bool, c: &LinuxCpu) {
    let shares = c.shares.filter(|&s| s != 0);
    match (v2, c.idle) {
        (true, Some(idle)) if idle != 0 => out.push(("CPUWeight", Value::U64(0))),
        // One that wakes has the kernel's default.
        (true, Some(_)) if shares.is_none() => out.push(("CPUWeight", Value::U64(100))),
        (true, _) => {
            out.extend(shares.map(|s| ("CPUWeight", Value::U64(shares_to_weight(s)))));
        }
        (false, _) => {
            out.extend(shares.map(|s| ("CPUShares", Value::U64(s.clamp(2, 262_144)))));
        }
    }
    if let Some(quota) = c.quota.filter(|&q| q != 0) {
        quota_of(out, quota, c.period);
    }
    // The cpuset controller of v1 is not systemd's.
    if v2 {
        cpuset(out, "AllowedCPUs", c.cpus.as_deref());
        cpuset(out, "AllowedMemoryNodes", c.mems.as_deref());
    }
}

fn cpuset(out: &mut Vec<Property>, name: &'static str, list: Option<&str>) {
    out.extend(list.and_then(mask).map(|mask| (name, Value::Bytes(mask))));
}

fn bytes(limit: i64) -> Value {
    Value::U64(u64::try_from(limit).unwrap_or(u64::MAX))
}

/// A quota for each second, in whole hundredths of a CPU, which is systemd's grain.
fn quota_of(out: &mut Vec<Property>, quota: i64, period: Option<u64>) {
    let period = period.filter(|&p| p != 0);
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

fn block_io(out: &mut Vec<Property>, v2: bool, io: &LinuxBlockIo) {
    if let Some(weight) = io.weight.filter(|&w| w != 0) {
        out.push(if v2 {
            ("IOWeight", Value::U64(blkio_to_io_weight(weight)))
        } else {
            ("BlockIOWeight", Value::U64(u64::from(weight)))
        });
    }
    if !v2 {
        return;
    }
    let weights = io.weight_device.iter().filter_map(|d| {
        let weight = d.weight.filter(|&w| w != 0)?;
        Some((block_device(d.major, d.minor), blkio_to_io_weight(weight)))
    });
    let weights: Vec<(String, u64)> = weights.collect();
    if !weights.is_empty() {
        out.push(("IODeviceWeight", Value::Limits(weights)));
    }
    let mut limits = |name, devices: &[LinuxThrottleDevice]| {
        let limit = |d: &LinuxThrottleDevice| {
            (block_device(d.major, d.minor), if d.rate == 0 { u64::MAX } else { d.rate })
        };
        if !devices.is_empty() {
            out.push((name, Value::Limits(devices.iter().map(limit).collect())));
        }
    };
    limits("IOReadBandwidthMax", &io.throttle_read_bps_device);
    limits("IOWriteBandwidthMax", &io.throttle_write_bps_device);
    limits("IOReadIOPSMax", &io.throttle_read_iops_device);
    limits("IOWriteIOPSMax", &io.throttle_write_iops_device);
}

fn block_device(major: i64, minor: i64) -> String {
    format!("/dev/block/{major}:{minor}")
}

/// Files of v2 that systemd would write itself.
fn unified(out: &mut Vec<Property>, file: &str, value: &str) {
    let mut number = |name| out.extend(size(value).map(|n| (name, Value::U64(n))));
    match file {
        "cpu.weight" => number("CPUWeight"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.max" => number("MemoryMax"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.zswap.max" => number("MemoryZSwapMax"),
        "pids.max" => number("TasksMax"),
        "cpu.idle" if value == "1" => out.push(("CPUWeight", Value::U64(0))),
        "cpu.max" => {
            let mut words = value.split_whitespace();
            let quota = words.next().and_then(|word| match word {
                "max" => Some(-1),
                word => word.parse().ok(),
            });
            if let Some(quota) = quota {
                quota_of(out, quota, words.next().and_then(|word| word.parse().ok()));
            }
        }
        "cpuset.cpus" => cpuset(out, "AllowedCPUs", Some(value)),
        "cpuset.mems" => cpuset(out, "AllowedMemoryNodes", Some(value)),
        "io.weight" => {
            let weight = value.strip_prefix("default ").unwrap_or(value).trim().parse();
            out.extend(weight.ok().map(|n| ("IOWeight", Value::U64(n))));
        }
        "memory.oom.group" => {
            let policy = if value == "1" { "kill" } else { "continue" };
            out.push((OOM_POLICY, Value::Text(policy.to_owned())));
        }
        _ => {}
    }
}

/// A number as the kernel reads it, `max` or with a unit.
fn size(text: &str) -> Option<u64> {
    if text == "max" {
        return Some(u64::MAX);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The allowed devices, for a list that starts from "deny everything". A denial after them has no
/// equivalent: the kernel's own filter, which is set up beside systemd's, has the last word.
fn devices(rules: &[Rule]) -> Vec<Property> {
    let last = rules.iter().rposition(Rule::is_total);
    let (everything, rest) = match last.and_then(|at| Some((rules.get(at)?, rules.get(at + 1..)?)))
    {
        Some((total, rest)) => (total.allow, rest),
        None => (false, rules),
    };
    // An empty list forgets those before it.
    let none = ("DeviceAllow", Value::Pairs(Vec::new()));
    if everything {
        return vec![("DevicePolicy", Value::Text("auto".to_owned())), none];
    }
    let entries = rest.iter().filter(|rule| rule.allow).flat_map(device).collect();
    vec![
        ("DevicePolicy", Value::Text("strict".to_owned())),
        none,
        ("DeviceAllow", Value::Pairs(entries)),
    ]
}

fn device(rule: &Rule) -> impl Iterator<Item = (String, String)> + '_ {
    let kinds: &[&str] = match rule.typ {
        Some(NodeType::Character) => &["char"],
        Some(NodeType::Block) => &["block"],
        None => &["char", "block"],
    };
    kinds.iter().map(|kind| {
        let node = match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => format!("{kind}-{major}"),
            (None, _) => format!("{kind}-*"),
        };
        (node, letters(rule.access))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_json(value: serde_json::Value) -> Vec<Property> {
        let context = Context { layout: Layout::V2, users: false, group: None };
        of(context, &serde_json::from_value(value).expect("resources")).expect("valid")
    }

    #[test]
    fn lists_become_masks() {
        assert_eq!(mask("0-2,9"), Some(vec![0b111, 0b10]));
        assert_eq!(mask(""), None);
        assert_eq!(mask("x"), None);
    }

    #[test]
    fn a_quota_is_given_for_a_second_and_rounded_up() {
        let of = |quota, period| {
            let mut out = Vec::new();
            quota_of(&mut out, quota, period);
            out.pop().map(|p| p.1)
        };
        assert_eq!(of(50_000, Some(100_000)), Some(Value::U64(500_000)));
        assert_eq!(of(1_234, None), Some(Value::U64(20_000)));
        assert_eq!(of(-1, None), Some(Value::U64(u64::MAX)));
    }

    #[test]
    fn no_task_at_all_is_one_because_systemd_takes_no_less() {
        for (limit, told) in [(-1, u64::MAX), (0, 1), (20, 20)] {
            let properties = of_json(serde_json::json!({ "pids": { "limit": limit } }));
            assert_eq!(properties, [("TasksMax", Value::U64(told))]);
        }
    }

    #[test]
    fn files_of_v2_that_systemd_writes_itself_are_told_to_it() {
        let told = of_json(serde_json::json!({"unified": {
            "memory.high": "48M", "memory.max": "max", "pids.max": "33", "cpu.max": "max 50000",
            "io.weight": "default 7", "cpuset.cpus": "1", "memory.oom.group": "1",
        }}));
        let told = |name: &str| told.iter().find(|p| p.0 == name).map(|p| p.1.clone());
        assert_eq!(told("MemoryHigh"), Some(Value::U64(48 << 20)));
        assert_eq!(told("MemoryMax"), Some(Value::U64(u64::MAX)));
        assert_eq!(told("TasksMax"), Some(Value::U64(33)));
        assert_eq!(told("CPUQuotaPeriodUSec"), Some(Value::U64(50_000)));
        assert_eq!(told("CPUQuotaPerSecUSec"), Some(Value::U64(u64::MAX)));
        assert_eq!(told("IOWeight"), Some(Value::U64(7)));
        assert_eq!(told("AllowedCPUs"), Some(Value::Bytes(vec![2])));
    }

    #[test]
    fn the_list_that_systemd_gets_begins_behind_the_last_entry_for_every_device() {
        let told = of_json(serde_json::json!({"devices": [
            {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
        ]}));
        assert_eq!(told[0], ("DevicePolicy", Value::Text("strict".to_owned())));
        let Value::Pairs(list) = &told[2].1 else { panic!("a list") };
        let has = |node: &str, access: &str| list.contains(&(node.to_owned(), access.to_owned()));
        assert!(has("block-8", "r") && has("/dev/char/1:3", "rwm") && has("char-136", "rwm"));
        assert!(has("char-*", "m") && !has("/dev/char/10:200", "rw"), "{list:?}");
        let told = of_json(serde_json::json!({"devices": [{"allow": true, "access": "rwm"}]}));
        assert_eq!(told[0], ("DevicePolicy", Value::Text("auto".to_owned())));
    }

    #[test]
    fn a_wrong_list_is_refused_before_there_is_a_unit() {
        let context = Context { layout: Layout::V2, users: true, group: None };
        let wrong = serde_json::json!({"devices": [{"allow": true, "type": "x"}]});
        let error = of(context, &serde_json::from_value(wrong).expect("resources"));
        assert!(error.expect_err("refused").to_string().contains("devices[0].type"));
    }
}
