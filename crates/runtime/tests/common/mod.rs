//! Bundles over a small root file system, and the built binary to run them.
#![expect(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails a test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use serde_json::{Value, json};

pub const RUNTIME: &str = match option_env!("BERTH_RUNTIME_UNDER_TEST") {
    Some(shipped) => shipped,
    None => env!("CARGO_BIN_EXE_berth-runtime"),
};

const APPLETS: &[&str] = &[
    "sh", "true", "false", "sleep", "cat", "ls", "id", "mount", "env", "stat", "ps", "hostname",
    "head", "grep", "mknod", "touch", "echo", "test", "tty", "readlink", "kill", "wc", "mkdir",
    "dd", "pwd", "ln", "rm", "cut", "sort", "stty", "umount", "chmod", "seq", "find", "nice",
];

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program is installed.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join(program).is_file())
}

pub struct Bundle {
    pub directory: tempfile::TempDir,
    pub spec: Value,
    pub id: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Bundle {
    /// A bundle of `spec`'s configuration, without a terminal; `None` where it cannot be run.
    pub fn new() -> Option<Self> {
        if !is_root() {
            eprintln!("SKIPPED: containers with cgroups need root");
            return None;
        }
        if !Path::new("/bin/busybox").is_file() {
            eprintln!("SKIPPED: /bin/busybox (busybox-static) is not installed");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("berth-runtime-").tempdir().unwrap();
        make_rootfs(&directory.path().join("rootfs"));
        let output = Command::new(RUNTIME)
            .args(["spec", "--bundle"])
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = fs::read(directory.path().join("config.json")).unwrap();
        let mut spec: Value = serde_json::from_slice(&text).unwrap();
        let id = format!("brt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["/bin/true"]);
        spec["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        Some(Self { directory, spec, id })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.spec["process"]["args"] = json!(args);
        self
    }

    pub fn script(&mut self, script: &str) -> &mut Self {
        self.args(&["/bin/sh", "-c", script])
    }

    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self.spec.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().insert(key.to_owned(), value);
        self
    }

    pub fn push(&mut self, pointer: &str, value: Value) -> &mut Self {
        if self.spec.pointer(pointer).is_none() {
            self.set(pointer, json!([]));
        }
        self.spec.pointer_mut(pointer).unwrap().as_array_mut().unwrap().push(value);
        self
    }

    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        let list = self.spec["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != kind);
        let mut namespace = json!({ "type": kind });
        if let Some(path) = path {
            namespace["path"] = json!(path);
        }
        list.push(namespace);
        self
    }

    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        let list = self.spec["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    pub fn mount(
        &mut self,
        destination: &str,
        typ: &str,
        source: &str,
        options: &[&str],
    ) -> &mut Self {
        self.push(
            "/mounts",
            json!({ "destination": destination, "type": typ, "source": source, "options": options }),
        )
    }

    pub fn user_namespace(&mut self) -> &mut Self {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        self.namespace("user", None);
        self.set("/linux/uidMappings", map.clone());
        self.set("/linux/gidMappings", map)
    }

    /// What an unprivileged user can run, with its own id as root's and no other. Gives a state
    /// directory of the user's.
    pub fn single_mapping(&mut self, id: u32) -> PathBuf {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let map = json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
        self.namespace("user", None).without_namespace("network");
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        let linux = self.spec["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.remove("cgroupsPath");
        self.spec["mounts"].as_array_mut().unwrap().retain(|mount| {
            !matches!(mount["type"].as_str(), Some("sysfs" | "cgroup" | "mqueue" | "devpts"))
        });
        for path in [self.path().to_owned(), self.rootfs()] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let state = self.path().join("own");
        fs::create_dir(&state).unwrap();
        chown(&state, Some(id), Some(id)).unwrap();
        state
    }

    pub fn write(&self) {
        fs::write(self.path().join("config.json"), self.spec.to_string()).unwrap();
    }

    pub fn state_root(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The runtime with this bundle's state directory.
    pub fn runtime(&self, words: &[&str]) -> Command {
        let mut command = Command::new(RUNTIME);
        command.arg("--root").arg(self.state_root()).args(words).stdin(Stdio::null());
        command.current_dir(self.path());
        command
    }

    /// Runs it to its end. Its output goes to files: a container that lives on would keep the end
    /// of a pipe from being seen.
    pub fn call(&self, words: &[&str]) -> Output {
        let file = || tempfile::tempfile_in(self.path()).unwrap();
        let (mut stdout, mut stderr) = (file(), file());
        let status = self
            .runtime(words)
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .status()
            .unwrap();
        let read = |file: &mut fs::File| {
            use std::io::{Read as _, Seek as _};
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        Output { status, stdout: read(&mut stdout), stderr: read(&mut stderr) }
    }

    /// The same, which has to succeed.
    pub fn must(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        text(&output.stdout)
    }

    /// Runs the container in the foreground.
    pub fn run(&self) -> Output {
        self.write();
        let output = self.call(&["run", &self.id]);
        self.assert_nothing_left();
        output
    }

    /// The same, and what it printed; it has to succeed.
    pub fn output(&self) -> String {
        let output = self.run();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// The same, and what it complained of; it has to fail before the program runs.
    pub fn refusal(&self) -> String {
        let output = self.run();
        assert!(!output.status.success(), "it ran: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Starts a container that goes on by itself.
    pub fn start_detached(&self) {
        self.write();
        let status = self
            .runtime(&["run", "--detach", &self.id])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Runs a script of the host's shell in new namespaces of the host, with the runtime as
    /// `berth` and the container's id as `$ID`; `None` where that cannot be done.
    pub fn shell(&self, unshare: &[&str], script: &str) -> Option<Output> {
        for program in ["unshare", "ip", "mount"] {
            if !has(program) {
                eprintln!("SKIPPED: {program} is not installed");
                return None;
            }
        }
        self.write();
        let berth = format!("berth() {{ {RUNTIME} --root state \"$@\"; }}; set -e; {script}");
        let output = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", &berth])
            .env("ID", &self.id)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        self.assert_nothing_left();
        Some(output)
    }

    pub fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.must(&["state", &self.id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        let state: Value = serde_json::from_str(&self.must(&["state", &self.id])).unwrap();
        state["pid"].as_i64().unwrap() as i32
    }

    pub fn exec(&self, words: &[&str]) -> Output {
        self.call(&[&["exec", &self.id][..], words].concat())
    }

    /// Every cgroup directory of this container.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = table.lines().filter(|line| line.contains(" - cgroup"));
        mounts
            .filter_map(|line| line.split(' ').nth(4))
            .map(|mount| Path::new(mount).join(&self.id))
            .filter(|directory| directory.exists())
            .collect()
    }

    pub fn assert_nothing_left(&self) {
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        let left = fs::read_dir(self.state_root()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "state is left");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(self.path().to_str().unwrap()), "a mount is left: {table}");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
    }
}

fn make_rootfs(rootfs: &Path) {
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp", "home"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n",
    )
    .unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something holds, at most a minute.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_within(Duration::from_mins(1), what, holds);
}

/// Waits until something holds.
pub fn eventually_within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
