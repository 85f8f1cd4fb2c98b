//! The engines, set up below the scratch directories: berth, podman, containerd.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use berth_testkit::cgroups;

use crate::contest::Contestant;
use crate::places::{Places, installed};
use crate::processes::{self, output};
use crate::scratch::Scratch;

/// Our engine, with directories of its own.
pub struct Berth {
    program: PathBuf,
    environment: [(OsString, OsString); 2],
}

impl Berth {
    /// Sets it up, if it is built, by a first run, which loads the image.
    pub fn set_up(places: &Places, scratch: &Scratch) -> anyhow::Result<Self> {
        let program = places.ours("berth").with_context(|| places.missing("berth"))?;
        let environment = [
            ("BERTH_ROOT".into(), scratch.store("berth").into()),
            ("BERTH_RUNROOT".into(), scratch.run("berth").into()),
        ];
        let berth = Self { program, environment };
        output(&mut berth.command(&["run", "--rm", "--network", "none", "demo", "true"]))?;
        Ok(berth)
    }

    /// A command of its.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.environment.iter().cloned());
        command
    }

    /// As one that takes part with `run`.
    pub fn contestant(&self, name: &str) -> Contestant {
        let arguments = ["run", "--rm", "--network", "none", "demo", "true"];
        Contestant::new(name, &self.program, arguments).with_environment(&self.environment)
    }
}

/// podman with a store of its own, in which the embedded image is.
pub struct Podman {
    program: PathBuf,
    arguments: Vec<OsString>,
    parent: String,
}

/// Without these podman asks for limits above those that it has itself, which root without
/// `CAP_SYS_RESOURCE` may not.
const PODMAN_LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"];

impl Podman {
    /// Sets it up with one of the OCI runtimes.
    pub fn set_up(scratch: &Scratch, runtime: &str) -> anyhow::Result<Self> {
        let program = installed("podman").context("podman is not installed")?;
        installed(runtime).with_context(|| format!("{runtime} is not installed"))?;
        let (root, runroot) = (scratch.store("podman"), scratch.run("podman"));
        let mut arguments: Vec<OsString> = Vec::new();
        for (option, value) in [
            ("--root", root.clone()),
            ("--runroot", runroot.clone()),
            ("--tmpdir", scratch.run("libpod")),
            ("--storage-driver", "overlay".into()),
            ("--cgroup-manager", "cgroupfs".into()),
            ("--runtime", runtime.into()),
        ] {
            arguments.push(option.into());
            arguments.push(value.into());
        }
        if !root.join("overlay-images").exists() {
            let skopeo = installed("skopeo").context("skopeo is not installed")?;
            let mut place = OsString::from("containers-storage:[overlay@");
            place.push(&root);
            place.push("+");
            place.push(&runroot);
            place.push(format!("]{}", berth_embedded::REFERENCE));
            let mut archive = OsString::from("oci-archive:");
            archive.push(write_archive(scratch)?);
            output(Command::new(skopeo).args(["copy", "--quiet"]).args([archive, place]))?;
        }
        Ok(Self { program, arguments, parent: format!("/{}", scratch.unique()) })
    }

    /// A command of its, before the words that say what to do.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments);
        command
    }

    /// A `run` with these options and this command.
    pub fn run(&self, options: &[&str], container_command: &[&str]) -> Vec<OsString> {
        let options = ["run"].iter().chain(options).chain(&PODMAN_LIMITS);
        let place = ["--cgroup-parent", &self.parent, "--network", "none"];
        let words = options.chain(&place).chain(&[berth_embedded::REFERENCE]);
        let words = words.chain(container_command).map(OsString::from);
        self.arguments.iter().cloned().chain(words).collect()
    }

    /// As one that takes part with `run`.
    pub fn contestant(&self, name: &str) -> Contestant {
        Contestant::new(name, &self.program, self.run(&["--rm"], &["true"]))
    }

    /// Starts a container that stays.
    pub fn start(&self, container_command: &[&str]) -> anyhow::Result<()> {
        let arguments = self.run(&["--detach"], container_command);
        output(Command::new(&self.program).args(arguments)).map(|_| ())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Removing the directories tells if something is left.
        let _ = output(&mut self.command(&["rm", "--all", "--force", "--time", "0"]));
        remove_cgroups(&self.parent);
    }
}

