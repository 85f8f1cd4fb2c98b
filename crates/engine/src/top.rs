//! A container's processes, in the columns that podman's `top` and ps know.

use std::collections::BTreeMap;

use berth_image::bundle::RootLookup as _;

use crate::core::Core;
use crate::error::{ParseError, QueryError, RuntimeError};
use crate::view::Top;

/// The columns where nobody says, podman's.
const DEFAULT: [&str; 8] = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"];
/// Clock ticks a second in /proc, on every architecture.
const TICKS: u64 = 100;

/// Descriptors, other spellings of them, and their titles.
const COLUMNS: [(&str, &[&str], &str); 24] = [
    ("args", &["%a", "cmd", "command"], "COMMAND"),
    ("capbnd", &[], "BOUNDING CAPS"),
    ("capeff", &[], "EFFECTIVE CAPS"),
    ("capinh", &[], "INHERITED CAPS"),
    ("capprm", &[], "PERMITTED CAPS"),
    ("comm", &["%c"], "COMMAND"),
    ("etime", &["%t"], "ELAPSED"),
    ("group", &["%G", "egroup", "gid"], "GROUP"),
    ("hgroup", &[], "HGROUP"),
    ("hpid", &[], "HPID"),
    ("huser", &[], "HUSER"),
    ("nice", &["%n", "ni"], "NI"),
    ("pcpu", &["%C"], "%CPU"),
    ("pgid", &["%r", "pgrp"], "PGID"),
    ("pid", &["%p"], "PID"),
    ("ppid", &["%P"], "PPID"),
    ("rss", &["rsz"], "RSS"),
    ("seccomp", &[], "SECCOMP"),
    ("state", &["stat", "s"], "STATE"),
    ("stime", &["start", "start_time"], "STIME"),
    ("time", &["%x", "cputime"], "TIME"),
    ("tty", &["%y", "tt", "tname"], "TTY"),
    ("user", &["%U", "euser", "uid"], "USER"),
    ("vsz", &["%z", "vsize"], "VSZ"),
];

impl Core {
    pub(crate) fn top(&self, word: &str, descriptors: &[String]) -> Result<Top, QueryError> {
        let (record, observed) = self.settled::<QueryError>(word)?;
        crate::control::must_be_active(&record, &observed, "list the processes of")?;
        let columns = columns(descriptors)?;
        let pid = observed.state.pid.unwrap_or_default();
        let failed = |source| RuntimeError::Builtin {
            action: "list the processes of",
            id: record.id.clone(),
            hint: None,
            source,
        };
        let cgroup = crate::stats::cgroup_of(pid).map_err(failed)?;
        let mut pids = cgroup.processes().map_err(|error| failed(error.into()))?;
        pids.sort_unstable();
        let users = Names::read(pid);
        let uptime = uptime();
        // A process that has gone since is left out.
        let rows = pids
            .into_iter()
            .filter_map(Process::read)
            .map(|process| {
                columns.iter().map(|column| process.column(column, &users, uptime)).collect()
            })
            .collect();
        let titles = columns
            .iter()
            .filter_map(|column| COLUMNS.iter().find(|(name, ..)| name == column))
            .map(|(_, _, title)| (*title).to_owned())
            .collect();
        Ok(Top { titles, rows })
    }
}

/// The descriptors by their first names. ps options of the kind `-eo a,b` are taken too.
fn columns(descriptors: &[String]) -> Result<Vec<&'static str>, ParseError> {
    let words: Vec<&str> = descriptors
        .iter()
        .flat_map(|word| word.split([',', ' ']))
        .filter(|word| !word.is_empty() && (!word.starts_with('-') || word.contains('%')))
        .collect();
    if words.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    words
        .into_iter()
        .map(|word| {
            COLUMNS
                .iter()
                .find(|(name, others, _)| *name == word || others.contains(&word))
                .map(|(name, ..)| *name)
                .ok_or_else(|| {
                    let known: Vec<&str> = COLUMNS.iter().map(|(name, ..)| *name).collect();
                    ParseError::new("descriptor", word, format!("one of {}", known.join(", ")))
                })
        })
        .collect()
}

/// Seconds since boot.
fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

/// Names of users and groups, in the container and on the host.
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    host_users: BTreeMap<u32, String>,
    host_groups: BTreeMap<u32, String>,
}

impl Names {
    fn read(pid: i32) -> Self {
        let inside = |path: &str| {
            let root = crate::process::root(pid).ok();
            let text = root.and_then(|root| root.read(path).ok()?);
            names(&String::from_utf8_lossy(&text.unwrap_or_default()))
        };
        let host = |path: &str| names(&std::fs::read_to_string(path).unwrap_or_default());
        Self {
            users: inside("/etc/passwd"),
            groups: inside("/etc/group"),
            host_users: host("/etc/passwd"),
            host_groups: host("/etc/group"),
        }
    }
}

fn names(text: &str) -> BTreeMap<u32, String> {
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    });
    // Of several names of one id the first counts.
    let mut names = BTreeMap::new();
    for (id, name) in entries {
        names.entry(id).or_insert(name);
    }
    names
}

fn name_or_id(names: &BTreeMap<u32, String>, id: u32) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

