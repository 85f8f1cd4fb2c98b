//! Reading statistics from either version.
//!
//! A controller, or a file of a newer kernel, that is not there leaves zeros: what is measured
//! depends on the machine, and no figure is worth failing for. Only a group that is gone is an
//! error.

use std::collections::BTreeMap;

use super::{
    BlockIo, BlockIoEntry, Cpu, Cpuset, Memory, Pids, Pressure, PressureLine, Rdma, Statistics,
    Usage,
};
use crate::cgroup::Cgroup;
use crate::directory::Directory;
use crate::error::{FileError, StatisticsError};
use crate::hierarchy::{HierarchyKind, Layout};

/// v1 limits have no word for "none": they are the greatest multiple of the page size.
const V1_UNLIMITED: u64 = i64::MAX as u64 - 0xffff;

impl Cgroup {
    /// Reads what the group has used. Controllers that are not there leave zeros.
    pub fn statistics(&self) -> Result<Statistics, StatisticsError> {
        if let Some(directory) = self.process_directory() {
            directory.fd()?;
        }
        let mut statistics = match self.layout() {
            Layout::V2 => self.unified().map(of_v2).transpose()?.unwrap_or_default(),
            Layout::V1 | Layout::Hybrid => self.of_v1()?,
        };
        if let Some(directory) = self.unified() {
            statistics.cpu.psi = pressure(directory, "cpu.pressure")?;
            statistics.memory.psi = pressure(directory, "memory.pressure")?;
            statistics.blkio.psi = pressure(directory, "io.pressure")?;
        }
        Ok(statistics)
    }

    fn of_v1(&self) -> Result<Statistics, StatisticsError> {
        let mut s = Statistics::default();
        if let Some(d) = self.controller("cpuacct") {
            s.cpu.usage.total = number(d, "cpuacct.usage")?;
            s.cpu.usage.user = number(d, "cpuacct.usage_user")?;
            s.cpu.usage.kernel = number(d, "cpuacct.usage_sys")?;
            s.cpu.usage.percpu = numbers(d, "cpuacct.usage_percpu")?;
            s.cpu.usage.percpu_user = numbers(d, "cpuacct.usage_percpu_user")?;
            s.cpu.usage.percpu_kernel = numbers(d, "cpuacct.usage_percpu_sys")?;
        }
        if let Some(d) = self.controller("cpu") {
            let stat = keyed(d, "cpu.stat")?;
            let get = |key: &str| stat.get(key).copied().unwrap_or(0);
            s.cpu.throttling.periods = get("nr_periods");
            s.cpu.throttling.throttled_periods = get("nr_throttled");
            s.cpu.throttling.throttled_time = get("throttled_time");
            s.cpu.throttling.bursts = get("nr_bursts");
            s.cpu.throttling.burst_time = get("burst_time");
        }
        if let Some(d) = self.controller("cpuset") {
            s.cpuset = cpuset(d, "cpuset.effective_cpus", "cpuset.effective_mems")?;
        }
        if let Some(d) = self.controller("memory") {
            s.memory = memory_v1(d)?;
        }
        if let Some(d) = self.controller("pids") {
            s.pids = pids(d)?;
        }
        if let Some(d) = self.controller("blkio") {
            s.blkio = block_io_v1(d)?;
        }
        let huge = self.controller("hugetlb").or_else(|| self.unified());
        s.hugetlb = huge.map(hugetlb).transpose()?.unwrap_or_default();
        s.rdma = self.controller("rdma").map(rdma).transpose()?.unwrap_or_default();
        Ok(s)
    }
}

fn of_v2(d: &Directory) -> Result<Statistics, FileError> {
    Ok(Statistics {
        cpu: cpu_v2(d)?,
        cpuset: cpuset(d, "cpuset.cpus.effective", "cpuset.mems.effective")?,
        memory: memory_v2(d)?,
        pids: pids(d)?,
        blkio: block_io_v2(d)?,
        hugetlb: hugetlb(d)?,
        rdma: rdma(d)?,
    })
}

