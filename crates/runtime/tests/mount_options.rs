//! Mounts on mounts, options beyond the common ones, ids and propagation (config.md, "Mounts").

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Bundle, json, text};

fn writable() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    bundle.set("/root/readonly", json!(false));
    Some(bundle)
}

#[test]
fn a_mount_is_mounted_again_with_other_options() {
    let Some(mut bundle) = writable() else { return };
    bundle.mount("/x", "tmpfs", "tmpfs", &["size=64k", "nosuid", "mode=700"]);
    bundle.mount("/x", "tmpfs", "tmpfs", &["remount", "ro", "size=128k"]);
    bundle.mount("/y", "bind", "/etc", &["bind", "nosuid"]);
    bundle.mount("/y", "none", "", &["bind", "remount", "ro", "noexec"]);
    bundle.script("grep -E ' /(x|y) ' /proc/mounts | cut -d' ' -f2,4; touch /x/file");
    let output = bundle.run();
    let printed = text(&output.stdout);
    let (x, y) = printed.trim().split_once('\n').unwrap();
    for word in ["ro", "nosuid", "size=128k", "mode=700"] {
        assert!(x.contains(word), "{word}: {printed}");
    }
    assert!(y.contains("ro,nosuid,noexec"), "{printed}");
    assert!(text(&output.stderr).contains("Read-only"), "{output:?}");
    bundle.mount("/tmp", "tmpfs", "", &["bind", "remount", "ro"]);
    assert!(bundle.refusal().contains("mount options of /tmp"));
}

#[test]
fn what_an_earlier_mount_provides_can_be_bound() {
    let Some(mut bundle) = writable() else { return };
    let outside = bundle.path().join("outside");
    fs::create_dir_all(outside.join("below")).unwrap();
    fs::write(outside.join("below/file"), "content").unwrap();
    fs::write(bundle.rootfs().join("etc/own"), "the container's").unwrap();
    // A link that would lead to the host's.
    symlink("/etc", bundle.rootfs().join("link")).unwrap();
    bundle.mount("/data", "bind", "outside", &["bind"]);
    bundle.mount("/again", "bind", "rootfs/data/below", &["rbind", "ro"]);
    let absolute = bundle.rootfs().join("link/own");
    bundle.mount("/own", "bind", absolute.to_str().unwrap(), &["bind"]);
    bundle.script("cat /again/file /own");
    for path in ["data", "again"] {
        fs::create_dir(bundle.rootfs().join(path)).unwrap();
    }
    fs::write(bundle.rootfs().join("own"), "").unwrap();
    assert_eq!(bundle.output(), "contentthe container's");
    bundle.user_namespace();
    assert_eq!(bundle.output(), "contentthe container's");
    bundle.mount("/again", "bind", "rootfs/nosuch", &["bind"]);
    assert!(bundle.refusal().contains("open the bind mount's source /nosuch"));
}

#[test]
fn a_read_only_dev_is_filled_before_it_is_closed() {
    let Some(mut bundle) = writable() else { return };
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
    dev["options"].as_array_mut().unwrap().push(json!("ro"));
    bundle.mount("/parent", "tmpfs", "tmpfs", &["ro"]);
    bundle.mount("parent/child", "tmpfs", "tmpfs", &["mode=711"]);
    bundle.script(
        "echo hi >/dev/null; ls -d /dev/pts/ptmx /dev/shm /dev/fd; touch /parent/child/x; \
         stat -c %a /parent/child; touch /dev/x; touch /parent/x",
    );
    let output = bundle.run();
    let wanted = "/dev/fd\n/dev/pts/ptmx\n/dev/shm\n711\n";
    assert_eq!(text(&output.stdout), wanted, "{output:?}");
    assert_eq!(text(&output.stderr).matches("Read-only").count(), 2, "{output:?}");
}

#[test]
fn options_that_the_newer_call_does_not_take_go_by_the_older() {
    let Some(mut bundle) = writable() else { return };
    let mut lower = Vec::new();
    for letter in ["a", "b"] {
        let directory = bundle.path().join(letter.repeat(200));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(letter), letter).unwrap();
        lower.push(directory.to_str().unwrap().to_owned());
    }
    let option = format!("lowerdir={}", lower.join(":"));
    bundle.mount("/both", "overlay", "overlay", &[&option, "nosuid", "nodev", "rprivate"]);
    bundle.mount("/counted", "tmpfs", "tmpfs", &["iversion", "size=64k", "nodev"]);
    bundle.script("cat /both/a /both/b; echo; grep -E '/(both|counted) ' /proc/mounts");
    let printed = bundle.output();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "ab");
    assert!(lines[1].starts_with("overlay /both overlay ro,nosuid,nodev"), "{printed}");
    assert!(lines[2].contains("nodev") && lines[2].contains("size=64k"), "{printed}");
}

