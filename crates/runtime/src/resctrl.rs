//! Resource groups of the kernel's `resctrl` file system (config-linux.md, "IntelRdt").
//!
//! A class of service is a directory there; what its tasks may use of caches and memory bandwidth
//! stands in its `schemata`. This module knows such directories and no container.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_spec::runtime::LinuxIntelRdt;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::error::SetupError;

/// Directories of the file system that are no classes.
const RESERVED: &[&str] = &["info", "mon_data", "mon_groups", ".", ".."];

/// The groups that a container is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Groups {
    /// Directories whose `tasks` its processes are written to, in order.
    pub directories: Vec<PathBuf>,
    /// Directories that are removed with the container, in order.
    pub remove: Vec<PathBuf>,
}

/// Checks what can be checked without the file system.
pub(crate) fn check(rdt: &LinuxIntelRdt) -> Result<(), ConfigError> {
    let invalid = |field: &str, problem: &str| {
        Err(ConfigError::invalid(format!("linux.intelRdt.{field}"), problem))
    };
    if let Some(class) = rdt.clos_id.as_deref().filter(|class| !class.is_empty() && *class != "/")
        && (class.contains(['/', '\n', '\0']) || RESERVED.contains(&class))
    {
        return invalid("closID", "is not the name of a class of service");
    }
    for (field, line) in
        [("l3CacheSchema", &rdt.l3_cache_schema), ("memBwSchema", &rdt.mem_bw_schema)]
    {
        if line.as_deref().is_some_and(|line| line.contains('\n')) {
            return invalid(field, "there is a line break in it");
        }
    }
    if rdt.mem_bw_schema.as_deref().is_some_and(|line| !line.is_empty() && !line.starts_with("MB:"))
    {
        return invalid("memBwSchema", "must begin with MB:");
    }
    if rdt.schemata.iter().any(|line| line.contains('\n')) {
        return invalid("schemata", "there is a line break in it");
    }
    Ok(())
}

/// Where the file system is mounted.
pub(crate) fn mounted() -> Result<PathBuf, ConfigError> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found = table.lines().find(|line| line.contains(" - resctrl "));
    found.and_then(|line| line.split(' ').nth(4)).map(PathBuf::from).ok_or_else(|| {
        ConfigError::unsupported("linux.intelRdt", "no resctrl file system is mounted on this host")
    })
}

impl Groups {
    /// What [`Self::create`] will use and make, for a record that is kept before there is anything.
    pub(crate) fn plan(root: &Path, rdt: &LinuxIntelRdt, id: &str) -> Self {
        let given = rdt.clos_id.as_deref().filter(|class| !class.is_empty());
        let class = match given {
            Some("/") => root.to_owned(),
            class => root.join(class.unwrap_or(id)),
        };
        let mut plan = Self { directories: vec![class.clone()], remove: Vec::new() };
        if rdt.enable_monitoring {
            let group = class.join("mon_groups").join(id);
            plan.remove.push(group.clone());
            plan.directories.push(group);
        }
        if given.is_none() {
            plan.remove.push(class);
        }
        // What is there already is somebody else's.
        plan.remove.retain(|directory| !directory.exists());
        plan
    }

    /// Finds or makes the groups of container `id`, below the mounted file system.
    pub(crate) fn create(root: &Path, rdt: &LinuxIntelRdt, id: &str) -> Result<Self, SetupError> {
        let mut groups = Self::default();
        match groups.fill(root, rdt, id) {
            Ok(()) => Ok(groups),
            Err(error) => {
                groups.remove();
                Err(error)
            }
        }
    }

