//! hello: what a program in this container sees of the world, for the first run of berth.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};

use crate::options::Options;
use crate::outcome::Outcome;
use crate::proc;

/// `hello`
pub fn run(arguments: &[OsString]) -> Outcome {
    Options::parse(arguments, "")?;
    let status = proc::status("self")?;
    let (user, group) = (status.user.1, status.group.1);
    let named = |database: &str, id: u32| match proc::name_of(database, id) {
        Some(name) => format!("{id} ({name})"),
        None => id.to_string(),
    };
    let rows = [
        ("hostname", proc::hostname()?),
        ("process", format!("PID {}, parent {}", std::process::id(), status.parent)),
        ("user", format!("uid {}, gid {}", named("/etc/passwd", user), named("/etc/group", group))),
        ("root", root_listing()?),
        ("processes", processes()?),
        ("limits", limits()),
        ("open files", open_files()),
        ("privileges", privileges(&status)),
        ("mounts", mounts()?),
        ("network", network()),
        ("kernel", kernel()?),
    ];
    let mut out = io::stdout().lock();
    writeln!(out, "Hello from inside a container. This is what it sees:\n")?;
    for (label, text) in rows {
        for (at, line) in wrap(&text, 72).iter().enumerate() {
            writeln!(out, "  {:<11} {line}", if at == 0 { label } else { "" })?;
        }
    }
    Ok(0)
}

/// Breaks a text into lines of words; a newline always breaks.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.len() + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// The names in the root directory.
fn root_listing() -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

/// The processes that are visible.
fn processes() -> io::Result<String> {
    let pids = proc::processes()?;
    let shown: Vec<String> = pids
        .iter()
        .take(8)
        .filter_map(|pid| {
            let status = proc::status(&pid.to_string()).ok()?;
            Some(format!("{pid} {}", status.name))
        })
        .collect();
    let more = if pids.len() > 8 { ", ..." } else { "" };
    Ok(format!("{} visible: {}{more}", pids.len(), shown.join(", ")))
}

/// The first of several files that can be read.
fn first_of(paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| fs::read_to_string(path).ok()).map(|text| text.trim().to_owned())
}

/// The cgroup's limits, of either version.
fn limits() -> String {
    let unlimited = |text: &str| {
        // v1 has no word for it: the largest number of whole pages stands for none.
        text == "max" || text == "-1" || text.parse::<u64>().is_ok_and(|n| n > 1 << 60)
    };
    let memory =
        first_of(&["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    let memory = match memory.as_deref() {
        None => "memory unknown".to_owned(),
        Some(text) if unlimited(text) => "memory unlimited".to_owned(),
        Some(text) => match text.parse::<u64>() {
            Ok(bytes) => format!("memory {:.1} MiB", bytes as f64 / 1_048_576.0),
            Err(_) => format!("memory {text}"),
        },
    };
    let quota = first_of(&["/sys/fs/cgroup/cpu.max"]).or_else(|| {
        let quota = first_of(&["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"])?;
        let period = first_of(&["/sys/fs/cgroup/cpu/cpu.cfs_period_us"])?;
        Some(format!("{quota} {period}"))
    });
    let cpu = match quota.as_deref().and_then(|text| text.split_once(' ')) {
        None => "CPU unknown".to_owned(),
        Some((quota, _)) if unlimited(quota) => "CPU unlimited".to_owned(),
        Some((quota, period)) => match (quota.parse::<f64>(), period.parse::<f64>()) {
            (Ok(quota), Ok(period)) => format!("CPU {:.2} cores", quota / period),
            _ => format!("CPU {quota}/{period}"),
        },
    };
    let pids = first_of(&["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"]);
    let pids = match pids.as_deref() {
        None => "processes unknown".to_owned(),
        Some(text) if unlimited(text) => "processes unlimited".to_owned(),
        Some(text) => format!("{text} processes"),
    };
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{memory}, {cpu} ({cpus} CPUs visible), {pids}")
}

/// The limit on open files.
fn open_files() -> String {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.unwrap_or_default().split_whitespace();
    match (words.next(), words.next()) {
        (Some(soft), Some(hard)) => format!("{soft} (hard limit {hard})"),
        _ => "unknown".to_owned(),
    }
}

/// Capabilities and what else confines the process.
fn privileges(status: &proc::Status) -> String {
    let names = proc::capability_names(status.effective);
    let capabilities = match names.len() {
        0 => "no capabilities".to_owned(),
        count if count == proc::CAPABILITIES.len() => "every capability".to_owned(),
        count => format!("{count} capabilities: {}", names.join(" ")),
    };
    let seccomp = match status.seccomp {
        0 => "no system call filter",
        1 => "strict seccomp",
        _ => "system calls filtered (seccomp)",
    };
    let more = if status.no_new_privileges { "\nno new privileges by exec" } else { "" };
    format!("{capabilities}\n{seccomp}{more}")
}

/// The mounts, in brief: a line for each file system type with its places; a long line is cut.
fn mounts() -> io::Result<String> {
    const SHOWN: usize = 6;
    let mut kinds: Vec<(String, Vec<String>)> = Vec::new();
    for mount in proc::mounts()? {
        match kinds.iter_mut().find(|(kind, _)| *kind == mount.kind) {
            Some((_, targets)) => targets.push(mount.target),
            None => kinds.push((mount.kind, vec![mount.target])),
        }
    }
    let line = |(kind, targets): &(String, Vec<String>)| {
        let more = match targets.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown: Vec<&str> = targets.iter().take(SHOWN).map(String::as_str).collect();
        format!("{kind}: {}{more}", shown.join(" "))
    };
    Ok(kinds.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// The network interfaces.
fn network() -> String {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    if names.is_empty() { "no interfaces".to_owned() } else { names.join(" ") }
}

/// The kernel, which is the host's.
fn kernel() -> io::Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("Linux {} on {}", release.trim_end(), std::env::consts::ARCH))
}
