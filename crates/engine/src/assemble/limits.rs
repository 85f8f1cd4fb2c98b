//! Limits (config-linux.md, "Control groups").

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use berth_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxWeightDevice, Spec,
};

use super::{Context, RequestError, linux};
use crate::config::CgroupManager;
use crate::request::{ContainerRequest, DeviceRate, Resources};

/// The most processes where nobody says, as podman has it.
const PIDS: i64 = 2048;
/// Microseconds of `--cpus`'s period.
const PERIOD: u64 = 100_000;

pub(super) fn apply(
    spec: &mut Spec,
    request: &ContainerRequest,
    context: &Context<'_>,
) -> Result<(), RequestError> {
    let linux = linux(spec);
    linux.cgroups_path = Some(cgroup_path(request, context));
    let resources = linux.resources.get_or_insert_default();
    resources_of(&request.resources, resources)?;
    if request.resources.pids_limit.is_none() {
        resources.pids = Some(LinuxPids { limit: Some(PIDS) });
    }
    Ok(())
}

fn cgroup_path(request: &ContainerRequest, context: &Context<'_>) -> PathBuf {
    let parent = request.cgroup_parent.as_deref();
    match context.cgroup_manager {
        CgroupManager::Cgroupfs => {
            Path::new("/").join(parent.unwrap_or(Path::new("berth"))).join(context.id)
        }
        CgroupManager::Systemd => {
            let slice = parent.map_or("system.slice".into(), Path::to_string_lossy);
            PathBuf::from(format!("{slice}:berth:{}", context.id))
        }
    }
}

/// Merges requested limits into `resources`; also what `update` applies.
pub(crate) fn resources_of(
    wanted: &Resources,
    resources: &mut LinuxResources,
) -> Result<(), RequestError> {
    check(wanted)?;
    if let Some(memory) = memory(wanted)? {
        resources.memory = Some(memory);
    }
    if let Some(cpu) = cpu(wanted)? {
        resources.cpu = Some(cpu);
    }
    if let Some(limit) = wanted.pids_limit {
        resources.pids = Some(LinuxPids { limit: Some(if limit <= 0 { -1 } else { limit }) });
    }
    if let Some(block_io) = block_io(wanted)? {
        resources.block_io = Some(block_io);
    }
    resources.unified.extend(wanted.unified.clone());
    Ok(())
}

fn check(wanted: &Resources) -> Result<(), RequestError> {
    let value = |option, value: String, expected: &str| RequestError::Value {
        option,
        value,
        expected: expected.to_owned(),
    };
    if let Some(memory) = wanted.memory.filter(|bytes| (1..6 << 20).contains(bytes)) {
        return Err(value("--memory", memory.to_string(), "at least 6 MiB (6m)"));
    }
    if let Some(weight) = wanted.blkio_weight.filter(|weight| !(10..=1000).contains(weight)) {
        return Err(value("--blkio-weight", weight.to_string(), "from 10 to 1000"));
    }
    if let Some(swappiness) = wanted.memory_swappiness.filter(|percent| *percent > 100) {
        return Err(value("--memory-swappiness", swappiness.to_string(), "from 0 to 100"));
    }
    if let Some(period) = wanted.cpu_period.filter(|p| *p != 0 && !(1000..=1_000_000).contains(p)) {
        return Err(value("--cpu-period", period.to_string(), "from 1000 to 1000000"));
    }
    if let Some(quota) = wanted.cpu_quota.filter(|quota| (1..1000).contains(quota)) {
        return Err(value("--cpu-quota", quota.to_string(), "at least 1000"));
    }
    Ok(())
}

