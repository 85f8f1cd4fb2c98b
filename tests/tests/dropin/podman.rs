//! podman `--runtime berth-runtime`.

use std::process::Command;

use berth_testkit::{Finished, peers, require};

use crate::place::{IMAGE, LOOP, Place, finish, runtime};

/// Without these podman asks for limits above those that it has itself, which root without
/// `CAP_SYS_RESOURCE` may not.
const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"];

struct Podman {
    place: Place,
    runtime: String,
}

impl Podman {
    fn set_up() -> Result<Self, String> {
        let place = Place::new("podman")?;
        let runtime = runtime()?;
        let skopeo = peers::find("skopeo")?;
        let storage = format!(
            "containers-storage:[overlay@{}+{}]{IMAGE}",
            place.text("root"),
            place.text("run")
        );
        let archive = format!("oci-archive:{}", place.archive().display());
        finish(Command::new(skopeo).args([
            "--insecure-policy",
            "copy",
            "--quiet",
            &archive,
            &storage,
        ]))
        .success();
        Ok(Self { place, runtime })
    }

    #[track_caller]
    fn podman(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new("podman");
        command.args(["--root", &self.place.text("root"), "--runroot", &self.place.text("run")]);
        command.args(["--tmpdir", &self.place.text("tmp"), "--storage-driver", "overlay"]);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        command.args(["--runtime", &self.runtime]);
        finish(command.args(arguments))
    }

    #[track_caller]
    fn run(&self, options: &[&str], command: &[&str]) -> Finished {
        let parent = format!("/{}", self.place.parent);
        let place = ["run", "--network", "none", "--cgroup-parent", &parent];
        self.podman(&[&place[..], &LIMITS, options, &[IMAGE], command].concat())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let mut command = Command::new("podman");
        command.args(["--root", &self.place.text("root"), "--runroot", &self.place.text("run")]);
        command.args(["--tmpdir", &self.place.text("tmp"), "--storage-driver", "overlay"]);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        command.args(["--runtime", &self.runtime, "rm", "--all", "--force", "--time", "0"]);
        drop(command.output());
    }
}

#[test]
fn podman_does_its_everyday_work() {
    let podman = require!(Podman::set_up());
    let said = podman.run(&["--rm"], &["sh", "-c", "echo in; id -u; exit 7"]);
    assert_eq!(said.stdout, "in\n0\n", "{}", said.stderr);
    said.failure(7);
    podman.run(&["-d", "--name", "a", "--memory", "64m"], &["sh", "-c", LOOP]).success();
    assert_eq!(podman.podman(&["exec", "a", "echo", "inside"]).success(), "inside");
    podman.podman(&["exec", "a", "sh", "-c", "exit 5"]).failure(5);
    let terminal = podman.podman(&["exec", "-t", "a", "sh", "-c", "test -t 1 && echo tty"]);
    assert_eq!(terminal.success().trim(), "tty");
    podman.podman(&["pause", "a"]).success();
    let state = podman.podman(&["inspect", "--format", "{{.State.Status}}", "a"]).success();
    assert_eq!(state, "paused");
    podman.podman(&["unpause", "a"]).success();
    let stats = podman.podman(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "a"]);
    assert!(stats.success().starts_with("a "), "podman reads the container's cgroup");
    let processes = podman.podman(&["top", "a", "args"]).success();
    assert!(processes.contains("sleep") || processes.contains("sh -c"), "{processes}");
    podman.podman(&["stop", "--time", "60", "a"]).success();
    let code = podman.podman(&["inspect", "--format", "{{.State.ExitCode}}", "a"]).success();
    assert_eq!(code, "9");
    assert_eq!(podman.podman(&["logs", "a"]).success(), "bye");
    podman.podman(&["rm", "a"]).success();
}

#[test]
fn podman_tells_what_berth_runtime_refuses() {
    let podman = require!(Podman::set_up());
    let missing = podman.run(&["--rm"], &["no-such-command"]);
    let said = missing.failure(127);
    assert!(said.contains("no-such-command"), "{said}");
    let denied = podman.run(&["--rm"], &["/etc/passwd"]);
    denied.failure(126);
}

#[test]
fn podman_builds_and_updates_nothing_it_should_not() {
    let podman = require!(Podman::set_up());
    let said = podman.run(
        &["--rm", "--read-only", "--cap-drop", "all", "--user", "1000", "--hostname", "h"],
        &["sh", "-c", "id -u; hostname; touch /x || echo refused; grep CapEff /proc/self/status"],
    );
    let text = said.success();
    assert!(text.starts_with("1000\nh\n") && text.contains("refused"), "{text}");
    assert!(text.contains("0000000000000000"), "{text}");
}
