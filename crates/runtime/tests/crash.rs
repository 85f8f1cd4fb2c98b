//! The runtime killed in the middle of its work, at many moments: `delete --force` then removes all
//! that there is.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Bundle, eventually_within, json, text};

/// How many moments each command is killed at.
const MOMENTS: u32 = 50;
/// How long anything may take on a loaded machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A container whose processes are all known by a word in their environment.
struct Victim {
    bundle: Bundle,
    mark: String,
}

impl Victim {
    fn new() -> Option<Self> {
        let mut bundle = Bundle::new()?;
        let mark = format!("BERTH_CRASH_TEST={}", bundle.id);
        bundle.args(&["/bin/sleep", "1000"]).push("/process/env", json!(mark));
        bundle.write();
        fs::create_dir(bundle.state_root()).unwrap();
        Some(Self { bundle, mark })
    }

    /// The same, with hooks that tell of themselves.
    fn with_hooks() -> Option<Self> {
        let mut victim = Self::new()?;
        victim.bundle.set("/hooks", json!({}));
        for (kind, script) in [
            ("createRuntime", "echo >begun; exec sleep 0.05"),
            ("createContainer", "exec /bin/sleep 0.02"),
            ("poststart", "exec sleep 0.02"),
            ("poststop", "echo >ended"),
        ] {
            let hook = json!({
                "path": "/bin/sh",
                "args": ["sh", "-c", script],
                "env": [victim.mark, "PATH=/usr/bin:/bin"],
            });
            victim.bundle.push(&format!("/hooks/{kind}"), hook);
        }
        victim.bundle.write();
        Some(victim)
    }

    fn begin(&self, words: &[&str]) -> Child {
        let (name, value) = self.mark.split_once('=').unwrap();
        self.bundle
            .runtime(words)
            .env(name, value)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn processes(&self) -> Vec<PathBuf> {
        let own = std::process::id().to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name != own.as_str()))
            .filter(|path| {
                let environment = fs::read(path.join("environ")).unwrap_or_default();
                environment.split(|&byte| byte == 0).any(|word| word == self.mark.as_bytes())
            })
            .collect()
    }

    /// Removes it, and sees to it that it is gone without trace.
    fn remove(&self) {
        // Whatever there is left of it can be asked for.
        let listed = self.bundle.call(&["list"]);
        assert!(listed.status.success(), "{listed:?}");
        self.bundle.must(&["delete", "--force", &self.bundle.id]);
        eventually_within(LIMIT, "its processes end", || self.processes().is_empty());
        self.bundle.assert_nothing_left();
        for entry in fs::read_dir(self.bundle.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let known = ["config.json", "rootfs", "state", "pid", "begun", "ended"];
            assert!(known.contains(&name.as_str()), "{name} is left");
        }
        let path = |name| self.bundle.path().join(name);
        assert!(!path("begun").exists() || path("ended").exists(), "no poststop hook has run");
        for name in ["begun", "ended", "pid"] {
            let _ = fs::remove_file(path(name));
        }
    }
}

/// Kills a command at many moments of its life; `prepare` makes what it works on.
fn kill_at_every_moment(victim: &Victim, prepare: &[&[&str]], words: &[&str]) {
    let ready = || {
        for words in prepare {
            let status = victim.begin(words).wait().unwrap();
            assert!(status.success(), "{words:?}: {status}");
        }
    };
    ready();
    let begin = Instant::now();
    assert!(victim.begin(words).wait().unwrap().success(), "{words:?}");
    let whole = begin.elapsed().max(Duration::from_millis(2));
    victim.remove();
    let mut killed = 0;
    for moment in 0..MOMENTS {
        ready();
        let mut command = victim.begin(words);
        std::thread::sleep(whole * moment / (MOMENTS * 4 / 5));
        command.kill().unwrap();
        killed += u32::from(!command.wait().unwrap().success());
        victim.remove();
    }
    assert!(killed > MOMENTS / 10, "{words:?} was killed {killed} times only");
}