#[test]
fn ids_are_mapped_by_the_joined_namespace_in_trees_and_in_new_file_systems() {
    let Some(mut bundle) = writable() else { return };
    let outside = bundle.path().join("outside");
    fs::create_dir_all(outside.join("below")).unwrap();
    fs::write(outside.join("file"), "").unwrap();
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let source = outside.to_str().unwrap().to_owned();
    for (destination, option) in [("/one", "idmap"), ("/all", "ridmap")] {
        bundle.push(
            "/mounts",
            json!({ "destination": destination, "type": "bind", "source": source,
                    "options": ["rbind", option], "uidMappings": map, "gidMappings": map }),
        );
    }
    bundle.script("stat -c '%u:%g' /one/file /one/below/file /all/file /all/below/file");
    let script = "mount -t tmpfs below outside/below; touch outside/below/file; berth run $ID";
    let Some(output) = bundle.shell(&["--mount"], script) else { return };
    assert_eq!(text(&output.stdout), "1000:1000\n0:0\n1000:1000\n1000:1000\n", "{output:?}");

    let Some(mut bundle) = writable() else { return };
    bundle.push(
        "/mounts",
        json!({ "destination": "/new", "type": "tmpfs", "source": "tmpfs", "options": [],
                "uidMappings": map, "gidMappings": map }),
    );
    bundle.script("stat -c '%u:%g' /new");
    let output = bundle.run();
    if text(&output.stderr).contains("map the ids of /new") {
        eprintln!("SKIPPED: this kernel maps no ids of a tmpfs");
    } else {
        assert_eq!(text(&output.stdout), "1000:1000\n", "{output:?}");
    }

    let Some(mut first) = Bundle::new() else { return };
    first.user_namespace().args(&["/bin/sleep", "1000"]).start_detached();
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.rootfs().join("mnt")).unwrap();
    bundle.mount("/mnt", "bind", &source, &["bind", "idmap"]);
    bundle.script("stat -c '%u:%g' /mnt/file");
    assert!(bundle.refusal().contains("idmap needs"));
    for (kind, file) in [("user", "user"), ("pid", "pid"), ("network", "net")] {
        bundle.namespace(kind, Some(&format!("/proc/{}/ns/{file}", first.pid())));
    }
    assert_eq!(bundle.output(), "0:0\n");
}

#[test]
fn what_the_host_mounts_later_is_seen_by_a_slave_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.rootfs().join("mnt")).unwrap();
    bundle.args(&["/bin/sleep", "1000"]);
    let script = "mount --bind . .; mount --make-shared .; cd \"$PWD\"; \
        berth run --detach $ID; mount -t tmpfs later rootfs/mnt; touch rootfs/mnt/seen; \
        berth exec $ID ls /mnt; berth exec $ID mount -t tmpfs inner /tmp 2>/dev/null || true; \
        berth delete --force $ID >/dev/null; umount rootfs/mnt; ls rootfs/tmp";
    for (word, seen) in [
        ("slave", "seen\n"),
        ("rslave", "seen\n"),
        ("private", ""),
        ("rprivate", ""),
        ("shared", ""),
        ("unbindable", ""),
    ] {
        bundle.set("/linux/rootfsPropagation", json!(word));
        let Some(output) = bundle.shell(&["--mount"], script) else { return };
        assert_eq!(text(&output.stdout), seen, "{word}: {output:?}");
    }
}

#[test]
fn a_device_that_cannot_be_made_is_the_hosts() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !common::has("strace") {
        eprintln!("SKIPPED: strace is not installed");
        return;
    }
    bundle.script(
        "stat -c '%F %t:%T' /dev/null /dev/zero; echo >/dev/null; grep -c /dev/null /proc/mounts",
    );
    bundle.write();
    let output = std::process::Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=mknodat", "-e", "inject=mknodat:error=EPERM"])
        .args([common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    let device = "character special file";
    assert_eq!(text(&output.stdout), format!("{device} 1:3\n{device} 1:5\n1\n"), "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn in_a_dev_of_the_host_nothing_is_made_but_elsewhere_it_is() {
    let Some(mut bundle) = writable() else { return };
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    let dev = bundle.path().join("hosts");
    fs::create_dir(&dev).unwrap();
    bundle.mount("/dev", "bind", dev.to_str().unwrap(), &["bind"]);
    let device = |path: &str| json!({ "path": path, "type": "c", "major": 1, "minor": 3 });
    bundle.push("/linux/devices", device("/dev/mine")).push("/linux/devices", device("/x/mine"));
    bundle.set("/linux/maskedPaths", json!([]));
    bundle.script("ls /dev | wc -l; stat -c '%F %t:%T' /x/mine");
    assert_eq!(bundle.output(), "0\ncharacter special file 1:3\n");
    assert_eq!(fs::read_dir(&dev).unwrap().count(), 0);
}

#[test]
fn values_for_a_file_system_are_passed_over_on_a_bind_mount() {
    let Some(mut bundle) = Bundle::new() else { return };
    let source = bundle.path().join("source");
    std::fs::create_dir(&source).unwrap();
    bundle.mount("/x", "bind", source.to_str().unwrap(), &["bind", "ro", "mode=755", "size=1k"]);
    bundle.script("grep ' /x ' /proc/mounts | cut -d' ' -f4");
    let printed = bundle.output();
    assert!(printed.starts_with("ro,") && !printed.contains("size=1k"), "{printed}");
    // A word that is nothing is a mistake.
    bundle.mount("/y", "bind", source.to_str().unwrap(), &["bind", "nosuids"]);
    assert!(bundle.refusal().contains("nosuids"));
}
