//! Who a process becomes: `exec --user` (CVE-2026-30892 and its kin), ids that mean something else to
//! the kernel, and the groups that are shed or kept.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use common::{Bundle, json, text};

#[test]
fn exec_takes_a_user_by_number_and_as_it_was_written() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9] }));
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.start_detached();
    let identity = |user: &str| {
        let script = "echo $(id -u):$(id -g) $(grep -E '^(Uid|Gid)' /proc/self/status)";
        let words = ["exec", "--user", user, &bundle.id, "/bin/sh", "-c", script];
        bundle.must(&words).trim().to_owned()
    };
    let of = |uid: u32, gid: u32| {
        format!("{uid}:{gid} Uid: {uid} {uid} {uid} {uid} Gid: {gid} {gid} {gid} {gid}")
    };
    assert_eq!(identity("1"), of(1, 8));
    assert_eq!(identity("1:2"), of(1, 2));
    assert_eq!(identity("1000:0"), of(1000, 0));
    assert_eq!(identity("0:0"), of(0, 0));
    // The largest there is, and what is octal elsewhere.
    assert_eq!(identity("4294967294:4294967294"), of(4_294_967_294, 4_294_967_294));
    assert_eq!(identity("010:010"), of(10, 10));
}

#[test]
fn exec_refuses_what_is_not_a_user() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/user", json!({ "uid": 7, "gid": 8 }));
    // A name that looks like a number must not be looked up as one.
    let passwd = "root:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n1x:x:0:0::/:/bin/sh\n";
    fs::write(bundle.rootfs().join("etc/passwd"), passwd).unwrap();
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.start_detached();
    for user in [
        "4294967295",
        "1:4294967295",
        "4294967296",
        "18446744073709551616",
        "-1",
        "1:-1",
        "+1",
        "1x",
        "0x1",
        "1.0",
        "",
        ":",
        ":1",
        "1:",
        "1:2:3",
        " 1",
        "1 ",
        "1\n0",
        "root",
        "root:root",
        "1,0",
        "１",
    ] {
        let output = bundle.call(&["exec", "--user", user, &bundle.id, "/bin/id"]);
        assert!(!output.status.success(), "{user:?}: {}", text(&output.stdout));
        assert!(output.stdout.is_empty(), "{user:?}: {}", text(&output.stdout));
    }
    // The same in a file, where the number is JSON's.
    let process = |user: &str| {
        format!(r#"{{"user":{user},"args":["/bin/id"],"cwd":"/","env":["PATH=/bin"]}}"#)
    };
    for user in [
        r#"{"uid":4294967295,"gid":0}"#,
        r#"{"uid":1,"gid":4294967295}"#,
        r#"{"uid":4294967296,"gid":0}"#,
        r#"{"uid":-1,"gid":0}"#,
        r#"{"uid":1.5,"gid":0}"#,
        r#"{"uid":"1","gid":0}"#,
        r#"{"uid":1,"gid":1,"additionalGids":[4294967295]}"#,
        r#"{"uid":1,"uid":0,"gid":0}"#,
        "null",
    ] {
        let path = bundle.path().join("process.json");
        fs::write(&path, process(user)).unwrap();
        let words = ["exec", "--process", path.to_str().unwrap(), &bundle.id];
        let output = bundle.call(&words);
        assert!(!output.status.success(), "{user}: {}", text(&output.stdout));
    }
}

#[test]
fn an_id_that_means_no_change_is_no_id() {
    let Some(mut bundle) = Bundle::new() else { return };
    for user in [
        json!({ "uid": u32::MAX, "gid": 0 }),
        json!({ "uid": 1, "gid": u32::MAX }),
        json!({ "uid": 1, "gid": 1, "additionalGids": [u32::MAX] }),
    ] {
        bundle.set("/process/user", user).args(&["/bin/id"]);
        let message = bundle.refusal();
        assert!(message.contains("process.user."), "{message}");
    }
    bundle.set("/process/user", json!({ "uid": 0, "gid": 0 }));
    bundle.push(
        "/linux/devices",
        json!({ "path": "/dev/own", "type": "c", "major": 1, "minor": 3, "uid": u32::MAX }),
    );
    let message = bundle.refusal();
    assert!(message.contains("linux.devices[0].uid"), "{message}");
}

/// A caller with groups that give it rights, or take them.
fn with_groups(bundle: &Bundle, words: &[&str]) -> std::process::Output {
    Command::new("setpriv")
        .args(["--groups", "4,27,4321", "--", common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(words)
        .current_dir(bundle.path())
        .output()
        .unwrap()
}

#[test]
fn the_callers_groups_do_not_come_along() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !common::has("setpriv") {
        eprintln!("SKIPPED: setpriv (util-linux) is not installed");
        return;
    }
    let script = "grep Groups /proc/self/status; id -G";
    for own_user_namespace in [false, true] {
        if own_user_namespace {
            bundle.user_namespace();
        }
        for (user, groups) in [
            (json!({ "uid": 0, "gid": 0 }), "0"),
            (json!({ "uid": 1000, "gid": 1000 }), "1000"),
            (json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] }), "1000 5"),
        ] {
            bundle.set("/process/user", user).script(script).write();
            let output = with_groups(&bundle, &["run", &bundle.id]);
            let printed = text(&output.stdout);
            assert!(printed.ends_with(&format!("\n{groups}\n")), "{printed}{output:?}");
        }
        bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        bundle.args(&["/bin/sleep", "1000"]);
        bundle.start_detached();
        let output = with_groups(&bundle, &["exec", &bundle.id, "/bin/sh", "-c", script]);
        assert!(text(&output.stdout).ends_with("\n1000\n"), "{output:?}");
        bundle.must(&["delete", "--force", &bundle.id]);
    }
}

#[test]
fn a_user_without_privileges_cannot_shed_a_group_that_takes_rights_away() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !common::has("setpriv") {
        eprintln!("SKIPPED: setpriv (util-linux) is not installed");
        return;
    }
    // Mode 0604 with this group: all but its members may read.
    let secret = bundle.rootfs().join("tmp/secret");
    fs::write(&secret, "SECRET").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o604)).unwrap();
    chown(&secret, Some(0), Some(4321)).unwrap();
    let state = bundle.single_mapping(12_345);
    bundle.script("cat /proc/self/setgroups; cat /tmp/secret; id -G").write();
    let run = |bundle: &Bundle, groups: &str| {
        Command::new("setpriv")
            .args(["--reuid", "12345", "--regid", "12345", "--groups", groups, "--"])
            .arg(common::RUNTIME)
            .arg("--root")
            .arg(&state)
            .args(["run", &bundle.id])
            .current_dir(bundle.path())
            .output()
            .unwrap()
    };
    let output = run(&bundle, "4322");
    assert!(text(&output.stdout).contains("SECRET"), "without the group it can: {output:?}");
    let output = run(&bundle, "4321");
    assert!(text(&output.stdout).starts_with("deny\n"), "{output:?}");
    assert!(!text(&output.stdout).contains("SECRET"), "{output:?}");
    // Groups that it cannot take are an error, not left out.
    bundle.set("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [0] })).write();
    assert!(!run(&bundle, "4321").status.success());
}
