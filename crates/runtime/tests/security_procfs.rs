//! A procfs that is none, files of it that lie below others, and what covers secrets: CVE-2019-16884,
//! CVE-2025-31133, CVE-2025-52565, CVE-2025-52881.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Bundle, json};

#[test]
fn a_fake_procfs_gets_no_writes() {
    let Some(mut bundle) = Bundle::new() else { return };
    // A plain directory in the place of /proc must not swallow or redirect what is written.
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/proc");
    let fake = bundle.rootfs().join("proc/sys/net/ipv4");
    fs::create_dir_all(&fake).unwrap();
    symlink("/etc/passwd", fake.join("ip_forward")).unwrap();
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.mount("/real", "proc", "proc", &[]);
    bundle.set("/root/readonly", json!(false));
    bundle.script("cat /real/sys/net/ipv4/ip_forward; head -n 1 /etc/passwd");
    assert_eq!(bundle.output(), "1\nroot:x:0:0:root:/root:/bin/sh\n");
}

#[test]
fn writes_pass_by_what_is_mounted_over_procfs() {
    let Some(mut bundle) = Bundle::new() else { return };
    // CVE-2025-52881: a write for one file is redirected to another by a mount in the container.
    let trap = bundle.path().join("trap");
    fs::write(&trap, "untouched").unwrap();
    let trap_path = trap.to_str().unwrap().to_owned();
    bundle.mount("/proc/sys/net/ipv4/ip_forward", "bind", &trap_path, &["bind"]);
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.mount("/real", "proc", "proc", &[]);
    bundle.set("/root/readonly", json!(false)).script("cat /real/sys/net/ipv4/ip_forward");
    assert_eq!(bundle.output(), "1\n");
    assert_eq!(fs::read_to_string(&trap).unwrap(), "untouched");
    // The same with all of /proc a tmpfs, and with directories of it bound.
    bundle.mount("/proc", "tmpfs", "tmpfs", &[]);
    assert_eq!(bundle.output(), "1\n");
}

#[test]
fn without_a_procfs_of_its_own_a_covered_file_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    // Without a PID namespace of its own, a user namespace may make no procfs: the container's is
    // used, and what is mounted in it must not be written to.
    bundle.user_namespace().without_namespace("pid");
    let trap = bundle.path().join("trap");
    fs::write(&trap, "untouched").unwrap();
    fs::set_permissions(
        &trap,
        <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666),
    )
    .unwrap();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| !matches!(m["destination"].as_str(), Some("/proc" | "/sys/fs/cgroup")));
    bundle.mount("/proc", "bind", "/proc", &["rbind"]);
    bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.script("cat /proc/sys/net/ipv4/ip_forward");
    assert_eq!(bundle.output(), "1\n");
    bundle.mount("/proc/sys/net/ipv4/ip_forward", "bind", trap.to_str().unwrap(), &["bind"]);
    let message = bundle.refusal();
    assert!(message.contains("net/ipv4/ip_forward"), "{message}");
    assert_eq!(fs::read_to_string(&trap).unwrap(), "untouched");
    // Nor is a tmpfs, or a directory of a procfs, taken for one.
    for (typ, source, options) in
        [("tmpfs", "tmpfs", &[][..]), ("bind", "/proc/sys", &["rbind"][..])]
    {
        bundle.spec["mounts"].as_array_mut().unwrap().pop();
        bundle.mount("/proc", typ, source, options);
        let message = bundle.refusal();
        assert!(message.contains("procfs"), "{message}");
    }
}

#[test]
fn the_score_for_a_lack_of_memory_lands_at_the_process() {
    let Some(mut bundle) = Bundle::new() else { return };
    let fake = bundle.rootfs().join("proc/self");
    fs::create_dir_all(&fake).unwrap();
    fs::write(fake.join("oom_score_adj"), "untouched").unwrap();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/proc");
    bundle.set("/process/oomScoreAdj", json!(777)).args(&["/bin/sleep", "1000"]);
    bundle.start_detached();
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", bundle.pid())).unwrap();
    assert_eq!(score.trim(), "777");
    assert_eq!(fs::read_to_string(fake.join("oom_score_adj")).unwrap(), "untouched");
}

#[test]
fn parameters_of_the_host_are_not_set() {
    let Some(mut bundle) = Bundle::new() else { return };
    let file = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(file).unwrap();
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4.../../../kernel/core_pattern",
        "net.ipv4/../../kernel/core_pattern",
        "fs/mqueue/../../kernel/core_pattern",
        "../sysrq-trigger",
        "/kernel/core_pattern",
        "kernel.core_pattern\u{0}",
    ] {
        bundle.set("/linux/sysctl", json!({ name: "|/evil" }));
        assert!(bundle.refusal().contains("linux.sysctl"), "{name}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), before);
}

#[test]
fn a_masked_path_is_masked_by_the_real_null_device() {
    let Some(mut bundle) = Bundle::new() else { return };
    // CVE-2025-31133: the container's own /dev/null is something else.
    bundle.push(
        "/linux/devices",
        json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 5 }),
    );
    fs::write(bundle.rootfs().join("secret"), "secret").unwrap();
    bundle.push("/linux/maskedPaths", json!("/secret"));
    bundle.script("stat -c '%t:%T' /secret; wc -c </secret");
    assert_eq!(bundle.output(), "1:3\n0\n");
}

#[test]
fn a_terminal_is_taken_from_a_real_devpts_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    // CVE-2025-52565: /dev/pts/ptmx or /dev/console lead elsewhere.
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    fs::create_dir_all(bundle.rootfs().join("dev/pts")).unwrap();
    symlink("/etc/passwd", bundle.rootfs().join("dev/pts/ptmx")).unwrap();
    bundle.set("/process/terminal", json!(true));
    let message = bundle.refusal();
    assert!(message.contains("open a terminal"), "{message}");
}

#[test]
fn the_process_is_not_dumpable_before_it_is_the_program() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    bundle.args(&["/bin/sleep", "1000"]).write();
    bundle.must(&["create", &bundle.id]);
    let owner = || {
        let pid = bundle.pid();
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}/environ")).unwrap())
    };
    // The files of a process that is not dumpable belong to root, whoever its user is.
    assert_eq!(owner(), 0);
    bundle.must(&["start", &bundle.id]);
    assert_eq!(owner(), 1000);
}
