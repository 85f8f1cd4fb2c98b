//! Limits and privileges as the container feels them.

use berth_testkit::{Scratch, require, scratch::cgroups_of};

#[test]
fn memory_cpu_and_pids_limits_are_in_force() {
    let scratch = require!(Scratch::new());
    let id = scratch
        .berth(&[
            "run",
            "-d",
            "--memory",
            "32m",
            "--cpus",
            "0.5",
            "--pids-limit",
            "16",
            "demo",
            "sleep",
            "1000",
        ])
        .success();
    let cgroups = cgroups_of(&id);
    let read = |file: &str| {
        cgroups
            .iter()
            .find_map(|path| std::fs::read_to_string(path.join(file)).ok())
            .map(|text| text.trim().to_owned())
    };
    let one_of = |files: [&str; 2]| read(files[0]).or_else(|| read(files[1]));
    assert_eq!(one_of(["memory.max", "memory.limit_in_bytes"]).as_deref(), Some("33554432"));
    assert_eq!(read("pids.max").as_deref(), Some("16"));
    match read("cpu.max") {
        Some(maximum) => assert_eq!(maximum, "50000 100000"),
        None => assert_eq!(read("cpu.cfs_quota_us").as_deref(), Some("50000")),
    }
    scratch.assert_clean();
    assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn running_out_of_memory_is_reported() {
    let scratch = require!(Scratch::new());
    scratch
        .berth(&[
            "run",
            "--name",
            "greedy",
            "--memory",
            "16m",
            "demo",
            "sh",
            "-c",
            "dd if=/dev/zero of=/dev/shm/x bs=1M count=60",
        ])
        .failure(137);
    let state = scratch.inspect("greedy")["State"].clone();
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&true.into(), &137.into()));
    scratch.assert_clean();
}

#[test]
fn too_many_processes_fail_to_start() {
    let scratch = require!(Scratch::new());
    let finished = scratch.berth(&[
        "run",
        "--rm",
        "--pids-limit",
        "4",
        "demo",
        "sh",
        "-c",
        "sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait",
    ]);
    assert!(!finished.stderr.is_empty(), "no fork failed");
    scratch.assert_clean();
}

#[test]
fn capabilities_are_few_and_change_as_asked() {
    let scratch = require!(Scratch::new());
    let effective = |options: &[&str]| {
        let mut all = vec!["run", "--rm"];
        all.extend(options);
        all.extend(["demo", "grep", "CapEff", "/proc/self/status"]);
        let line = scratch.berth(&all).success();
        u64::from_str_radix(line.split_whitespace().last().unwrap_or_default(), 16)
            .expect("a mask in hexadecimal")
    };
    const CHOWN: u64 = 1;
    const SYS_ADMIN: u64 = 1 << 21;
    const NET_ADMIN: u64 = 1 << 12;
    let default = effective(&[]);
    assert_eq!((default & CHOWN, default & SYS_ADMIN, default & NET_ADMIN), (CHOWN, 0, 0));
    assert_eq!(effective(&["--cap-add", "NET_ADMIN"]) & NET_ADMIN, NET_ADMIN);
    assert_eq!(effective(&["--cap-drop", "CHOWN"]) & CHOWN, 0);
    assert_eq!(effective(&["--cap-drop", "all"]), 0);
    assert_eq!(effective(&["--user", "1000"]), 0);
    let unknown = scratch.berth(&["run", "--rm", "--cap-add", "FLY", "demo", "true"]).failure(125);
    assert!(unknown.to_uppercase().contains("FLY"), "{unknown}");
    scratch.assert_clean();
}

#[test]
fn the_default_filter_is_on_and_can_be_taken_off() {
    let scratch = require!(Scratch::new());
    let mode = |options: &[&str]| {
        let mut all = vec!["run", "--rm"];
        all.extend(options);
        all.extend([
            "demo",
            "sh",
            "-c",
            "grep Seccomp: /proc/self/status; grep NoNewPrivs /proc/self/status",
        ]);
        scratch.berth(&all).success().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(mode(&[]), ["Seccomp:", "2", "NoNewPrivs:", "0"]);
    assert_eq!(mode(&["--security-opt", "seccomp=unconfined"])[1], "0");
    assert_eq!(mode(&["--security-opt", "no-new-privileges"])[3], "1");
    scratch.assert_clean();
}

#[test]
fn ulimits_and_masked_paths_hold() {
    let scratch = require!(Scratch::new());
    let limits = scratch
        .berth(&[
            "run",
            "--rm",
            "--ulimit",
            "nofile=123:456",
            "demo",
            "grep",
            "open files",
            "/proc/self/limits",
        ])
        .success();
    let numbers: Vec<&str> =
        limits.split_whitespace().filter(|word| word.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, ["123", "456"]);
    let masked = scratch.berth(&["run", "--rm", "demo", "cat", "/proc/keys"]).success();
    assert_eq!(masked, "");
    let written =
        scratch.berth(&["run", "--rm", "demo", "sh", "-c", "echo 1 > /proc/sys/kernel/panic"]);
    assert_ne!(written.code, 0);
    scratch.assert_clean();
}

#[test]
fn a_private_network_has_nothing_but_loopback() {
    let scratch = require!(Scratch::new());
    let interfaces = scratch
        .berth(&["run", "--rm", "--network", "none", "demo", "ls", "/sys/class/net"])
        .success();
    assert_eq!(interfaces, "lo");
    let namespace = std::fs::read_link("/proc/self/ns/net").unwrap();
    let host = scratch
        .berth(&["run", "--rm", "--network", "host", "demo", "ls", "-l", "/proc/self/ns/net"])
        .success();
    assert!(host.contains(&namespace.display().to_string()), "{host}");
    let refused =
        scratch.berth(&["run", "--rm", "--network", "bridge", "demo", "true"]).failure(125);
    assert!(refused.contains("bridge"), "{refused}");
    scratch.assert_clean();
}

#[test]
fn stats_count_what_the_container_uses() {
    let scratch = require!(Scratch::new());
    scratch
        .berth(&["run", "-d", "--name", "s", "--memory", "64m", "demo", "sleep", "1000"])
        .success();
    let stats = scratch.berth(&["stats", "--no-stream", "--format", "json", "s"]).success();
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("stats prints JSON");
    assert!(stats[0].as_object().is_some_and(|fields| fields.len() > 5), "{stats}");
    scratch.assert_clean();
}
