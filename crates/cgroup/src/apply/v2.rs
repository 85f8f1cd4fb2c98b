//! Limits with cgroup v2 (cgroup-v2.rst).

use std::collections::BTreeMap;
use std::path::Path;

use berth_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};

use super::convert::{
    SwapError, blkio_to_io_weight, limit, pids_max, shares_to_weight, swap_alone,
};
use super::set::{Files, explain, invalid};
use super::{devices, hugetlb, v1};
use crate::cgroup::Cgroup;
use crate::create::enable;
use crate::directory::Directory;
use crate::error::ApplyError;
use crate::hierarchy::{HierarchyKind, Layout};

pub(super) fn apply(cgroup: &Cgroup, r: &LinuxResources) -> Result<(), ApplyError> {
    let files = |controller| Files { directory: cgroup.unified(), controller };
    if !r.devices.is_empty() {
        devices::apply_v2(files("devices"), &r.devices)?;
    }
    if let Some(memory) = &r.memory {
        apply_memory(files("memory"), memory)?;
    }
    if let Some(cpu) = &r.cpu {
        apply_cpu(files("cpu"), cpu)?;
        v1::apply_cpuset(files("cpuset"), cpu)?;
    }
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        files("pids").set("pids.limit", "pids.max", &pids_max(limit))?;
    }
    if let Some(io) = &r.block_io {
        apply_block_io(files("io"), io)?;
    }
    hugetlb::apply(cgroup, &r.hugepage_limits)?;
    if let Some(network) = &r.network {
        let class = network.class_id.is_some_and(|id| id != 0);
        if class || !network.priorities.is_empty() {
            let field = if class { "network.classID" } else { "network.priorities" };
            return Err(not_in_v2(field));
        }
    }
    if !r.rdma.is_empty()
        && let Some(directory) = cgroup.unified()
    {
        // systemd knows nothing of this controller.
        enable_for(directory, "rdma");
    }
    for (device, limit) in &r.rdma {
        v1::apply_rdma(files("rdma"), device, limit)?;
    }
    apply_unified(cgroup, &r.unified)
}

fn not_in_v2(field: &str) -> ApplyError {
    ApplyError::WrongVersion { field: field.to_owned(), version: "v2" }
}

/// With `checkBeforeUpdate` a limit below the usage is refused rather than enforced by killing.
pub(super) fn check_usage(files: Files<'_>, file: &str, limit: i64) -> Result<(), ApplyError> {
    if limit <= 0 {
        return Ok(());
    }
    let field = "memory.checkBeforeUpdate";
    let directory = files.need(field)?;
    let usage: u64 = directory
        .read(file)
        .map_err(|e| explain(directory, field, files.controller, file, e))?
        .trim()
        .parse()
        .unwrap_or(0);
    if usage > limit as u64 { Err(ApplyError::BelowUsage { limit, usage }) } else { Ok(()) }
}

fn apply_memory(files: Files<'_>, m: &LinuxMemory) -> Result<(), ApplyError> {
    let refuse = |present: bool, field: &str| if present { Err(not_in_v2(field)) } else { Ok(()) };
    refuse(m.kernel.is_some_and(|k| k > 0), "memory.kernel")?;
    refuse(m.kernel_tcp.is_some_and(|k| k > 0), "memory.kernelTCP")?;
    refuse(m.swappiness.is_some(), "memory.swappiness")?;
    refuse(m.disable_oom_killer == Some(true), "memory.disableOOMKiller")?;
    refuse(m.use_hierarchy == Some(false), "memory.useHierarchy")?;
    if let (Some(true), Some(limit)) = (m.check_before_update, m.limit) {
        check_usage(files, "memory.current", limit)?;
    }
    if let Some(swap) = swap_value(files.directory, m)? {
        let directory = files.need("memory.swap")?;
        // A kernel without swap accounting enforces neither of these, and nothing is lost.
        let harmless = swap == "max" || swap == "0";
        if !harmless || directory.has("memory.swap.max") {
            files.set("memory.swap", "memory.swap.max", &swap)?;
        }
    }
    if let Some(value) = m.limit.filter(|&l| l != 0) {
        files.set("memory.limit", "memory.max", &limit(value))?;
    }
    match m.reservation {
        Some(value) if value != 0 => files.set("memory.reservation", "memory.low", &limit(value)),
        _ => Ok(()),
    }
}

