//! Handlers: other runtimes by names of the configuration file, one container each and as default.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_testkit::{Finished, Scratch, command::finish, peers, require};

/// A script through which a runtime works here: crun refuses a hybrid cgroup layout, and sees none
/// in a mount namespace in which the file that it looks at is empty.
fn wrapper(scratch: &Scratch, program: &str) -> Result<PathBuf, String> {
    let path = peers::find(program)?;
    let script = scratch.files().join(program);
    let text = format!(
        "#!/bin/sh\nf=/sys/fs/cgroup/unified/cgroup.controllers\n\
         exec unshare --mount --propagation private sh -c \
         '[ ! -e $0 ] || mount --bind /dev/null $0; exec \"$@\"' $f {} \"$@\"\n",
        path.display()
    );
    std::fs::write(&script, text).map_err(|error| error.to_string())?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    Ok(script)
}

/// A configuration file of the scratch space.
fn configure(scratch: &Scratch, text: &str) -> PathBuf {
    let file = scratch.files().join("berth.toml");
    std::fs::write(&file, text).expect("a file can be written in scratch space");
    file
}

#[track_caller]
fn berth(scratch: &Scratch, config: &Path, arguments: &[&str]) -> Finished {
    finish(scratch.command().arg("--config").arg(config).args(arguments))
}

/// A container's life under a handler: all that a person does with one.
fn lives(scratch: &Scratch, config: &Path, handler: &str) {
    let berth = |arguments: &[&str]| berth(scratch, config, arguments);
    let run = ["--runtime", handler, "run", "--network", "none"];
    let said =
        berth(&[&run[..], &["--rm", "demo", "sh", "-c", "echo by $0; exit 7", handler]].concat());
    assert_eq!(said.stdout, format!("by {handler}\n"), "{}", said.stderr);
    said.failure(7);
    let loop_ = "trap 'echo bye; exit 9' TERM; while true; do sleep 0.1; done";
    let name = format!("{handler}-container");
    berth(
        &[&run[..], &["-d", "--name", &name, "--memory", "64m", "demo", "sh", "-c", loop_]]
            .concat(),
    )
    .success();
    assert_eq!(berth(&["exec", &name, "echo", "inside"]).success(), "inside", "{handler}");
    berth(&["exec", &name, "sh", "-c", "exit 5"]).failure(5);
    let shown =
        berth(&["inspect", "--format", "{{.State.Status}} {{.OCIRuntime}}", &name]).success();
    assert_eq!(shown, format!("running {handler}"));
    let stats = berth(&["stats", "--no-stream", "--format", "json", &name]).success();
    assert!(stats.contains(&name), "{handler}: {stats}");
    berth(&["pause", &name]).success();
    let paused = berth(&["inspect", "--format", "{{.State.Status}}", &name]).success();
    assert_eq!(paused, "paused", "{handler}");
    berth(&["unpause", &name]).success();
    // The signal reaches the process in the container, which takes its time to say good-bye.
    berth(&["stop", "--time", "60", &name]).success();
    let ended = berth(&["inspect", "--format", "{{.State.ExitCode}}", &name]).success();
    assert_eq!(ended, "9", "{handler}");
    assert_eq!(berth(&["logs", &name]).success(), "bye", "{handler}");
    berth(&["start", &name]).success();
    berth(&["rm", "--force", "--time", "0", &name]).success();
}

#[test]
fn configured_runtimes_run_containers_by_name() {
    let scratch = require!(Scratch::new());
    let runc = require!(peers::find("runc"));
    let crun = require!(wrapper(&scratch, "crun"));
    let config = configure(
        &scratch,
        &format!(
            "[runtimes.careful]\npath = \"{}\"\narguments = [\"--debug\"]\n\
             [runtimes.quick]\npath = \"{}\"\n",
            runc.display(),
            crun.display()
        ),
    );
    lives(&scratch, &config, "careful");
    lives(&scratch, &config, "quick");
    lives(&scratch, &config, "builtin");
    scratch.assert_clean();
}

