//! `update`: other limits for a container that is there, and their record.

use std::path::Path;

use berth_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxIntelRdt, LinuxMemory, LinuxPids, LinuxResources,
    LinuxThrottleDevice, LinuxWeightDevice,
};
use berth_spec::state::ContainerState;

use crate::config::{self, ConfigError};
use crate::error::{CgroupOperationError, LookupError};
use crate::id::ContainerId;
use crate::lifecycle::{Container, open_cgroup};
use crate::resctrl;
use crate::state::{Record, StateFileError};

const OPERATION: &str = "update";

/// Changes the limits that are given. Where that fails, those of before are set again.
///
/// The device list is left as it is: callers send the container's own again, and other programs
/// may have allowed devices beyond it.
pub(crate) fn update(
    root: &Path,
    id: &ContainerId,
    resources: &LinuxResources,
) -> Result<(), CgroupOperationError> {
    let in_record = |source| LookupError::Record { id: id.clone(), source };
    let (container, _) = Container::recorded(root, id)?;
    container.directory.lock().map_err(in_record)?;
    // Another update may have been waited for.
    let (container, mut record) = match container.directory.read_record().map_err(in_record)? {
        Some(record) if container.directory.is_current() => (container, record),
        _ => return Err(LookupError::NotFound(id.clone()).into()),
    };
    let status = container.status();
    if !matches!(status, ContainerState::Running | ContainerState::Created | ContainerState::Paused)
    {
        return Err(CgroupOperationError::State { operation: OPERATION, id: id.clone(), status });
    }
    let before = known(&container, &record);
    let mut wanted = LinuxResources { devices: Vec::new(), ..resources.clone() };
    complete(&mut wanted, &before);
    let failed = |source| CgroupOperationError::Cgroup {
        operation: OPERATION,
        id: id.clone(),
        source: Box::new(source),
    };
    let cgroup = open_cgroup(&record).map_err(failed)?;
    if let Err(error) = cgroup.apply(&wanted) {
        let before = LinuxResources { devices: Vec::new(), ..before };
        // The first failure is the one to tell of.
        let _ = cgroup.apply(&before);
        return Err(failed(error.into()));
    }
    let mut now = before;
    merge(&mut now, wanted);
    record.resources = Some(now);
    let written: Result<(), StateFileError> = container.directory.write_record(&record);
    written.map_err(in_record)?;
    Ok(())
}

/// Changes what the container's class of service may use (config-linux.md, "IntelRdt").
pub(crate) fn update_groups(
    root: &Path,
    id: &ContainerId,
    rdt: &LinuxIntelRdt,
) -> Result<(), CgroupOperationError> {
    let (_, record) = Container::recorded(root, id)?;
    let groups = resctrl::check(rdt).and_then(|()| {
        record.resctrl.as_ref().ok_or_else(|| {
            let reason = "the container was created without it";
            ConfigError::unsupported("linux.intelRdt", reason)
        })
    });
    let groups = groups.map_err(|source| CgroupOperationError::Rdt { id: id.clone(), source })?;
    groups.limit(rdt).map_err(|source| CgroupOperationError::Groups { id: id.clone(), source })
}

/// The limits that were set last.
fn known(container: &Container, record: &Record) -> LinuxResources {
    if let Some(resources) = &record.resources {
        return resources.clone();
    }
    let loaded = config::load_file(&container.directory.config_path()).ok();
    loaded.and_then(|loaded| loaded.spec.linux?.resources).unwrap_or_default()
}

/// Adds what a limit cannot be set without: a quota has a period, whichever of the two is given,
/// and memory without a limit takes none for memory and swap.
fn complete(wanted: &mut LinuxResources, before: &LinuxResources) {
    if let (Some(cpu), Some(known)) = (&mut wanted.cpu, &before.cpu)
        && cpu.quota.is_some() != cpu.period.is_some()
    {
        cpu.quota = cpu.quota.or(known.quota);
        cpu.period = cpu.period.or(known.period);
    }
    if let Some(memory) = &mut wanted.memory
        && memory.limit == Some(-1)
        && matches!(memory.swap, None | Some(0))
        && before.memory.as_ref().is_some_and(|known| known.swap.is_some_and(|swap| swap > 0))
    {
        memory.swap = Some(-1);
    }
}