/// What memory.swap.max becomes, with the memory limit that the group has where none is given.
pub(crate) fn swap_value(
    group: Option<&Directory>,
    m: &LinuxMemory,
) -> Result<Option<String>, ApplyError> {
    let Some(sum) = m.swap else {
        // Without a limit of memory one of swap makes no sense.
        return Ok(m.limit.filter(|&l| l < 0).map(|_| "max".to_owned()));
    };
    let limit = match m.limit.filter(|&l| l != 0) {
        Some(limit) => Some(limit),
        None if sum > 0 => {
            group.and_then(|d| d.read("memory.max").ok()).and_then(|text| text.trim().parse().ok())
        }
        None => None,
    };
    swap_alone(sum, limit).map_err(|error| {
        let reason = match error {
            SwapError::NoLimit => "needs memory.limit, which it is the sum of with swap",
            SwapError::BelowLimit => "must not be below memory.limit",
        };
        invalid("memory.swap", sum, reason)
    })
}

fn apply_cpu(files: Files<'_>, c: &LinuxCpu) -> Result<(), ApplyError> {
    if c.realtime_runtime.is_some_and(|r| r != 0) {
        return Err(not_in_v2("cpu.realtimeRuntime"));
    }
    if c.realtime_period.is_some_and(|p| p != 0) {
        return Err(not_in_v2("cpu.realtimePeriod"));
    }
    // An idle group takes no weight, so waking comes first and sleeping last.
    if c.idle == Some(0) {
        files.set("cpu.idle", "cpu.idle", "0")?;
    }
    if let Some(shares) = c.shares.filter(|&s| s != 0) {
        files.number("cpu.shares", "cpu.weight", shares_to_weight(shares))?;
    }
    let burst = |value: u64| files.number("cpu.burst", "cpu.max.burst", value);
    let mut burst_again = None;
    if let Some(value) = c.burst {
        match burst(value) {
            // It must not exceed the quota, which may be raised below.
            Err(error) if c.quota.is_some() && super::set::is_refused(&error) => {
                burst_again = Some(value);
            }
            result => result?,
        }
    }
    if let Some((field, value)) = cpu_max(files, c)? {
        files.set(field, "cpu.max", &value)?;
    }
    if let Some(value) = burst_again {
        burst(value)?;
    }
    match c.idle {
        Some(value) if value != 0 => files.number("cpu.idle", "cpu.idle", value),
        _ => Ok(()),
    }
}

/// The line for cpu.max. The kernel keeps the period when only a quota is written.
fn cpu_max(files: Files<'_>, c: &LinuxCpu) -> Result<Option<(&'static str, String)>, ApplyError> {
    let period = c.period.filter(|&p| p != 0);
    let quota =
        c.quota.filter(|&q| q != 0).map(|q| if q < 0 { "max".into() } else { q.to_string() });
    match (quota, period) {
        (None, None) => Ok(None),
        (Some(quota), None) => Ok(Some(("cpu.quota", quota))),
        (Some(quota), Some(period)) => Ok(Some(("cpu.quota", format!("{quota} {period}")))),
        (None, Some(period)) => {
            let directory = files.need("cpu.period")?;
            let now = directory
                .read("cpu.max")
                .map_err(|e| explain(directory, "cpu.period", "cpu", "cpu.max", e))?;
            let quota = now.split_whitespace().next().unwrap_or("max");
            Ok(Some(("cpu.period", format!("{quota} {period}"))))
        }
    }
}

fn apply_block_io(files: Files<'_>, io: &LinuxBlockIo) -> Result<(), ApplyError> {
    if io.leaf_weight.is_some_and(|w| w != 0) {
        return Err(not_in_v2("blockIO.leafWeight"));
    }
    if io.weight_device.iter().any(|d| d.leaf_weight.is_some_and(|w| w != 0)) {
        return Err(not_in_v2("blockIO.weightDevice.leafWeight"));
    }
    let weight = |field: &str, node: &str, weight: u16| {
        // BFQ's own scale is the specification's; the general one needs converting.
        if files.need(field)?.has("io.bfq.weight") {
            return files.set(field, "io.bfq.weight", &format!("{node} {weight}"));
        }
        files.set(field, "io.weight", &format!("{node} {}", blkio_to_io_weight(weight)))
    };
    if let Some(value) = io.weight.filter(|&w| w != 0) {
        weight("blockIO.weight", "default", value)?;
    }
    for device in &io.weight_device {
        if let Some(value) = device.weight.filter(|&w| w != 0) {
            let node = format!("{}:{}", device.major, device.minor);
            weight("blockIO.weightDevice.weight", &node, value)?;
        }
    }
    let throttle = |field: &str, key: &str, devices: &[LinuxThrottleDevice]| {
        devices.iter().try_for_each(|d| {
            let rate = if d.rate == 0 { "max".to_owned() } else { d.rate.to_string() };
            files.set(field, "io.max", &format!("{}:{} {key}={rate}", d.major, d.minor))
        })
    };
    throttle("blockIO.throttleReadBpsDevice", "rbps", &io.throttle_read_bps_device)?;
    throttle("blockIO.throttleWriteBpsDevice", "wbps", &io.throttle_write_bps_device)?;
    throttle("blockIO.throttleReadIOPSDevice", "riops", &io.throttle_read_iops_device)?;
    throttle("blockIO.throttleWriteIOPSDevice", "wiops", &io.throttle_write_iops_device)
}