/// containerd with a socket of its own, running until this is dropped.
pub struct Containerd {
    ctr: PathBuf,
    socket: PathBuf,
    daemon: Child,
    parent: String,
    /// Whether the shims' directory was there before; its place cannot be chosen.
    shared_directory_existed: bool,
}

/// Where shims make their sockets and runc's state, whatever containerd is configured to.
const SHIMS_DIRECTORY: &str = "/run/containerd";

impl Containerd {
    /// Starts it and imports the embedded image.
    pub fn set_up(scratch: &Scratch) -> anyhow::Result<Self> {
        let program = installed("containerd").context("containerd is not installed")?;
        let ctr = installed("ctr").context("ctr is not installed")?;
        let (root, state) = (scratch.store("containerd"), scratch.run("containerd"));
        let socket = scratch.run("containerd.sock");
        let config = scratch.store("containerd.toml");
        let text = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri']\n\
             [grpc]\naddress = '{}'\n",
            root.display(),
            state.display(),
            socket.display(),
        );
        fs::write(&config, text).context("write containerd's configuration")?;
        let shared_directory_existed = Path::new(SHIMS_DIRECTORY).exists();
        let daemon = Command::new(program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start containerd")?;
        let parent = format!("{}-containerd", scratch.unique());
        let containerd = Self { ctr, socket, daemon, parent, shared_directory_existed };
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = output(&mut containerd.ctr(&["version"])) {
            if Instant::now() > deadline {
                return Err(error).context("wait for containerd");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let archive = write_archive(scratch)?;
        // The archive's index gets a name of its own: under the image's name it would be replaced
        // by the manifest, and the garbage collector would take it away during the import.
        let mut import =
            containerd.ctr(&["images", "import", "--index-name", "berth.local/index:latest"]);
        output(import.arg(&archive))?;
        Ok(containerd)
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.ctr);
        command.arg("--address").arg(&self.socket).args(arguments);
        command
    }

    /// Starts a container that stays.
    pub fn start(&self, id: &str, container_command: &[&str]) -> anyhow::Result<()> {
        let cgroup = format!("/{}/{id}", self.parent);
        let options = ["run", "--detach", "--null-io", "--cgroup", &cgroup];
        let mut run = self.ctr(&options);
        output(run.args([berth_embedded::REFERENCE, id]).args(container_command)).map(|_| ())
    }

    /// The processes that stay beside its containers.
    pub fn shims(&self) -> anyhow::Result<Vec<u32>> {
        processes::find("containerd-shim-runc-v2", &self.socket.to_string_lossy())
    }

    fn containers(&self) -> anyhow::Result<String> {
        output(&mut self.ctr(&["containers", "list", "--quiet"]))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Removing the directories tells if something is left.
        for id in self.containers().unwrap_or_default().lines() {
            let _ = output(&mut self.ctr(&["tasks", "delete", "--force", id]));
            let _ = output(&mut self.ctr(&["containers", "delete", id]));
        }
        let _ = wait_for(0, "shims", || self.shims());
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        remove_cgroups(&self.parent);
        if !self.shared_directory_existed {
            remove_empty_directories(Path::new(SHIMS_DIRECTORY));
        }
    }
}

/// The embedded image as a file.
fn write_archive(scratch: &Scratch) -> anyhow::Result<PathBuf> {
    let path = scratch.store("demo.oci.tar");
    fs::write(&path, berth_embedded::ARCHIVE).context("write the embedded image")?;
    Ok(path)
}

/// Removes a cgroup that we had made from every hierarchy. What still runs in it, such as a
/// monitor's clean-up, is given some time.
fn remove_cgroups(path: &str) {
    let directories = cgroups::directories(path);
    let _ = wait_for(0, "cgroups", || {
        for directory in &directories {
            cgroups::remove(directory);
        }
        Ok(directories.iter().filter(|directory| directory.exists()).collect())
    });
}

/// Removes a directory with those in it, as far as they hold no files.
fn remove_empty_directories(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_directories(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

/// Tells whether all of `found` is there, within some time: a monitor may need a moment to start.
pub fn wait_for<T>(
    count: usize,
    what: &str,
    find: impl Fn() -> anyhow::Result<Vec<T>>,
) -> anyhow::Result<Vec<T>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = find()?;
        if found.len() == count {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("there are {} {what} instead of {count}", found.len());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
