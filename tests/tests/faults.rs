//! Everything is killed at any moment, and nothing is lost or leaked.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use berth_testkit::command::{eventually, finish};
use berth_testkit::scratch::{cgroups_of, entries};
use berth_testkit::{Scratch, peers, require};
use rustix::process::{Pid, Signal, kill_process};

/// A sequence that is the same in every run (xorshift).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// The processes whose command line names this state: `berth` commands, monitors.
fn processes_of(scratch: &Scratch) -> Vec<Pid> {
    let names = [scratch.root().display().to_string(), scratch.runroot().display().to_string()];
    entries(Path::new("/proc"))
        .filter_map(|entry| {
            let pid: i32 = entry.file_name()?.to_str()?.parse().ok()?;
            let arguments = std::fs::read(entry.join("cmdline")).ok()?;
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            names.iter().any(|name| arguments.contains(name)).then(|| Pid::from_raw(pid))?
        })
        .collect()
}

/// Init processes of containers: what the status files name.
fn inits_of(scratch: &Scratch) -> Vec<Pid> {
    entries(&scratch.runroot().join("containers"))
        .filter_map(|directory| {
            let text = std::fs::read_to_string(directory.join("status.json")).ok()?;
            let status: serde_json::Value = serde_json::from_str(&text).ok()?;
            Pid::from_raw(i32::try_from(status["pid"].as_i64()?).ok()?)
        })
        .collect()
}

fn monitor_of(scratch: &Scratch, id: &str) -> Pid {
    let file = scratch.runroot().join("containers").join(id).join("monitor.pid");
    let text = std::fs::read_to_string(file).expect("a monitor writes its pid");
    Pid::from_raw(text.trim().parse().expect("a pid is a number")).expect("a pid is above zero")
}