#[test]
fn create_can_be_killed_at_any_moment() {
    let Some(victim) = Victim::new() else { return };
    kill_at_every_moment(&victim, &[], &["create", "--pid-file", "pid", &victim.bundle.id]);
}

#[test]
fn create_can_be_killed_among_hooks() {
    let Some(victim) = Victim::with_hooks() else { return };
    kill_at_every_moment(&victim, &[], &["create", &victim.bundle.id]);
}

#[test]
fn start_can_be_killed_at_any_moment() {
    let Some(victim) = Victim::with_hooks() else { return };
    let id = victim.bundle.id.as_str();
    kill_at_every_moment(&victim, &[&["create", id]], &["start", id]);
}

#[test]
fn run_can_be_killed_at_any_moment() {
    let Some(mut victim) = Victim::new() else { return };
    victim.bundle.args(&["/bin/true"]).write();
    kill_at_every_moment(&victim, &[], &["run", &victim.bundle.id]);
}

#[test]
fn exec_can_be_killed_at_any_moment() {
    let Some(victim) = Victim::new() else { return };
    let id = victim.bundle.id.as_str();
    let prepare: &[&[&str]] = &[&["create", id], &["start", id]];
    kill_at_every_moment(&victim, prepare, &["exec", id, "/bin/true"]);
}

#[test]
fn delete_can_be_killed_at_any_moment() {
    let Some(victim) = Victim::with_hooks() else { return };
    let id = victim.bundle.id.as_str();
    let prepare: &[&[&str]] = &[&["create", id], &["start", id]];
    kill_at_every_moment(&victim, prepare, &["delete", "--force", id]);
}

#[test]
fn a_start_that_was_killed_leaves_a_container_that_runs() {
    let Some(mut victim) = Victim::new() else { return };
    let id = victim.bundle.id.clone();
    // The hook that is being waited for is the moment.
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo >begun; exec sleep 1000"] });
    victim.bundle.set("/hooks", json!({ "poststart": [hook] })).write();
    victim.bundle.must(&["create", &id]);
    let mut start = victim.begin(&["start", &id]);
    let begun = victim.bundle.path().join("begun");
    eventually_within(LIMIT, "the hook begins", || begun.exists());
    start.kill().unwrap();
    start.wait().unwrap();
    fs::remove_file(begun).unwrap();
    assert_eq!(victim.bundle.status(), "running");
    let refused = victim.bundle.call(&["delete", &id]);
    assert!(text(&refused.stderr).contains("it is running"), "{refused:?}");
    victim.remove();
}

#[test]
fn an_abandoned_directory_needs_no_force() {
    let Some(victim) = Victim::new() else { return };
    fs::create_dir(victim.bundle.state_root().join(&victim.bundle.id)).unwrap();
    assert_eq!(victim.bundle.status(), "stopped");
    victim.bundle.must(&["delete", &victim.bundle.id]);
    victim.remove();
}

#[test]
fn a_cgroup_that_was_only_planned_is_not_emptied() {
    let Some(victim) = Victim::new() else { return };
    let id = victim.bundle.id.as_str();
    victim.bundle.must(&["create", id]);
    // As if the maker had been killed before it found the cgroup to be somebody else's.
    let foreign = victim.bundle.state_root().join(id);
    let state = fs::read_to_string(foreign.join("state.json")).unwrap();
    victim.bundle.must(&["start", id]);
    let other = format!("{id}-other");
    let directory = victim.bundle.state_root().join(&other);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("state.json"), state).unwrap();
    let deleted = victim.bundle.call(&["delete", "--force", &other]);
    assert!(deleted.status.success() && !directory.exists(), "{deleted:?}");
    assert!(text(&deleted.stderr).contains("cgroup"), "{deleted:?}");
    assert_eq!(victim.bundle.status(), "running");
    victim.remove();
}
