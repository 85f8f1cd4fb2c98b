//! An engine in a scratch directory, and what tests ask of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use berth_engine::{
    Attach, AttachEvent, Attachment, ContainerRequest, Engine, EngineConfig, ExitStatus,
    ImageSource, ListFilter, RemoveOptions, StartOptions, Streams,
};

/// Runs `$body` with a scratch engine as `$engine`, unless something that it needs is missing.
macro_rules! with_engine {
    (|$engine:ident, $scratch:ident| $body:expr) => {{
        let Some($scratch) = $crate::support::Scratch::new() else { return };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(
            async {
                let $engine = $scratch.engine();
                $body;
                $scratch.clean(&$engine).await;
            },
        );
    }};
}

/// Directories of an engine's own, gone at the end.
pub struct Scratch {
    directory: tempfile::TempDir,
    monitor: PathBuf,
}

/// The environment variable by which a test program is told to do a monitor's clean-up.
pub const CLEANUP: &str = "BERTH_TEST_CLEANUP";
/// The environment variable by which it is told to run containers until it is killed.
pub const VICTIM: &str = "BERTH_TEST_VICTIM";

impl Scratch {
    /// `None`, and why on standard error, when the tests cannot run here.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: running containers needs root");
            return None;
        }
        let own = std::env::current_exe().ok()?;
        let built = own.parent()?.parent()?.join("berth-monitor");
        let monitor = std::env::var_os("BERTH_MONITOR").map_or(built, PathBuf::from);
        if !monitor.is_file() {
            eprintln!("SKIPPED: berth-monitor is not built (cargo build -p berth-monitor)");
            return None;
        }
        // tmpfs, where there is one: it spares the disk and is what /run is elsewhere.
        let place = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        builder.prefix("berth-engine-test-");
        let directory = if place.is_dir() { builder.tempdir_in(place) } else { builder.tempdir() };
        let scratch = Self { directory: directory.unwrap(), monitor };
        scratch.write_cleanup_program(&own);
        Some(scratch)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A program that monitors call to clean up: this test program in another role.
    fn write_cleanup_program(&self, own: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let text = format!(
            "#!/bin/sh\nfor id; do :; done\n{CLEANUP}=\"{}:$id\" exec {} --exact cleanup_child\n",
            self.path().display(),
            own.display(),
        );
        let path = self.path().join("cleanup");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn engine(&self) -> Engine {
        Engine::open(config(self.path(), &self.monitor)).unwrap()
    }

    pub fn config(&self) -> EngineConfig {
        config(self.path(), &self.monitor)
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub fn run(&self) -> PathBuf {
        self.path().join("run")
    }

    /// Removes all containers, and shows that nothing of them is left.
    pub async fn clean(&self, engine: &Engine) {
        engine.system_prune(berth_engine::PruneOptions::default()).await.unwrap();
        let all = engine.list(ListFilter { all: true, ..ListFilter::default() }).await.unwrap();
        for container in &all {
            let options = RemoveOptions { force: true, volumes: true, timeout: Some(0) };
            engine.remove(&container.id, options).await.unwrap();
        }
        let ids: BTreeSet<&str> = all.iter().map(|container| container.id.as_str()).collect();
        self.assert_nothing_left(&ids);
        // Monitors, and what they started to clean up, would make the directory anew.
        eventually("every process of the engine has ended", async || !self.is_in_use()).await;
        let events = std::fs::read_to_string(self.run().join("events")).unwrap_or_default();
        let events = events.lines().map(|line| serde_json::from_str(line).unwrap());
        let ids: BTreeSet<String> = events
            .map(|event: serde_json::Value| event["id"].as_str().unwrap().to_owned())
            .collect();
        // That of a monitor killed in the midst of its own end is left to prune, which lets it age.
        eventually("no monitor's cgroup is left", async || {
            engine.system_prune(berth_engine::PruneOptions::default()).await.unwrap();
            !ids.iter().any(|id| has_scope(id))
        })
        .await;
    }

    /// Whether a process has this directory among its words.
    fn is_in_use(&self) -> bool {
        let path = self.path().to_str().unwrap();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|entry| entry.file_name().to_string_lossy().parse::<i32>().is_ok())
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|words| String::from_utf8_lossy(&words).contains(path))
    }

    /// No directory, cgroup or mount of any container.
    pub fn assert_nothing_left(&self, ids: &BTreeSet<&str>) {
        let names = |path: PathBuf| -> Vec<String> {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(self.root().join("containers")), Vec::<String>::new());
        assert_eq!(names(self.run().join("containers")), Vec::<String>::new());
        assert_eq!(names(self.run().join("runtime")), Vec::<String>::new());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path().to_str().unwrap()), "a mount is left");
        for id in ids {
            assert_eq!(cgroups(id), Vec::<PathBuf>::new());
        }
    }
}

