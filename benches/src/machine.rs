//! The machine, described so that figures can be compared.

use std::fs;

use anyhow::Context as _;

use crate::options::{Options, RunOn};

/// What the machine is: name and value.
pub fn describe(options: &Options) -> anyhow::Result<Vec<(String, String)>> {
    let system = rustix::system::uname();
    let processors = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = field(&processors, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let memory = field(&memory, "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map_or_else(|| "unknown".to_owned(), |kib| format!("{:.0} GiB", kib / 1024.0 / 1024.0));
    let distribution = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let distribution = distribution
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("unknown", |name| name.trim_matches('"'))
        .to_owned();
    let run_on = match options.run_on {
        RunOn::Tmpfs => "tmpfs".to_owned(),
        RunOn::Disk => "beside the store".to_owned(),
    };
    let kernel =
        format!("{} {}", system.release().to_string_lossy(), system.machine().to_string_lossy());
    Ok([
        ("Kernel", kernel),
        ("Processor", format!("{model}, {count} in use")),
        ("Memory", memory),
        ("Distribution", distribution),
        ("Cgroups", cgroups()?),
        ("Store", format!("{} on {}", options.store.display(), file_system(options)?)),
        ("Run-time state", run_on),
        ("Load before", load()?),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into())
}

/// How busy the machine is.
pub fn load() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Which cgroup hierarchies are mounted.
fn cgroups() -> anyhow::Result<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mount table")?;
    let count = |kind: &str| {
        let kinds = table.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
        kinds.filter(|found| *found == kind).count()
    };
    Ok(match (count("cgroup"), count("cgroup2")) {
        (0, _) => "version 2".to_owned(),
        (one, 0) => format!("version 1, {one} hierarchies"),
        (one, _) => format!("hybrid: {one} hierarchies of version 1, and version 2 beside them"),
    })
}

/// The type of the file system that the store lies on.
fn file_system(options: &Options) -> anyhow::Result<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mount table")?;
    let store = options.store.canonicalize().context("find the store's directory")?;
    let best = table
        .lines()
        .filter_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let point = place.split(' ').nth(4)?;
            store.starts_with(point).then(|| (point.len(), kind.split(' ').next()))
        })
        .max_by_key(|(length, _)| *length);
    Ok(best.and_then(|(_, kind)| kind).unwrap_or("an unknown file system").to_owned())
}