/// Takes over each named property that is there.
macro_rules! take {
    ($into:expr, $from:expr, $($name:ident),*) => {
        $(if $from.$name.is_some() {
            $into.$name = $from.$name;
        })*
    };
}

fn merge(into: &mut LinuxResources, from: LinuxResources) {
    if let Some(from) = from.memory {
        let into = into.memory.get_or_insert_with(LinuxMemory::default);
        take!(into, from, limit, reservation, swap, kernel, kernel_tcp, swappiness);
        take!(into, from, disable_oom_killer, use_hierarchy, check_before_update);
    }
    if let Some(from) = from.cpu {
        let into = into.cpu.get_or_insert_with(LinuxCpu::default);
        take!(into, from, shares, quota, burst, period, realtime_runtime, realtime_period);
        take!(into, from, cpus, mems, idle);
    }
    if let Some(from) = from.pids {
        let into = into.pids.get_or_insert_with(LinuxPids::default);
        take!(into, from, limit);
    }
    if let Some(from) = from.block_io {
        let into = into.block_io.get_or_insert_with(LinuxBlockIo::default);
        take!(into, from, weight, leaf_weight);
        merge_weights(&mut into.weight_device, from.weight_device);
        for (into, from) in [
            (&mut into.throttle_read_bps_device, from.throttle_read_bps_device),
            (&mut into.throttle_write_bps_device, from.throttle_write_bps_device),
            (&mut into.throttle_read_iops_device, from.throttle_read_iops_device),
            (&mut into.throttle_write_iops_device, from.throttle_write_iops_device),
        ] {
            merge_rates(into, from);
        }
    }
    for limit in from.hugepage_limits {
        into.hugepage_limits.retain(|known| known.page_size != limit.page_size);
        into.hugepage_limits.push(limit);
    }
    take!(into, from, network);
    into.rdma.extend(from.rdma);
    into.unified.extend(from.unified);
}

fn merge_weights(into: &mut Vec<LinuxWeightDevice>, from: Vec<LinuxWeightDevice>) {
    for device in from {
        match into.iter_mut().find(|d| d.major == device.major && d.minor == device.minor) {
            Some(known) => {
                take!(known, device, weight, leaf_weight);
            }
            None => into.push(device),
        }
    }
}

fn merge_rates(into: &mut Vec<LinuxThrottleDevice>, from: Vec<LinuxThrottleDevice>) {
    for device in from {
        into.retain(|d| d.major != device.major || d.minor != device.minor);
        into.push(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> LinuxResources {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn later_limits_replace_earlier_ones_and_leave_the_rest() {
        let mut known = resources(
            r#"{"memory":{"limit":1,"swap":2},"cpu":{"cpus":"0"},"pids":{"limit":7},
                "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5},
                                                    {"major":8,"minor":1,"rate":6}]}}"#,
        );
        let update = r#"{"memory":{"limit":3},"cpu":{"shares":9},
            "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":50}]},
            "unified":{"cpu.weight":"5"}}"#;
        merge(&mut known, resources(update));
        let expected = resources(
            r#"{"memory":{"limit":3,"swap":2},"cpu":{"cpus":"0","shares":9},"pids":{"limit":7},
                "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":6},
                                                    {"major":8,"minor":0,"rate":50}]},
                "unified":{"cpu.weight":"5"}}"#,
        );
        assert_eq!(known, expected);
    }

    #[test]
    fn a_quota_goes_with_the_period_that_is_known() {
        let known = resources(r#"{"cpu":{"quota":5000,"period":20000},"memory":{"swap":4}}"#);
        let mut wanted = resources(r#"{"cpu":{"quota":7000},"memory":{"limit":-1}}"#);
        complete(&mut wanted, &known);
        let expected = r#"{"cpu":{"quota":7000,"period":20000},"memory":{"limit":-1,"swap":-1}}"#;
        assert_eq!(wanted, resources(expected));
    }
}
