//! Where everything lies that the benchmark makes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use tempfile::TempDir;

use crate::options::{Options, RunOn};
use crate::sys;

/// The file by which crun 1.8 tells whether `unified` is a hierarchy of its own. Where it names a
/// controller, as on a hybrid machine, that crun refuses to start.
const UNIFIED_CONTROLLERS: &str = "/sys/fs/cgroup/unified/cgroup.controllers";

/// The temporary directories.
pub struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// Makes them, in a mount namespace of our own: what is mounted here or by a contestant is seen
    /// by nobody else, and is gone when we and all contestants are.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the peers and the floor need root");
        }
        let directory = tempfile::Builder::new()
            .prefix("berth-bench-")
            .tempdir_in(&options.store)
            .with_context(|| format!("make a directory in {}", options.store.display()))?;
        let scratch = Self { directory };
        sys::unshare_mounts().context("make a mount namespace")?;
        let flags = MountPropagationFlags::DOWNSTREAM.union(MountPropagationFlags::REC);
        mount_change(c"/", flags).context("cut the mounts off from the host's")?;

        let run = scratch.run("");
        fs::create_dir(&run).with_context(|| format!("make {}", run.display()))?;
        if options.run_on == RunOn::Tmpfs {
            mount("tmpfs", &run, "tmpfs", MountFlags::empty(), c"mode=755")
                .with_context(|| format!("mount a tmpfs on {}", run.display()))?;
        }
        if Path::new(UNIFIED_CONTROLLERS).exists() {
            let empty = scratch.store("empty");
            fs::write(&empty, "").context("make an empty file")?;
            mount_bind(&empty, UNIFIED_CONTROLLERS)
                .context("hide the unified hierarchy's controllers")?;
        }
        Ok(scratch)
    }

    /// A place on the disk.
    pub fn store(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A place for run-time state.
    pub fn run(&self, name: &str) -> PathBuf {
        self.directory.path().join("run").join(name)
    }

    /// A word that no other benchmark uses at the same time.
    pub fn unique(&self) -> String {
        self.directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Removes everything.
    pub fn remove(self) -> anyhow::Result<()> {
        let path = self.directory.path().to_owned();
        unmount_below(&path);
        self.directory.close().with_context(|| format!("remove {}", path.display()))
    }
}

/// Unmounts, in this namespace, everything that contestants left mounted, the last first.
fn unmount_below(path: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let below: Vec<&str> = points.filter(|point| Path::new(point).starts_with(path)).collect();
    for point in below.into_iter().rev() {
        // Only makes way for removing the directory, which tells if it could not.
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
    }
}