fn cpu_v2(d: &Directory) -> Result<Cpu, FileError> {
    let stat = keyed(d, "cpu.stat")?;
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| get(key).saturating_mul(1000);
    let mut cpu = Cpu::default();
    cpu.usage.total = nanoseconds("usage_usec");
    cpu.usage.user = nanoseconds("user_usec");
    cpu.usage.kernel = nanoseconds("system_usec");
    cpu.throttling.periods = get("nr_periods");
    cpu.throttling.throttled_periods = get("nr_throttled");
    cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    cpu.throttling.bursts = get("nr_bursts");
    cpu.throttling.burst_time = nanoseconds("burst_usec");
    Ok(cpu)
}

fn memory_v1(d: &Directory) -> Result<Memory, FileError> {
    let raw = keyed(d, "memory.stat")?;
    let usage = |name: &str| -> Result<Usage, FileError> {
        Ok(Usage {
            limit: number(d, &format!("{name}.limit_in_bytes"))?,
            usage: number(d, &format!("{name}.usage_in_bytes"))?,
            max: number(d, &format!("{name}.max_usage_in_bytes"))?,
            failcnt: number(d, &format!("{name}.failcnt"))?,
        })
    };
    Ok(Memory {
        cache: raw.get("total_cache").or_else(|| raw.get("cache")).copied().unwrap_or(0),
        usage: usage("memory")?,
        swap: usage("memory.memsw")?,
        kernel: usage("memory.kmem")?,
        kernel_tcp: usage("memory.kmem.tcp")?,
        oom_kill: keyed(d, "memory.oom_control")?.get("oom_kill").copied().unwrap_or(0),
        raw,
        psi: None,
    })
}

fn memory_v2(d: &Directory) -> Result<Memory, FileError> {
    let raw = keyed(d, "memory.stat")?;
    let events = keyed(d, "memory.events")?;
    let swap_events = keyed(d, "memory.swap.events")?;
    let get = |map: &BTreeMap<String, u64>, key: &str| map.get(key).copied().unwrap_or(0);
    Ok(Memory {
        cache: get(&raw, "file"),
        usage: Usage {
            limit: number(d, "memory.max")?,
            usage: number(d, "memory.current")?,
            max: number(d, "memory.peak")?,
            failcnt: get(&events, "max"),
        },
        swap: Usage {
            limit: number(d, "memory.swap.max")?,
            usage: number(d, "memory.swap.current")?,
            max: number(d, "memory.swap.peak")?,
            failcnt: get(&swap_events, "max"),
        },
        oom_kill: get(&events, "oom_kill"),
        raw,
        ..Memory::default()
    })
}

fn pids(d: &Directory) -> Result<Pids, FileError> {
    Ok(Pids { current: number(d, "pids.current")?, limit: number(d, "pids.max")? })
}

fn cpuset(d: &Directory, cpus: &str, mems: &str) -> Result<Cpuset, FileError> {
    let read = |file: &str| -> Result<Vec<u32>, FileError> {
        Ok(d.read_optional(file)?.map(|text| list(text.trim())).unwrap_or_default())
    };
    Ok(Cpuset { cpus: read(cpus)?, mems: read(mems)? })
}

/// `0-2,7` as numbers.
fn list(text: &str) -> Vec<u32> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            out.extend(first..=last);
        }
    }
    out
}

/// `8:0 Read 4096`, and a line with the total.
fn block_io_v1(d: &Directory) -> Result<BlockIo, FileError> {
    let read = |files: [&str; 2]| -> Result<Vec<BlockIoEntry>, FileError> {
        for file in files {
            if let Some(text) = d.read_optional(file)? {
                return Ok(text.lines().filter_map(entry_v1).collect());
            }
        }
        Ok(Vec::new())
    };
    Ok(BlockIo {
        io_service_bytes_recursive: read([
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ])?,
        io_serviced_recursive: read([
            "blkio.throttle.io_serviced_recursive",
            "blkio.throttle.io_serviced",
        ])?,
        psi: None,
    })
}

