//! What commands exit with: one table, on ours and on Debian's podman side by side.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth_testkit::{Finished, Scratch, command::finish_with, peers, require};

/// What podman exits with in the same case.
#[derive(Debug, Clone, Copy)]
enum Podman {
    /// With the same.
    Same,
    /// With another code, for this reason.
    Differs(i32, &'static str),
    /// It cannot be asked here, for this reason.
    Unasked(&'static str),
}
use Podman::{Differs, Same, Unasked};

/// The cases in order: later ones use the containers of earlier ones. `DEMO` is the image.
const TABLE: &[(&str, i32, Podman)] = &[
    // The container's own code, and its signals as shells tell them.
    ("run --rm DEMO true", 0, Same),
    ("run --rm DEMO false", 1, Same),
    ("run --rm DEMO sh -c 'exit 42'", 42, Same),
    ("run --rm DEMO sh -c 'exit 125'", 125, Same),
    ("run --rm DEMO sh -c 'exit 255'", 255, Same),
    ("run --rm DEMO sh -c 'sh -c \"kill -9 $$\"; exit 3'", 3, Same),
    ("run --rm --init DEMO sh -c 'kill -TERM $$'", 143, Unasked("Debian's podman has no init")),
    ("run --rm --init DEMO sh -c 'kill -9 $$'", 137, Unasked("Debian's podman has no init")),
    // The command cannot be run.
    ("run --rm DEMO no-such-command", 127, Same),
    ("run --rm DEMO /bin/no-such-command", 127, Same),
    ("run --rm DEMO /etc", 126, Same),
    ("run --rm DEMO /etc/passwd", 126, Same),
    ("run --rm --user nobody-knows DEMO true", 126, Same),
    ("run --rm --workdir /made DEMO true", 0, Differs(126, "docker makes the directory, so do we")),
    // berth itself, or the command line, fails.
    ("run --rm --no-such-flag DEMO true", 125, Same),
    ("run --rm --memory 12q DEMO true", 125, Same),
    ("run --rm no.such.image.invalid/x:1 true", 125, Unasked("it would ask the network")),
    ("no-such-command", 125, Same),
    // Running, executing.
    ("run -d --name up DEMO sleep 1000", 0, Same),
    ("run --name up DEMO true", 125, Same),
    ("exec up true", 0, Same),
    ("exec up sh -c 'exit 7'", 7, Same),
    ("exec up sh -c 'kill -9 $$'", 137, Same),
    ("exec up no-such-command", 127, Same),
    ("exec up /etc", 126, Same),
    ("exec --user nobody-knows up true", 126, Differs(255, "docker has 126, as for run")),
    ("exec --workdir /none up true", 125, Differs(127, "it tells by a word in runc's message")),
    ("exec nobody true", 125, Same),
    ("container exists up", 0, Same),
    ("container exists nobody", 1, Same),
    ("image exists DEMO", 0, Same),
    ("image exists nothing", 1, Same),
    // What is in use, what is not there.
    ("rm up", 2, Same),
    ("rm nobody", 1, Same),
    ("rm --force nobody", 0, Same),
    ("rm --ignore nobody", 0, Same),
    ("rmi DEMO", 2, Same),
    ("rmi nothing", 1, Same),
    ("volume rm nothing", 1, Same),
    ("stop nobody", 125, Same),
    ("start nobody", 125, Same),
    ("kill nobody", 125, Same),
    ("kill --signal NOTHING up", 125, Same),
    ("pause nobody", 125, Same),
    ("wait nobody", 125, Same),
    ("logs nobody", 125, Same),
    ("top nobody", 125, Same),
    ("attach nobody", 125, Same),
    ("inspect nobody", 125, Same),
    ("cp nobody:/x /tmp", 125, Same),
    // After its end.
    ("stop --time 0 up", 0, Same),
    ("stop up", 0, Same),
    ("wait up", 0, Same),
    ("kill up", 125, Same),
    ("pause up", 125, Same),
    ("exec up true", 125, Differs(255, "255 may be the command's own")),
    // Created only.
    ("create --name new DEMO no-such-command", 0, Same),
    ("wait new", 0, Same),
    ("start new", 127, Differs(125, "docker has 127, as for run")),
    ("start --attach new", 127, Differs(125, "docker has 127, as for run")),
    ("rm up new", 0, Same),
];

/// The words of a line, quoted as for a shell.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (position, piece) in line.split('\'').enumerate() {
        if position % 2 == 1 {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// podman with a store of its own below the scratch directories.
struct Peer {
    options: Vec<String>,
}

impl Peer {
    fn set_up(scratch: &Scratch) -> Result<Self, String> {
        for program in ["podman", "runc", "conmon"] {
            peers::find(program)?;
        }
        let (root, run) = (scratch.files().join("podman"), scratch.runroot().join("podman"));
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let options = [
            ("--root", path(&root)),
            ("--runroot", path(&run)),
            ("--tmpdir", path(&run.join("tmp"))),
            ("--network-config-dir", path(&root.join("net"))),
            ("--storage-driver", "overlay".to_owned()),
            ("--cgroup-manager", "cgroupfs".to_owned()),
            ("--events-backend", "none".to_owned()),
            ("--runtime", "runc".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(key, value)| [key.to_owned(), value]);
        let peer = Self { options: options.collect() };
        let archive = scratch.files().join("demo.tar");
        std::fs::write(&archive, berth_embedded::ARCHIVE).map_err(|error| error.to_string())?;
        let loaded = peer.finish(&["load", "--input", &path(&archive)].map(str::to_owned));
        if loaded.code == 0 { Ok(peer) } else { Err(format!("podman: {}", loaded.stderr)) }
    }

    fn finish(&self, words: &[String]) -> Finished {
        let mut command = Command::new("podman");
        command.args(&self.options).args(words);
        finish_with(&mut command, b"", Duration::from_mins(2))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for line in ["rm --all --force --time 0", "rmi --all --force"] {
            let _ = self.finish(&words(line));
        }
        // Its storage keeps its root mounted on itself.
        let _ = Command::new("umount").arg(format!("{}/overlay", self.options[1])).output();
    }
}

/// Without these it asks for limits that root without `CAP_SYS_RESOURCE` cannot have.
const PODMAN_LIMITS: &str = "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096";

fn with_options(line: &str, options: &str) -> Vec<String> {
    let line = line.replace("DEMO", berth_embedded::REFERENCE);
    let mut words = words(&line);
    if matches!(words.first().map(String::as_str), Some("run" | "create")) {
        let options = options.split_whitespace().chain(["--network", "none"]);
        words.splice(1..1, options.map(str::to_owned));
    }
    words
}

#[test]
fn exit_codes_are_as_the_table_says() {
    let scratch = require!(Scratch::new());
    scratch.berth(&["run", "--rm", "demo", "true"]).success();
    let mut wrong = Vec::new();
    for (line, code, _) in TABLE {
        let words = with_options(line, "");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let finished = scratch.berth(&words);
        if finished.code != *code {
            wrong.push(format!("{line}: {} instead of {code}: {}", finished.code, finished.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scratch.assert_clean();
}

#[test]
fn podmans_exit_codes_are_as_the_table_says() {
    let scratch = require!(Scratch::new());
    let podman = require!(Peer::set_up(&scratch));
    let mut wrong = Vec::new();
    for (line, ours, theirs) in TABLE {
        let (code, why) = match theirs {
            Same => (*ours, ""),
            Differs(code, why) => (*code, *why),
            Unasked(why) => {
                println!("not asked: {line}: {why}");
                continue;
            }
        };
        let finished = podman.finish(&with_options(line, PODMAN_LIMITS));
        if finished.code != code {
            let Finished { code: found, stderr, .. } = finished;
            wrong.push(format!("{line}: {found} instead of {code} {why}: {stderr}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
