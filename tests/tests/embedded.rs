//! `berth run` from nothing: the embedded image, offline, as a person types it.

use berth_testkit::{Scratch, command::eventually, require};

#[test]
fn the_demo_tells_what_the_container_sees() {
    let scratch = require!(Scratch::new());
    let arguments =
        ["run", "--rm", "--network", "none", "--hostname", "harbour", "--memory", "64m", "demo"];
    let said = scratch.berth(&arguments).success();
    assert!(said.contains("harbour"), "no host name in:\n{said}");
    assert!(said.to_lowercase().contains("pid"), "no pid in:\n{said}");
    assert!(said.contains("64"), "no memory limit in:\n{said}");
    scratch.assert_clean();
}

#[test]
fn exit_codes_are_those_of_podman_and_docker() {
    let scratch = require!(Scratch::new());
    let run = |arguments: &[&str]| {
        let mut all = vec!["run", "--rm", "--network", "none"];
        all.extend(arguments);
        scratch.berth(&all)
    };
    run(&["demo", "true"]).success();
    run(&["demo", "false"]).failure(1);
    run(&["demo", "sh", "-c", "exit 42"]).failure(42);
    let missing = run(&["demo", "no-such-command"]).failure(127);
    assert!(missing.contains("no-such-command"), "{missing}");
    let directory = run(&["demo", "/etc"]).failure(126);
    assert!(directory.contains("/etc"), "{directory}");
    let flag = run(&["--no-such-flag", "demo"]).failure(125);
    assert!(flag.contains("--no-such-flag"), "{flag}");
    let image = run(&["no.such.image/here:1", "true"]).failure(125);
    assert!(image.contains("no.such.image/here:1"), "{image}");
    run(&["--init", "demo", "sh", "-c", "kill -9 $$"]).failure(137);
    scratch.assert_clean();
}

#[test]
fn streams_stay_apart_and_input_arrives() {
    let scratch = require!(Scratch::new());
    let both = scratch.berth(&["run", "--rm", "demo", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    let echoed =
        scratch.berth_with_input(&["run", "--rm", "-i", "demo", "cat"], b"over the side\n");
    assert_eq!(echoed.success(), "over the side");
    // Much more than any buffer between us and the container.
    let much = (0..200_000).map(|line| line.to_string()).collect::<Vec<_>>().join("\n") + "\n";
    let counted = scratch.berth_with_input(&["run", "--rm", "-i", "demo", "cat"], much.as_bytes());
    assert_eq!(counted.stdout.len(), much.len());
    assert_eq!(counted.success(), much.trim());
    scratch.assert_clean();
}

#[test]
fn environment_user_and_directory_are_as_asked() {
    let scratch = require!(Scratch::new());
    let seen = scratch
        .berth(&[
            "run",
            "--rm",
            "-e",
            "COLOUR=red",
            "-u",
            "1000:1001",
            "-w",
            "/tmp",
            "demo",
            "sh",
            "-c",
            "id; env; pwd",
        ])
        .success();
    assert!(seen.contains("uid=1000"), "{seen}");
    assert!(seen.contains("gid=1001"), "{seen}");
    assert!(seen.lines().any(|line| line == "COLOUR=red"), "{seen}");
    assert!(seen.lines().any(|line| line == "/tmp"), "{seen}");
    let entry =
        scratch.berth(&["run", "--rm", "--entrypoint", "echo", "demo", "a", "b c"]).success();
    assert_eq!(entry, "a b c");
    scratch.assert_clean();
}

#[test]
fn a_detached_container_is_listed_logged_and_stopped() {
    let scratch = require!(Scratch::new());
    let id = scratch
        .berth(&[
            "run",
            "-d",
            "--name",
            "buoy",
            "--label",
            "sea=north",
            "demo",
            "sh",
            "-c",
            "echo afloat; sleep 1000",
        ])
        .success();
    assert_eq!(id.len(), 64);
    let listed = scratch.berth(&["ps", "--format", "json"]).success();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("ps prints JSON");
    assert_eq!(listed[0]["Id"], id.as_str());
    eventually("the log has the line", || scratch.berth(&["logs", "buoy"]).success() == "afloat");
    let with_time = scratch.berth(&["logs", "-t", "buoy"]).success();
    assert!(with_time.starts_with("20") && with_time.ends_with("afloat"), "{with_time}");
    let inspected = scratch.inspect("buoy");
    assert_eq!(inspected["State"]["Running"], true);
    assert_eq!(inspected["Config"]["Labels"]["sea"], "north");
    scratch.berth(&["stop", "--time", "1", "buoy"]).success();
    assert_eq!(scratch.inspect("buoy")["State"]["Running"], false);
    // Stopping what has stopped is no error, as for podman and docker.
    scratch.berth(&["stop", "buoy"]).success();
    scratch.berth(&["start", "buoy"]).success();
    assert_eq!(scratch.inspect("buoy")["State"]["Running"], true);
    let refused = scratch.berth(&["rm", "buoy"]).code;
    assert_ne!(refused, 0, "a running container must not be removed without --force");
    scratch.berth(&["rm", "-f", "buoy"]).success();
    assert_eq!(scratch.berth(&["ps", "-aq"]).success(), "");
    scratch.assert_clean();
}

#[test]
fn exec_joins_the_container() {
    let scratch = require!(Scratch::new());
    scratch
        .berth(&["run", "-d", "--name", "host", "--hostname", "pier", "demo", "sleep", "1000"])
        .success();
    let exec = |arguments: &[&str]| {
        let mut all = vec!["exec"];
        all.extend(arguments);
        scratch.berth(&all)
    };
    assert_eq!(exec(&["host", "hostname"]).success(), "pier");
    assert_eq!(
        exec(&["-e", "A=b", "-w", "/tmp", "host", "sh", "-c", "echo $A; pwd"]).success(),
        "b\n/tmp"
    );
    exec(&["host", "sh", "-c", "exit 7"]).failure(7);
    exec(&["host", "no-such-command"]).failure(127);
    exec(&["host", "/etc"]).failure(126);
    assert!(exec(&["-u", "1000", "host", "id"]).success().contains("uid=1000"));
    let input = scratch.berth_with_input(&["exec", "-i", "host", "cat"], b"rope");
    assert_eq!(input.success(), "rope");
    let top = scratch.berth(&["top", "host"]).success();
    assert!(top.contains("sleep 1000"), "{top}");
    scratch.assert_clean();
}

#[test]
fn a_name_in_use_and_a_container_that_is_not_there_are_told() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["create", "--name", "taken", "demo", "true"]).success();
    let refused = scratch.berth(&["run", "--name", "taken", "demo", "true"]).failure(125);
    assert!(refused.contains("taken"), "{refused}");
    for verb in ["start", "stop", "kill", "logs", "inspect", "wait", "pause", "top"] {
        let finished = scratch.berth(&[verb, "nobody"]);
        assert_ne!(finished.code, 0, "{verb}");
        assert!(finished.stderr.contains("nobody"), "{verb}: {}", finished.stderr);
        assert!(finished.stderr.lines().count() <= 3, "{verb}: {}", finished.stderr);
    }
    scratch.assert_clean();
}

