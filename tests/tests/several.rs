//! Commands on several containers, and small things that people meet every day.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use berth_testkit::{Scratch, binaries, command::eventually, require};

#[test]
fn several_containers_are_dealt_with_together() {
    let scratch = require!(Scratch::new());
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        let deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done";
        scratch.berth(&["run", "-d", "--name", name, "demo", "sh", "-c", deaf]).success();
        eventually("it is deaf", || scratch.berth(&["logs", name]).success() == "deaf");
    }
    let began = Instant::now();
    let stopped = scratch.berth(&["stop", "--time", "10", "a", "b", "nobody", "c", "d", "e", "a"]);
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(10), "they had {lasted:?} to end");
    assert!(lasted < Duration::from_secs(25), "one after the other they are stopped: {lasted:?}");
    assert_eq!(stopped.stdout, "a\nb\nc\nd\ne\n");
    let told = stopped.failure(125);
    let (warnings, rest): (Vec<_>, Vec<_>) =
        told.lines().partition(|line| line.starts_with("Warning:"));
    assert!(rest.len() == 2 && rest[0].contains("nobody"), "{told}");
    let warned = "container a did not end within 10 s of SIGTERM and was killed";
    assert!(warnings.len() == 5 && told.contains(warned), "{told}");
    let codes = scratch.berth(&["wait", "e", "nobody", "a"]);
    assert_eq!(codes.stdout, "137\n137\n");
    codes.failure(125);
    let started = scratch.berth(&["start", "c", "nobody", "a", "b"]);
    assert_eq!(started.stdout, "c\na\nb\n");
    started.failure(125);
    // That one runs already is no error.
    assert_eq!(scratch.berth(&["start", "a", "d"]).success(), "a\nd");
    let paused = scratch.berth(&["pause", "a", "e", "b"]);
    assert_eq!(paused.stdout, "a\nb\n");
    assert!(paused.failure(125).contains("exited"));
    assert_eq!(scratch.berth(&["unpause", "b", "a"]).success(), "b\na");
    assert_eq!(scratch.berth(&["restart", "-t", "0", "b", "e"]).success(), "b\ne");
    assert_eq!(scratch.berth(&["kill", "d", "a", "b", "e", "c"]).success(), "d\na\nb\ne\nc");
    scratch.berth(&["wait", "a", "b", "c", "d", "e"]).success();
    let removed = scratch.berth(&["rm", "d", "nobody", "b"]);
    assert_eq!(removed.stdout, "d\nb\n");
    removed.failure(1);
    scratch.assert_clean();
}

#[test]
fn a_server_that_is_process_1_ends_when_it_is_told_to() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "-d", "--name", "web", "demo", "httpd", "-p", "8080"]).success();
    eventually("it serves", || scratch.berth(&["logs", "web"]).success().contains("serving"));
    let stopped = scratch.berth(&["stop", "--time", "60", "web"]);
    assert_eq!((&*stopped.stdout, &*stopped.stderr), ("web\n", ""));
    assert_eq!(scratch.berth(&["wait", "web"]).success(), "143");
    scratch.berth(&["rm", "web"]).success();
    scratch.assert_clean();
}

#[test]
fn containers_that_need_each_other_are_started_together() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["create", "--name", "z", "demo", "sleep", "1000"]).success();
    let joined = ["create", "--name", "a", "--network", "container:z", "demo", "sleep", "1000"];
    scratch.berth(&joined).success();
    assert_eq!(scratch.berth(&["start", "a", "z"]).success(), "a\nz");
    scratch.assert_clean();
}

#[test]
fn a_container_that_never_ran_is_not_waited_for() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["create", "--name", "new", "demo", "sleep", "1000"]).success();
    assert_eq!(scratch.berth(&["wait", "new"]).success(), "0");
    scratch.assert_clean();
}

