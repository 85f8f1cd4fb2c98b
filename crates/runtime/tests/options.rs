//! Options that engines and people give, each told by what it changes.

mod common;

use std::fs;

use common::{Bundle, Value, json, text};

#[test]
fn features_are_what_the_specification_names() {
    let Some(bundle) = Bundle::new() else { return };
    let features: Value = serde_json::from_str(&bundle.must(&["features"])).unwrap();
    let has = |pointer: &str, wanted: &[&str]| {
        let found =
            features.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        for word in wanted {
            assert!(found.contains(&json!(word)), "{pointer}: {word}");
        }
    };
    assert_eq!(features["ociVersionMin"], json!("1.0.0"));
    has("/hooks", &["prestart", "createRuntime", "createContainer", "startContainer", "poststop"]);
    has("/mountOptions", &["rro", "rnosuid", "tmpcopyup", "idmap", "ridmap", "bind", "remount"]);
    has("/linux/namespaces", &["time", "user", "cgroup", "network"]);
    has("/linux/capabilities", &["CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]);
    has("/linux/seccomp/actions", &["SCMP_ACT_NOTIFY", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG"]);
    has("/linux/seccomp/operators", &["SCMP_CMP_MASKED_EQ"]);
    has("/linux/seccomp/archs", &["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]);
    for pointer in [
        "/linux/seccomp/enabled",
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/mountExtensions/idmap/enabled",
        "/linux/intelRdt/enabled",
        "/linux/netDevices/enabled",
    ] {
        assert_eq!(features.pointer(pointer), Some(&json!(true)), "{pointer}");
    }
}

#[test]
fn exec_gives_the_groups_that_are_asked_for() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).start_detached();
    let words = ["exec", "--additional-gids", "7", "-g", "8", "--user", "5:6", &bundle.id];
    let printed = bundle.must(&[&words[..], &["id", "-G"]].concat());
    assert_eq!(printed.trim(), "6 7 8");
    bundle.must(&["delete", "--force", &bundle.id]);
}

#[test]
fn the_callers_session_keyring_is_kept_if_that_is_asked_for() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !fs::read_to_string("/proc/keys").is_ok_and(|keys| keys.contains("keyring")) {
        eprintln!("SKIPPED: this kernel has no keyrings");
        return;
    }
    bundle.set("/linux/maskedPaths", json!([])).script("cat /proc/keys; true").write();
    let own = format!("_ses.{}:", bundle.id);
    // In this order, since a keyring is not gone at once.
    assert!(!bundle.must(&["run", "--no-new-keyring", &bundle.id]).contains(&own));
    assert!(bundle.must(&["run", &bundle.id]).contains(&own));
}

#[test]
fn orphans_are_the_runtimes_unless_it_is_told_otherwise() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").set("/root/readonly", json!(false));
    // The orphan tells its parent once its first one is gone for certain.
    bundle.script(
        "rm -f /go /found; \
         (sh -c 'while [ ! -e /go ]; do sleep 0.1; done; \
                 grep PPid /proc/$$/status >/new; mv /new /found' &); \
         : >/go; while [ ! -e /found ]; do sleep 0.1; done; \
         read name parent </found; [ $parent = $PPID ] && echo adopted || echo left",
    );
    bundle.write();
    assert_eq!(bundle.must(&["run", &bundle.id]), "adopted\n");
    assert_eq!(bundle.must(&["run", "--no-subreaper", &bundle.id]), "left\n");
}

#[test]
fn a_specification_is_written_into_a_bundle_once() {
    let Some(bundle) = Bundle::new() else { return };
    let directory = bundle.path().join("fresh");
    fs::create_dir(&directory).unwrap();
    let words = ["spec", "--rootless", "--bundle", directory.to_str().unwrap()];
    bundle.must(&words);
    let written = fs::read(directory.join("config.json")).unwrap();
    let spec: Value = serde_json::from_slice(&written).unwrap();
    let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({ "type": "user" })), "{namespaces:?}");
    let output = bundle.call(&words);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("config.json"), "{output:?}");
    assert_eq!(fs::read(directory.join("config.json")).unwrap(), written);
}
