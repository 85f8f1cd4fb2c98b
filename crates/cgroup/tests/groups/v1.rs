//! Machines with version 1 controllers, hybrid or not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use berth_cgroup::{
    ApplyError, Cgroup, CreateError, Driver, ErrorKind, FreezerState, Hierarchies, HierarchyKind,
    Layout, scope,
};
use berth_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxMemory, LinuxPids,
    LinuxResources, LinuxThrottleDevice,
};
use rustix::process::{Pid, Signal};

use crate::common::{self, Group, Machine, path, resources, until};

fn group(name: &str) -> Option<Group> {
    Group::new(Machine::V1, name)
}

fn v1_machine() -> Option<Hierarchies> {
    common::machine(Machine::V1)
}

fn value(group: &Group, controller: &str, file: &str) -> String {
    let (_, dir) =
        group.cgroup.paths().find(|(kind, _)| kind.has(controller)).expect("the controller");
    std::fs::read_to_string(dir.join(file)).expect("read").trim().to_owned()
}

#[test]
fn a_process_that_joins_by_itself_is_in_every_hierarchy_and_removal_leaves_nothing() {
    let Some(mut group) = group("join") else { return };
    let pid = group.run("exec sleep 100");
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read");
    let wanted = path("join").display().to_string();
    for line in own.lines() {
        assert!(line.ends_with(&wanted), "{line}");
    }
    assert_eq!(group.cgroup.processes().expect("listed"), [pid]);
    let paths: Vec<PathBuf> = group.cgroup.paths().map(|(_, p)| p.to_owned()).collect();
    assert_eq!(paths.len(), own.lines().count());
    drop(group);
    assert!(paths.iter().all(|p| !p.exists()));
}

#[test]
fn a_saved_group_is_opened_again_and_takes_another_process() {
    let Some(mut group) = group("saved") else { return };
    group.run("exec sleep 100");
    let text = serde_json::to_string(&group.cgroup.saved()).expect("serialised");
    let again = Cgroup::open(&serde_json::from_str(&text).expect("read")).expect("opened");
    let mut other = Command::new("sleep").arg("100").spawn().expect("spawned");
    let pid = Pid::from_child(&other);
    again.add_process(pid).expect("added");
    assert!(again.processes().expect("listed").contains(&pid.as_raw_nonzero().get()));
    again.kill_all(Signal::KILL).expect("killed");
    assert!(!other.wait().expect("waited").success());
    assert!(again.processes().expect("listed").is_empty());
}

#[test]
fn a_group_in_use_is_not_given_to_another_container() {
    let Some(mut group) = group("occupied") else { return };
    let pid = group.run("exec sleep 100");
    let h = Hierarchies::detect().expect("detected");
    let error = Cgroup::create(&h, &path("occupied"), Driver::Cgroupfs, None).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(matches!(error, CreateError::Occupied { process, .. } if process == pid));
    assert!(group.cgroup.paths().all(|(_, p)| p.exists()));
}

#[test]
fn paths_that_climb_or_name_nothing_are_refused_and_leave_nothing() {
    let Some(h) = v1_machine() else { return };
    for bad in ["/../x", "/", "", "a/../../b"] {
        let error = Cgroup::create(&h, Path::new(bad), Driver::Cgroupfs, None).expect_err(bad);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
}

#[test]
fn nested_paths_get_cpus_and_nodes_on_the_whole_way() {
    let Some(h) = v1_machine() else { return };
    let top = path("nested");
    let cgroup = Cgroup::create(&h, &top.join("a/b"), Driver::Cgroupfs, None).expect("created");
    let cpuset = cgroup.paths().find(|(k, _)| k.has("cpuset")).map(|(_, p)| p.to_owned());
    if let Some(leaf) = cpuset {
        for dir in leaf.ancestors().take(3) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = std::fs::read_to_string(dir.join(file)).expect("read");
                assert!(!value.trim().is_empty(), "{}/{file}", dir.display());
            }
        }
    }
    let mut tops: Vec<PathBuf> = Vec::new();
    for mount in h.mounts() {
        tops.push(mount.mount_point.join(top.strip_prefix("/").expect("absolute")));
    }
    cgroup.remove().expect("removed");
    for top in tops {
        std::fs::remove_dir(top.join("a")).expect("only the leaf was removed");
        std::fs::remove_dir(top).expect("only the leaf was removed");
    }
}

