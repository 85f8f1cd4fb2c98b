//! Cgroups that a foreign engine was given, and leaves behind.

use std::path::{Path, PathBuf};

/// The directories of a cgroup's path in every hierarchy, whether they are there or not.
pub fn directories(path: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(base).into_iter().flatten().flatten();
    hierarchies
        .map(|entry| entry.path())
        .chain([base.to_owned()])
        .map(|hierarchy| hierarchy.join(path.trim_start_matches('/')))
        .collect()
}

/// Removes a cgroup with those below it, as far as no process is in them; or the plain directory
/// that podman makes in its place where a controller has no hierarchy.
pub fn remove(directory: &Path) {
    if !directory.join("cgroup.procs").exists() {
        drop(std::fs::remove_dir_all(directory));
        return;
    }
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    drop(std::fs::remove_dir(directory));
}
