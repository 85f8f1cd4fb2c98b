//! Attacks that have worked on others, tried here.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Bundle, json, text};

#[test]
fn the_runtimes_own_file_cannot_be_written_from_a_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    // CVE-2019-5736: the runtime executes `/proc/self/exe`, and that is itself.
    fs::write(bundle.rootfs().join("bin/evil"), "#!/proc/self/exe\n").unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(bundle.rootfs().join("bin/evil"), mode).unwrap();
    let before = fs::read(common::RUNTIME).unwrap();
    bundle.script(
        "i=0; while [ $i -lt 3000 ]; do for p in /proc/[0-9]*; do \
         l=$(readlink $p/exe 2>/dev/null); case $l in *busybox) ;; ?*) \
         echo seen >/tmp/seen; (echo overwritten >$p/exe) 2>/dev/null && echo WRITTEN >/tmp/written;; \
         esac; done; i=$((i+1)); [ -e /tmp/stop ] && exit; done",
    );
    bundle.set("/root/readonly", json!(false)).set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"],
            "permitted": ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"],
            "effective": ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"],
        }),
    );
    bundle.start_detached();
    for _ in 0..20 {
        let _ = bundle.exec(&["/bin/evil"]);
        let _ = bundle.exec(&["/bin/true"]);
    }
    fs::write(bundle.rootfs().join("tmp/stop"), "").unwrap();
    assert!(!bundle.rootfs().join("tmp/written").exists());
    assert_eq!(fs::read(common::RUNTIME).unwrap(), before);
}

#[test]
fn no_descriptor_of_the_host_leads_out() {
    let Some(mut bundle) = Bundle::new() else { return };
    // CVE-2024-21626: a working directory that is a leaked descriptor.
    for number in 3..20 {
        bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        bundle.script("ls -a ../../../../../../..");
        let output = bundle.run();
        let printed = text(&output.stdout);
        assert!(!printed.contains("usr"), "{number}: {printed}");
    }
    bundle.set("/process/cwd", json!("/"));
    bundle.script("ls /proc/self/fd | wc -l");
    assert_eq!(bundle.output(), "4\n");
    bundle.start_detached();
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.must(&["delete", "--force", &bundle.id]);
    bundle.start_detached();
    for number in 3..20 {
        let output = bundle.call(&[
            "exec",
            "--cwd",
            &format!("/proc/self/fd/{number}"),
            &bundle.id,
            "/bin/ls",
            "../../../..",
        ]);
        assert!(!text(&output.stdout).contains("usr"), "{number}: {output:?}");
    }
}

#[test]
fn links_swapped_while_mounting_lead_nowhere() {
    let Some(mut bundle) = Bundle::new() else { return };
    // CVE-2021-30465: a volume in which another container swaps a directory for a link.
    let volume = bundle.path().join("volume");
    fs::create_dir_all(volume.join("real")).unwrap();
    let victim = bundle.path().join("victim");
    fs::create_dir(&victim).unwrap();
    bundle.mount("/volume", "bind", volume.to_str().unwrap(), &["rbind"]);
    bundle.mount("/volume/real/deep", "tmpfs", "tmpfs", &[]);
    bundle.set("/root/readonly", json!(false));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(volume.join("real"), volume.join("aside"));
                let _ = symlink(&victim, volume.join("real"));
                let _ = fs::remove_file(volume.join("real"));
                let _ = fs::rename(volume.join("aside"), volume.join("real"));
            }
        });
        for _ in 0..60 {
            let _ = bundle.run();
            assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

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
fn a_hostile_configuration_is_an_error() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.write();
    let path = bundle.path().join("config.json");
    let deep = format!("{{\"ociVersion\":\"1.0.2\",\"vm\":{}", "[".repeat(1 << 20));
    let large = format!("{{\"ociVersion\":\"{}\"}}", "1".repeat(17 << 20));
    for content in [deep.as_bytes(), large.as_bytes(), b"\xff\xfe", b""] {
        fs::write(&path, content).unwrap();
        let output = bundle.call(&["run", &bundle.id]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        bundle.assert_nothing_left();
    }
    fs::remove_file(&path).unwrap();
    for (pointer, value) in [
        ("/process/args", json!(["/bin/true\u{0}"])),
        ("/process/env", json!(["A\u{0}=b"])),
        ("/process/cwd", json!("/\u{0}")),
        ("/root/path", json!("rootfs\u{0}")),
        ("/linux/maskedPaths", json!(["relative"])),
        ("/linux/cgroupsPath", json!("/../../..")),
        ("/hostname", json!("x".repeat(65))),
    ] {
        let before = bundle.spec.clone();
        bundle.set(pointer, value);
        assert!(!bundle.refusal().is_empty(), "{pointer}");
        bundle.spec = before;
    }
    for id in ["../escape", "/absolute", "", ".", "a/b", "a b"] {
        assert!(!bundle.call(&["run", id]).status.success(), "{id}");
    }
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