impl Drop for Scratch {
    /// A test that failed leaves containers; they must not outlive it.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let config = self.config();
        let clean = std::thread::spawn(move || {
            let Ok(engine) = Engine::open(config) else { return };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let filter = ListFilter { all: true, ..ListFilter::default() };
                for container in engine.list(filter).await.unwrap_or_default() {
                    let options = RemoveOptions { force: true, volumes: true, timeout: Some(0) };
                    if let Err(error) = engine.remove(&container.id, options).await {
                        eprintln!("left behind: {}: {error}", container.id);
                    }
                }
            });
        });
        let _ = clean.join();
    }
}

/// Whether the monitor of a container has a cgroup.
fn has_scope(id: &str) -> bool {
    let hierarchies = ["systemd", "unified", "."];
    hierarchies.iter().any(|hierarchy| {
        Path::new(&format!("/sys/fs/cgroup/{hierarchy}/berth-monitor-{id}")).exists()
    })
}

/// The cgroups of a container that exist.
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> =
        hierarchies.map(|entry| entry.path().join("berth").join(id)).collect();
    places.push(Path::new("/sys/fs/cgroup/berth").join(id));
    places.into_iter().filter(|path| path.exists()).collect()
}

pub fn config(directory: &Path, monitor: &Path) -> EngineConfig {
    EngineConfig {
        root: directory.join("root"),
        runroot: directory.join("run"),
        monitor: Some(monitor.to_owned()),
        cleanup_program: Some(directory.join("cleanup")),
        ..EngineConfig::from_environment()
    }
}

/// The role that [`Scratch::write_cleanup_program`] starts.
pub fn cleanup_child() {
    let Some(order) = std::env::var_os(CLEANUP) else { return };
    let order = order.into_string().unwrap();
    let (directory, id) = order.rsplit_once(':').unwrap();
    let engine = Engine::open(config(Path::new(directory), Path::new("/nowhere"))).unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(engine.cleanup(id))
        .unwrap();
}

/// A request for the embedded image.
pub fn request(command: &[&str]) -> ContainerRequest {
    let mut request = ContainerRequest::new(ImageSource::Reference("demo".to_owned()));
    request.command = command.iter().map(|word| (*word).to_owned()).collect();
    request
}

/// The same, removed at its end.
pub fn once(command: &[&str]) -> ContainerRequest {
    ContainerRequest { remove: true, ..request(command) }
}

pub const ATTACHED: StartOptions =
    StartOptions { attach: Attach::Streams(Streams::ALL), size: None };
pub const DETACHED: StartOptions = StartOptions { attach: Attach::None, size: None };

/// Everything that comes out until the end.
pub async fn drain(attachment: &Attachment) -> (String, String, ExitStatus) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match attachment.next().await.unwrap() {
            Some(AttachEvent::Stdout(bytes)) => out.extend(bytes),
            Some(AttachEvent::Stderr(bytes)) => err.extend(bytes),
            Some(AttachEvent::Exited(status)) => {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                return (text(out), text(err), status);
            }
            None => panic!("the monitor was lost"),
        }
    }
}

/// Runs a container to its end.
pub async fn run(engine: &Engine, request: ContainerRequest) -> (String, String, ExitStatus) {
    let running = engine.run(request, ATTACHED).await.unwrap();
    drain(&running.attachment.unwrap()).await
}

/// Runs a container in the background; gives its id.
pub async fn start(engine: &Engine, request: ContainerRequest) -> String {
    engine.run(request, DETACHED).await.unwrap().created.id
}

/// Looks until something is so; fails after ten seconds.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut is_so: F) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}
