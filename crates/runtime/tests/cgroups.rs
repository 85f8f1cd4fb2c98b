//! Cgroups as a user of the command line meets them (config-linux.md, "Control groups").

mod common;

use std::path::Path;

use berth_cgroup::{Cgroup, Driver, Hierarchies};
use common::{Bundle, eventually, json, text};

#[test]
fn four_mebibytes_of_memory_are_enough_to_start() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/resources/memory", json!({ "limit": 4 << 20 })).script("echo here");
    assert_eq!(bundle.output(), "here\n");
}

#[test]
fn a_frozen_cgroup_takes_no_container() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.write();
    let hierarchies = Hierarchies::detect().unwrap();
    let path = Path::new("/").join(&bundle.id);
    let group = Cgroup::create(&hierarchies, &path, Driver::Cgroupfs, None).unwrap();
    group.freeze().unwrap();
    let output = bundle.call(&["run", &bundle.id]);
    group.remove().unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("frozen"), "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn a_container_that_somebody_else_froze_is_killed_and_deleted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let state = std::fs::read(bundle.state_root().join(&bundle.id).join("state.json")).unwrap();
    let record: common::Value = serde_json::from_slice(&state).unwrap();
    let saved = serde_json::from_value(record["cgroup"].clone()).unwrap();
    let group = Cgroup::open(&saved).unwrap();
    group.freeze().unwrap();
    assert_eq!(bundle.status(), "paused");
    bundle.must(&["kill", &bundle.id, "KILL"]);
    eventually("it stops", || bundle.status() == "stopped");
    bundle.must(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_created_container_that_is_frozen_is_neither_started_nor_entered() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).write();
    bundle.must(&["create", &bundle.id]);
    bundle.must(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    for refused in [bundle.call(&["start", &bundle.id]), bundle.exec(&["/bin/true"])] {
        assert!(!refused.status.success());
        assert!(text(&refused.stderr).contains("paused"), "{refused:?}");
    }
    bundle.must(&["resume", &bundle.id]);
    assert_eq!(bundle.status(), "created");
    bundle.must(&["start", &bundle.id]);
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn without_systemd_its_driver_is_refused_before_anything_is_made() {
    let Some(mut bundle) = Bundle::new() else { return };
    if Path::new("/run/systemd/system").exists() {
        eprintln!("SKIPPED: systemd runs this machine");
        return;
    }
    bundle.set("/linux/cgroupsPath", json!(format!("system.slice:berth:{}", bundle.id))).write();
    let output = bundle.call(&["--systemd-cgroup", "create", &bundle.id]);
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("systemd cannot be reached") && said.contains("hint:"), "{said}");
    bundle.assert_nothing_left();
    bundle.must(&["--systemd-cgroup", "delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}