/// A process as /proc tells it (proc_pid_stat(5), proc_pid_status(5)).
struct Process {
    pid: i32,
    name: String,
    stat: Vec<String>,
    status: BTreeMap<String, String>,
    arguments: String,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, rest) = text.rsplit_once(')')?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let name = head.split_once('(').map(|(_, name)| name.to_owned())?;
        let words: Vec<String> = arguments
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        Some(Self {
            pid,
            stat: rest.split_whitespace().map(str::to_owned).collect(),
            status: status
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
                .collect(),
            arguments: if words.is_empty() { format!("[{name}]") } else { words.join(" ") },
            name,
        })
    }

    /// Field of /proc/PID/stat, counted as in its manual page.
    fn number(&self, field: usize) -> u64 {
        self.stat.get(field.saturating_sub(3)).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn status(&self, key: &str) -> &str {
        self.status.get(key).map_or("", String::as_str)
    }

    /// The innermost of the ids that a field of `status` lists by namespace.
    fn innermost(&self, key: &str) -> String {
        self.status(key).split_whitespace().last().unwrap_or("0").to_owned()
    }

    fn id(&self, key: &str) -> u32 {
        // Real, effective, saved, file system.
        self.status(key).split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or(0)
    }

    /// The parent as the container sees it: 0 where it is outside.
    fn parent(&self) -> String {
        let parent = self.status("PPid");
        let depth = |status: &str| status.split_whitespace().count();
        let text = std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap_or_default();
        let spaces = text.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        if depth(spaces) < depth(self.status("NSpid")) {
            return "0".to_owned();
        }
        spaces.split_whitespace().last().unwrap_or("0").to_owned()
    }

    fn column(&self, column: &str, names: &Names, uptime: u64) -> String {
        let cpu = (self.number(14) + self.number(15)) / TICKS;
        let elapsed = uptime.saturating_sub(self.number(22) / TICKS);
        match column {
            "args" => self.arguments.clone(),
            "comm" => self.name.clone(),
            "pid" => self.innermost("NSpid"),
            "hpid" => self.pid.to_string(),
            "ppid" => self.parent(),
            "pgid" => self.innermost("NSpgid"),
            "user" => name_or_id(&names.users, self.id("Uid")),
            "group" => name_or_id(&names.groups, self.id("Gid")),
            "huser" => name_or_id(&names.host_users, self.id("Uid")),
            "hgroup" => name_or_id(&names.host_groups, self.id("Gid")),
            "capbnd" => capabilities(self.status("CapBnd")),
            "capeff" => capabilities(self.status("CapEff")),
            "capinh" => capabilities(self.status("CapInh")),
            "capprm" => capabilities(self.status("CapPrm")),
            "seccomp" => match self.status("Seccomp") {
                "0" => "disabled",
                "1" => "strict",
                "2" => "filter",
                _ => "?",
            }
            .to_owned(),
            "state" => self.stat.first().cloned().unwrap_or_default(),
            "nice" => (self.number(19) as i64).to_string(),
            "vsz" => (self.number(23) / 1024).to_string(),
            "rss" => self.status("VmRSS").trim_end_matches(" kB").to_owned(),
            "etime" => format_seconds(elapsed),
            "time" => format_seconds(cpu),
            "stime" => {
                let now = jiff::Timestamp::now();
                let started = now - jiff::SignedDuration::from_secs(elapsed as i64);
                started.strftime("%H:%M").to_string()
            }
            "pcpu" => {
                let seconds = elapsed.max(1) as f64;
                let used = (self.number(14) + self.number(15)) as f64 / TICKS as f64;
                format!("{:.3}", used * 100.0 / seconds)
            }
            "tty" => match self.number(7) {
                0 => "?".to_owned(),
                device => {
                    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
                    if (136..=143).contains(&major) {
                        format!("pts/{minor}")
                    } else {
                        format!("{major}:{minor}")
                    }
                }
            },
            _ => String::new(),
        }
    }
}

/// A mask in words: `none`, `full` or the mask.
fn capabilities(mask: &str) -> String {
    match u64::from_str_radix(mask, 16) {
        Ok(0) => "none".to_owned(),
        Ok(mask) if mask.trailing_ones() >= 38 && mask & (mask + 1) == 0 => "full".to_owned(),
        _ => mask.to_owned(),
    }
}

fn format_seconds(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_in_podmans_and_ps_spellings() {
        let words = |text: &str| columns(&[text.to_owned()]);
        assert_eq!(words("pid,hpid").unwrap(), ["pid", "hpid"]);
        assert_eq!(words("-eo %p,cmd").unwrap(), ["pid", "args"]);
        assert_eq!(columns(&[]).unwrap(), DEFAULT);
        assert!(words("nonsense").is_err());
    }

    #[test]
    fn this_process_has_every_column() {
        let process = Process::read(std::process::id() as i32).unwrap();
        let names = Names::read(std::process::id() as i32);
        for (name, ..) in COLUMNS {
            assert!(!process.column(name, &names, uptime()).is_empty(), "{name}");
        }
        assert_eq!(process.column("hpid", &names, 0), std::process::id().to_string());
    }
}
