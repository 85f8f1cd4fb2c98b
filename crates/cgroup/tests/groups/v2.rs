//! Machines with cgroup v2 alone.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{Group, Machine, machine, path, resources, until};
use berth_cgroup::{ApplyError, Cgroup, CreateError, Driver, ErrorKind, FreezerState, Owner};
use rustix::process::Signal;

fn group(name: &str) -> Option<Group> {
    Group::new(Machine::V2, name)
}

fn directory(group: &Group) -> PathBuf {
    group.cgroup.paths().next().expect("a directory").1.to_owned()
}

fn value(group: &Group, file: &str) -> String {
    std::fs::read_to_string(directory(group).join(file)).expect("read").trim().to_owned()
}

#[test]
fn controllers_are_handed_down_along_the_path() {
    let Some(h) = machine(Machine::V2) else { return };
    let top = path("deep");
    let cgroup = Cgroup::create(&h, &top.join("a/b"), Driver::Cgroupfs, None).expect("created");
    let leaf = cgroup.paths().next().expect("a directory").1.to_owned();
    let given = std::fs::read_to_string(leaf.join("cgroup.controllers")).expect("read");
    for controller in ["cpu", "memory", "pids"] {
        assert!(given.contains(controller), "{controller} in {given:?}");
    }
    cgroup.remove().expect("removed");
    for dir in leaf.ancestors().skip(1).take(2) {
        std::fs::remove_dir(dir).expect("only the leaf was removed");
    }
}

#[test]
fn limits_arrive_and_are_updated() {
    let Some(group) = group("limits") else { return };
    let apply = |value| group.cgroup.apply(&resources(value)).expect("applied");
    apply(serde_json::json!({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100_000, "burst": 1000,
                "cpus": "0", "mems": "0"},
        "pids": {"limit": 9},
        "unified": {"memory.high": "50331648"},
    }));
    let check = |pairs: &[(&str, &str)]| {
        for (file, wanted) in pairs {
            assert_eq!(value(&group, file), *wanted, "{file}");
        }
    };
    check(&[
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.swap.max", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "9"),
    ]);
    apply(serde_json::json!({
        "memory": {"limit": -1}, "cpu": {"quota": 20000, "burst": 20000}, "pids": {"limit": -1},
    }));
    check(&[("memory.max", "max"), ("cpu.max", "20000 100000"), ("pids.max", "max")]);
    apply(serde_json::json!({"cpu": {"period": 50000}}));
    check(&[("cpu.max", "20000 50000")]);
    let error = group
        .cgroup
        .apply(&resources(serde_json::json!({"unified": {"no.such": "1"}})))
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn an_idle_group_sleeps_and_wakes() {
    let Some(group) = group("idle") else { return };
    for idle in [1, 0] {
        let r = resources(serde_json::json!({"cpu": {"idle": idle, "shares": 512}}));
        group.cgroup.apply(&r).expect("applied");
        assert_eq!(value(&group, "cpu.idle"), idle.to_string());
    }
    assert_eq!(value(&group, "cpu.weight"), "59");
}

#[test]
fn a_device_beyond_the_list_is_denied() {
    let Some(mut group) = group("devices") else { return };
    let list = |extra: serde_json::Value| {
        resources(serde_json::json!({"devices": [{"allow": false, "access": "rwm"}, extra]}))
    };
    let kmsg = |allow| {
        serde_json::json!(
            {"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
        )
    };
    group.cgroup.apply(&list(kmsg(false))).expect("applied");
    group.run("echo x >/dev/null && ! (: </dev/kmsg)");
    assert!(group.wait().success());
    group.cgroup.apply(&list(kmsg(true))).expect("updated");
    group.run(": </dev/kmsg");
    assert!(group.wait().success());
}

#[test]
fn freezing_stops_and_killing_reaches_the_frozen() {
    let Some(mut group) = group("freeze") else { return };
    group.run("while :; do :; done");
    until("it runs", || group.cgroup.statistics().is_ok_and(|s| s.cpu.usage.total > 1_000_000));
    group.cgroup.freeze().expect("frozen");
    assert_eq!(group.cgroup.freezer_state().expect("read"), FreezerState::Frozen);
    let before = group.cgroup.statistics().expect("read").cpu.usage.total;
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(group.cgroup.statistics().expect("read").cpu.usage.total, before);
    group.cgroup.thaw().expect("thawed");
    assert_eq!(group.cgroup.freezer_state().expect("read"), FreezerState::Thawed);
    group.cgroup.freeze().expect("frozen");
    group.cgroup.kill_all(Signal::KILL).expect("killed");
    assert!(group.cgroup.processes().expect("listed").is_empty());
}

#[test]
fn an_out_of_memory_kill_is_counted_and_told() {
    let Some(mut group) = group("oom") else { return };
    let r = resources(serde_json::json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}}));
    group.cgroup.apply(&r).expect("applied");
    let watch = group.cgroup.oom_watch().expect("watched");
    let poll = &mut [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
    group.run("x=0123456789abcdef; while :; do x=$x$x; done");
    let sixty = rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut kills = 0;
    while kills == 0 {
        assert_eq!(rustix::event::poll(poll, Some(&sixty)).expect("polled"), 1);
        kills = watch.acknowledge().expect("read").expect("the group is there");
    }
    assert!(!group.wait().success());
    assert_eq!(group.cgroup.oom_kill_count(), Some(kills));
    group.cgroup.remove().expect("removed");
    assert_eq!(group.cgroup.oom_kill_count(), None);
}

