//! docker with `berth-runtime` as its default runtime.

use std::process::Command;

use berth_testkit::{Finished, peers, require};

use crate::place::{Daemon, IMAGE, LOOP, Place, finish, runtime};

const DOCKERFILE: &str = "FROM berth.local/demo:latest\nRUN echo built > /made\n\
                          CMD [\"cat\", \"/made\"]\n";

struct Docker {
    place: Place,
    program: String,
    daemon: Option<Daemon>,
}

impl Docker {
    fn set_up() -> Result<Self, String> {
        let place = Place::new("dockerd")?;
        let runtime = runtime()?;
        let skopeo = peers::find("skopeo")?;
        let program = peers::find("docker")?.display().to_string();
        // What it would otherwise write to /etc.
        let config = place.path("daemon.json");
        let key = serde_json::json!({ "deprecated-key-path": place.text("key.json") });
        std::fs::write(&config, key.to_string()).map_err(|error| error.to_string())?;
        let mut command = Command::new(peers::find("dockerd")?);
        command.arg("--config-file").arg(&config);
        command.args(["--data-root", &place.text("data"), "--exec-root", &place.text("exec")]);
        command.args(["--pidfile", &place.text("pid"), "--host", &address(&place)]);
        command.args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        command.args(["--ip-forward=false", "--ip-masq=false", "--storage-driver", "overlay2"]);
        command.args(["--add-runtime", &format!("berth={runtime}"), "--default-runtime", "berth"]);
        command.args(["--cgroup-parent", &format!("/{}", place.parent)]);
        let mut daemon = Daemon::start(&mut command, place.path("log"));
        let mut docker = Self { place, program, daemon: None };
        daemon.wait_until(|| docker.docker(&["version"]).code == 0);
        docker.daemon = Some(daemon);
        let from = format!("oci-archive:{}", docker.place.archive().display());
        let file = docker.place.text("demo.docker.tar");
        let to = format!("docker-archive:{file}:{IMAGE}");
        finish(Command::new(skopeo).args(["--insecure-policy", "copy", "--quiet", &from, &to]))
            .success();
        docker.docker(&["load", "--input", &file]).success();
        Ok(docker)
    }

    #[track_caller]
    fn docker(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(&self.program);
        command.args(["--host", &address(&self.place)]).args(arguments);
        finish(command.env("DOCKER_BUILDKIT", "0").env("HOME", self.place.path("home")))
    }

    #[track_caller]
    fn run(&self, options: &[&str], command: &[&str]) -> Finished {
        self.docker(&[&["run", "--network", "none"], options, &[IMAGE], command].concat())
    }
}

fn address(place: &Place) -> String {
    format!("unix://{}", place.text("sock"))
}

impl Drop for Docker {
    fn drop(&mut self) {
        let run = |arguments: &[&str]| {
            Command::new(&self.program)
                .args(["--host", &address(&self.place)])
                .args(arguments)
                .output()
        };
        let list = run(&["ps", "--all", "--quiet"]).map(|output| output.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&list).lines() {
            drop(run(&["rm", "--force", id]));
        }
        self.daemon = None;
    }
}

#[test]
fn docker_does_its_everyday_work() {
    let docker = require!(Docker::set_up());
    let said = docker.run(&["--rm"], &["sh", "-c", "echo in; exit 7"]);
    assert_eq!(said.stdout, "in\n", "{}", said.stderr);
    said.failure(7);
    docker.run(&["-d", "--name", "one", "--memory", "64m"], &["sh", "-c", LOOP]).success();
    assert_eq!(docker.docker(&["exec", "one", "echo", "inside"]).success(), "inside");
    docker.docker(&["exec", "one", "sh", "-c", "exit 5"]).failure(5);
    docker.docker(&["pause", "one"]).success();
    let state = docker.docker(&["inspect", "--format", "{{.State.Status}}", "one"]).success();
    assert_eq!(state, "paused");
    docker.docker(&["unpause", "one"]).success();
    let stats = docker.docker(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one"]);
    assert!(stats.success().starts_with("one "), "docker reads the container's cgroup");
    docker.docker(&["update", "--memory", "96m", "--memory-swap", "96m", "one"]).success();
    docker.docker(&["stop", "--time", "60", "one"]).success();
    let code = docker.docker(&["inspect", "--format", "{{.State.ExitCode}}", "one"]).success();
    assert_eq!(code, "9");
    docker.docker(&["rm", "one"]).success();
    docker.run(&["--rm"], &["no-such-command"]).failure(127);
    let context = docker.place.path("context");
    std::fs::create_dir(&context).expect("a directory can be made");
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).expect("a file can be written");
    let context = context.display().to_string();
    docker.docker(&["build", "--network", "none", "--tag", "built", &context]).success();
    let said = docker.docker(&["run", "--rm", "--network", "none", "built"]).success();
    assert_eq!(said, "built");
}