    fn fill(&mut self, root: &Path, rdt: &LinuxIntelRdt, id: &str) -> Result<(), SetupError> {
        let given = rdt.clos_id.as_deref().filter(|class| !class.is_empty());
        let class = match given {
            Some("/") => root.to_owned(),
            class => root.join(class.unwrap_or(id)),
        };
        let own = [&rdt.l3_cache_schema, &rdt.mem_bw_schema];
        let own = own.into_iter().filter_map(|line| line.as_deref());
        let lines: Vec<&str> = own
            .chain(rdt.schemata.iter().map(String::as_str))
            .filter(|line| !line.is_empty())
            .collect();
        let is_there = class.is_dir();
        if !is_there && given.is_some() && lines.is_empty() {
            return Err(failed(root, "find", &class, io::ErrorKind::NotFound.into()));
        }
        if !is_there {
            fs::create_dir(&class).map_err(|error| failed(root, "make", &class, error))?;
            if given.is_none() {
                self.remove.push(class.clone());
            }
        }
        self.directories.push(class.clone());
        let schemata = class.join("schemata");
        if is_there && given.is_some() {
            let text = fs::read_to_string(&schemata)
                .map_err(|error| failed(root, "read", &schemata, error))?;
            if let Some(line) = lines.iter().find(|line| !holds(&text, line)) {
                let error = io::Error::other(format!("it does not have {line:?}"));
                return Err(failed(root, "share", &schemata, error));
            }
        } else if !lines.is_empty() {
            let text = lines.join("\n") + "\n";
            fs::write(&schemata, text).map_err(|error| failed(root, "write", &schemata, error))?;
        }
        if rdt.enable_monitoring {
            let group = class.join("mon_groups").join(id);
            fs::create_dir(&group).map_err(|error| failed(root, "make", &group, error))?;
            self.remove.insert(0, group.clone());
            self.directories.push(group);
        }
        Ok(())
    }

    /// Puts a process into the groups.
    pub(crate) fn add(&self, pid: i32) -> Result<(), SetupError> {
        self.directories.iter().try_for_each(|directory| {
            let tasks = directory.join("tasks");
            fs::write(&tasks, pid.to_string()).map_err(|source| SetupError::Step {
                action: format!("write the process to linux.intelRdt's {}", tasks.display()),
                source,
            })
        })
    }

    /// Changes what the container's class may use.
    pub(crate) fn limit(&self, rdt: &LinuxIntelRdt) -> Result<(), SetupError> {
        let lines = [&rdt.l3_cache_schema, &rdt.mem_bw_schema];
        let lines: Vec<&str> = lines.into_iter().filter_map(|line| line.as_deref()).collect();
        let Some(class) = self.directories.first() else { return Ok(()) };
        let schemata = class.join("schemata");
        fs::write(&schemata, lines.join("\n") + "\n").map_err(|source| SetupError::Step {
            action: format!("write linux.intelRdt's {}", schemata.display()),
            source,
        })
    }

    /// Removes what was made for the container; tells what stays.
    pub(crate) fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        for directory in &self.remove {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    left.push(format!("cannot remove {}: {error}", directory.display()));
                }
            }
        }
        left
    }
}

/// A failure, with the kernel's own words on it.
#[cold]
fn failed(root: &Path, what: &str, path: &Path, source: io::Error) -> SetupError {
    let status = fs::read_to_string(root.join("info/last_cmd_status")).unwrap_or_default();
    let words = match status.trim() {
        "" | "ok" => String::new(),
        words => format!(" ({words})"),
    };
    SetupError::Step {
        action: format!("{what} linux.intelRdt's {}{words}", path.display()),
        source,
    }
}

/// Whether all that a line such as `L3:0=f;1=0f` asks for stands in `text`.
fn holds(text: &str, line: &str) -> bool {
    let Some((resource, wanted)) = line.split_once(':') else { return false };
    let same = |known: &str| known.trim() == resource.trim();
    let found = text.lines().filter_map(|known| known.split_once(':')).find(|(r, _)| same(r));
    let Some((_, found)) = found else { return false };
    wanted.split(';').filter(|part| !part.trim().is_empty()).all(|part| {
        let part = normal(part);
        found.split(';').any(|known| normal(known) == part)
    })
}