#[test]
fn wait_attach_and_kill_agree_on_the_exit_code() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "-d", "--name", "w", "demo", "sh", "-c", "sleep 1; exit 5"]).success();
    assert_eq!(scratch.berth(&["wait", "w"]).success(), "5");
    scratch
        .berth(&["create", "--name", "a", "demo", "sh", "-c", "sleep 1; echo bye; exit 6"])
        .success();
    let started = scratch.berth(&["start", "--attach", "a"]);
    assert_eq!(started.stdout, "bye\n");
    started.failure(6);
    scratch.berth(&["run", "-d", "--name", "k", "demo", "sleep", "1000"]).success();
    scratch.berth(&["kill", "k"]).success();
    assert_eq!(scratch.berth(&["wait", "k"]).success(), "137");
    assert_eq!(scratch.inspect("k")["State"]["ExitCode"], 137);
    scratch.assert_clean();
}

#[test]
fn files_are_copied_both_ways() {
    let scratch = require!(Scratch::new());
    let files = scratch.files();
    std::fs::create_dir_all(files.join("crate/inner")).unwrap();
    std::fs::write(files.join("crate/inner/apple"), "red").unwrap();
    for (name, command) in [("running", ["sleep", "1000"]), ("stopped", ["echo", "done"])] {
        scratch.berth(&["run", "-d", "--name", name, "demo", command[0], command[1]]).success();
        if name == "stopped" {
            scratch.berth(&["wait", name]).success();
        }
        let there = format!("{name}:/tmp");
        scratch.berth(&["cp", files.join("crate").to_str().unwrap(), &there]).success();
        let back = files.join(format!("back-{name}"));
        scratch
            .berth(&["cp", &format!("{name}:/tmp/crate/inner/apple"), back.to_str().unwrap()])
            .success();
        assert_eq!(std::fs::read_to_string(back).unwrap(), "red");
    }
    assert_eq!(
        scratch.berth(&["exec", "running", "cat", "/tmp/crate/inner/apple"]).success(),
        "red"
    );
    let missing = scratch.berth(&["cp", "running:/no/such", "/tmp"]);
    assert_ne!(missing.code, 0);
    assert!(missing.stderr.contains("/no/such"), "{}", missing.stderr);
    scratch.assert_clean();
}