#[test]
fn words_are_taken_and_refused_as_by_podman() {
    let scratch = require!(Scratch::new());
    let run = |arguments: &[&str]| scratch.berth(&[&["run", "--rm"], arguments].concat());
    let seen = run(&["-e", "A B=c", "demo", "env"]).success();
    assert!(seen.lines().any(|line| line == "A B=c"), "{seen}");
    assert!(run(&["--annotation", "=x", "demo", "true"]).failure(125).contains("--annotation"));
    assert!(run(&["--pids-limit", "-5", "demo", "true"]).failure(125).contains("--pids-limit"));
    for unlimited in ["-1", "0"] {
        run(&["--pids-limit", unlimited, "demo", "true"]).success();
    }
    let both = run(&["--restart", "always", "demo", "true"]).failure(125);
    assert!(both.contains("--rm and --restart") && both.contains("hint:"), "{both}");
    let again = run(&["--restart", "on-failure:2", "demo", "sh", "-c", "echo try; exit 3"]);
    assert_eq!(again.stdout, "try\ntry\ntry\n");
    again.failure(3);
    assert_eq!(scratch.ids(), Vec::<String>::new());
    scratch.berth(&["create", "--name", "c", "demo", "true"]).success();
    for option in ["-f", "--format"] {
        let format = "{{.Name}} {{.State.Status}}";
        assert_eq!(scratch.berth(&["inspect", option, format, "c"]).success(), "c created");
        let image = scratch.berth(&["image", "inspect", option, "{{.Os}}", "demo"]);
        assert_eq!(image.success(), "linux");
    }
    scratch.assert_clean();
}

#[test]
fn a_copy_names_the_component_that_is_missing() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "-d", "--name", "c", "-v", "vol:/data", "demo", "sleep", "9"]).success();
    let file = scratch.files().join("file");
    std::fs::write(&file, "text").unwrap();
    let file = file.to_str().unwrap();
    let wrong = |from: &str, to: &str| scratch.berth(&["cp", from, to]).failure(125);
    for _ in 0..2 {
        for (from, to, named) in [
            ("/no-such/below/x", "c:/tmp", ": /no-such\n"),
            ("c:/none/below/x", "/tmp", ": c:/none\n"),
            (file, "c:/tmp/none/below/x", ": c:/tmp/none\n"),
            (file, "c:/data/none/x", ": c:/data/none\n"),
            (&format!("{file}/x"), "c:/tmp", &format!("not a directory: {file}\n")),
        ] {
            let told = wrong(from, to) + "\n";
            assert!(told.contains(named), "{from} to {to}: {told}");
        }
        // The same once more of a container that is stopped.
        scratch.berth(&["stop", "-t", "0", "c"]).success();
    }
    scratch.assert_clean();
}

#[test]
fn what_cannot_be_is_told_with_what_to_try() {
    let scratch = require!(Scratch::new());
    let wrong = |arguments: &[&str]| scratch.berth(arguments).failure(125);
    for option in ["--cpuset-cpus", "--cpuset-mems"] {
        let told = wrong(&["run", "--rm", option, "900", "demo", "true"]);
        assert!(told.contains("hint: ") && told.lines().count() == 2, "{told}");
    }
    scratch.berth(&["run", "-d", "--name", "c", "demo", "sleep", "1000"]).success();
    let told = wrong(&["update", "--cpuset-cpus", "900", "c"]);
    assert!(told.contains("hint: "), "{told}");
    // A monitor whose socket somebody removed.
    let id = scratch.inspect("c")["Id"].as_str().unwrap().to_owned();
    let run = scratch.runroot().join("containers").join(id);
    std::fs::remove_file(run.join("monitor.sock")).unwrap();
    let monitor = std::fs::read_to_string(run.join("monitor.pid")).unwrap();
    let advice = format!("kill -9 {}", monitor.trim());
    let told = wrong(&["exec", "c", "true"]);
    assert!(told.contains(&advice), "{told}");
    let pid = rustix::process::Pid::from_raw(monitor.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("another monitor serves", || scratch.berth(&["exec", "c", "true"]).code == 0);
    scratch.assert_clean();
}

#[test]
fn an_image_of_another_platform_is_warned_of() {
    let scratch = require!(Scratch::new());
    let archive = scratch.files().join("root.tar");
    let files = scratch.files().join("root");
    std::fs::create_dir_all(files.join("bin")).unwrap();
    std::fs::write(files.join("bin/true"), "\x7fELF is not enough").unwrap();
    let mut tar = std::process::Command::new("tar");
    tar.arg("-C").arg(&files).arg("-cf").arg(&archive).arg(".");
    berth_testkit::finish(&mut tar).success();
    let archive = archive.to_str().unwrap();
    scratch.berth(&["import", "--platform", "linux/s390x", archive, "foreign:1"]).success();
    let created = scratch.berth(&["create", "foreign:1", "/bin/true"]);
    let warned = "Warning: the image is for linux/s390x, this machine is linux/";
    assert!(created.stderr.starts_with(warned), "{}", created.stderr);
    created.success();
    scratch.assert_clean();
}

#[test]
fn stored_images_are_verified() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "--rm", "demo", "true"]).success();
    scratch.berth(&["tag", "demo", "other:1"]).success();
    assert_eq!(scratch.berth(&["image", "verify"]).success(), "2 images, 3 blobs: all are whole");
    assert_ne!(scratch.berth(&["image", "verify", "no-such-image"]).code, 0);
    let layer = scratch
        .berth(&["image", "inspect", "-f", "{{.Digest}}", "demo"])
        .success()
        .replace("sha256:", "");
    let blobs = scratch.root().join("images/blobs/sha256");
    let largest = std::fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    assert!(!largest.ends_with(layer));
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&largest).unwrap();
    std::fs::write(&largest, bytes).unwrap();
    let found = scratch.berth(&["image", "verify", "--format", "json", "demo"]);
    let report: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let digest = format!("sha256:{}", largest.file_name().unwrap().to_str().unwrap());
    assert_eq!(report["Problems"][0]["Digest"], digest.as_str(), "{report}");
    assert!(found.failure(125).contains("damaged"));
    scratch.assert_clean();
}