/// An id and a value without what makes no difference: blanks, zeros at the front, capitals.
fn normal(part: &str) -> Option<(&str, String)> {
    let (id, value) = part.split_once('=')?;
    let bare = value.trim().trim_start_matches("0x").trim_start_matches('0');
    Some((id.trim(), bare.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rdt(class: Option<&str>, lines: &[&str]) -> LinuxIntelRdt {
        LinuxIntelRdt {
            clos_id: class.map(str::to_owned),
            schemata: lines.iter().map(|&line| line.to_owned()).collect(),
            ..LinuxIntelRdt::default()
        }
    }

    /// Directories with the files that the kernel would make.
    fn prepared(root: &Path, class: &str, schemata: &str) -> PathBuf {
        let directory = root.join(class);
        fs::create_dir_all(directory.join("mon_groups")).unwrap();
        fs::write(directory.join("schemata"), schemata).unwrap();
        directory
    }

    #[test]
    fn the_containers_own_class_is_made_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let all = LinuxIntelRdt {
            l3_cache_schema: Some("L3:0=f".to_owned()),
            mem_bw_schema: Some("MB:0=20".to_owned()),
            ..rdt(None, &["L2:0=3"])
        };
        let groups = Groups::create(root.path(), &all, "id").unwrap();
        let class = root.path().join("id");
        let written = fs::read_to_string(class.join("schemata")).unwrap();
        assert_eq!(written, "L3:0=f\nMB:0=20\nL2:0=3\n");
        let later = LinuxIntelRdt { mem_bw_schema: Some("MB:0=30".to_owned()), ..rdt(None, &[]) };
        groups.limit(&later).unwrap();
        // The kernel's file takes over the line alone.
        let written = fs::read_to_string(class.join("schemata")).unwrap();
        assert_eq!(written, "MB:0=30\n");
        groups.add(7).unwrap();
        assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "7");
        // The kernel's files go with their directory.
        fs::remove_file(class.join("schemata")).unwrap();
        fs::remove_file(class.join("tasks")).unwrap();
        assert!(groups.remove().is_empty() && !class.exists());
    }

    #[test]
    fn a_class_that_is_there_is_shared_if_it_matches_and_stays() {
        let root = tempfile::tempdir().unwrap();
        let class = prepared(root.path(), "gold", "    L3:0=00f;1=0ff\n    MB:0= 20;1=100\n");
        for lines in [&[][..], &["L3:0=F;1=ff"], &["MB:1=100", "L3:1=0xff"]] {
            let groups = Groups::create(root.path(), &rdt(Some("gold"), lines), "id").unwrap();
            assert!(groups.remove.is_empty(), "{lines:?}");
            assert_eq!(groups.directories, std::slice::from_ref(&class));
        }
        for lines in [&["L3:0=1"][..], &["L2:0=1"], &["MB:2=20"], &["nonsense"]] {
            assert!(Groups::create(root.path(), &rdt(Some("gold"), lines), "id").is_err());
        }
        assert!(Groups::create(root.path(), &rdt(Some("silver"), &[]), "id").is_err());
        assert!(!root.path().join("silver").exists());
        Groups::create(root.path(), &rdt(Some("silver"), &["L3:0=1"]), "id").unwrap();
        assert!(root.path().join("silver/schemata").exists());
    }

    #[test]
    fn a_monitoring_group_is_the_containers() {
        let root = tempfile::tempdir().unwrap();
        prepared(root.path(), "", "");
        let watched = LinuxIntelRdt { enable_monitoring: true, ..rdt(Some("/"), &[]) };
        let groups = Groups::create(root.path(), &watched, "id").unwrap();
        let group = root.path().join("mon_groups/id");
        assert!(group.is_dir());
        assert_eq!(groups.directories, [root.path().to_owned(), group.clone()]);
        // A second one of this name cannot be.
        assert!(Groups::create(root.path(), &watched, "id").is_err());
        assert!(groups.remove().is_empty() && !group.exists());
    }

    #[test]
    fn names_and_lines_that_cannot_be_are_refused() {
        for bad in ["a/b", "..", "info", "a\nb"] {
            assert!(check(&rdt(Some(bad), &[])).is_err(), "{bad:?}");
        }
        assert!(check(&rdt(Some("/"), &["L3:0=1"])).is_ok());
        assert!(check(&rdt(None, &["L3:0=1\nMB:0=1"])).is_err());
        let bandwidth = Some("L3:0=1".to_owned());
        assert!(check(&LinuxIntelRdt { mem_bw_schema: bandwidth, ..rdt(None, &[]) }).is_err());
    }
}
