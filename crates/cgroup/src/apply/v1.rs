//! Limits with cgroup v1 (cgroup-v1/*.rst), also on hybrid machines.

use berth_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxRdma, LinuxResources,
    LinuxThrottleDevice,
};

use super::convert::pids_max;
use super::set::{Files, invalid, is_refused};
use super::{devices, hugetlb, v2};
use crate::cgroup::Cgroup;
use crate::error::ApplyError;

pub(super) fn apply(cgroup: &Cgroup, r: &LinuxResources) -> Result<(), ApplyError> {
    let files = |controller| Files { directory: cgroup.controller(controller), controller };
    if !r.devices.is_empty() {
        devices::apply_v1(files("devices"), &r.devices, cgroup.fresh.get())?;
    }
    if let Some(memory) = &r.memory {
        apply_memory(files("memory"), memory)?;
    }
    if let Some(cpu) = &r.cpu {
        apply_cpu(files("cpu"), cpu)?;
        apply_cpuset(files("cpuset"), cpu)?;
    }
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        files("pids").set("pids.limit", "pids.max", &pids_max(limit))?;
    }
    if let Some(io) = &r.block_io {
        apply_block_io(files("blkio"), io)?;
    }
    hugetlb::apply(cgroup, &r.hugepage_limits)?;
    if let Some(network) = &r.network {
        apply_network(files("net_cls"), files("net_prio"), network)?;
    }
    for (device, limit) in &r.rdma {
        apply_rdma(files("rdma"), device, limit)?;
    }
    v2::apply_unified(cgroup, &r.unified)
}

fn apply_memory(files: Files<'_>, m: &LinuxMemory) -> Result<(), ApplyError> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    if let (Some(true), Some(limit)) = (m.check_before_update, m.limit) {
        super::v2::check_usage(files, "memory.usage_in_bytes", limit)?;
    }
    if m.use_hierarchy == Some(true) {
        files.set("memory.useHierarchy", "memory.use_hierarchy", "1")?;
    }
    let limit = m.limit.filter(|&l| l != 0);
    let swap = m.swap.filter(|&s| s != 0);
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (limit, swap)
        && swap < limit
    {
        return Err(invalid("memory.swap", swap, "must not be below memory.limit"));
    }
    match (limit, swap) {
        (Some(limit), Some(swap)) => {
            // The sum must never be below the memory limit: when the limit is refused, it is being
            // raised beyond the old sum, and the sum goes first.
            match files.number("memory.limit", LIMIT, limit) {
                Err(error) if is_refused(&error) => {
                    files.number("memory.swap", SWAP, swap)?;
                    files.number("memory.limit", LIMIT, limit)?;
                }
                Err(error) => return Err(error),
                Ok(()) => files.number("memory.swap", SWAP, swap)?,
            }
        }
        (Some(limit), None) => {
            // Without a limit of memory one of memory and swap makes no sense.
            if limit < 0 && files.need("memory.limit")?.has(SWAP) {
                files.number("memory.swap", SWAP, -1)?;
            }
            files.number("memory.limit", LIMIT, limit)?;
        }
        (None, Some(swap)) => files.number("memory.swap", SWAP, swap)?,
        (None, None) => {}
    }
    if let Some(value) = m.reservation.filter(|&v| v != 0) {
        files.number("memory.reservation", "memory.soft_limit_in_bytes", value)?;
    }
    if let Some(value) = m.kernel.filter(|&v| v != 0) {
        files.number("memory.kernel", "memory.kmem.limit_in_bytes", value)?;
    }
    if let Some(value) = m.kernel_tcp.filter(|&v| v != 0) {
        files.number("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", value)?;
    }
    if let Some(value) = m.swappiness {
        if value > 100 {
            return Err(invalid("memory.swappiness", value, "expected 0 to 100"));
        }
        files.number("memory.swappiness", "memory.swappiness", value)?;
    }
    if let Some(disable) = m.disable_oom_killer {
        // The root and fresh groups have it enabled already.
        if disable || files.directory.is_some() {
            files.number("memory.disableOOMKiller", "memory.oom_control", u8::from(disable))?;
        }
    }
    if m.use_hierarchy == Some(false) {
        files.set("memory.useHierarchy", "memory.use_hierarchy", "0")?;
    }
    Ok(())
}

fn apply_cpu(files: Files<'_>, c: &LinuxCpu) -> Result<(), ApplyError> {
    let idle = |value: i64| files.number("cpu.idle", "cpu.idle", value);
    // An idle group takes no shares, so waking comes first and sleeping last.
    if c.idle == Some(0) {
        idle(0)?;
    }
    if let Some(shares) = c.shares.filter(|&s| s != 0) {
        files.number("cpu.shares", "cpu.shares", shares)?;
    }
    let period = |value: u64| files.number("cpu.period", "cpu.cfs_period_us", value);
    let quota = |value: i64| files.number("cpu.quota", "cpu.cfs_quota_us", value);
    let burst = |value: u64| files.number("cpu.burst", "cpu.cfs_burst_us", value);
    let (wanted_period, wanted_quota) =
        (c.period.filter(|&p| p != 0), c.quota.filter(|&q| q != 0).map(|q| q.max(-1)));
    // Each is checked against the other two as they are now. What is refused at first is tried
    // again once the others have been set.
    let again = |result: Result<(), ApplyError>, pending: bool| match result {
        Err(error) if pending && is_refused(&error) => Ok(true),
        other => other.map(|()| false),
    };
    let burst_again = match c.burst {
        Some(value) => again(burst(value), wanted_quota.is_some())?,
        None => false,
    };
    let period_again = match wanted_period {
        Some(value) => again(period(value), wanted_quota.is_some())?,
        None => false,
    };
    if let Some(value) = wanted_quota {
        quota(value)?;
    }
    if let (true, Some(value)) = (period_again, wanted_period) {
        period(value)?;
    }
    if let (true, Some(value)) = (burst_again, c.burst) {
        burst(value)?;
    }
    apply_realtime(files, c)?;
    match c.idle {
        Some(value) if value != 0 => idle(value),
        _ => Ok(()),
    }
}