fn entry_v1(line: &str) -> Option<BlockIoEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    Some(BlockIoEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: words.next()?.to_owned(),
        value: words.next()?.parse().ok()?,
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn block_io_v2(d: &Directory) -> Result<BlockIo, FileError> {
    let mut io = BlockIo::default();
    for line in d.read_optional("io.stat")?.unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|w| w.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (op, bytes) = match key {
                "rbytes" => ("Read", true),
                "wbytes" => ("Write", true),
                "dbytes" => ("Discard", true),
                "rios" => ("Read", false),
                "wios" => ("Write", false),
                "dios" => ("Discard", false),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            let entry = BlockIoEntry { major, minor, op: op.to_owned(), value };
            if bytes {
                io.io_service_bytes_recursive.push(entry);
            } else {
                io.io_serviced_recursive.push(entry);
            }
        }
    }
    Ok(io)
}

fn hugetlb(d: &Directory) -> Result<BTreeMap<String, Usage>, FileError> {
    let v2 = d.kind == HierarchyKind::Unified;
    let ending = if v2 { ".current" } else { ".usage_in_bytes" };
    let mut found = BTreeMap::new();
    let entries = std::fs::read_dir(&d.path)
        .map_err(|source| FileError::Read { path: d.path.clone(), source })?;
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        let Some(size) = name.strip_prefix("hugetlb.").and_then(|n| n.strip_suffix(ending)) else {
            continue;
        };
        if size.contains('.') {
            continue;
        }
        let usage = if v2 {
            let events = keyed(d, &format!("hugetlb.{size}.events"))?;
            Usage {
                limit: number(d, &format!("hugetlb.{size}.max"))?,
                usage: number(d, &name)?,
                max: 0,
                failcnt: events.get("max").copied().unwrap_or(0),
            }
        } else {
            Usage {
                limit: number(d, &format!("hugetlb.{size}.limit_in_bytes"))?,
                usage: number(d, &name)?,
                max: number(d, &format!("hugetlb.{size}.max_usage_in_bytes"))?,
                failcnt: number(d, &format!("hugetlb.{size}.failcnt"))?,
            }
        };
        found.insert(size.to_owned(), usage);
    }
    Ok(found)
}

/// `mlx4_0 hca_handle=2 hca_object=2000`
fn rdma(d: &Directory) -> Result<BTreeMap<String, Rdma>, FileError> {
    let mut found = BTreeMap::new();
    for line in d.read_optional("rdma.current")?.unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let Some(device) = words.next() else { continue };
        let mut usage = Rdma::default();
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "hca_handle" => usage.hca_handles = value.parse().unwrap_or(0),
                "hca_object" => usage.hca_objects = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        found.insert(device.to_owned(), usage);
    }
    Ok(found)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, then the same of `full`.
fn pressure(d: &Directory, file: &str) -> Result<Option<Pressure>, FileError> {
    // Pressure accounting that is compiled in and switched off answers with EOPNOTSUPP.
    let Some(text) = d.read_optional(file)? else { return Ok(None) };
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let target = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        *target = pressure_line(words);
    }
    Ok(Some(pressure))
}