/// The files that the configuration names itself.
pub(super) fn apply_unified(
    cgroup: &Cgroup,
    unified: &BTreeMap<String, String>,
) -> Result<(), ApplyError> {
    for (file, value) in unified {
        let field = format!("unified[{file:?}]");
        let Some(directory) = cgroup.unified() else {
            return Err(ApplyError::WrongVersion { field, version: "v1" });
        };
        let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
            return Err(invalid(&field, value, "expected the name of a file, such as memory.high"));
        };
        let enabled = cgroup.layout() == Layout::V2 && cgroup.unit.is_none();
        if !enabled && controller != "cgroup" {
            enable_for(directory, controller);
        }
        // Several lines are several writes: the kernel takes one at a time.
        for line in value.lines() {
            directory
                .write(file, line)
                .map_err(|source| explain_unified(directory, &field, controller, file, source))?;
        }
    }
    Ok(())
}

fn explain_unified(
    directory: &Directory,
    field: &str,
    controller: &str,
    file: &str,
    source: crate::error::FileError,
) -> ApplyError {
    const KNOWN: &[&str] =
        &["cpu", "cpuset", "memory", "io", "pids", "hugetlb", "rdma", "misc", "perf_event", "dmem"];
    let name = KNOWN.iter().find(|k| **k == controller).copied().unwrap_or("matching");
    explain(directory, field, name, file, source)
}