#[test]
fn an_image_with_many_names_is_removed_once() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "-d", "demo", "sleep", "1000"]).success();
    scratch.berth(&["tag", "demo", "one:1", "two:2"]).success();
    scratch.berth(&["create", "one:1", "true"]).success();
    let removed = scratch.berth(&["rmi", "--all", "--force"]).success();
    let mut lines: Vec<&str> = removed.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("Deleted:")).count(), 1, "{removed}");
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all, "{removed}");
    assert_eq!(scratch.ids(), Vec::<String>::new());
    scratch.assert_clean();
}

/// The file that a process executes.
fn program_of(pid: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/{pid}/exe")).expect("a process has a program").ino()
}

#[test]
fn monitors_take_up_a_newer_program_while_their_containers_run() {
    let scratch = require!(Scratch::new());
    let newer = scratch.files().join("berth-monitor");
    std::fs::copy(require!(binaries::path("berth-monitor")), &newer).unwrap();
    let script = "while read word; do echo got $word; done; exit 9";
    scratch.berth(&["run", "-di", "--name", "talks", "demo", "sh", "-c", script]).success();
    scratch.berth(&["run", "-d", "--name", "sleeps", "demo", "sleep", "1000"]).success();
    let mut attached = scratch
        .command()
        .args(["attach", "talks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = attached.stdin.take().unwrap();
    let mut output = attached.stdout.take().unwrap();
    let mut say = |word: &str| {
        input.write_all(format!("{word}\n").as_bytes()).unwrap();
        let mut answer = vec![0; "got \n".len() + word.len()];
        output.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), format!("got {word}\n"));
    };
    say("before");
    let pids = |name: &str| {
        let run = scratch
            .runroot()
            .join("containers")
            .join(scratch.inspect(name)["Id"].as_str().unwrap());
        let monitor = std::fs::read_to_string(run.join("monitor.pid")).unwrap().trim().to_owned();
        (monitor, scratch.inspect(name)["State"]["Pid"].clone())
    };
    let before = pids("talks");
    let program = program_of(&before.0);
    // The installed program is the one that runs: there is nothing to do.
    assert_eq!(scratch.berth(&["system", "migrate"]).success(), "");
    let migrate = |arguments: &[&str]| {
        let mut command = scratch.command();
        command.env("BERTH_MONITOR", &newer).args(["system", "migrate"]).args(arguments);
        berth_testkit::finish(&mut command)
    };
    assert_eq!(migrate(&["talks"]).success(), "talks");
    assert_eq!(migrate(&[]).success(), "sleeps");
    assert_eq!(migrate(&[]).success(), "");
    migrate(&["nobody"]).failure(125);
    assert_eq!(pids("talks"), before, "monitor and init are the same processes");
    assert_ne!(program_of(&before.0), program);
    say("after");
    eventually("both words are logged", || {
        scratch.berth(&["logs", "talks"]).success() == "got before\ngot after"
    });
    drop(input);
    assert_eq!(scratch.berth(&["exec", "sleeps", "echo", "here"]).success(), "here");
    let code = attached.wait().unwrap().code();
    if code == Some(9) {
        assert_eq!(scratch.berth(&["wait", "talks"]).success(), "9");
    }
    // A program that cannot take over is refused, and the container goes on.
    std::fs::remove_file(&newer).unwrap();
    std::fs::copy("/bin/false", &newer).unwrap();
    assert!(migrate(&["sleeps"]).failure(125).contains("cannot take over"));
    assert_eq!(scratch.inspect("sleeps")["State"]["Running"], true);
    scratch.assert_clean();
}
