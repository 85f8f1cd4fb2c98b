//! The floor's cgroups: a directory in every hierarchy, the default device rules, one process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The default bundle's device rules, as runtimes write them: nothing, then the standard devices.
const DEVICE_RULES: &[&str] = &[
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:8 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:5 rwm",
    "c 1:9 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
];

/// A container's directory in one hierarchy.
pub struct Cgroup {
    /// The hierarchy's own directory, such as `memory` or `cpu,cpuacct`.
    pub name: String,
    /// The container's directory.
    pub directory: PathBuf,
    is_cpuset: bool,
}

/// Makes a directory `name` in every version 1 hierarchy, or in the version 2 one.
pub fn create(name: &str) -> anyhow::Result<Vec<Cgroup>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mount table")?;
    let mut version_1 = Vec::new();
    let mut version_2 = Vec::new();
    for line in table.lines() {
        let Some((place, kind)) = line.split_once(" - ") else { continue };
        let Some(mount_point) = place.split(' ').nth(4).map(Path::new) else { continue };
        let hierarchy = mount_point.file_name().unwrap_or_default().to_string_lossy();
        let cgroup = Cgroup {
            directory: mount_point.join(name),
            is_cpuset: hierarchy.split(',').any(|controller| controller == "cpuset"),
            name: hierarchy.into_owned(),
        };
        match kind.split(' ').next() {
            Some("cgroup") => version_1.push(cgroup),
            Some("cgroup2") => version_2.push(cgroup),
            _ => {}
        }
    }
    let cgroups = if version_1.is_empty() { version_2 } else { version_1 };
    for cgroup in &cgroups {
        fs::create_dir(&cgroup.directory)
            .with_context(|| format!("create {}", cgroup.directory.display()))?;
        if cgroup.is_cpuset {
            inherit_cpuset(&cgroup.directory)?;
        }
        if cgroup.name.split(',').any(|controller| controller == "devices") {
            write(&cgroup.directory.join("devices.deny"), "a")?;
            for rule in DEVICE_RULES {
                write(&cgroup.directory.join("devices.allow"), rule)?;
            }
        }
    }
    Ok(cgroups)
}

/// A new cpuset of version 1 has no processors until it gets its parent's.
fn inherit_cpuset(directory: &Path) -> anyhow::Result<()> {
    let parent = directory.parent().context("a cgroup has a parent")?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read_to_string(parent.join(file)).context("read the parent's cpuset")?;
        write(&directory.join(file), value.trim())?;
    }
    Ok(())
}

/// Moves a process into all of them.
pub fn add_process(cgroups: &[Cgroup], process: i32) -> anyhow::Result<()> {
    let process = process.to_string();
    cgroups.iter().try_for_each(|cgroup| write(&cgroup.directory.join("cgroup.procs"), &process))
}

/// Removes the directories, whose processes are gone.
pub fn remove(cgroups: &[Cgroup]) -> anyhow::Result<()> {
    cgroups.iter().try_for_each(|cgroup| {
        fs::remove_dir(&cgroup.directory)
            .with_context(|| format!("remove {}", cgroup.directory.display()))
    })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {text:?} to {}", path.display()))
}