fn pressure_line<'a>(words: impl Iterator<Item = &'a str>) -> PressureLine {
    let mut line = PressureLine::default();
    for (key, value) in words.filter_map(|w| w.split_once('=')) {
        match key {
            "avg10" => line.avg10 = value.parse().unwrap_or(0.0),
            "avg60" => line.avg60 = value.parse().unwrap_or(0.0),
            "avg300" => line.avg300 = value.parse().unwrap_or(0.0),
            "total" => line.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    line
}

/// A number; `max`, and what v1 has for it, is [`u64::MAX`]; absent is zero.
fn number(d: &Directory, file: &str) -> Result<u64, FileError> {
    let Some(text) = d.read_optional(file)? else { return Ok(0) };
    match text.trim() {
        "max" => Ok(u64::MAX),
        digits => match digits.parse::<u64>() {
            Ok(n) if n >= V1_UNLIMITED => Ok(u64::MAX),
            Ok(n) => Ok(n),
            Err(_) => Err(FileError::Content { path: d.file(file), text }),
        },
    }
}

fn numbers(d: &Directory, file: &str) -> Result<Vec<u64>, FileError> {
    let text = d.read_optional(file)?.unwrap_or_default();
    Ok(text.split_whitespace().filter_map(|n| n.parse().ok()).collect())
}

/// Lines of a key and a number.
fn keyed(d: &Directory, file: &str) -> Result<BTreeMap<String, u64>, FileError> {
    let text = d.read_optional(file)?.unwrap_or_default();
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    Ok(text.lines().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_spelled_out() {
        assert_eq!(list("0-2,7"), [0, 1, 2, 7]);
        assert_eq!(list(""), [] as [u32; 0]);
    }

    #[test]
    fn a_v2_group_gives_every_figure() {
        let dir = tempfile::tempdir().expect("a directory");
        for (file, text) in [
            ("cgroup.procs", ""),
            (
                "cpu.stat",
                "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 9\n",
            ),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.peak", "8192\n"),
            ("memory.stat", "anon 1\nfile 2\ninactive_file 96\n"),
            ("memory.events", "low 0\nhigh 0\nmax 5\noom 1\noom_kill 3\n"),
            ("memory.swap.current", "0\n"),
            ("memory.swap.max", "100\n"),
            ("pids.current", "4\n"),
            ("pids.max", "8\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("hugetlb.2MB.current", "0\n"),
            ("hugetlb.2MB.max", "2097152\n"),
            ("hugetlb.2MB.rsvd.current", "0\n"),
            ("hugetlb.2MB.events", "max 6\n"),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=3\n",
            ),
            ("cpuset.cpus.effective", "0-1\n"),
        ] {
            std::fs::write(dir.path().join(file), text).expect("written");
        }
        let saved = crate::SavedCgroup {
            layout: Layout::V2,
            driver: crate::Driver::Cgroupfs,
            unit: None,
            directories: vec![crate::SavedDirectory {
                kind: HierarchyKind::Unified,
                path: dir.path().to_owned(),
            }],
        };
        let s = Cgroup::open(&saved).expect("opens").statistics().expect("reads");
        assert_eq!((s.cpu.usage.total, s.cpu.throttling.throttled_time), (7000, 9000));
        assert_eq!((s.memory.usage.limit, s.memory.usage.max), (u64::MAX, 8192));
        assert_eq!((s.memory.oom_kill, s.memory.usage.failcnt, s.memory.cache), (3, 5, 2));
        assert_eq!(s.memory.working_set(), 4000);
        assert_eq!((s.pids.current, s.pids.limit), (4, 8));
        assert_eq!(s.blkio.io_serviced_recursive[1].value, 4);
        assert_eq!(s.hugetlb["2MB"].failcnt, 6);
        assert_eq!(s.hugetlb.len(), 1);
        let psi = s.cpu.psi.as_ref().expect("pressure");
        assert!((psi.some.avg10 - 1.5).abs() < 1e-9 && psi.full.total == 3);
        let json = serde_json::to_value(&s).expect("serialises");
        assert_eq!(json["cpu"]["throttling"]["throttledPeriods"], 1);
        assert_eq!(json["blkio"]["ioServiceBytesRecursive"][0]["op"], "Read");
        let back: Statistics = serde_json::from_value(json).expect("reads back");
        // The kills are told by an event of their own, and are no part of the figures.
        let mut told = s;
        told.memory.oom_kill = 0;
        assert_eq!(back, told);
    }
}
