//! The device list: read into rules, then written to v1's files or compiled for v2
//! ([`super::device_program`]).
//!
//! Both versions give the same answers: the list starts from "deny everything", later entries win
//! over earlier ones, and the default devices come after them.

use std::collections::BTreeMap;

use berth_spec::runtime::{LinuxDeviceCgroup, default_device_rules};
use rustix::fs::OFlags;

use super::device_program;
use super::set::{Files, explain, invalid};
use crate::directory::Directory;
use crate::error::ApplyError;
use crate::namespace::is_rootless;
use crate::sys;

/// What is done with a device node, as the kernel's v2 constants have it.
pub(super) const MKNOD: u8 = 1;
/// Reading.
pub(super) const READ: u8 = 2;
/// Writing.
pub(super) const WRITE: u8 = 4;
/// All of it.
pub(super) const ALL: u8 = MKNOD | READ | WRITE;

/// Block or character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeType {
    /// Block.
    Block,
    /// Character.
    Character,
}

/// A rule as the kernel thinks of it; `None` matches everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) typ: Option<NodeType>,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: u8,
}

impl Rule {
    /// Whether it speaks of every use of every device.
    pub(crate) fn is_total(&self) -> bool {
        self.typ.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

/// Reads the list, with the default devices after it.
pub(crate) fn rules(list: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, ApplyError> {
    let mut rules = Vec::with_capacity(list.len() + 10);
    for (index, entry) in list.iter().enumerate() {
        rules.push(rule(entry, &format!("devices[{index}]"))?);
    }
    for entry in default_device_rules() {
        rules.push(rule(&entry, "devices")?);
    }
    Ok(rules)
}

fn rule(entry: &LinuxDeviceCgroup, field: &str) -> Result<Rule, ApplyError> {
    let typ = match entry.typ.as_deref() {
        None | Some("a" | "") => None,
        Some("c" | "u") => Some(NodeType::Character),
        Some("b") => Some(NodeType::Block),
        Some(other) => {
            return Err(invalid(&format!("{field}.type"), other, "expected a, c or b"));
        }
    };
    let number = |value: Option<i64>, name: &str| match value {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| {
            invalid(&format!("{field}.{name}"), n, "expected a device number, or -1 for all")
        }),
    };
    let mut access = 0;
    for letter in entry.access.as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => {
                return Err(invalid(
                    &format!("{field}.access"),
                    entry.access.as_deref().unwrap_or_default(),
                    "expected letters of rwm",
                ));
            }
        };
    }
    Ok(Rule {
        allow: entry.allow,
        typ,
        major: number(entry.major, "major")?,
        minor: number(entry.minor, "minor")?,
        access: if access == 0 { ALL } else { access },
    })
}

/// A device, or many: what v1 keeps an exception for.
type Node = (NodeType, Option<u32>, Option<u32>);

/// The state of a v1 group: a default, and exceptions from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct V1State {
    allow_by_default: bool,
    exceptions: BTreeMap<Node, u8>,
}

impl V1State {
    /// The state that the rules lead to. v1 can only drop exceptions that it has, so a rule that
    /// takes a part out of a wider exception has no equivalent and is an error.
    fn of(rules: &[Rule]) -> Result<Self, ApplyError> {
        let mut state = Self::default();
        for rule in rules {
            if rule.is_total() {
                state = Self { allow_by_default: rule.allow, exceptions: BTreeMap::new() };
                continue;
            }
            let types = match rule.typ {
                Some(typ) => vec![typ],
                None => vec![NodeType::Block, NodeType::Character],
            };
            for typ in types {
                state.take((typ, rule.major, rule.minor), rule)?;
            }
        }
        Ok(state)
    }

    fn take(&mut self, node: Node, rule: &Rule) -> Result<(), ApplyError> {
        if rule.allow != self.allow_by_default {
            *self.exceptions.entry(node).or_default() |= rule.access;
            return Ok(());
        }
        // Back to the default: exceptions inside the rule's reach shrink, wider ones cannot.
        for (known, access) in &mut self.exceptions {
            if *access & rule.access == 0 || !overlap(known, &node) {
                continue;
            }
            if !contains(&node, known) {
                return Err(invalid(
                    "devices",
                    line(&node, rule.access),
                    "cgroup v1 cannot take a part out of a wider rule before it",
                ));
            }
            *access &= !rule.access;
        }
        self.exceptions.retain(|_, access| *access != 0);
        Ok(())
    }

