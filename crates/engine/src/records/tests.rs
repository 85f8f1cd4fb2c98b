//! The database: many processes at once, names, volumes, schema.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::plan::{Details, RootSource};
use crate::request::{ContainerRequest, ImageSource};
use crate::signal::Signal;

fn details() -> Details {
    Details {
        request: ContainerRequest::new(ImageSource::Reference("x".to_owned())),
        spec: berth_spec::runtime::Spec::default(),
        default_seccomp: true,
        root: RootSource::Directory("/".into()),
        mounts: Vec::new(),
        entrypoint: Vec::new(),
        command: vec!["true".to_owned()],
        labels: BTreeMap::new(),
        user: String::new(),
        stop_signal: Signal::TERMINATE,
        stop_timeout: 10,
        image_digest: String::new(),
    }
}

fn insert(
    records: &mut Records,
    name: Option<&str>,
    volumes: &[VolumeUse],
) -> Result<(String, String), RecordError> {
    let id = crate::identity::new_id();
    let details = details();
    let name = records.insert(&NewContainer {
        id: &id,
        name,
        created: Timestamp::now(),
        image: "x",
        image_id: "",
        remove: false,
        launch: None,
        details: &details,
        volumes,
    })?;
    Ok((id, name))
}

fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("berth.db");
    (scratch, path)
}

#[test]
fn a_container_is_found_by_name_id_and_prefix() {
    let (_scratch, path) = scratch();
    let mut records = Records::open(&path).unwrap();
    let (id, name) = insert(&mut records, Some("web"), &[]).unwrap();
    assert_eq!(name, "web");
    for word in ["web", &id, &id[..12], &id[..1]] {
        assert_eq!(records.matches(word).unwrap(), [id.as_str()], "{word}");
    }
    for word in ["", "we", "zz", "'; DROP TABLE containers; --"] {
        assert!(records.matches(word).unwrap().is_empty(), "{word}");
    }
    let record = records.container(&id).unwrap().unwrap();
    assert_eq!(record.details, details());
    assert!(!record.removing && record.launch.is_none() && record.outcome.is_none());
}

#[test]
fn a_name_has_one_holder() {
    let (_scratch, path) = scratch();
    let mut records = Records::open(&path).unwrap();
    let (id, _) = insert(&mut records, Some("web"), &[]).unwrap();
    let error = insert(&mut records, Some("web"), &[]).unwrap_err();
    assert!(matches!(error, RecordError::NameInUse { ref holder, .. } if *holder == id));
    let (other, _) = insert(&mut records, None, &[]).unwrap();
    assert!(matches!(records.rename(&other, "web"), Err(RecordError::NameInUse { .. })));
    records.delete(&id).unwrap();
    records.rename(&other, "web").unwrap();
}

#[test]
fn launch_and_outcome_follow_each_other() {
    let (_scratch, path) = scratch();
    let mut records = Records::open(&path).unwrap();
    let (id, _) = insert(&mut records, None, &[]).unwrap();
    let launch =
        Launch { boot_id: "b".to_owned(), pid: 1, pid_start_time: 2, at: Timestamp::UNIX_EPOCH };
    records.set_launch(&id, &launch).unwrap();
    assert_eq!(records.container(&id).unwrap().unwrap().launch, Some(launch));
    let outcome = Outcome { exit_code: Some(1), ..Outcome::default() };
    records.set_outcome(&id, &outcome).unwrap();
    let record = records.container(&id).unwrap().unwrap();
    assert_eq!((record.launch, record.outcome), (None, Some(outcome.clone())));
    records.delete(&id).unwrap();
    assert!(matches!(records.set_outcome(&id, &outcome), Err(RecordError::Gone { .. })));
}

#[test]
fn a_volume_in_use_stays_and_an_orphan_is_told() {
    let (_scratch, path) = scratch();
    let mut records = Records::open(&path).unwrap();
    let named = VolumeUse { name: "data".to_owned(), anonymous: false };
    let own = VolumeUse { name: "anonymous".to_owned(), anonymous: true };
    let (one, _) = insert(&mut records, None, &[named.clone(), own]).unwrap();
    let (two, _) = insert(&mut records, None, &[named]).unwrap();
    assert!(matches!(records.delete_volume("data"), Err(RecordError::VolumeInUse { .. })));
    assert_eq!(records.volume_users("data").unwrap().len(), 2);
    assert_eq!(records.delete(&one).unwrap(), ["anonymous"]);
    assert!(records.delete(&two).unwrap().is_empty());
    assert!(records.delete_volume("data").unwrap());
    assert!(!records.delete_volume("data").unwrap());
}

#[test]
fn a_newer_schema_is_used_when_it_allows_and_refused_when_not() {
    let (_scratch, path) = scratch();
    let records = Records::open(&path).unwrap();
    let change = |sql: &str| records.connection.execute_batch(sql).unwrap();
    change("ALTER TABLE containers ADD COLUMN pod TEXT; PRAGMA user_version = 2;");
    insert(&mut Records::open(&path).unwrap(), Some("still"), &[]).unwrap();
    change("UPDATE meta SET value = '2' WHERE key = 'oldest_reader'");
    assert!(matches!(Records::open(&path), Err(RecordError::TooNew { found: 2, oldest: 2, .. })));
}

/// The part of a child process; started by the test below through this program's own test runner.
#[test]
fn child_of_the_concurrency_test() {
    let Some(path) = std::env::var_os("BERTH_TEST_RECORDS") else { return };
    let mut records = Records::open(std::path::Path::new(&path)).unwrap();
    for _ in 0..8 {
        insert(&mut records, None, &[]).unwrap();
    }
    // All want the same name; one gets it.
    let won = insert(&mut records, Some("the-one"), &[]).is_ok();
    println!("won={won}");
}

#[test]
fn thirty_two_processes_neither_lose_nor_double_a_container() {
    if std::env::var_os("BERTH_TEST_RECORDS").is_some() {
        return;
    }
    let (_scratch, path) = scratch();
    let program = std::env::current_exe().unwrap();
    // The database does not exist yet: all of them make it.
    let children: Vec<_> = (0..32)
        .map(|_| {
            std::process::Command::new(&program)
                .args(["--exact", "records::tests::child_of_the_concurrency_test", "--nocapture"])
                .env("BERTH_TEST_RECORDS", &path)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut winners = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        winners += String::from_utf8_lossy(&output.stdout).matches("won=true").count();
    }
    assert_eq!(winners, 1);
    let all = Records::open(&path).unwrap().containers().unwrap();
    assert_eq!(all.len(), 32 * 8 + 1);
    let names: BTreeSet<&str> = all.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names.len(), all.len());
}
