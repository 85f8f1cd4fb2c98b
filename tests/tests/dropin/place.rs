//! Directories and cgroups of a foreign engine's own, taken away with what it started.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_testkit::{
    Finished, binaries, cgroups, command::eventually, command::finish_with, peers,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The image that everything is run from.
pub const IMAGE: &str = berth_embedded::REFERENCE;
/// A program that ends in its own way when it is asked to.
pub const LOOP: &str = "trap 'echo bye; exit 9' TERM; while true; do sleep 0.1; done";
/// How long a command of a foreign engine may take on a machine with much to do.
const LIMIT: Duration = Duration::from_mins(3);
/// How long what an engine leaves running is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tells the places of one test program apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where one engine keeps everything, and its cgroups' parent.
pub struct Place {
    directory: TempDir,
    pub parent: String,
}

impl Place {
    /// # Errors
    /// The reason for skipping.
    pub fn new(engine: &str) -> Result<Self, String> {
        berth_testkit::root()?;
        peers::find(engine)?;
        let directory = tempfile::Builder::new()
            .prefix("berth-dropin-")
            .tempdir_in("/dev/shm")
            .map_err(|error| format!("no scratch directory: {error}"))?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let parent = format!("berth-dropin-{engine}-{}-{number}", std::process::id());
        Ok(Self { directory, parent })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().expect("a path in UTF-8")
    }

    /// The embedded image as an OCI archive.
    pub fn archive(&self) -> PathBuf {
        let path = self.path("demo.oci.tar");
        std::fs::write(&path, berth_embedded::ARCHIVE).expect("the scratch directory has room");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let cgroups = cgroups::directories(&self.parent);
        // What an engine runs to clean up after a container lives on for a moment, and so do its
        // cgroups, and its mounts below its directory.
        let deadline = Instant::now() + PATIENCE;
        loop {
            for cgroup in &cgroups {
                cgroups::remove(cgroup);
            }
            unmount_below(self.directory.path());
            let removed = std::fs::remove_dir_all(self.directory.path());
            let is_clean = removed.is_ok() && !cgroups.iter().any(|cgroup| cgroup.exists());
            if is_clean || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn unmount_below(directory: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for point in points.iter().rev().filter(|point| Path::new(point).starts_with(directory)) {
        let _ = rustix::mount::unmount(*point, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Our runtime's path.
///
/// # Errors
/// The reason for skipping.
pub fn runtime() -> Result<String, String> {
    let path = binaries::path("berth-runtime")?;
    path.into_os_string().into_string().map_err(|path| format!("{} is not UTF-8", path.display()))
}

/// Runs a foreign command to its end.
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    finish_with(command, b"", LIMIT)
}

/// A daemon that lives as long as this, with what it wrote for whoever looks into a failure.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; everything that it says goes to a file.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).expect("a log can be made in scratch space");
        let other = file.try_clone().expect("a descriptor can be doubled");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(other)
            .spawn()
            .expect("an installed daemon can be started");
        Self { child, log }
    }

    /// Waits until it answers; fails with its words when it ends instead.
    #[track_caller]
    pub fn wait_until(&mut self, mut answers: impl FnMut() -> bool) {
        let Self { child, log } = self;
        eventually("the daemon answers", || {
            let ended = child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "{}", std::fs::read_to_string(&*log).unwrap_or_default());
            answers()
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        drop(self.child.wait());
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            println!("the daemon said last:\n{}", last.join("\n"));
        }
    }
}
