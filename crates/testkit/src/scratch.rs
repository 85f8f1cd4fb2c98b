//! State of a test's own, which must be left clean: containers, mounts, cgroups, processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::binaries;
use crate::command::{Finished, finish, finish_with};

/// A root and a run root for one test.
#[derive(Debug)]
pub struct Scratch {
    state: TempDir,
    run: TempDir,
    berth: PathBuf,
}

impl Scratch {
    /// Makes empty state.
    ///
    /// # Errors
    /// The reason for skipping: not root, or nothing built.
    pub fn new() -> Result<Self, String> {
        crate::root()?;
        let berth = binaries::path("berth")?;
        let directory = |parent: &str| {
            tempfile::Builder::new()
                .prefix("berth-test-")
                .tempdir_in(parent)
                .map_err(|error| format!("no scratch directory in {parent}: {error}"))
        };
        Ok(Self { state: directory("/tmp")?, run: directory("/dev/shm")?, berth })
    }

    /// The persistent root.
    pub fn root(&self) -> PathBuf {
        self.state.path().join("root")
    }

    /// The run root, on tmpfs.
    pub fn runroot(&self) -> PathBuf {
        self.run.path().join("run")
    }

    /// A directory for the test's own files.
    pub fn files(&self) -> PathBuf {
        let path = self.state.path().join("files");
        std::fs::create_dir_all(&path).expect("a directory can be made in scratch space");
        path
    }

    /// A `berth` command on this state.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.berth);
        command.arg("--root").arg(self.root()).arg("--runroot").arg(self.runroot());
        command
    }

    /// Runs `berth` with these arguments to its end.
    #[track_caller]
    pub fn berth(&self, arguments: &[&str]) -> Finished {
        finish(self.command().args(arguments))
    }

    /// Runs `berth` with these arguments and this standard input.
    #[track_caller]
    pub fn berth_with_input(&self, arguments: &[&str], input: &[u8]) -> Finished {
        finish_with(self.command().args(arguments), input, Duration::from_mins(1))
    }

    /// `berth inspect` of a container, as JSON.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> serde_json::Value {
        let text = self.berth(&["inspect", "--type", "container", container]).success();
        let value: serde_json::Value =
            serde_json::from_str(&text).expect("inspect prints an array in JSON");
        value[0].clone()
    }

    /// The ids of all containers.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        let text = self.berth(&["ps", "--all", "--quiet", "--no-trunc"]).success();
        text.lines().map(str::to_owned).collect()
    }

    /// Removes every container and asserts that nothing of this state is left on the machine.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.berth(&["rm", "--force", "--all", "--time", "0"]).success();
        assert_eq!(self.ids(), Vec::<String>::new(), "containers are left");
        // A monitor ends a moment after its container is gone.
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let left = self.leaks();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind:\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What of this state there is on the machine: mounts, processes, cgroups, directories.
    pub fn leaks(&self) -> Vec<String> {
        let names = [self.state.path(), self.run.path()].map(|path| path.display().to_string());
        let mut left = Vec::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(
            mounts
                .lines()
                .filter(|line| names.iter().any(|name| line.contains(name)))
                .map(|line| format!("mount {line}")),
        );
        for entry in entries(Path::new("/proc")) {
            let arguments = std::fs::read(entry.join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            if names.iter().any(|name| arguments.contains(name)) {
                left.push(format!("process {} {arguments}", entry.display()));
            }
        }
        for directory in [
            self.root().join("containers"),
            self.runroot().join("containers"),
            self.runroot().join("runtime"),
        ] {
            left.extend(entries(&directory).map(|path| format!("directory {}", path.display())));
        }
        left
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The test may have failed half way: whatever runs on this state is ended all the same.
        drop(self.command().args(["rm", "--force", "--all", "--time", "0"]).output());
    }
}

/// The cgroups of a container in every hierarchy.
pub fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((directory, depth)) = directories.pop() {
        for path in entries(&directory).filter(|path| path.is_dir()) {
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains(id)) {
                found.push(path);
            } else if depth < 4 {
                directories.push((path, depth + 1));
            }
        }
    }
    found
}

/// The entries of a directory; none where it cannot be read.
pub fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}
