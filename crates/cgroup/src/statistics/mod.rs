//! What a control group has used.
//!
//! The names in JSON are those of `runc events --stats`, so that this is its `data` as it stands.

use std::collections::BTreeMap;

mod read;

use serde::{Deserialize, Serialize};

/// Everything that the hierarchies tell. Times are nanoseconds, sizes bytes; "unlimited" is
/// [`u64::MAX`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// CPU time and throttling.
    pub cpu: Cpu,
    /// Where it may run.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block I/O.
    pub blkio: BlockIo,
    /// Huge pages, by page size such as `2MB`.
    pub hugetlb: BTreeMap<String, Usage>,
    /// RDMA, by device.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
}

/// CPU time and throttling.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// Time withheld by the quota.
    pub throttling: Throttling,
    /// Pressure (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Time used, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// All.
    pub total: u64,
    /// By CPU (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// By CPU, in the kernel (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// By CPU, in programs (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// What the quota did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that have passed.
    pub periods: u64,
    /// Periods in which it was stopped.
    pub throttled_periods: u64,
    /// For how long, nanoseconds.
    pub throttled_time: u64,
    /// Periods in which saved time was used.
    pub bursts: u64,
    /// How much of it, nanoseconds.
    pub burst_time: u64,
}

/// Where it may run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpuset {
    /// The CPUs in effect, as numbers.
    pub cpus: Vec<u32>,
    /// The memory nodes in effect, as numbers.
    pub mems: Vec<u32>,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Page cache.
    pub cache: u64,
    /// Memory.
    pub usage: Usage,
    /// Memory and swap together on v1, swap alone on v2.
    pub swap: Usage,
    /// Kernel memory (v1).
    pub kernel: Usage,
    /// TCP buffers (v1).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Usage,
    /// The numbers of memory.stat.
    pub raw: BTreeMap<String, u64>,
    /// Processes that the kernel killed because memory ran out. Not in JSON, where those who wait
    /// for an event of that look for its name.
    #[serde(skip)]
    pub oom_kill: u64,
    /// Pressure (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

impl Memory {
    /// What people mean by "used": usage without the page cache that can be dropped at once.
    pub fn working_set(&self) -> u64 {
        let inactive =
            self.raw.get("total_inactive_file").or_else(|| self.raw.get("inactive_file"));
        self.usage.usage.saturating_sub(inactive.copied().unwrap_or(0))
    }
}

/// A counter with a limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The limit; [`u64::MAX`] without one.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// The highest it was.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// The limit; [`u64::MAX`] without one.
    pub limit: u64,
}

/// Block I/O, by device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BlockIo {
    /// Bytes.
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    /// Operations.
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    /// Pressure (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A number of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Discard`, …
    pub op: String,
    /// The number.
    pub value: u64,
}

/// RDMA of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rdma {
    /// Handles.
    pub hca_handles: u64,
    /// Objects.
    pub hca_objects: u64,
}

/// Pressure stall information.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    /// Some task waited.
    pub some: PressureLine,
    /// Every task waited.
    pub full: PressureLine,
}

/// A line of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PressureLine {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}