#[test]
fn killed_at_random_points_it_leaves_nothing() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "--rm", "demo", "true"]).success();
    let mut sequence = Sequence(0x5EED_2026);
    let mut ids = Vec::new();
    let until = Instant::now() + Duration::from_mins(1);
    for round in 0..60 {
        if Instant::now() > until {
            break;
        }
        let arguments: &[&str] = match round % 3 {
            0 => &["run", "-d", "demo", "sleep", "1000"],
            1 => &["run", "--rm", "demo", "sh", "-c", "echo a; sleep 0.01; echo b"],
            _ => &["rm", "-f", "-a", "--time", "0"],
        };
        let mut command = scratch.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("berth starts");
        std::thread::sleep(Duration::from_micros(sequence.next(25_000)));
        // Whoever is there at this moment: the command, its monitor, its worker, the init.
        let mut victims = processes_of(&scratch);
        victims.extend(inits_of(&scratch));
        match sequence.next(3) {
            0 => drop(child.kill()),
            1 if !victims.is_empty() => {
                let chosen = sequence.next(victims.len() as u64) as usize;
                let _ = kill_process(victims[chosen], Signal::KILL);
            }
            _ => {
                drop(child.kill());
                for pid in victims {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
        child.wait().expect("a child can be waited for");
        ids.extend(entries(&scratch.root().join("containers")));
    }
    scratch.berth(&["system", "prune", "--force"]).success();
    // What is still listed is told truthfully, and can be removed.
    for id in scratch.ids() {
        let status = scratch.inspect(&id)["State"]["Status"].clone();
        assert!(
            ["created", "running", "exited", "stopped"]
                .contains(&status.as_str().unwrap_or_default()),
            "{id}: {status}"
        );
    }
    scratch.assert_clean();
    // The scope of a monitor that was killed a moment ago is left to the next prune: its monitor
    // could still be about to enter it.
    let left = |directory: &PathBuf| {
        cgroups_of(&directory.file_name().unwrap_or_default().to_string_lossy())
    };
    eventually("no cgroup is left", || {
        scratch.berth(&["system", "prune", "--force"]).success();
        ids.iter().flat_map(left).next().is_none()
    });
}

#[test]
fn a_container_outlives_its_monitor_and_is_adopted() {
    let scratch = require!(Scratch::new());
    let command = "while true; do echo tick; sleep 0.1; done";
    let id = scratch.berth(&["run", "-d", "demo", "sh", "-c", command]).success();
    let monitor = monitor_of(&scratch, &id);
    kill_process(monitor, Signal::KILL).expect("a monitor can be killed");
    eventually("the next command sees it running", || {
        scratch.inspect(&id)["State"]["Running"] == true
    });
    // A command that came while the killed one was still ending saw nothing to take over.
    eventually("another monitor has it", || {
        scratch.inspect(&id);
        let file = scratch.runroot().join("containers").join(&id).join("monitor.pid");
        std::fs::read_to_string(file)
            .is_ok_and(|text| text.trim() != monitor.as_raw_nonzero().to_string())
    });
    let before = scratch.berth(&["logs", &id]).success().lines().count();
    eventually("its output is logged again", || {
        scratch.berth(&["logs", &id]).success().lines().count() > before
    });
    assert_eq!(scratch.berth(&["exec", &id, "echo", "here"]).success(), "here");
    scratch.berth(&["stop", "--time", "0", &id]).success();
    assert_eq!(scratch.inspect(&id)["State"]["Running"], false);
    scratch.assert_clean();
}

#[test]
fn with_monitor_and_init_killed_the_next_command_tells_the_truth() {
    let scratch = require!(Scratch::new());
    let id = scratch.berth(&["run", "-d", "demo", "sleep", "1000"]).success();
    let init = inits_of(&scratch)[0];
    kill_process(monitor_of(&scratch, &id), Signal::KILL).expect("a monitor can be killed");
    kill_process(init, Signal::KILL).expect("an init can be killed");
    eventually("it is known to have ended", || scratch.inspect(&id)["State"]["Running"] == false);
    eventually("its cgroups are gone", || cgroups_of(&id).is_empty());
    scratch.berth(&["start", &id]).success();
    assert_eq!(scratch.inspect(&id)["State"]["Running"], true);
    scratch.assert_clean();
}

#[test]
fn a_corrupt_blob_is_told_and_changes_nothing() {
    let scratch = require!(Scratch::new());
    let archive = scratch.files().join("demo.tar");
    let mut bytes = berth_embedded::ARCHIVE.to_vec();
    // A byte in the largest blob, well inside the archive.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&archive, bytes).unwrap();
    let refused = scratch.berth(&["load", "-i", archive.to_str().unwrap()]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("sha256"), "{}", refused.stderr);
    assert!(!scratch.berth(&["images"]).success().contains("demo"));
    assert_eq!(entries(&scratch.root().join("tmp")).count(), 0, "something is left in tmp");
    scratch.assert_clean();
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let scratch = require!(Scratch::new());
    // A private mount namespace, so that the small file system ends with the command.
    let root = scratch.root();
    let script = format!(
        "mkdir -p {root} && mount -t tmpfs -o size=300k tmpfs {root} && shift && \"$@\"; code=$?; \
         ls -A {root}/tmp {root}/containers 2>/dev/null | grep -v : | grep . && exit 99; exit $code",
        root = root.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh", "--"]);
    let inner = scratch.command();
    command.arg(inner.get_program()).args(inner.get_args());
    let refused = finish(command.args(["run", "--rm", "demo", "true"])).failure(125);
    assert!(refused.contains("space"), "{refused}");
    assert!(refused.lines().count() <= 3, "{refused}");
    scratch.assert_clean();
}

#[test]
fn an_unprivileged_user_is_told_what_is_missing() {
    let scratch = require!(Scratch::new());
    require!(peers::find("setpriv"));
    let home = scratch.files();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(scratch.command().get_program()).args(["run", "--rm", "demo", "true"]);
    command.env("HOME", &home).env_remove("XDG_RUNTIME_DIR");
    let finished = finish(&mut command);
    if finished.code != 0 {
        let text = finished.failure(125);
        assert!(text.lines().count() <= 4, "{text}");
        assert!(text.contains("hint:"), "{text}");
    }
}