fn apply_realtime(files: Files<'_>, c: &LinuxCpu) -> Result<(), ApplyError> {
    let period = |value: u64| files.number("cpu.realtimePeriod", "cpu.rt_period_us", value);
    let wanted_period = c.realtime_period.filter(|&p| p != 0);
    let wanted_runtime = c.realtime_runtime.filter(|&r| r != 0);
    let mut period_again = false;
    if let Some(value) = wanted_period {
        match period(value) {
            Err(error) if wanted_runtime.is_some() && is_refused(&error) => period_again = true,
            result => result?,
        }
    }
    if let Some(value) = wanted_runtime {
        files.number("cpu.realtimeRuntime", "cpu.rt_runtime_us", value)?;
    }
    match wanted_period {
        Some(value) if period_again => period(value),
        _ => Ok(()),
    }
}

pub(super) fn apply_cpuset(files: Files<'_>, c: &LinuxCpu) -> Result<(), ApplyError> {
    if let Some(cpus) = c.cpus.as_ref().filter(|c| !c.is_empty()) {
        files.set("cpu.cpus", "cpuset.cpus", cpus)?;
    }
    if let Some(mems) = c.mems.as_ref().filter(|m| !m.is_empty()) {
        files.set("cpu.mems", "cpuset.mems", mems)?;
    }
    Ok(())
}

fn apply_block_io(files: Files<'_>, io: &LinuxBlockIo) -> Result<(), ApplyError> {
    // The files of CFQ, which is gone since 5.0, before those of BFQ.
    const WEIGHT: &[&str] = &["blkio.weight", "blkio.bfq.weight"];
    const WEIGHT_DEVICE: &[&str] = &["blkio.weight_device", "blkio.bfq.weight_device"];
    if let Some(weight) = io.weight.filter(|&w| w != 0) {
        files.set_first("blockIO.weight", WEIGHT, &weight.to_string())?;
    }
    if let Some(weight) = io.leaf_weight.filter(|&w| w != 0) {
        files.number("blockIO.leafWeight", "blkio.leaf_weight", weight)?;
    }
    for device in &io.weight_device {
        let node = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = device.weight {
            let value = format!("{node} {weight}");
            files.set_first("blockIO.weightDevice.weight", WEIGHT_DEVICE, &value)?;
        }
        if let Some(weight) = device.leaf_weight {
            let value = format!("{node} {weight}");
            files.set("blockIO.weightDevice.leafWeight", "blkio.leaf_weight_device", &value)?;
        }
    }
    let throttle = |field: &str, file: &str, devices: &[LinuxThrottleDevice]| {
        devices.iter().try_for_each(|d| {
            files.set(field, file, &format!("{}:{} {}", d.major, d.minor, d.rate))
        })
    };
    throttle(
        "blockIO.throttleReadBpsDevice",
        "blkio.throttle.read_bps_device",
        &io.throttle_read_bps_device,
    )?;
    throttle(
        "blockIO.throttleWriteBpsDevice",
        "blkio.throttle.write_bps_device",
        &io.throttle_write_bps_device,
    )?;
    throttle(
        "blockIO.throttleReadIOPSDevice",
        "blkio.throttle.read_iops_device",
        &io.throttle_read_iops_device,
    )?;
    throttle(
        "blockIO.throttleWriteIOPSDevice",
        "blkio.throttle.write_iops_device",
        &io.throttle_write_iops_device,
    )
}

fn apply_network(class: Files<'_>, prio: Files<'_>, n: &LinuxNetwork) -> Result<(), ApplyError> {
    if let Some(id) = n.class_id.filter(|&id| id != 0) {
        class.number("network.classID", "net_cls.classid", id)?;
    }
    n.priorities.iter().try_for_each(|p| {
        let value = format!("{} {}", p.name, p.priority);
        prio.set("network.priorities", "net_prio.ifpriomap", &value)
    })
}

pub(super) fn apply_rdma(
    files: Files<'_>,
    device: &str,
    limit: &LinuxRdma,
) -> Result<(), ApplyError> {
    let mut value = device.to_owned();
    if let Some(n) = limit.hca_handles {
        value.push_str(&format!(" hca_handle={n}"));
    }
    if let Some(n) = limit.hca_objects {
        value.push_str(&format!(" hca_object={n}"));
    }
    if limit.hca_handles.is_none() && limit.hca_objects.is_none() {
        return Ok(());
    }
    files.set(&format!("rdma.{device}"), "rdma.max", &value)
}
