//! The same bundles run by runc: what the container sees is to be the same.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails a test")]

mod common;

use std::process::{Command, Stdio};

use common::{Bundle, json, text};

/// What a container prints under runc; `None` if that is not installed.
fn by_runc(bundle: &Bundle) -> Option<String> {
    if !common::has("runc") {
        eprintln!("SKIPPED: runc is not installed");
        return None;
    }
    bundle.write();
    let output = Command::new("runc")
        .arg("--root")
        .arg(bundle.path().join("runc"))
        .args(["run", &bundle.id])
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "runc: {}", text(&output.stderr));
    Some(text(&output.stdout))
}

#[test]
fn processes_look_alike() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script(
        "id; grep -E '^(Cap|NoNew|Seccomp:|SigBlk|Groups|Umask)' /proc/self/status; env | sort; pwd; \
         umask; hostname; for l in n Hn s c v; do ulimit -$l; done; cat /proc/self/oom_score_adj; \
         cut -d' ' -f6,7,8 /proc/1/stat",
    );
    for user in
        [json!({ "uid": 0, "gid": 0 }), json!({ "uid": 1000, "gid": 7, "additionalGids": [8, 9] })]
    {
        bundle.set("/process/user", user);
        let Some(theirs) = by_runc(&bundle) else { return };
        assert_eq!(bundle.output(), theirs);
    }
}

#[test]
fn file_systems_look_alike() {
    let Some(mut bundle) = Bundle::new() else { return };
    // The type, place and options of mounts, the latter without what differs by design: the null
    // device that masks is the host's, empty directories are read-only by their mount, and the
    // cgroup directory is read-only as the configuration says, and has the unified hierarchy.
    bundle.script(
        "mount | cut -d' ' -f3-6 | grep -vE '^/proc/(keys|timer_list|acpi|scsi)|^/sys/firmware|^/sys/fs/cgroup (type tmpfs)|^/sys/fs/cgroup/unified' | sort; \
         cd /dev; for f in *; do stat -c '%n %F %a %u:%g %t:%T' $f; done; \
         stat -c '%n %a %u:%g' / /proc /sys /tmp /dev/shm /dev/pts /dev/mqueue; \
         for p in kcore keys timer_list; do [ -e /proc/$p ] && wc -c </proc/$p; done; \
         ls /proc/acpi /sys/firmware | wc -l; for l in fd stdin ptmx; do readlink /dev/$l; done",
    );
    for readonly in [true, false] {
        bundle.set("/root/readonly", json!(readonly));
        let Some(theirs) = by_runc(&bundle) else { return };
        assert_eq!(bundle.output(), theirs);
    }
}

#[test]
fn user_namespaces_look_alike() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    bundle.script(
        "id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; \
         for f in null zero full random urandom tty; do stat -c '%n %F %u:%g %t:%T' /dev/$f; done; \
         grep -E '^Cap' /proc/self/status; stat -c '%u:%g' / /dev /dev/shm /dev/pts",
    );
    let Some(theirs) = by_runc(&bundle) else { return };
    assert_eq!(bundle.output(), theirs);
}

#[test]
fn the_state_has_the_same_fields() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]);
    if !common::has("runc") {
        eprintln!("SKIPPED: runc is not installed");
        return;
    }
    bundle.write();
    let root = bundle.path().join("runc");
    let runc = |words: &[&str]| {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&root).args(words).current_dir(bundle.path());
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(runc(&["run", "-d", &bundle.id]).stdout(Stdio::null()).status().unwrap().success());
    let keys = |text: &[u8]| -> Vec<String> {
        let value: common::Value = serde_json::from_slice(text).unwrap();
        value.as_object().unwrap().keys().filter(|key| *key != "owner").cloned().collect()
    };
    let theirs = keys(&runc(&["state", &bundle.id]).output().unwrap().stdout);
    assert!(runc(&["delete", "--force", &bundle.id]).status().unwrap().success());
    bundle.start_detached();
    assert_eq!(keys(bundle.must(&["state", &bundle.id]).as_bytes()), theirs);
}

#[test]
fn the_default_configuration_is_run_by_runc() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("echo fine");
    let Some(theirs) = by_runc(&bundle) else { return };
    assert_eq!(theirs, "fine\n");
}
