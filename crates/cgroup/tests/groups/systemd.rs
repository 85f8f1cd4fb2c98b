//! Machines that systemd runs, whatever their version.

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_cgroup::{AttachError, Cgroup, Driver, Hierarchies, Layout, UnifiedJoin, scope};
use rustix::process::{Pid, Signal};

use crate::common::{resources, until};

fn is_systemds() -> bool {
    let booted = rustix::process::geteuid().is_root() && Path::new("/run/systemd/system").is_dir();
    if !booted {
        eprintln!("SKIPPED: needs root, and systemd running the machine");
    }
    booted
}

fn show(unit: &str, property: &str) -> String {
    let output = Command::new("systemctl")
        .args(["show", "--value", "--property", property, unit])
        .output()
        .expect("systemctl runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_scope_holds_its_process_and_limits_takes_updates_and_goes_away() {
    if !is_systemds() {
        return;
    }
    let h = Hierarchies::detect().expect("detected");
    let name = format!("test-{}", std::process::id());
    let path = PathBuf::from(format!("berth-test.slice:berth:{name}"));
    let unit = format!("berth-{name}.scope");
    let cgroup = Cgroup::create(&h, &path, Driver::Systemd, None).expect("created");
    assert!(cgroup.directory().is_none());
    let error = cgroup.joiner(UnifiedJoin::ByClone).expect_err("nothing to join yet");
    assert!(matches!(error, AttachError::Pending { .. }), "{error}");
    cgroup
        .apply(&resources(serde_json::json!({
            "memory": {"limit": 64 << 20}, "pids": {"limit": 20},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100_000},
            "devices": [{"allow": false, "access": "rwm"}],
        })))
        .expect("applied later");
    let mut child = Command::new("sleep").arg("1000").spawn().expect("spawned");
    cgroup.add_process(Pid::from_child(&child)).expect("started");

    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).expect("read");
    assert!(own.contains(&format!("/berth.slice/berth-test.slice/{unit}")), "{own}");
    assert_eq!(cgroup.processes().expect("listed"), [child.id().cast_signed()]);
    assert_eq!(show(&unit, "TasksMax"), "20");
    assert_eq!(show(&unit, "Delegate"), "yes");
    let again = Cgroup::open(&cgroup.saved()).expect("opened");
    again.apply(&resources(serde_json::json!({"pids": {"limit": 30}}))).expect("updated");
    assert_eq!(show(&unit, "TasksMax"), "30");
    let statistics = again.statistics().expect("read");
    assert_eq!(statistics.pids.limit, 30);
    again.apply(&resources(serde_json::json!({"pids": {"limit": 0}}))).expect("updated");
    assert_eq!(show(&unit, "TasksMax"), "1");
    assert_eq!(statistics.memory.usage.limit, 64 << 20);
    if h.layout() == Layout::V2 {
        assert_eq!(show(&unit, "MemoryMax"), (64 << 20).to_string());
        assert_eq!(show(&unit, "CPUWeight"), "100");
        // What systemd writes anew must be what was asked for.
        Command::new("systemctl").arg("daemon-reload").status().expect("systemctl runs");
        assert_eq!(again.statistics().expect("read").memory.usage.limit, 64 << 20);
    }
    again.kill_all(Signal::KILL).expect("killed");
    child.wait().expect("waited");
    again.remove().expect("removed");
    again.remove().expect("twice is fine");
    until("the unit is gone", || show(&unit, "LoadState") == "not-found");
    assert!(cgroup.paths().all(|(_, p)| !p.exists()));
}

#[test]
fn a_supervisor_gets_a_scope_of_its_own() {
    if !is_systemds() {
        return;
    }
    let name = format!("test-{}", std::process::id());
    let scope = scope::enter_own_scope(&name).expect("entered");
    assert_eq!(scope, scope::Scope::Unit(format!("berth-monitor-{name}.scope")));
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("read");
    assert!(own.contains(&format!("/berth-monitor-{name}.scope")), "{own}");
    scope::remove(&name).expect("nothing to remove");
}