fn memory(wanted: &Resources) -> Result<Option<LinuxMemory>, RequestError> {
    let limit = wanted.memory.filter(|bytes| *bytes != 0);
    let swap = match (limit, wanted.memory_swap) {
        (None, Some(swap)) if swap > 0 => {
            return Err(RequestError::Value {
                option: "--memory-swap",
                value: swap.to_string(),
                expected: "possible without --memory".to_owned(),
            });
        }
        (Some(limit), Some(swap)) if swap > 0 && swap < limit => {
            return Err(RequestError::Value {
                option: "--memory-swap",
                value: swap.to_string(),
                expected: "at least as much as --memory, which it includes".to_owned(),
            });
        }
        // As much swap as memory, where nobody says, and the kernel counts swap.
        (Some(limit), None | Some(0)) if limit > 0 && counts_swap() => {
            Some(limit.saturating_mul(2))
        }
        (_, swap) => swap.filter(|bytes| *bytes != 0),
    };
    if let (Some(limit), Some(reservation)) = (limit, wanted.memory_reservation)
        && limit > 0
        && reservation > limit
    {
        return Err(RequestError::Value {
            option: "--memory-reservation",
            value: reservation.to_string(),
            expected: "at most as much as --memory".to_owned(),
        });
    }
    let memory = LinuxMemory {
        limit,
        swap,
        reservation: wanted.memory_reservation.filter(|bytes| *bytes != 0),
        swappiness: wanted.memory_swappiness,
        disable_oom_killer: wanted.oom_kill_disable.then_some(true),
        ..LinuxMemory::default()
    };
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

/// Whether the kernel limits swap: on v1 only when it was asked for at boot.
fn counts_swap() -> bool {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    !v1.is_dir() || v1.join("memory.memsw.limit_in_bytes").exists()
}

fn cpu(wanted: &Resources) -> Result<Option<LinuxCpu>, RequestError> {
    let mut cpu = LinuxCpu {
        shares: wanted.cpu_shares.filter(|shares| *shares != 0),
        quota: wanted.cpu_quota.filter(|quota| *quota != 0),
        period: wanted.cpu_period.filter(|period| *period != 0),
        realtime_runtime: wanted.cpu_rt_runtime,
        realtime_period: wanted.cpu_rt_period,
        cpus: wanted.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()),
        mems: wanted.cpuset_mems.clone().filter(|mems| !mems.is_empty()),
        ..LinuxCpu::default()
    };
    if let Some(nano) = wanted.nano_cpus.filter(|nano| *nano != 0) {
        if cpu.quota.is_some() || cpu.period.is_some() {
            return Err(RequestError::Conflict {
                first: "--cpus",
                second: "--cpu-quota or --cpu-period",
            });
        }
        let quota = nano / (1_000_000_000 / PERIOD as i64);
        if quota < 1000 {
            return Err(RequestError::Value {
                option: "--cpus",
                value: format!("{:.3}", nano as f64 / 1e9),
                expected: "at least 0.01".to_owned(),
            });
        }
        cpu.quota = Some(quota);
        cpu.period = Some(PERIOD);
    }
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn block_io(wanted: &Resources) -> Result<Option<LinuxBlockIo>, RequestError> {
    let throttle = |option, devices: &[DeviceRate]| -> Result<Vec<_>, RequestError> {
        devices
            .iter()
            .map(|device| {
                let (major, minor) = block_device(option, &device.path)?;
                Ok(LinuxThrottleDevice { major, minor, rate: device.rate })
            })
            .collect()
    };
    let weight_device = wanted
        .blkio_weight_device
        .iter()
        .map(|device| {
            let (major, minor) = block_device("--blkio-weight-device", &device.path)?;
            let weight = u16::try_from(device.rate).ok().filter(|w| (10..=1000).contains(w));
            let weight = weight.ok_or_else(|| RequestError::Value {
                option: "--blkio-weight-device",
                value: device.rate.to_string(),
                expected: "a weight from 10 to 1000".to_owned(),
            })?;
            Ok(LinuxWeightDevice { major, minor, weight: Some(weight), leaf_weight: None })
        })
        .collect::<Result<_, RequestError>>()?;
    let block_io = LinuxBlockIo {
        weight: wanted.blkio_weight,
        leaf_weight: None,
        weight_device,
        throttle_read_bps_device: throttle("--device-read-bps", &wanted.device_read_bps)?,
        throttle_write_bps_device: throttle("--device-write-bps", &wanted.device_write_bps)?,
        throttle_read_iops_device: throttle("--device-read-iops", &wanted.device_read_iops)?,
        throttle_write_iops_device: throttle("--device-write-iops", &wanted.device_write_iops)?,
    };
    Ok((block_io != LinuxBlockIo::default()).then_some(block_io))
}

fn block_device(option: &'static str, path: &Path) -> Result<(i64, i64), RequestError> {
    let metadata = std::fs::metadata(path).map_err(|source| RequestError::HostFile {
        option,
        path: path.to_owned(),
        source,
    })?;
    if !metadata.file_type().is_block_device() {
        return Err(RequestError::Value {
            option,
            value: path.display().to_string(),
            expected: "a block device".to_owned(),
        });
    }
    let number = metadata.rdev();
    Ok((i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}
