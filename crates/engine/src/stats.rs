//! A container's use of resources, from its cgroup and its network namespace.

use std::path::{Path, PathBuf};

use berth_cgroup::{Cgroup, Driver, Hierarchies, SavedCgroup, SavedDirectory};
use jiff::Timestamp;

use crate::core::Core;
use crate::error::{QueryError, RuntimeError};
use crate::filter::ListFilter;
use crate::records::ContainerRecord;
use crate::state::Observed;
use crate::view::ContainerStatistics;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The cgroup that a process sits in, whichever runtime put it there.
pub(crate) fn cgroup_of(pid: i32) -> Result<Cgroup, AnyError> {
    let hierarchies = Hierarchies::detect()?;
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let directories = hierarchies
        .mounts()
        .iter()
        .filter_map(|mount| {
            let label = mount.kind.label();
            let path = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                (fields.next() == Some(label.as_str())).then(|| fields.next()).flatten()
            })?;
            let below = Path::new(path).strip_prefix(&mount.root).unwrap_or(Path::new(path));
            let below = below.strip_prefix("/").unwrap_or(below);
            Some(SavedDirectory { kind: mount.kind.clone(), path: mount.mount_point.join(below) })
        })
        .collect();
    let layout = hierarchies.layout();
    Ok(Cgroup::open(&SavedCgroup { layout, driver: Driver::Cgroupfs, unit: None, directories })?)
}

impl Core {
    /// A sample of each named container, or of all that run.
    pub(crate) fn stats(&self, words: &[String]) -> Result<Vec<ContainerStatistics>, QueryError> {
        let mut names = words.to_vec();
        let all = names.is_empty();
        if all {
            names = self.list(&ListFilter::default())?.into_iter().map(|c| c.id).collect();
        }
        let mut samples = Vec::new();
        for name in &names {
            let (record, observed) = match self.settled::<QueryError>(name) {
                Ok(found) => found,
                // It went since the listing.
                Err(QueryError::Find(_)) if all => continue,
                Err(error) => return Err(error),
            };
            if all && !observed.state.status.is_active() {
                continue;
            }
            crate::control::must_be_active(&record, &observed, "measure")?;
            match sample(&record, &observed) {
                Ok(sample) => samples.push(sample),
                Err(_) if all => {}
                Err(source) => {
                    return Err(RuntimeError::Builtin {
                        action: "measure",
                        id: record.id,
                        hint: None,
                        source,
                    }
                    .into());
                }
            }
        }
        Ok(samples)
    }
}

fn sample(record: &ContainerRecord, observed: &Observed) -> Result<ContainerStatistics, AnyError> {
    let pid = observed.state.pid.unwrap_or_default();
    let statistics = cgroup_of(pid)?.statistics()?;
    let time = Timestamp::now();
    let total = statistics.cpu.usage.total;
    let host_memory = host_memory();
    let limit = statistics.memory.usage.limit;
    let elapsed = observed
        .state
        .started_at
        .map(|started| time.duration_since(started).as_secs_f64())
        .filter(|seconds| *seconds > 0.0);
    let bytes = |wanted: &str| -> u64 {
        let entries = statistics.blkio.io_service_bytes_recursive.iter();
        entries.filter(|entry| entry.op.eq_ignore_ascii_case(wanted)).map(|entry| entry.value).sum()
    };
    Ok(ContainerStatistics {
        id: record.id.clone(),
        name: record.name.clone(),
        time,
        cpu_total: total,
        cpu_system: statistics.cpu.usage.kernel,
        online_cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        cpu_average_percent: elapsed.map_or(0.0, |seconds| total as f64 / 1e7 / seconds),
        memory_usage: statistics.memory.working_set(),
        memory_limit: if limit == 0 || limit > host_memory { host_memory } else { limit },
        network: network(pid),
        block: (bytes("read"), bytes("write")),
        pids: statistics.pids.current,
    })
}

/// Bytes of memory of the host.
pub(crate) fn host_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Bytes received and sent in a process's network namespace, without the loopback.
fn network(pid: i32) -> (u64, u64) {
    let path = PathBuf::from(format!("/proc/{pid}/net/dev"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut sums = (0, 0);
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> =
            numbers.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        sums.0 += numbers.first().copied().unwrap_or(0);
        sums.1 += numbers.get(8).copied().unwrap_or(0);
    }
    sums
}