#[test]
fn the_group_is_given_to_its_owner_who_finds_groups_below_removed_with_it() {
    let Some(h) = machine(Machine::V2) else { return };
    let owner = Owner { uid: 12345, gid: Some(54321) };
    let cgroup =
        Cgroup::create(&h, &path("owner"), Driver::Cgroupfs, Some(owner)).expect("created");
    let dir = cgroup.paths().next().expect("a directory").1.to_owned();
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        let meta = std::fs::metadata(dir.join(file)).expect("there");
        assert_eq!((meta.uid(), meta.gid()), (12345, 54321), "{file}");
    }
    assert_eq!(std::fs::metadata(dir.join("memory.max")).expect("there").uid(), 0);
    std::fs::create_dir_all(dir.join("x/y")).expect("made");
    cgroup.remove().expect("removed");
    assert!(!dir.exists());
}

#[test]
fn a_relative_path_lies_beside_the_callers_group() {
    let Some(h) = machine(Machine::V2) else { return };
    let name = path("relative");
    let name = name.strip_prefix("/").expect("absolute");
    let cgroup = Cgroup::create(&h, name, Driver::Cgroupfs, None).expect("created");
    let mount = h.unified().expect("v2");
    let own = h.own_path(mount);
    let parent = own.parent().unwrap_or(Path::new("/")).strip_prefix("/").expect("absolute");
    let dir = cgroup.paths().next().expect("a directory").1.to_owned();
    assert_eq!(dir, mount.mount_point.join(parent).join(name));
    cgroup.remove().expect("removed");
}

#[test]
fn an_update_below_the_usage_is_refused_when_that_is_asked_for() {
    let Some(mut group) = group("usage") else { return };
    group.run("while :; do sleep 1; done");
    until("it has memory", || group.cgroup.statistics().is_ok_and(|s| s.memory.usage.usage > 8192));
    let r = resources(serde_json::json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}));
    let error = group.cgroup.apply(&r).expect_err("refused");
    assert!(matches!(error, ApplyError::BelowUsage { .. }), "{error}");
}

#[test]
fn a_container_that_manages_groups_of_its_own_takes_newcomers_where_its_process_is() {
    let Some(mut group) = group("nest") else { return };
    let dir = directory(&group);
    let first = group.run("while :; do sleep 1; done");
    std::fs::create_dir(dir.join("init")).expect("made");
    until("all have moved", || {
        for pid in group.cgroup.processes().expect("listed") {
            let _ = std::fs::write(dir.join("init/cgroup.procs"), pid.to_string());
        }
        std::fs::write(dir.join("cgroup.subtree_control"), "+memory").is_ok()
    });
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().expect("spawned");
    let pid = rustix::process::Pid::from_child(&other);
    group.cgroup.add_process(pid).expect("added below");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", other.id())).expect("read");
    assert!(own.trim().ends_with("/init"), "{own}");
    let first = rustix::process::Pid::from_raw(first).expect("a process");
    assert!(group.cgroup.directory_with(first).is_some());
    group.cgroup.kill_all(Signal::KILL).expect("killed");
    other.wait().expect("waited");
}

#[test]
fn a_group_that_is_frozen_or_lies_below_a_frozen_one_is_refused() {
    let Some(h) = machine(Machine::V2) else { return };
    let cgroup = Cgroup::create(&h, &path("left"), Driver::Cgroupfs, None).expect("created");
    cgroup.freeze().expect("frozen");
    for below in [path("left"), path("left").join("below")] {
        let error = Cgroup::create(&h, &below, Driver::Cgroupfs, None).expect_err("refused");
        assert!(matches!(error, CreateError::Frozen { .. }), "{error}");
    }
    assert_eq!(cgroup.freezer_state().expect("read"), FreezerState::Frozen);
    let directory = cgroup.paths().next().expect("a directory").1;
    assert!(!directory.join("below").exists(), "what was made is taken back");
    cgroup.remove().expect("removed");
}

#[test]
fn a_group_below_one_with_processes_becomes_a_part_of_its_threads() {
    let Some(mut group) = group("threaded") else { return };
    let h = machine(Machine::V2).expect("as before");
    group.run("while :; do sleep 1; done");
    let directory = directory(&group);
    let threaded = std::fs::write(directory.join("cgroup.subtree_control"), "+cpu");
    if threaded.is_err() {
        eprintln!("SKIPPED: the cpu controller cannot be handed down");
        return;
    }
    let below = directory.join("below");
    let below = Path::new("/").join(below.strip_prefix("/sys/fs/cgroup").expect("mounted there"));
    let cgroup = Cgroup::create(&h, &below, Driver::Cgroupfs, None).expect("created");
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().expect("spawned");
    cgroup.add_process(rustix::process::Pid::from_child(&other)).expect("added");
    assert_eq!(cgroup.processes().expect("listed"), [other.id().cast_signed()]);
    let limit = resources(serde_json::json!({"memory": {"limit": 64 << 20}}));
    let error = cgroup.apply(&limit).expect_err("no memory controller for threads");
    assert!(matches!(error, ApplyError::NoController { .. }), "{error}");
    cgroup.kill_all(Signal::KILL).expect("killed");
    other.wait().expect("waited");
    cgroup.remove().expect("removed");
}
