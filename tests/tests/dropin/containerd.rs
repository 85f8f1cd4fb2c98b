//! containerd with `BinaryName` set to `berth-runtime`.

use std::process::Command;

use berth_testkit::{Finished, command::eventually, peers, require};

use crate::place::{Daemon, IMAGE, LOOP, Place, finish, runtime};

struct Containerd {
    place: Place,
    runtime: String,
    daemon: Option<Daemon>,
}

impl Containerd {
    fn set_up() -> Result<Self, String> {
        let place = Place::new("containerd")?;
        peers::find("ctr")?;
        let runtime = runtime()?;
        let config = place.path("config.toml");
        let text = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '{}'\n",
            place.text("root"),
            place.text("state"),
            place.text("sock"),
        );
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let mut command = Command::new("containerd");
        let daemon = Daemon::start(command.arg("--config").arg(&config), place.path("log"));
        let mut containerd = Self { place, runtime, daemon: None };
        let mut daemon = daemon;
        daemon.wait_until(|| containerd.ctr(&["version"]).code == 0);
        containerd.daemon = Some(daemon);
        let archive = containerd.place.archive().display().to_string();
        // The archive's index gets a name of its own: under the image's name it would be replaced
        // by the manifest, and the garbage collector would take it away during the import.
        let import = ["images", "import", "--index-name", "berth.local/index:latest", &archive];
        containerd.ctr(&import).success();
        Ok(containerd)
    }

    #[track_caller]
    fn ctr(&self, arguments: &[&str]) -> Finished {
        finish(Command::new("ctr").args(["--address", &self.place.text("sock")]).args(arguments))
    }

    #[track_caller]
    fn run(&self, id: &str, options: &[&str], command: &[&str]) -> Finished {
        let cgroup = format!("/{}/{id}", self.place.parent);
        let root = self.place.text("oci");
        let place =
            ["run", "--runc-binary", &self.runtime, "--runc-root", &root, "--cgroup", &cgroup];
        self.ctr(&[&place[..], options, &[IMAGE, id], command].concat())
    }

    fn status(&self, id: &str) -> String {
        let list = self.ctr(&["tasks", "list"]).success();
        let line = list.lines().find(|line| line.starts_with(id)).unwrap_or_default();
        line.split_whitespace().nth(2).unwrap_or_default().to_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let address = self.place.text("sock");
        let ctr = |arguments: &[&str]| {
            Command::new("ctr").args(["--address", &address]).args(arguments).output()
        };
        let list = ctr(&["containers", "list", "--quiet"]);
        let text = list.map(|output| output.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&text).lines() {
            drop(ctr(&["tasks", "delete", "--force", id]));
            drop(ctr(&["containers", "delete", id]));
        }
        self.daemon = None;
    }
}

#[test]
fn containerd_does_its_everyday_work() {
    let containerd = require!(Containerd::set_up());
    let said = containerd.run("one", &["--rm"], &["sh", "-c", "echo in; exit 7"]);
    assert_eq!(said.stdout, "in\n", "{}", said.stderr);
    said.failure(7);
    containerd.run("two", &["--detach"], &["sh", "-c", LOOP]).success();
    assert_eq!(containerd.status("two"), "RUNNING");
    let exec = |name: &str, command: &[&str]| {
        containerd.ctr(&[&["tasks", "exec", "--exec-id", name, "two"], command].concat())
    };
    assert_eq!(exec("e1", &["echo", "inside"]).success(), "inside");
    exec("e2", &["sh", "-c", "exit 5"]).failure(5);
    containerd.ctr(&["tasks", "pause", "two"]).success();
    assert_eq!(containerd.status("two"), "PAUSED");
    containerd.ctr(&["tasks", "resume", "two"]).success();
    assert_eq!(containerd.status("two"), "RUNNING");
    let metrics = containerd.ctr(&["tasks", "metrics", "two"]).success();
    assert!(metrics.contains("memory"), "{metrics}");
    let processes = containerd.ctr(&["tasks", "ps", "two"]).success();
    assert!(processes.lines().count() >= 2, "{processes}");
    containerd.ctr(&["tasks", "kill", "--signal", "SIGTERM", "two"]).success();
    eventually("it has ended", || containerd.status("two") == "STOPPED");
    let deleted = containerd.ctr(&["tasks", "delete", "two"]);
    assert!(deleted.stderr.contains("exit code 9"), "{}", deleted.stderr);
    deleted.success();
    containerd.ctr(&["containers", "delete", "two"]).success();
}
