//! What the kernel tells in `/proc`, and the user database in `/etc`.

use std::fs;
use std::io;

/// The fields of a process's `status` file that applets show.
#[derive(Debug, Default, Clone)]
pub struct Status {
    /// The command's short name.
    pub name: String,
    /// The state's letter.
    pub state: String,
    /// The parent's id.
    pub parent: i32,
    /// Real and effective user ids.
    pub user: (u32, u32),
    /// Real and effective group ids.
    pub group: (u32, u32),
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Effective capabilities, one bit each.
    pub effective: u64,
    /// The bounding set.
    pub bounding: u64,
    /// Whether exec can grant no privileges.
    pub no_new_privileges: bool,
    /// The seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Resident memory in KiB.
    pub resident: u64,
    /// The file mode mask, octal.
    pub umask: String,
}

/// Reads `/proc/PID/status`; `self` for the caller.
pub fn status(pid: &str) -> io::Result<Status> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut status = Status::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        let mut numbers = value.split_whitespace().map(|word| word.parse::<u32>().unwrap_or(0));
        let mut pair = || (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match key {
            "Name" => value.clone_into(&mut status.name),
            "State" => status.state = value.chars().take(1).collect(),
            "PPid" => status.parent = value.parse().unwrap_or(0),
            "Uid" => status.user = pair(),
            "Gid" => status.group = pair(),
            "Groups" => status.groups = numbers.collect(),
            "CapEff" => status.effective = u64::from_str_radix(value, 16).unwrap_or(0),
            "CapBnd" => status.bounding = u64::from_str_radix(value, 16).unwrap_or(0),
            "NoNewPrivs" => status.no_new_privileges = value == "1",
            "Seccomp" => status.seccomp = value.parse().unwrap_or(0),
            "VmRSS" => status.resident = u64::from(pair().0),
            "Umask" => value.clone_into(&mut status.umask),
            _ => {}
        }
    }
    Ok(status)
}

/// The ids of all processes, in order.
pub fn processes() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

/// A process's command line, or its name in brackets for one that has none.
pub fn command_line(pid: i32, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    if words.is_empty() { format!("[{name}]") } else { words.join(" ") }
}

/// One line of `mountinfo`.
#[derive(Debug)]
pub struct Mount {
    /// Where it is mounted.
    pub target: String,
    /// The mount's own options and its file system's.
    pub options: String,
    /// The file system's type.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// The file system's options.
    pub super_options: String,
}

/// The mounts of the caller's namespace, in the kernel's order.
pub fn mounts() -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let parse = |line: &str| -> Option<Mount> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(4);
        let mut tail = tail.split(' ');
        Some(Mount {
            target: unoctal(head.next()?),
            options: head.next()?.to_owned(),
            kind: tail.next()?.to_owned(),
            source: unoctal(tail.next()?),
            super_options: tail.next().unwrap_or_default().to_owned(),
        })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// Replaces the kernel's octal escapes for spaces and the like.
fn unoctal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => out.push(char::from(code)),
            None => out.push('\\'),
        }
        rest = after.get(if code.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The host name.
pub fn hostname() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim_end().to_owned())
}

/// The name of an id in `/etc/passwd` or `/etc/group`.
pub fn name_of(database: &str, id: u32) -> Option<String> {
    let text = fs::read_to_string(database).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == id).then(|| name.to_owned())
    })
}

/// The names of capabilities, by number.
pub const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The names of the capabilities in a set.
pub fn capability_names(set: u64) -> Vec<&'static str> {
    CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(bit, _)| set & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}
