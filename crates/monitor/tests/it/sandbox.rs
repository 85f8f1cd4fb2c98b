//! A monitor's surroundings: a directory on tmpfs, a bundle, a runtime, and what has to be gone
//! at the end.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_monitor::client::{self, Connection, LaunchOptions, Lifetime, Received};
use berth_monitor::protocol::{
    CgroupDriver, CleanupBy, CreateRequest, Exit, LogConfig, Reply, Request, RestartPolicy,
    RuntimeChoice, RuntimeProgram, SlowClient, StdinMode, Streams, Target,
};
use berth_monitor::status::{self, State, Status};
use tempfile::TempDir;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Which runtime a test uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Runc,
    Builtin,
}

pub struct Sandbox {
    pub directory: TempDir,
    pub kind: Kind,
    runtime: RuntimeChoice,
    ids: RefCell<Vec<(String, PathBuf)>>,
}

impl Sandbox {
    /// `None`, after saying why, where the test can't run.
    pub fn new(kind: Kind) -> Option<Self> {
        let skip = |reason: &str| {
            println!("SKIPPED: {reason}");
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skip("this test needs root");
        }
        if !Path::new("/bin/busybox").exists() {
            return skip("this test needs busybox-static");
        }
        let runtime = match kind {
            Kind::Builtin => RuntimeChoice::Builtin,
            Kind::Runc => {
                let path =
                    ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|p| Path::new(p).exists());
                let Some(path) = path else { return skip("runc is not installed") };
                RuntimeChoice::Program(RuntimeProgram::new(path))
            }
        };
        let base = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
        let directory = tempfile::Builder::new().prefix("berth-monitor-").tempdir_in(base).unwrap();
        let rootfs = directory.path().join("rootfs");
        for part in ["bin", "dev", "proc", "sys", "tmp"] {
            std::fs::create_dir_all(rootfs.join(part)).unwrap();
        }
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "sleep", "echo", "true", "false", "stty", "head", "yes", "wc", "kill",
            "dd", "touch", "ls",
        ] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        Some(Self { directory, kind, runtime, ids: RefCell::default() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn options(&self, directory: &Path) -> LaunchOptions {
        let script = format!("echo \"$0\" >> {}", self.path("cleaned").display());
        LaunchOptions {
            directory: directory.to_owned(),
            monitor: env!("CARGO_BIN_EXE_berth-monitor").into(),
            cleanup_command: ["/bin/sh", "-c", &script].map(Into::into).to_vec(),
            runtime_root: self.path("runtime"),
            scope: None,
            lifetime: Lifetime::Containers,
        }
    }

    /// A container's run directory with a bundle that runs `args`, and the request to create it.
    pub fn container(&self, id: &str, args: &[&str]) -> CreateRequest {
        let directory = self.path(id);
        let bundle = directory.join("bundle");
        std::fs::create_dir_all(bundle.join("rootfs")).unwrap();
        // Unique among the tests that run at the same time: it names a cgroup.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{id}-{}-{number}", std::process::id());
        let mut config = config(&id, args, false);
        config["root"]["path"] = self.path("rootfs").to_str().unwrap().into();
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        self.ids.borrow_mut().push((id.clone(), directory.clone()));
        CreateRequest {
            id,
            bundle,
            runtime: self.runtime.clone(),
            cgroup_driver: CgroupDriver::Cgroupfs,
            log: LogConfig::Path { path: directory.join("log"), max_size: 0, max_files: 1 },
            terminal: false,
            stdin: StdinMode::Null,
            attach: Some(Streams::ALL),
            slow: SlowClient::Wait,
            start: true,
            restart: RestartPolicy::No,
            cleanup: CleanupBy::Monitor,
            console_size: None,
            directory,
        }
    }

    /// A monitor for that container's directory.
    pub fn launch(&self, request: &CreateRequest) -> Connection {
        client::launch(&self.options(&request.directory)).unwrap()
    }

    /// A monitor with that container in it.
    pub fn run(&self, request: &CreateRequest) -> Connection {
        let mut connection = self.launch(request);
        connection.create(request.clone()).unwrap();
        connection
    }

    pub fn cleaned(&self) -> String {
        std::fs::read_to_string(self.path("cleaned")).unwrap_or_default()
    }
}

/// Changes a bundle's `config.json`.
pub fn edit(request: &CreateRequest, change: impl FnOnce(&mut serde_json::Value)) {
    let path = request.bundle.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

/// Makes a bundle one with a terminal.
pub fn with_terminal(request: &mut CreateRequest) {
    request.terminal = true;
    edit(request, |config| config["process"]["terminal"] = true.into());
}

/// A file with a `process` object for an exec.
pub fn process_file(request: &CreateRequest, name: &str, args: &[&str], terminal: bool) -> PathBuf {
    let path = request.directory.join(format!("{name}.json"));
    let process = config("x", args, terminal)["process"].clone();
    std::fs::write(&path, process.to_string()).unwrap();
    path
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for (id, directory) in self.ids.borrow().iter() {
            let stopped = |status: Status| status.state == State::Stopped;
            if status::read(directory).ok().flatten().is_some_and(stopped) {
                // It may be cleaning up, which writes to this sandbox.
                client::wait_until_gone(directory, LIMIT);
            }
            if let Ok(pid) = std::fs::read_to_string(directory.join("monitor.pid"))
                && client::is_alive(directory)
                && let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            match &self.runtime {
                RuntimeChoice::Program(RuntimeProgram { path, .. }) => {
                    let root = client::runtime_root(&self.path("runtime"), path);
                    let _ = Command::new(path)
                        .arg("--root")
                        .arg(root)
                        .args(["delete", "--force", id])
                        .output();
                }
                RuntimeChoice::Builtin => {
                    let runtime = berth_runtime::Runtime::new(self.path("runtime"));
                    if let Ok(id) = berth_runtime::ContainerId::new(id.as_str()) {
                        let _ = runtime.delete(&id, berth_runtime::DeleteMode::Force);
                    }
                }
            }
        }
    }
}

fn config(id: &str, args: &[&str], terminal: bool) -> serde_json::Value {
    let caps = serde_json::json!(["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": format!("/berth-monitor-test-{id}"),
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"},
            ],
        },
    })
}