/// Sees to it that a controller of v2 works in this group, as far as its ancestors permit.
pub(super) fn enable_for(directory: &Directory, controller: &str) -> bool {
    let given = |d: &Directory| {
        d.read("cgroup.controllers").is_ok_and(|c| c.split_whitespace().any(|c| c == controller))
    };
    if given(directory) {
        return true;
    }
    // Only the root has no type. Each ancestor from there on hands it down.
    let mut ancestors: Vec<&Path> = Vec::new();
    for ancestor in directory.path.ancestors().skip(1) {
        ancestors.push(ancestor);
        if !ancestor.join("cgroup.type").exists() {
            break;
        }
    }
    for ancestor in ancestors.iter().rev() {
        let ancestor = Directory::new(HierarchyKind::Unified, ancestor.to_path_buf());
        if !given(&ancestor) || enable(&ancestor, &[controller]).is_err() {
            return false;
        }
    }
    given(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Driver, ErrorKind, SavedCgroup, SavedDirectory};

    /// A directory with the files of a v2 group, empty.
    struct Group {
        directory: tempfile::TempDir,
        cgroup: Cgroup,
    }

    impl Group {
        fn new(files: &[&str]) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            for file in ["cgroup.procs", "cgroup.controllers"].iter().chain(files) {
                std::fs::write(directory.path().join(file), "").expect("written");
            }
            let saved = SavedCgroup {
                layout: Layout::V2,
                driver: Driver::Cgroupfs,
                unit: None,
                directories: vec![SavedDirectory {
                    kind: HierarchyKind::Unified,
                    path: directory.path().to_owned(),
                }],
            };
            Self { cgroup: Cgroup::open(&saved).expect("opens"), directory }
        }

        fn put(&self, file: &str, text: &str) {
            std::fs::write(self.directory.path().join(file), text).expect("written");
        }

        fn value(&self, file: &str) -> String {
            std::fs::read_to_string(self.directory.path().join(file)).expect("read")
        }

        fn apply(&self, value: serde_json::Value) -> Result<(), ApplyError> {
            self.cgroup.apply(&serde_json::from_value(value).expect("resources"))
        }
    }

    #[test]
    fn every_limit_is_written_in_the_units_of_v2() {
        let files = [
            "memory.max",
            "memory.low",
            "memory.swap.max",
            "cpu.weight",
            "cpu.max",
            "cpu.idle",
            "cpu.max.burst",
            "cpuset.cpus",
            "cpuset.mems",
            "pids.max",
            "io.weight",
            "io.max",
            "hugetlb.2MB.max",
            "hugetlb.2MB.rsvd.max",
            "rdma.max",
            "memory.high",
        ];
        let group = Group::new(&files);
        group.put("cgroup.controllers", "cpu memory pids io hugetlb rdma cpuset");
        group
            .apply(serde_json::json!({
                "memory": {"limit": 100, "reservation": 50, "swap": 160, "useHierarchy": true},
                "cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 100, "idle": 1,
                        "cpus": "0-1", "mems": "0"},
                "pids": {"limit": 7},
                "blockIO": {"weight": 10,
                            "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 9}]},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
                "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}},
                "unified": {"memory.high": "90"},
            }))
            .expect("applied");
        let wanted = [
            ("memory.max", "100"),
            ("memory.low", "50"),
            ("memory.swap.max", "60"),
            ("cpu.weight", "100"),
            ("cpu.max", "5000 10000"),
            ("cpu.max.burst", "100"),
            ("cpu.idle", "1"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "7"),
            ("io.weight", "default 1"),
            ("io.max", "8:1 wiops=9"),
            ("hugetlb.2MB.max", "4194304"),
            ("hugetlb.2MB.rsvd.max", "4194304"),
            ("rdma.max", "mlx5_1 hca_handle=3 hca_object=4"),
            ("memory.high", "90"),
        ];
        for (file, value) in wanted {
            assert_eq!(group.value(file), value, "{file}");
        }
    }

    #[test]
    fn no_task_at_all_is_one_and_any_number_is_max() {
        for (limit, value) in [(-1, "max"), (-9, "max"), (0, "1"), (1, "1"), (20, "20")] {
            let group = Group::new(&["pids.max"]);
            group.apply(serde_json::json!({ "pids": { "limit": limit } })).expect("applied");
            assert_eq!(group.value("pids.max"), value);
        }
    }

    #[test]
    fn unlimited_is_max_and_a_period_alone_keeps_the_quota() {
        let group = Group::new(&["memory.max", "memory.swap.max", "cpu.max", "pids.max"]);
        group.put("cpu.max", "7000 100000\n");
        group
            .apply(serde_json::json!({
                "memory": {"limit": -1}, "cpu": {"period": 500_000}, "pids": {"limit": -1},
            }))
            .expect("applied");
        assert_eq!(
            (group.value("memory.max"), group.value("pids.max")),
            ("max".into(), "max".into())
        );
        assert_eq!(group.value("memory.swap.max"), "max");
        assert_eq!(group.value("cpu.max").trim(), "7000 500000");
    }

    #[test]
    fn a_swap_limit_is_taken_with_the_memory_limit_that_is_there() {
        let group = Group::new(&["memory.swap.max"]);
        group.put("memory.max", "100\n");
        group.apply(serde_json::json!({"memory": {"swap": 130}})).expect("applied");
        assert_eq!(group.value("memory.swap.max"), "30");
        let error = group.apply(serde_json::json!({"memory": {"swap": 90}})).expect_err("too low");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn bfq_takes_the_weight_as_the_specification_has_it() {
        let group = Group::new(&["io.bfq.weight", "io.weight"]);
        group.apply(serde_json::json!({"blockIO": {"weight": 300}})).expect("applied");
        assert_eq!(group.value("io.bfq.weight"), "default 300");
        assert_eq!(group.value("io.weight"), "");
    }

    #[test]
    fn what_v2_does_not_have_is_refused_by_name() {
        let group = Group::new(&["memory.max", "cpu.max"]);
        for (value, field) in [
            (serde_json::json!({"memory": {"swappiness": 5}}), "memory.swappiness"),
            (serde_json::json!({"memory": {"kernel": 5}}), "memory.kernel"),
            (serde_json::json!({"memory": {"disableOOMKiller": true}}), "memory.disableOOMKiller"),
            (serde_json::json!({"cpu": {"realtimeRuntime": 5}}), "cpu.realtimeRuntime"),
            (serde_json::json!({"blockIO": {"leafWeight": 5}}), "blockIO.leafWeight"),
            (serde_json::json!({"network": {"classID": 5}}), "network.classID"),
        ] {
            let error = group.apply(value).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(field), "{error}");
        }
        group
            .apply(serde_json::json!({"memory": {"disableOOMKiller": false, "kernel": -1}}))
            .expect("saying what v2 does anyway is fine");
    }

    #[test]
    fn an_absent_controller_is_told_from_an_absent_file() {
        let group = Group::new(&[]);
        group.put("cgroup.controllers", "cpu");
        let error = group.apply(serde_json::json!({"pids": {"limit": 3}})).expect_err("refused");
        assert!(matches!(error, ApplyError::NoController { controller: "pids", .. }), "{error}");
        let error = group.apply(serde_json::json!({"cpu": {"idle": 1}})).expect_err("refused");
        assert!(matches!(error, ApplyError::NoFile { .. }), "{error}");
    }
}
