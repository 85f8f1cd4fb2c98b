//! `update`: limits from options and from a file.

use std::io::Read as _;
use std::path::PathBuf;

use berth_runtime::{ContainerId, Runtime};
use berth_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxIntelRdt, LinuxMemory, LinuxPids, LinuxResources,
};
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt as _};

use super::arguments::{Id, unexpected};
use super::log::{Fault, Log};

/// What `update` changes.
#[derive(Debug, Default)]
pub(crate) struct Update {
    resources: LinuxResources,
    /// Schemata of the class of service.
    rdt: Option<LinuxIntelRdt>,
    /// Whether limits of kernel memory were among the options.
    kernel_memory: bool,
}

/// Understands the command line after `update`.
pub(crate) fn parse(parser: &mut Parser) -> Result<(ContainerId, Update), Fault> {
    let mut id = Id::default();
    let mut file: Option<PathBuf> = None;
    let mut options: Vec<(String, String)> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('r') | Long("resources") => file = Some(PathBuf::from(parser.value()?)),
            Value(word) => id.set(&word)?,
            Long(name) if OPTIONS.contains(&name) => {
                let name = name.to_owned();
                options.push((name, parser.value()?.string()?));
            }
            other => return Err(unexpected(other)),
        }
    }
    let mut update = Update::default();
    if let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) {
        update.resources = read(&file)?;
    }
    // As callers give them who have nothing to say.
    options.retain(|(_, value)| !value.is_empty());
    for (name, value) in &options {
        match name.as_str() {
            "kernel-memory" | "kernel-memory-tcp" => update.kernel_memory = true,
            "l3-cache-schema" => {
                update.rdt.get_or_insert_default().l3_cache_schema = Some(value.clone());
            }
            "mem-bw-schema" => {
                update.rdt.get_or_insert_default().mem_bw_schema = Some(value.clone());
            }
            _ => set(&mut update.resources, name, value)?,
        }
    }
    let id = id.get()?;
    let limits = update.resources != LinuxResources::default() || update.rdt.is_some();
    if !limits && !update.kernel_memory {
        return Err(Fault::usage("there is nothing to update"));
    }
    Ok((id, update))
}

/// `update`.
pub(crate) fn update(
    runtime: &Runtime,
    id: &ContainerId,
    update: &Update,
    log: &Log,
) -> Result<(), Fault> {
    if update.kernel_memory {
        log.warn("limits of kernel memory are no more; they change nothing");
    }
    if let Some(rdt) = &update.rdt {
        runtime.update_groups(id, rdt)?;
    }
    if update.resources != LinuxResources::default() {
        runtime.update(id, &update.resources)?;
    }
    Ok(())
}

const OPTIONS: &[&str] = &[
    "blkio-weight",
    "cpu-burst",
    "cpu-idle",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-share",
    "cpuset-cpus",
    "cpuset-mems",
    "kernel-memory",
    "kernel-memory-tcp",
    "l3-cache-schema",
    "mem-bw-schema",
    "memory",
    "memory-reservation",
    "memory-swap",
    "pids-limit",
];

fn set(resources: &mut LinuxResources, name: &str, value: &str) -> Result<(), Fault> {
    let invalid = || Fault::usage(format!("--{name} {value:?} is not a number"));
    let signed = || value.parse::<i64>().map_err(|_| invalid());
    let unsigned = || value.parse::<u64>().map_err(|_| invalid());
    let bytes = || bytes(value).ok_or_else(invalid);
    let cpu = resources.cpu.get_or_insert_with(LinuxCpu::default);
    match name {
        "cpu-burst" => cpu.burst = Some(unsigned()?),
        "cpu-idle" => cpu.idle = Some(signed()?),
        "cpu-period" => cpu.period = Some(unsigned()?),
        "cpu-quota" => cpu.quota = Some(signed()?),
        "cpu-rt-period" => cpu.realtime_period = Some(unsigned()?),
        "cpu-rt-runtime" => cpu.realtime_runtime = Some(signed()?),
        "cpu-share" => cpu.shares = Some(unsigned()?),
        "cpuset-cpus" => cpu.cpus = Some(value.to_owned()),
        "cpuset-mems" => cpu.mems = Some(value.to_owned()),
        _ => {}
    }
    if *cpu == LinuxCpu::default() {
        resources.cpu = None;
    }
    if name.starts_with("memory") {
        let memory = resources.memory.get_or_insert_with(LinuxMemory::default);
        match name {
            "memory" => memory.limit = Some(bytes()?),
            "memory-reservation" => memory.reservation = Some(bytes()?),
            _ => memory.swap = Some(bytes()?),
        }
    }
    if name == "pids-limit" {
        resources.pids = Some(LinuxPids { limit: Some(signed()?) });
    }
    if name == "blkio-weight" {
        let weight = value.parse().map_err(|_| invalid())?;
        resources.block_io.get_or_insert_with(LinuxBlockIo::default).weight = Some(weight);
    }
    Ok(())
}

/// A number of bytes, with a unit such as `512m` if wanted; -1 is unlimited.
fn bytes(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (digits, unit) = lower.split_at_checked(lower.len().checked_sub(1)?)?;
    let shift = match unit {
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<i64>().ok().filter(|n| *n >= 0)?.checked_mul(1 << shift)
}

fn read(file: &PathBuf) -> Result<LinuxResources, Fault> {
    let failed = |error| Fault::io(format!("read {}", file.display()), &error);
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().take(1 << 20).read_to_string(&mut text).map_err(failed)?;
        text
    } else {
        std::fs::read_to_string(file).map_err(failed)?
    };
    serde_json::from_str(&text)
        .map_err(|error| Fault::new(format!("{} is not linux.resources: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn parsed(words: &[&str]) -> Result<LinuxResources, Fault> {
        let mut parser = Parser::from_args(words.iter().map(|&word| OsString::from(word)));
        parse(&mut parser).map(|(_, update)| update.resources)
    }

    #[test]
    fn limits_are_read_from_options() {
        let found =
            parsed(&["--memory", "64m", "--memory-swap=-1", "--pids-limit", "7", "c"]).unwrap();
        let memory = found.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(64 << 20), Some(-1)));
        assert_eq!(found.pids.unwrap().limit, Some(7));
        assert!(found.cpu.is_none() && found.block_io.is_none());
        assert_eq!(parsed(&["c", "--cpu-quota", "5"]).unwrap().cpu.unwrap().quota, Some(5));
    }

    #[test]
    fn numbers_of_bytes_have_units() {
        for (text, number) in
            [("1", 1), ("2k", 2048), ("1Gi", 1 << 30), ("3MB", 3 << 20), ("-1", -1)]
        {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        for bad in ["", "k", "1x", "-2k", "9999999999999t", "é"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        assert!(parsed(&["c"]).is_err());
        assert!(parsed(&["c", "--memory", "much"]).is_err());
    }
}