#[test]
fn a_sandbox_with_a_kernel_of_its_own_runs_containers() {
    let scratch = require!(Scratch::new());
    let runsc = require!(peers::find("runsc"));
    let config = configure(
        &scratch,
        &format!(
            "[runtimes.gvisor]\npath = \"{}\"\narguments = [\"--network=none\", \"--ignore-cgroups\"]\n",
            runsc.display()
        ),
    );
    lives(&scratch, &config, "gvisor");
    scratch.assert_clean();
}

#[test]
fn the_default_runtime_is_the_configurations() {
    let scratch = require!(Scratch::new());
    let runc = require!(peers::find("runc"));
    let config = configure(
        &scratch,
        &format!("runtime = \"other\"\n[runtimes.other]\npath = \"{}\"\n", runc.display()),
    );
    berth(&scratch, &config, &["run", "-d", "--name", "a", "demo", "sleep", "1000"]).success();
    let runtime = |name: &str| {
        berth(&scratch, &config, &["inspect", "--format", "{{.OCIRuntime}}", name]).success()
    };
    assert_eq!(runtime("a"), "other");
    // The container stays with its runtime, whatever the default is when it is dealt with.
    let elsewhere =
        configure(&scratch, &format!("[runtimes.other]\npath = \"{}\"\n", runc.display()));
    assert_eq!(berth(&scratch, &elsewhere, &["exec", "a", "echo", "in"]).success(), "in");
    berth(&scratch, &elsewhere, &["stop", "--time", "0", "a"]).success();
    scratch.assert_clean();
}

#[test]
fn info_tells_what_each_runtime_can_do() {
    let scratch = require!(Scratch::new());
    let runc = require!(peers::find("runc"));
    let config = configure(
        &scratch,
        &format!(
            "runtime = \"other\"\n[runtimes.other]\npath = \"{}\"\n\
             [runtimes.gone]\npath = \"/nowhere/runtime\"\n",
            runc.display()
        ),
    );
    let text = berth(&scratch, &config, &["info", "--format", "json"]).success();
    let info: serde_json::Value = serde_json::from_str(&text).expect("info prints JSON");
    let runtimes = &info["host"]["ociRuntimes"];
    assert_eq!(info["host"]["ociRuntime"], "other");
    assert!(runtimes["builtin"]["features"]["ociVersionMax"].is_string(), "{text}");
    assert!(
        runtimes["other"]["version"].as_str().is_some_and(|text| text.contains("runc")),
        "{text}"
    );
    let version = finish(Command::new(&runc).arg("features"));
    if version.code == 0 {
        assert!(runtimes["other"]["features"]["linux"].is_object(), "{text}");
    }
    assert!(
        runtimes["gone"]["problem"].as_str().is_some_and(|text| text.contains("/nowhere/runtime")),
        "{text}"
    );
    let people = berth(&scratch, &config, &["info"]).success();
    assert!(people.contains("cgroup-v2") && people.contains("other"), "{people}");
}

#[test]
fn a_wrong_configuration_is_told_with_file_and_line() {
    let scratch = require!(Scratch::new());
    let config = configure(&scratch, "runtime = \"builtin\"\nruntimes = 3\n");
    let said = berth(&scratch, &config, &["ps"]);
    let said = said.failure(125);
    assert!(said.contains("berth.toml, line 2: ") && said.contains("hint: "), "{said}");
    let gone = configure(&scratch, "[runtimes.gone]\npath = \"/nowhere/runtime\"\n");
    let said = berth(&scratch, &gone, &["--runtime", "gone", "run", "--rm", "demo", "true"]);
    let said = said.failure(125);
    assert!(said.contains("/nowhere/runtime"), "{said}");
    let said = berth(&scratch, &gone, &["--runtime", "unheard-of", "run", "--rm", "demo", "true"]);
    let said = said.failure(125);
    assert!(said.contains("unheard-of"), "{said}");
}