    /// From the kernel's devices.list.
    fn parse(list: &str) -> Self {
        let mut state = Self::default();
        for entry in list.lines() {
            let mut words = entry.split_whitespace();
            let (Some(typ), Some(node), Some(access)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let typ = match typ {
                "b" => NodeType::Block,
                "c" => NodeType::Character,
                _ => {
                    state.allow_by_default = true;
                    continue;
                }
            };
            let (major, minor) = node.split_once(':').unwrap_or((node, "*"));
            let bits = access.chars().fold(0, |bits, c| {
                bits | match c {
                    'r' => READ,
                    'w' => WRITE,
                    _ => MKNOD,
                }
            });
            state.exceptions.insert((typ, major.parse().ok(), minor.parse().ok()), bits);
        }
        state
    }
}

fn overlap(a: &Node, b: &Node) -> bool {
    let meet = |x: Option<u32>, y: Option<u32>| x.is_none() || y.is_none() || x == y;
    a.0 == b.0 && meet(a.1, b.1) && meet(a.2, b.2)
}

fn contains(wide: &Node, narrow: &Node) -> bool {
    let holds = |w: Option<u32>, n: Option<u32>| w.is_none() || w == n;
    wide.0 == narrow.0 && holds(wide.1, narrow.1) && holds(wide.2, narrow.2)
}

/// A line for devices.allow or devices.deny.
fn line(node: &Node, access: u8) -> String {
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut text = String::from(match node.0 {
        NodeType::Block => "b ",
        NodeType::Character => "c ",
    });
    text.push_str(&format!("{}:{} ", number(node.1), number(node.2)));
    text.push_str(&letters(access));
    text
}

/// Accesses as letters of `rwm`.
pub(crate) fn letters(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

/// How the group starts out when its present state is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum V1Write {
    Allow(&'static str),
    Deny(&'static str),
}

/// Writes a v1 group's list. A group in use is never without its devices meanwhile: only what
/// changes is written, what is added before what is taken away.
pub(super) fn apply_v1(
    files: Files<'_>,
    list: &[LinuxDeviceCgroup],
    fresh: bool,
) -> Result<(), ApplyError> {
    let wanted = V1State::of(&rules(list)?)?;
    let Some(directory) = files.directory else {
        // A kernel may have had its v1 device controller left out; the v2 program needs v2.
        return files.need("devices").map(|_| ());
    };
    let current = if fresh {
        None
    } else {
        let text = directory
            .read("devices.list")
            .map_err(|e| explain(directory, "devices", "devices", "devices.list", e))?;
        let state = V1State::parse(&text);
        (!state.allow_by_default && !wanted.allow_by_default).then_some(state)
    };
    let (start, current) = match current {
        Some(state) => (None, state),
        None if wanted.allow_by_default => (Some(V1Write::Allow("a")), V1State::default()),
        None => (Some(V1Write::Deny("a")), V1State::default()),
    };
    let added = difference(&wanted.exceptions, &current.exceptions);
    let removed = difference(&current.exceptions, &wanted.exceptions);
    let (add, drop) = if wanted.allow_by_default {
        ("devices.deny", "devices.allow")
    } else {
        ("devices.allow", "devices.deny")
    };
    match start {
        Some(V1Write::Allow(all)) => write_lines(directory, "devices.allow", &[all.to_owned()])?,
        Some(V1Write::Deny(all)) => write_lines(directory, "devices.deny", &[all.to_owned()])?,
        None => {}
    }
    write_lines(directory, add, &added)?;
    write_lines(directory, drop, &removed)
}

/// What of `a` is not in `b`.
fn difference(a: &BTreeMap<Node, u8>, b: &BTreeMap<Node, u8>) -> Vec<String> {
    a.iter()
        .map(|(node, access)| (node, access & !b.get(node).copied().unwrap_or(0)))
        .filter(|(_, access)| *access != 0)
        .map(|(node, access)| line(node, access))
        .collect()
}

fn write_lines(directory: &Directory, file: &str, lines: &[String]) -> Result<(), ApplyError> {
    if lines.is_empty() {
        return Ok(());
    }
    let failed = |e| explain(directory, "devices", "devices", file, e);
    let open = directory.open(file, OFlags::WRONLY).map_err(failed)?;
    lines.iter().try_for_each(|line| directory.write_to(&open, file, line).map_err(failed))
}

/// Attaches a program to a v2 group. It takes the place of one of ours at once, so that no open
/// succeeds or fails in between that should not.
pub(super) fn apply_v2(files: Files<'_>, list: &[LinuxDeviceCgroup]) -> Result<(), ApplyError> {
    let program = device_program::compile(&rules(list)?);
    let directory = files.need("devices")?;
    let group = directory
        .fd()
        .map_err(|source| ApplyError::File { field: "devices".to_owned(), source })?;
    let failed = |action| move |source| ApplyError::DeviceProgram { action, source };
    let loaded = match sys::load_device_program(&program) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES)) && is_rootless() => {
            // Nodes cannot be made without privileges, and those of the host are guarded by their
            // owners: there is nothing that the filter would add.
            return Ok(());
        }
        result => result.map_err(failed("load"))?,
    };
    let attached = sys::attached_device_programs(group).map_err(failed("look for"))?;
    let (old, rest) = match attached.split_first() {
        Some((first, rest)) => (Some(first), rest),
        None => (None, attached.as_slice()),
    };
    sys::attach_device_program(group, &loaded, old).map_err(failed("attach"))?;
    rest.iter()
        .try_for_each(|program| sys::detach_device_program(group, program))
        .map_err(failed("replace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(allow: bool, typ: &str, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
        LinuxDeviceCgroup {
            allow,
            typ: Some(typ.to_owned()),
            major: (major >= 0).then_some(major),
            minor: (minor >= 0).then_some(minor),
            access: Some(access.to_owned()),
        }
    }

    fn state(list: &[LinuxDeviceCgroup]) -> Result<V1State, ApplyError> {
        let rules: Result<Vec<Rule>, _> = list.iter().map(|e| rule(e, "devices[0]")).collect();
        V1State::of(&rules?)
    }

    #[test]
    fn later_entries_win_and_accesses_of_a_node_add_up() {
        let list = [
            entry(false, "a", -1, -1, "rwm"),
            entry(true, "c", 1, 3, "r"),
            entry(true, "c", 1, 3, "w"),
            entry(true, "b", 8, -1, "rwm"),
            entry(false, "b", 8, -1, "m"),
        ];
        let lines = difference(&state(&list).expect("valid").exceptions, &BTreeMap::new());
        assert_eq!(lines, ["b 8:* rw", "c 1:3 rw"]);
    }

    #[test]
    fn allowing_everything_forgets_what_came_before() {
        let list = [entry(true, "c", 1, 3, "r"), entry(true, "a", -1, -1, "rwm")];
        let state = state(&list).expect("valid");
        assert!(state.allow_by_default && state.exceptions.is_empty());
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused_on_v1_by_name() {
        let list = [entry(true, "c", -1, -1, "rw"), entry(false, "c", 1, 3, "w")];
        let error = state(&list).expect_err("v1 cannot");
        assert!(error.to_string().contains("c 1:3 w"), "{error}");
    }

    #[test]
    fn a_rule_for_both_types_narrower_than_everything_becomes_two() {
        let state = state(&[entry(true, "a", 7, -1, "r")]).expect("valid");
        let lines = difference(&state.exceptions, &BTreeMap::new());
        assert_eq!(lines, ["b 7:* r", "c 7:* r"]);
    }

    #[test]
    fn the_kernels_own_list_is_read_back() {
        let state = V1State::parse("c *:* m\nc 1:3 rwm\nb 8:0 r\n");
        let lines = difference(&state.exceptions, &BTreeMap::new());
        assert_eq!(lines, ["b 8:0 r", "c *:* m", "c 1:3 rwm"]);
        assert!(V1State::parse("a *:* rwm\n").allow_by_default);
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (bad, place) in [
            (entry(true, "x", 1, 3, "r"), "devices[0].type"),
            (entry(true, "c", 1, 3, "rx"), "devices[0].access"),
            (entry(true, "c", 1 << 40, 3, "r"), "devices[0].major"),
        ] {
            let error = rules(&[bad]).expect_err("refused").to_string();
            assert!(error.contains(place), "{error}");
        }
    }

    /// A v2 group of this machine's, even beside v1 controllers, with a shell command run inside.
    fn run_in(directory: &Directory, script: &str) -> bool {
        let gate = "read go; ";
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", &format!("{gate}{script}")])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("spawned");
        directory.write("cgroup.procs", &child.id().to_string()).expect("moved");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"go\n").expect("sent");
        child.wait().expect("waited").success()
    }

    #[test]
    fn the_kernel_takes_the_program_and_replaces_it_at_once() {
        let hierarchies = crate::Hierarchies::detect().ok();
        let unified = hierarchies.as_ref().and_then(crate::Hierarchies::unified);
        let Some(mount) = unified.filter(|_| rustix::process::geteuid().is_root()) else {
            eprintln!("SKIPPED: needs root and a v2 hierarchy");
            return;
        };
        let name = format!("berth-test-{}-program", std::process::id());
        let path = mount.mount_point.join(name);
        std::fs::create_dir(&path).expect("made");
        let directory = Directory::new(crate::HierarchyKind::Unified, path);
        let files = Files { directory: Some(&directory), controller: "devices" };
        let deny = entry(false, "a", -1, -1, "rwm");
        let attached =
            || sys::attached_device_programs(directory.fd().expect("open")).expect("asked");

        apply_v2(files, std::slice::from_ref(&deny)).expect("applied");
        assert_eq!(attached().len(), 1);
        let refused = "echo x >/dev/null && ! (: </dev/kmsg)";
        assert!(run_in(&directory, refused), "only the default devices");

        apply_v2(files, &[deny.clone(), entry(true, "c", 1, 11, "r")]).expect("replaced");
        assert_eq!(attached().len(), 1);
        assert!(run_in(&directory, ": </dev/kmsg"), "the added device can be read");
        assert!(!run_in(&directory, ": >/dev/kmsg"), "and not be written");

        apply_v2(files, &[entry(true, "a", -1, -1, "rwm")]).expect("replaced");
        assert!(run_in(&directory, ": <>/dev/kmsg"), "everything is allowed");
        std::fs::remove_dir(&directory.path).expect("removed");
    }
}
