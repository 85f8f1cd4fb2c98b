//! Ways out through cgroups and devices: nodes that a container makes for itself, the release agent
//! of cgroup v1 (CVE-2022-0492), files of other groups.

mod common;

use std::fs;

use common::{Bundle, json, text};

fn with_capabilities(bundle: &mut Bundle, names: &[&str]) {
    bundle.set(
        "/process/capabilities",
        json!({ "bounding": names, "permitted": names, "effective": names }),
    );
}

#[test]
fn a_device_that_a_container_makes_itself_cannot_be_opened() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/root/readonly", json!(false));
    // The kernel's messages (1:11): to open them does no harm.
    let script = "mknod /tmp/n c 1 11 2>/dev/null && echo made; \
        dd if=/tmp/n of=/dev/null bs=1 count=0 2>/dev/null && echo open; rm -f /tmp/n; \
        dd if=/dev/zero of=/dev/null bs=1 count=1 2>/dev/null && echo zero";
    with_capabilities(&mut bundle, &[]);
    bundle.script(script);
    assert_eq!(text(&bundle.run().stdout), "zero\n");
    with_capabilities(&mut bundle, &["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"]);
    // Making may be forbidden, too, but opening has to be.
    let printed = text(&bundle.run().stdout);
    assert!(!printed.contains("open"), "{printed}");
    assert!(printed.ends_with("zero\n"), "{printed}");
    // The rules are what forbids it: with one, it opens.
    bundle.push(
        "/linux/resources/devices",
        json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm" }),
    );
    assert_eq!(text(&bundle.run().stdout), "made\nopen\nzero\n");
}

#[test]
fn processes_of_exec_are_held_by_the_same_rules() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/root/readonly", json!(false)).args(&["/bin/sleep", "1000"]);
    with_capabilities(&mut bundle, &["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"]);
    bundle.start_detached();
    let script = "mknod /tmp/n c 1 11; dd if=/tmp/n of=/dev/null bs=1 count=0 && echo open; \
        cat /proc/self/cgroup";
    let output = bundle.exec(&["/bin/sh", "-c", script]);
    assert!(!text(&output.stdout).contains("open"), "{output:?}");
    let own = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    let of_init = |line: &&str| line.contains(&bundle.id);
    assert!(own.lines().filter(of_init).count() > 0, "{own}");
}

#[test]
fn no_release_agent_is_within_reach() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/root/readonly", json!(false));
    // With the default capabilities; then with all that a user namespace gives.
    let script = "mkdir -p /tmp/c; \
        for o in memory devices pids cpu rdma none,name=evil; do \
        mount -t cgroup -o $o cgroup /tmp/c 2>/dev/null && { echo mounted $o; \
        echo /evil >/tmp/c/release_agent && echo agent $o; }; done; \
        for f in $(find /sys/fs/cgroup -name release_agent 2>/dev/null); do \
        echo /evil 2>/dev/null >$f && echo agent $f; done; \
        for f in $(find /sys/fs/cgroup -name cgroup.procs 2>/dev/null); do \
        echo 0 2>/dev/null >$f && echo moved $f; done; echo end";
    bundle.script(script);
    let output = bundle.run();
    assert_eq!(text(&output.stdout), "end\n", "{output:?}");
    bundle.user_namespace();
    with_capabilities(&mut bundle, &["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let printed = text(&bundle.run().stdout);
    assert!(!printed.contains("agent"), "{printed}");
    assert!(printed.ends_with("end\n"), "{printed}");
}

#[test]
fn a_container_sees_its_own_group_and_none_above() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.namespace("cgroup", None);
    let other = format!("{}-neighbour", bundle.id);
    bundle.script(&format!(
        "cat /proc/self/cgroup; find /sys/fs/cgroup -name '{other}'; \
         ls /sys/fs/cgroup/*/../../.. | grep -x usr"
    ));
    let Some(mut neighbour) = Bundle::new() else { return };
    neighbour.set("/linux/cgroupsPath", json!(format!("/{other}")));
    neighbour.args(&["/bin/sleep", "1000"]);
    neighbour.start_detached();
    let output = bundle.run();
    let printed = text(&output.stdout);
    assert!(!printed.contains(&other) && !printed.contains("usr"), "{printed}");
    // Its own group is the root of what it sees: no name of the host's is told.
    assert!(printed.lines().any(|line| line.ends_with(":/")), "{printed}");
    neighbour.must(&["delete", "--force", &neighbour.id]);
}

#[test]
fn exec_joins_no_group_outside_of_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.start_detached();
    for path in ["..", "../", "a/../..", "/..", "/../..", "a\u{0}b"] {
        if path.contains('\0') {
            continue;
        }
        let output = bundle.call(&["exec", "--cgroup", path, &bundle.id, "/bin/true"]);
        assert!(!output.status.success(), "{path}");
    }
}