#[test]
fn limits_arrive_in_the_kernels_files_and_updates_in_either_direction_too() {
    let Some(group) = group("limits") else { return };
    let apply = |value| group.cgroup.apply(&resources(value)).expect("applied");
    apply(serde_json::json!({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20,
                   "swappiness": 20, "disableOOMKiller": false, "useHierarchy": true},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 10000,
                "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
    }));
    let check = |pairs: &[(&str, &str, &str)]| {
        for (controller, file, wanted) in pairs {
            assert_eq!(value(&group, controller, file), *wanted, "{file}");
        }
    };
    check(&[
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "20"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_burst_us", "10000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("pids", "pids.max", "33"),
    ]);
    // Up beyond the old sum, quota and period at once, burst beyond the old quota.
    apply(serde_json::json!({
        "memory": {"limit": 256 << 20, "swap": 512 << 20},
        "cpu": {"quota": 400_000, "period": 200_000, "burst": 100_000},
        "pids": {"limit": -1},
    }));
    check(&[
        ("memory", "memory.limit_in_bytes", "268435456"),
        ("memory", "memory.memsw.limit_in_bytes", "536870912"),
        ("cpu", "cpu.cfs_quota_us", "400000"),
        ("cpu", "cpu.cfs_period_us", "200000"),
        ("cpu", "cpu.cfs_burst_us", "100000"),
        ("pids", "pids.max", "max"),
    ]);
    // And down again; without limits in the end.
    apply(serde_json::json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}}));
    apply(serde_json::json!({"cpu": {"burst": 0, "quota": 1000, "period": 1000}}));
    check(&[
        ("memory", "memory.memsw.limit_in_bytes", "16777216"),
        ("cpu", "cpu.cfs_quota_us", "1000"),
        ("cpu", "cpu.cfs_period_us", "1000"),
    ]);
    apply(serde_json::json!({"memory": {"limit": -1}, "cpu": {"quota": -1}}));
    let statistics = group.cgroup.statistics().expect("read");
    assert_eq!(statistics.memory.usage.limit, u64::MAX);
    assert_eq!(statistics.memory.swap.limit, u64::MAX);
    check(&[("cpu", "cpu.cfs_quota_us", "-1")]);
}

#[test]
fn a_weight_is_written_where_the_scheduler_is_and_refused_by_name_elsewhere() {
    let Some(group) = group("weight") else { return };
    match group.cgroup.apply(&resources(serde_json::json!({"blockIO": {"weight": 300}}))) {
        Ok(()) => assert_eq!(value(&group, "blkio", "blkio.bfq.weight"), "300"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("blockIO.weight"), "{error}");
        }
    }
}

#[test]
fn an_idle_group_takes_shares_and_wakes_again() {
    let Some(group) = group("idle") else { return };
    let idle = |idle| LinuxResources {
        cpu: Some(LinuxCpu { shares: Some(256), idle: Some(idle), ..LinuxCpu::default() }),
        ..LinuxResources::default()
    };
    group.cgroup.apply(&idle(1)).expect("applied");
    assert_eq!(value(&group, "cpu", "cpu.idle"), "1");
    group.cgroup.apply(&idle(0)).expect("applied");
    assert_eq!(value(&group, "cpu", "cpu.idle"), "0");
    assert_eq!(value(&group, "cpu", "cpu.shares"), "256");
}