/// What a connection has received for one process.
#[derive(Debug, Default)]
pub struct Seen {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Option<Exit>,
    pub closed: bool,
}

impl Seen {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn code(&self) -> Option<i32> {
        self.exit.and_then(|exit| exit.code)
    }
}

/// Receives until `enough`, or until the connection ends.
pub fn receive_until(
    connection: &mut Connection,
    target: &Target,
    seen: &mut Seen,
    enough: impl Fn(&Seen) -> bool,
) {
    let deadline = Instant::now() + LIMIT;
    while !enough(seen) && !seen.closed {
        match connection.try_receive().unwrap() {
            Received::Reply(Reply::Stdout { target: of, data }) if of == *target => {
                seen.stdout.extend(data);
            }
            Received::Reply(Reply::Stderr { target: of, data }) if of == *target => {
                seen.stderr.extend(data);
            }
            Received::Reply(Reply::Exited { target: of, exit }) if of == *target => {
                seen.exit = Some(exit);
            }
            Received::Reply(Reply::Error { kind, text, .. }) => panic!("{kind:?}: {text}"),
            Received::Reply(_) => {}
            Received::Closed => seen.closed = true,
            Received::WouldBlock => {
                assert!(Instant::now() < deadline, "nothing more arrives after {seen:?}");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Receives until the process's exit.
pub fn until_exit(connection: &mut Connection, target: &Target) -> Seen {
    let mut seen = Seen::default();
    receive_until(connection, target, &mut seen, |seen| seen.exit.is_some());
    assert!(seen.exit.is_some(), "the connection ended early: {seen:?}");
    seen
}

/// Waits until something is so.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Waits for a state, and gives the status.
pub fn until_state(directory: &Path, state: State) -> Status {
    let mut last = None;
    eventually(&format!("{state:?}"), || {
        last = status::read(directory).unwrap();
        last.as_ref().is_some_and(|status| status.state == state)
    });
    last.unwrap()
}

/// Waits until the monitor has ended.
pub fn until_gone(directory: &Path) {
    assert!(client::wait_until_gone(directory, LIMIT), "the monitor lives on");
}

/// Sends input, a frame at a time.
pub fn send_stdin(connection: &mut Connection, target: &Target, data: &[u8]) {
    for part in data.chunks(berth_monitor::protocol::MAX_STDIN) {
        connection.send(&Request::Stdin { target: target.clone(), data: part.to_vec() }).unwrap();
    }
}

/// The records of a log, without their time stamps.
pub fn log_text(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| format!("{}\n", line.split_once(' ').unwrap().1));
    lines.collect::<Vec<_>>().concat()
}
