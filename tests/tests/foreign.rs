//! Bundles across runtimes: theirs on ours, ours on theirs; their engine on our runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_testkit::{Finished, Scratch, binaries, command::finish, peers, require};

/// A bundle by `runc spec` with the embedded image's files as its root.
fn bundle_by_runc(scratch: &Scratch, arguments: &[&str]) -> Result<PathBuf, String> {
    let runc = peers::find("runc")?;
    let bundle = scratch.files().join("bundle");
    scratch.berth(&["run", "--rm", "demo", "true"]).success();
    scratch.berth(&["bundle", "demo", bundle.to_str().expect("a path in UTF-8")]).success();
    std::fs::remove_file(bundle.join("config.json")).map_err(|error| error.to_string())?;
    finish(Command::new(runc).args(["spec", "--bundle"]).arg(&bundle)).success();
    let config = bundle.join("config.json");
    let text = std::fs::read_to_string(&config).map_err(|error| error.to_string())?;
    let mut spec: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| error.to_string())?;
    spec["process"]["args"] = arguments.into();
    spec["process"]["terminal"] = false.into();
    std::fs::write(config, spec.to_string()).map_err(|error| error.to_string())?;
    Ok(bundle)
}

fn run_bundle(mut runtime: Command, state: &Path, bundle: &Path, id: &str) -> Finished {
    finish(runtime.arg("--root").arg(state).args(["run", "--bundle"]).arg(bundle).arg(id))
}

#[test]
fn a_bundle_by_runc_runs_on_berth_runtime() {
    let scratch = require!(Scratch::new());
    let runtime = require!(binaries::path("berth-runtime"));
    let bundle =
        require!(bundle_by_runc(&scratch, &["sh", "-c", "hostname; id; cat /proc/1/comm; exit 3"]));
    let state = scratch.runroot().join("oci");
    let id = format!("berth-test-{}", std::process::id());
    let ours = run_bundle(Command::new(&runtime), &state, &bundle, &id);
    let theirs = run_bundle(Command::new("runc"), &scratch.runroot().join("runc"), &bundle, &id);
    assert_eq!((ours.code, &ours.stdout), (theirs.code, &theirs.stdout));
    ours.failure(3);
    let left =
        finish(Command::new(&runtime).arg("--root").arg(&state).args(["list", "-q"])).success();
    assert_eq!(left, "");
}

#[test]
fn a_bundle_by_berth_runs_on_runc_and_crun_and_berth_runtime() {
    let scratch = require!(Scratch::new());
    let bundle = scratch.files().join("bundle");
    scratch.berth(&["run", "--rm", "demo", "true"]).success();
    let path = bundle.to_str().expect("a path in UTF-8");
    scratch.berth(&["bundle", "demo", path]).success();
    let config = bundle.join("config.json");
    let mut spec: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    spec["process"]["args"] =
        ["sh", "-c", "id; pwd; ls /; grep Seccomp: /proc/self/status; exit 4"].as_slice().into();
    spec["process"]["terminal"] = false.into();
    std::fs::write(&config, spec.to_string()).unwrap();
    let id = format!("berth-bundle-{}", std::process::id());
    let berth_runtime = Command::new(require!(binaries::path("berth-runtime")));
    let ours = run_bundle(berth_runtime, &scratch.runroot().join("oci"), &bundle, &id);
    assert_eq!(ours.code, 4, "{}", ours.stderr);
    for peer in ["runc", "crun"] {
        let command = require!(peers::on_hybrid(peer));
        let theirs = run_bundle(command, &scratch.runroot().join(peer), &bundle, &id);
        assert_eq!((theirs.code, &theirs.stdout), (4, &ours.stdout), "{peer}: {}", theirs.stderr);
    }
}

#[test]
fn berth_drives_another_runtime() {
    let scratch = require!(Scratch::new());
    let runc = require!(peers::find("runc"));
    let runc = runc.to_str().expect("a path in UTF-8");
    let said = scratch.berth(&[
        "--runtime",
        runc,
        "run",
        "--rm",
        "demo",
        "sh",
        "-c",
        "echo by runc; exit 8",
    ]);
    assert_eq!(said.stdout, "by runc\n");
    said.failure(8);
    scratch
        .berth(&["--runtime", runc, "run", "-d", "--name", "r", "demo", "sleep", "1000"])
        .success();
    assert_eq!(scratch.berth(&["exec", "r", "echo", "in"]).success(), "in");
    scratch.berth(&["stop", "--time", "0", "r"]).success();
    scratch.assert_clean();
}