#[test]
fn what_the_machine_lacks_is_refused_by_its_name_in_the_configuration() {
    let Some(group) = group("lacks") else { return };
    let has = |name: &str| group.cgroup.paths().any(|(k, _)| k.has(name));
    let refuse = |value| group.cgroup.apply(&resources(value)).expect_err("refused");
    if !has("net_cls") {
        let error = refuse(serde_json::json!({"network": {"classID": 5}}));
        assert!(error.to_string().contains("network.classID"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let error = refuse(serde_json::json!({"unified": {"memory.high": "5000"}}));
    assert!(error.to_string().contains("memory.high"), "{error}");
    let error = refuse(serde_json::json!({"unified": {"../x.y": "5"}}));
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = refuse(serde_json::json!({"cpu": {"cpus": "999"}}));
    assert!(matches!(&error, ApplyError::File { field, .. } if field == "cpu.cpus"), "{error}");
    let error = refuse(serde_json::json!({"memory": {"limit": 2000, "swap": 1000}}));
    assert!(error.to_string().contains("memory.swap"), "{error}");
    let error = refuse(serde_json::json!({"blockIO": {"leafWeight": 50}}));
    assert!(error.to_string().contains("blkio.leaf_weight"), "{error}");
}

#[test]
fn hugetlb_limits_are_set_where_the_controller_is_or_tolerated_at_zero() {
    let Some(group) = group("huge") else { return };
    let limit = |limit| LinuxResources {
        hugepage_limits: vec![LinuxHugepageLimit { page_size: "2MB".to_owned(), limit }],
        ..LinuxResources::default()
    };
    let root = group
        .cgroup
        .paths()
        .find(|(k, _)| **k == HierarchyKind::Unified)
        .and_then(|(_, p)| p.parent())
        .map(Path::to_owned);
    let lists = |file: &str| {
        let text = root.as_ref().map(|r| std::fs::read_to_string(r.join(file)));
        text.is_some_and(|t| t.is_ok_and(|t| t.contains("hugetlb")))
    };
    let (offered, enabled) = (lists("cgroup.controllers"), lists("cgroup.subtree_control"));
    group.cgroup.apply(&limit(0)).expect("zero is tolerated");
    assert_eq!(lists("cgroup.subtree_control"), enabled, "zero limits change nothing");
    match group.cgroup.apply(&limit(4 << 20)) {
        Ok(()) => {
            let usage = group.cgroup.statistics().expect("read").hugetlb["2MB"].clone();
            assert_eq!(usage.limit, 4 << 20);
        }
        Err(error) => {
            assert!(!offered, "{error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
    }
    drop(group);
    // The limit had to be handed down by the root; the machine gets it back as it was.
    if let (Some(root), false, true) = (&root, enabled, lists("cgroup.subtree_control")) {
        std::fs::write(root.join("cgroup.subtree_control"), "-hugetlb").expect("restored");
    }
}

#[test]
fn a_throttled_device_is_written_with_its_rate() {
    let Some(group) = group("throttle") else { return };
    let Some((major, minor)) = first_disk() else {
        eprintln!("SKIPPED: no block device");
        return;
    };
    let io = LinuxBlockIo {
        throttle_read_bps_device: vec![LinuxThrottleDevice { major, minor, rate: 1 << 20 }],
        throttle_write_iops_device: vec![LinuxThrottleDevice { major, minor, rate: 50 }],
        ..LinuxBlockIo::default()
    };
    let r = LinuxResources { block_io: Some(io), ..LinuxResources::default() };
    group.cgroup.apply(&r).expect("applied");
    let wanted = format!("{major}:{minor} 1048576");
    assert_eq!(value(&group, "blkio", "blkio.throttle.read_bps_device"), wanted);
    let wanted = format!("{major}:{minor} 50");
    assert_eq!(value(&group, "blkio", "blkio.throttle.write_iops_device"), wanted);
}

fn first_disk() -> Option<(i64, i64)> {
    let entries = std::fs::read_dir("/sys/block").ok()?;
    entries.flatten().find_map(|e| {
        let text = std::fs::read_to_string(e.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

fn deny_all() -> LinuxDeviceCgroup {
    LinuxDeviceCgroup { allow: false, access: Some("rwm".to_owned()), ..Default::default() }
}

fn allow(typ: &str, major: i64, minor: i64) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup {
        allow: true,
        typ: Some(typ.to_owned()),
        major: Some(major),
        minor: Some(minor),
        access: Some("rwm".to_owned()),
    }
}

#[test]
fn devices_beyond_the_list_are_denied_and_an_update_never_takes_the_default_ones() {
    let Some(mut group) = group("devices") else { return };
    let list = |devices| LinuxResources { devices, ..LinuxResources::default() };
    group.cgroup.apply(&list(vec![deny_all()])).expect("applied");
    group.run("echo x >/dev/null && head -c1 /dev/zero >/dev/null && ! (: </dev/kmsg)");
    assert!(group.wait().success());
    group.run("while echo x >/dev/null; do :; done; exit 1");
    for _ in 0..50 {
        group.cgroup.apply(&list(vec![deny_all(), allow("c", 1, 11)])).expect("updated");
        group.cgroup.apply(&list(vec![deny_all()])).expect("updated");
    }
    group.cgroup.apply(&list(vec![deny_all(), allow("c", 1, 11)])).expect("updated");
    let ended = group.children[0].try_wait().expect("asked");
    assert!(ended.is_none(), "writing to /dev/null failed during an update");
    group.run(": </dev/kmsg");
    assert!(group.wait().success());
    let all = LinuxDeviceCgroup { allow: true, ..Default::default() };
    group.cgroup.apply(&list(vec![all])).expect("everything allowed");
    assert_eq!(value(&group, "devices", "devices.list"), "a *:* rwm");
}

#[test]
fn the_number_of_processes_is_limited_and_counted() {
    let Some(mut group) = group("pids") else { return };
    let r = LinuxResources { pids: Some(LinuxPids { limit: Some(3) }), ..Default::default() };
    group.cgroup.apply(&r).expect("applied");
    group.run("sleep 100 & sleep 100 & sleep 100 & sleep 100 & wait");
    assert!(!group.wait().success(), "the fourth fork fails");
    let s = group.cgroup.statistics().expect("read");
    assert_eq!(s.pids.limit, 3);
    group.cgroup.apply(&resources(serde_json::json!({"pids": {"limit": 0}}))).expect("applied");
    assert_eq!(value(&group, "pids", "pids.max"), "1");
}

#[test]
fn an_out_of_memory_kill_is_counted_and_told() {
    let Some(mut group) = group("oom") else { return };
    let memory =
        LinuxMemory { limit: Some(16 << 20), swap: Some(16 << 20), ..LinuxMemory::default() };
    let r = LinuxResources { memory: Some(memory), ..Default::default() };
    group.cgroup.apply(&r).expect("applied");
    let watch = group.cgroup.oom_watch().expect("watched");
    assert_eq!(group.cgroup.oom_kill_count(), Some(0));
    let quiet = &mut [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
    let zero = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(quiet, Some(&zero)).expect("polled"), 0);
    group.run("exec tail /dev/zero");
    let ten = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(quiet, Some(&ten)).expect("polled"), 1);
    assert!(!group.wait().success());
    assert_eq!(watch.acknowledge().expect("read"), Some(1));
    assert_eq!(group.cgroup.oom_kill_count(), Some(1));
    assert_eq!(group.cgroup.statistics().expect("read").memory.oom_kill, 1);
    group.cgroup.remove().expect("removed");
    assert_eq!(watch.acknowledge().expect("read"), None);
    assert_eq!(group.cgroup.oom_kill_count(), None);
}

#[test]
fn a_frozen_group_stands_still_until_thawed_and_dies_when_killed() {
    let Some(mut group) = group("freeze") else { return };
    group.run("while :; do :; done");
    until("it runs", || group.cgroup.statistics().is_ok_and(|s| s.cpu.usage.total > 1_000_000));
    group.cgroup.freeze().expect("frozen");
    assert_eq!(group.cgroup.freezer_state().expect("read"), FreezerState::Frozen);
    let used = || group.cgroup.statistics().expect("read").cpu.usage.total;
    let before = used();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(used(), before);
    group.cgroup.thaw().expect("thawed");
    assert_eq!(group.cgroup.freezer_state().expect("read"), FreezerState::Thawed);
    until("it runs again", || used() > before);
    group.cgroup.freeze().expect("frozen");
    group.cgroup.kill_all(Signal::KILL).expect("killed");
    assert!(group.cgroup.processes().expect("listed").is_empty());
}

#[test]
fn no_process_escapes_a_signal_by_forking_and_a_paused_group_stays_paused() {
    let Some(mut group) = group("kill") else { return };
    // A chain of processes each of which forks the next and ends.
    group.run("f() { (f & ) ; }; for i in 1 2 3 4; do (while :; do (:); done) & done; wait");
    std::thread::sleep(Duration::from_millis(50));
    group.cgroup.kill_all(Signal::KILL).expect("killed");
    assert!(group.cgroup.processes().expect("listed").is_empty());
    group.run("trap 'exit 7' TERM; while :; do sleep 0.01; done");
    std::thread::sleep(Duration::from_millis(50));
    group.cgroup.freeze().expect("frozen");
    group.cgroup.kill_all(Signal::TERM).expect("signalled");
    assert_eq!(group.cgroup.freezer_state().expect("read"), FreezerState::Frozen);
    group.cgroup.thaw().expect("thawed");
    assert_eq!(group.wait().code(), Some(7));
}

#[test]
fn groups_made_below_by_the_container_are_killed_and_removed_with_it() {
    let Some(mut group) = group("below") else { return };
    let dirs: Vec<PathBuf> = group.cgroup.paths().map(|(_, p)| p.join("x/y")).collect();
    for dir in &dirs {
        std::fs::create_dir_all(dir).expect("made");
    }
    let pid = group.run("exec sleep 100");
    let freezer = group.cgroup.paths().find(|(k, _)| k.has("freezer")).expect("a freezer");
    std::fs::write(freezer.1.join("x/y/cgroup.procs"), pid.to_string()).expect("moved");
    assert_eq!(group.cgroup.processes().expect("listed"), [pid]);
    drop(group);
    assert!(dirs.iter().all(|d| !d.exists()));
}

#[test]
fn a_busy_group_is_not_removed_and_the_error_names_the_process() {
    let Some(mut group) = group("busy") else { return };
    let pid = group.run("exec sleep 100");
    let error = group.cgroup.remove().expect_err("busy").to_string();
    assert!(error.contains(&pid.to_string()), "{error}");
}

#[test]
fn an_update_below_the_usage_is_refused_when_that_is_asked_for() {
    let Some(mut group) = group("usage") else { return };
    group.run("exec sleep 100");
    until("it has memory", || group.cgroup.statistics().is_ok_and(|s| s.memory.usage.usage > 8192));
    let memory = LinuxMemory {
        limit: Some(4096),
        check_before_update: Some(true),
        ..LinuxMemory::default()
    };
    let r = LinuxResources { memory: Some(memory), ..Default::default() };
    let error = group.cgroup.apply(&r).expect_err("refused");
    assert!(matches!(error, ApplyError::BelowUsage { limit: 4096, .. }), "{error}");
}

#[test]
fn the_v2_part_of_a_hybrid_machine_has_its_directory_for_clone() {
    let Some(group) = group("v2part") else { return };
    match group.cgroup.layout() {
        Layout::Hybrid => assert!(group.cgroup.directory().is_some()),
        _ => assert!(group.cgroup.directory().is_none()),
    }
}

#[test]
fn a_group_that_is_frozen_or_lies_below_a_frozen_one_is_refused() {
    let Some(h) = v1_machine() else { return };
    let cgroup = Cgroup::create(&h, &path("left"), Driver::Cgroupfs, None).expect("created");
    cgroup.freeze().expect("frozen");
    for below in [path("left"), path("left").join("below")] {
        let error = Cgroup::create(&h, &below, Driver::Cgroupfs, None).expect_err("refused");
        assert!(matches!(error, CreateError::Frozen { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Exists);
    }
    let below = cgroup.paths().filter(|(_, p)| p.join("below").exists()).count();
    assert_eq!(below, 0, "what was made is taken back");
    cgroup.remove().expect("removed");
}

#[test]
fn a_group_left_without_limits_is_taken_over() {
    let Some(h) = v1_machine() else { return };
    let cgroup = Cgroup::create(&h, &path("left-open"), Driver::Cgroupfs, None).expect("created");
    drop(cgroup);
    let cgroup =
        Cgroup::create(&h, &path("left-open"), Driver::Cgroupfs, None).expect("taken over");
    let r = LinuxResources { devices: vec![deny_all()], ..LinuxResources::default() };
    cgroup.apply(&r).expect("applied");
    let devices = cgroup.paths().find(|(k, _)| k.has("devices")).expect("devices").1;
    let list = std::fs::read_to_string(devices.join("devices.list")).expect("read");
    assert!(list.contains("c 1:3 rwm") && !list.contains("a *:*"), "{list}");
    cgroup.remove().expect("removed");
}

#[test]
fn a_scope_of_its_own_holds_the_process_and_is_removed_after_it() {
    let Some(h) = v1_machine() else { return };
    if Path::new("/run/systemd/system").is_dir() {
        eprintln!("SKIPPED: systemd runs this machine");
        return;
    }
    let name = format!("test-{}", std::process::id());
    let mount = h.mounts().iter().find(|m| m.kind == HierarchyKind::Named("systemd".to_owned()));
    let Some(mount) = mount else {
        eprintln!("SKIPPED: no name=systemd hierarchy");
        return;
    };
    let dir = mount.mount_point.join(format!("berth-monitor-{name}"));
    // This thread alone moves, which is enough to see it there.
    assert_eq!(
        scope::enter_own_scope(&name).expect("entered"),
        scope::Scope::Directory(dir.clone())
    );
    let own = std::fs::read_to_string("/proc/thread-self/cgroup").expect("read");
    assert!(own.contains(&format!("name=systemd:/berth-monitor-{name}")), "{own}");
    scope::remove(&name).expect("still in use");
    assert!(dir.exists());
    let tasks = mount.mount_point.join(mount.own_path.strip_prefix("/").expect("absolute"));
    std::fs::write(tasks.join("tasks"), "0").expect("moved back");
    scope::remove(&name).expect("removed");
    assert!(!dir.exists());
    assert!(scope::enter_own_scope("../x").is_err());
}
