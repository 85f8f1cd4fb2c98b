//! The table, line by line.

use std::fs::File;

use super::*;
use crate::plan::{Details, RootSource};
use crate::records::{Launch, Outcome};
use crate::request::{ContainerRequest, ImageSource};
use crate::signal::Signal;

const BOOT: &str = "this-boot";

fn record() -> ContainerRecord {
    ContainerRecord {
        id: "a".repeat(64),
        name: "calm_tide".to_owned(),
        created: Timestamp::now(),
        image: "x".to_owned(),
        image_id: String::new(),
        remove: false,
        removing: false,
        launch: None,
        outcome: None,
        details: Details {
            request: ContainerRequest::new(ImageSource::Reference("x".to_owned())),
            spec: berth_spec::runtime::Spec::default(),
            default_seccomp: true,
            root: RootSource::Directory("/".into()),
            mounts: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            labels: std::collections::BTreeMap::new(),
            user: String::new(),
            stop_signal: Signal::TERMINATE,
            stop_timeout: 10,
            image_digest: String::new(),
        },
    }
}

fn own_launch() -> Launch {
    let pid = std::process::id() as i32;
    Launch {
        boot_id: BOOT.to_owned(),
        pid,
        pid_start_time: process::start_time(pid).unwrap(),
        at: Timestamp::now(),
    }
}

fn dead_launch() -> Launch {
    Launch { pid_start_time: 1, ..own_launch() }
}

fn write_status(run: &Path, state: &str, pid: Option<i32>) {
    let started = pid.and_then(process::start_time);
    let status = serde_json::json!({
        "id": "a".repeat(64), "state": state, "pid": pid, "pidStartTime": started.unwrap_or(1),
        "startedAt": "2026-01-02T03:04:05Z", "exitCode": 3, "monitorPid": 1,
    });
    std::fs::write(run.join("status.json"), status.to_string()).unwrap();
}

/// Holds the monitor's lock as a living monitor does. Any look at it by this process ends such a
/// lock, so it is taken anew before each.
fn monitor(run: &Path) -> File {
    let file = File::create(run.join(berth_monitor::client::LOCK_FILE)).unwrap();
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(&file, operation).unwrap();
    file
}

fn look(record: &ContainerRecord, run: &Path) -> (ContainerStatus, Remedy) {
    let observed = observe(record, run, BOOT).unwrap();
    (observed.state.status, observed.remedy)
}

#[test]
fn without_a_launch_the_record_says_all() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    assert_eq!(look(&record, run.path()), (ContainerStatus::Created, Remedy::None));
    record.outcome = Some(Outcome {
        exit_code: Some(7),
        started_at: Some(Timestamp::now()),
        ..Outcome::default()
    });
    let observed = observe(&record, run.path(), BOOT).unwrap();
    assert_eq!(observed.state.status, ContainerStatus::Exited);
    assert_eq!(observed.state.exit_code, Some(7));
}

#[test]
fn a_start_goes_on_or_came_to_nothing() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    record.launch = Some(own_launch());
    assert_eq!(look(&record, run.path()), (ContainerStatus::Created, Remedy::None));
    record.launch = Some(dead_launch());
    assert_eq!(look(&record, run.path()), (ContainerStatus::Created, Remedy::Undo));
}

#[test]
fn a_reboot_ends_everything_unseen() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    record.launch = Some(Launch { boot_id: "another".to_owned(), ..own_launch() });
    let observed = observe(&record, run.path(), BOOT).unwrap();
    assert_eq!(observed.state.status, ContainerStatus::Exited);
    assert_eq!(observed.state.exit_code, None);
    assert_eq!(observed.remedy, Remedy::Cleanup);
}

#[test]
fn a_running_container_without_a_monitor_is_adopted() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    record.launch = Some(dead_launch());
    write_status(run.path(), "running", Some(std::process::id() as i32));
    assert_eq!(look(&record, run.path()), (ContainerStatus::Running, Remedy::Adopt));
    write_status(run.path(), "running", Some(i32::MAX));
    assert_eq!(look(&record, run.path()), (ContainerStatus::Exited, Remedy::Cleanup));
}

#[test]
fn what_has_ended_without_anybody_left_is_cleaned_up() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    record.launch = Some(dead_launch());
    write_status(run.path(), "stopped", None);
    let observed = observe(&record, run.path(), BOOT).unwrap();
    assert_eq!(observed.state.exit_code, Some(3));
    assert_eq!(observed.remedy, Remedy::Cleanup);
}

#[test]
fn a_restart_policy_outlives_the_monitor() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    record.launch = Some(dead_launch());
    write_status(run.path(), "restarting", None);
    assert_eq!(look(&record, run.path()), (ContainerStatus::Restarting, Remedy::Adopt));
    for (barred, remedy) in [(false, Remedy::Adopt), (true, Remedy::Cleanup)] {
        let status = serde_json::json!({
            "id": record.id, "state": "running", "pid": i32::MAX, "pidStartTime": 1,
            "restart": {"attempts": 1, "pauseMs": 100, "barred": barred}, "monitorPid": 1,
        });
        std::fs::write(run.path().join("status.json"), status.to_string()).unwrap();
        assert_eq!(look(&record, run.path()), (ContainerStatus::Exited, remedy));
    }
}

#[test]
fn a_removal_is_brought_to_its_end() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    record.removing = true;
    assert_eq!(look(&record, run.path()), (ContainerStatus::Removing, Remedy::Remove));
}

#[test]
fn a_living_monitor_is_left_to_its_work() {
    let run = tempfile::tempdir().unwrap();
    let mut record = record();
    record.launch = Some(dead_launch());
    let with_monitor = |record: &ContainerRecord| {
        let _lock = monitor(run.path());
        look(record, run.path())
    };
    assert_eq!(with_monitor(&record), (ContainerStatus::Created, Remedy::None));
    write_status(run.path(), "stopped", None);
    assert_eq!(with_monitor(&record), (ContainerStatus::Exited, Remedy::None));
    write_status(run.path(), "restarting", None);
    assert_eq!(with_monitor(&record), (ContainerStatus::Restarting, Remedy::None));
}