#[test]
fn volumes_tmpfs_and_a_read_only_root_hold() {
    let scratch = require!(Scratch::new());
    let files = scratch.files();
    std::fs::write(files.join("chart"), "here be").unwrap();
    let bind = format!("{}:/sea", files.display());
    let read = scratch.berth(&[
        "run",
        "--rm",
        "-v",
        &bind,
        "demo",
        "sh",
        "-c",
        "cat /sea/chart; echo dragons > /sea/new",
    ]);
    assert_eq!(read.success(), "here be");
    assert_eq!(std::fs::read_to_string(files.join("new")).unwrap(), "dragons\n");
    let read_only = format!("{bind}:ro");
    scratch.berth(&["run", "--rm", "-v", &read_only, "demo", "touch", "/sea/x"]).failure(1);
    let tmpfs = scratch.berth(&[
        "run",
        "--rm",
        "--tmpfs",
        "/hold:size=1m",
        "demo",
        "sh",
        "-c",
        "touch /hold/x && ls /hold",
    ]);
    assert_eq!(tmpfs.success(), "x");
    scratch.berth(&["run", "--rm", "--read-only", "demo", "touch", "/etc/x"]).failure(1);
    scratch.berth(&["run", "--rm", "--read-only", "demo", "touch", "/tmp/x"]).success();
    let named = |command: &str| {
        scratch.berth(&["run", "--rm", "-v", "locker:/l", "demo", "sh", "-c", command]).success()
    };
    named("echo kept > /l/file");
    assert_eq!(named("cat /l/file"), "kept");
    scratch.assert_clean();
}

#[test]
fn pause_stops_the_clock_and_unpause_starts_it() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "-d", "--name", "p", "demo", "sleep", "1000"]).success();
    scratch.berth(&["pause", "p"]).success();
    assert_eq!(scratch.inspect("p")["State"]["Status"], "paused");
    scratch.berth(&["unpause", "p"]).success();
    assert_eq!(scratch.inspect("p")["State"]["Status"], "running");
    // A paused container is removed all the same.
    scratch.berth(&["pause", "p"]).success();
    scratch.berth(&["rm", "-f", "p"]).success();
    scratch.assert_clean();
}

#[test]
fn init_reaps_and_is_the_first_process() {
    let scratch = require!(Scratch::new());
    let seen = scratch
        .berth(&["run", "--rm", "--init", "demo", "sh", "-c", "echo $$; cat /proc/1/cmdline"])
        .success();
    let own = seen.lines().next().unwrap_or_default();
    assert_ne!(own, "1", "{seen}");
    let code = scratch.berth(&["run", "--rm", "--init", "demo", "sh", "-c", "exit 9"]).code;
    assert_eq!(code, 9);
    scratch.assert_clean();
}

#[test]
fn a_restart_policy_starts_it_again_and_stop_ends_it() {
    let scratch = require!(Scratch::new());
    scratch
        .berth(&[
            "run",
            "-d",
            "--name",
            "r",
            "--restart",
            "on-failure:2",
            "demo",
            "sh",
            "-c",
            "echo turn; exit 3",
        ])
        .success();
    eventually("three turns", || scratch.berth(&["logs", "r"]).success().lines().count() == 3);
    eventually("it ends", || scratch.inspect("r")["State"]["Status"] == "exited");
    assert_eq!(scratch.inspect("r")["State"]["ExitCode"], 3);
    assert_eq!(scratch.inspect("r")["RestartCount"], 2);
    scratch
        .berth(&["run", "-d", "--name", "always", "--restart", "always", "demo", "sleep", "1000"])
        .success();
    scratch.berth(&["stop", "--time", "0", "always"]).success();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(scratch.inspect("always")["State"]["Running"], false);
    scratch.assert_clean();
}

#[test]
fn images_are_listed_inspected_and_removed() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "--rm", "demo", "true"]).success();
    let images = scratch.berth(&["images", "--format", "json"]).success();
    assert!(images.contains("berth.local/demo"), "{images}");
    let inspected = scratch.berth(&["inspect", "--type", "image", "demo"]).success();
    assert!(inspected.contains("sha256:"), "{inspected}");
    scratch.berth(&["create", "--name", "user", "demo", "true"]).success();
    let refused = scratch.berth(&["rmi", "demo"]);
    assert_ne!(refused.code, 0, "an image in use must not be removed");
    scratch.berth(&["rm", "user"]).success();
    scratch.berth(&["rmi", "demo"]).success();
    assert!(!scratch.berth(&["images"]).success().contains("berth.local/demo"));
    scratch.assert_clean();
}
