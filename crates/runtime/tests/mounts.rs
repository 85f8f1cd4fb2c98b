//! What the container sees of file systems (config.md, "Mounts"; config-linux.md).

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use common::{Bundle, json, text};

#[test]
fn a_new_root_is_all_there_is() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ls / | tr '\\n' ' '; mount | wc -l; mount | head -n 1 | cut -d' ' -f3,6");
    bundle.args(&["/bin/sh", "-c", "ls /; mount | head -n 1 | cut -d' ' -f3,6 | cut -c1-5"]);
    assert_eq!(bundle.output(), "bin\ndev\netc\nhome\nproc\nsys\ntmp\n/ (ro\n");
    bundle.script("touch /file && ls /file").set("/root/readonly", json!(false));
    assert_eq!(bundle.output(), "/file\n");
}

#[test]
fn bind_mounts_take_every_attribute() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = bundle.path().join("outside");
    fs::create_dir_all(outside.join("below")).unwrap();
    fs::write(outside.join("file"), "content").unwrap();
    let source = outside.to_str().unwrap().to_owned();
    bundle.mount(
        "/mnt/a",
        "bind",
        &source,
        &["rbind", "ro", "nosuid", "nodev", "noexec", "noatime"],
    );
    bundle.mount("/mnt/b", "none", "outside", &["bind", "rw", "nosymfollow"]);
    bundle.mount("/mnt/f", "", "outside/file", &["bind", "ro"]);
    bundle.set("/root/readonly", json!(false));
    bundle.script(
        "mount | grep ' /mnt/' | while read a on d t y o; do \
         for w in ro nosuid nodev noexec noatime nosymfollow; do \
         case $o in *$w*) echo -n $d:$w' ';; esac; done; done; echo; \
         cat /mnt/a/file /mnt/f; echo x >/mnt/a/file; echo y >/mnt/b/new",
    );
    let output = bundle.run();
    let printed = text(&output.stdout);
    let first = printed.lines().next().unwrap();
    assert_eq!(
        first.trim(),
        "/mnt/a:ro /mnt/a:nosuid /mnt/a:nodev /mnt/a:noexec /mnt/a:noatime \
         /mnt/b:nosymfollow /mnt/f:ro"
    );
    assert!(printed.contains("contentcontent"), "{printed}");
    assert!(text(&output.stderr).contains("Read-only"), "{output:?}");
    assert_eq!(fs::read_to_string(outside.join("new")).unwrap(), "y\n");
}

#[test]
fn recursive_attributes_reach_what_is_mounted_below() {
    let Some(mut bundle) = Bundle::new() else { return };
    // /dev of the host has /dev/shm below it.
    bundle.mount("/mnt/one", "bind", "/dev", &["rbind", "ro"]);
    bundle.mount("/mnt/all", "bind", "/dev", &["rbind", "rro"]);
    bundle.set("/root/readonly", json!(false));
    bundle.script(
        "mount | grep -c ' /mnt/one/shm .*(rw'; mount | grep -c ' /mnt/all/shm .*(ro'; \
         mount | grep -c ' /mnt/all .*(ro'",
    );
    let printed = bundle.output();
    assert!(printed.lines().all(|line| line != "0"), "{printed}");
}

#[test]
fn tmpfs_is_made_with_its_options_and_copied_up_if_wanted() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir_all(bundle.rootfs().join("data/sub")).unwrap();
    fs::write(bundle.rootfs().join("data/sub/file"), "copied").unwrap();
    symlink("sub/file", bundle.rootfs().join("data/link")).unwrap();
    fs::set_permissions(bundle.rootfs().join("data"), fs::Permissions::from_mode(0o751)).unwrap();
    bundle.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup", "ro", "size=64k"]);
    bundle.mount("/fresh", "tmpfs", "tmpfs", &["mode=1777", "noexec", "nr_inodes=10"]);
    bundle.set("/root/readonly", json!(false));
    bundle
        .script("cat /data/link; stat -c ' %a' /data; touch /data/x; stat -c %a /fresh; ls /fresh");
    let output = bundle.run();
    assert_eq!(text(&output.stdout), "copied 751\n1777\n");
    assert!(text(&output.stderr).contains("Read-only"));
    // Below the tmpfs nothing has changed.
    assert!(!bundle.rootfs().join("data/x").exists());
}

#[test]
fn a_wrong_option_is_told_with_the_kernels_words() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.mount("/x", "tmpfs", "tmpfs", &["size=nonsense"]);
    let message = bundle.refusal();
    assert!(message.contains("/x") && message.contains("size"), "{message}");
    bundle.spec["mounts"].as_array_mut().unwrap().pop();
    bundle.mount("/x", "nosuchfs", "none", &[]);
    let message = bundle.refusal();
    assert!(message.contains("mount /x") && message.contains("No such device"), "{message}");
}

#[test]
fn links_in_the_image_do_not_lead_out() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.rootfs().join("absolute")).unwrap();
    symlink("../../../../../../../..", bundle.rootfs().join("relative")).unwrap();
    bundle.mount("/absolute/made", "tmpfs", "tmpfs", &[]);
    bundle.mount("/relative/root", "tmpfs", "tmpfs", &[]);
    bundle.set("/root/readonly", json!(false));
    bundle.script("mount | cut -d' ' -f3 | grep -E 'made|/root'");
    let printed = bundle.output();
    assert!(printed.contains("/made") && printed.contains("/root"), "{printed}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!std::path::Path::new("/root/root").exists());
}

#[test]
fn procfs_goes_on_an_ordinary_directory_only() {
    let Some(bundle) = Bundle::new() else { return };
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
    symlink("elsewhere", bundle.rootfs().join("proc")).unwrap();
    let message = bundle.refusal();
    assert!(
        message.contains("must be mounted on ordinary directory, not on a link: /proc"),
        "{message}"
    );
}

#[test]
fn a_link_in_the_place_of_dev_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    symlink("etc", bundle.rootfs().join("dev")).unwrap();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    let message = bundle.refusal();
    assert!(message.contains("/dev"), "{message}");
    assert!(!bundle.rootfs().join("etc/null").exists());
}

#[test]
fn devices_and_links_are_there() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.push(
        "/linux/devices",
        json!({ "path": "/dev/deep/fuse", "type": "c", "major": 10, "minor": 229,
                "fileMode": 0o640, "uid": 7, "gid": 8 }),
    );
    bundle.push("/linux/devices", json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o600 }));
    bundle.script(
        "for f in null zero full random urandom tty deep/fuse pipe; do \
         stat -c '%F %t:%T %a %u:%g' /dev/$f; done; \
         for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; echo hi >/dev/null",
    );
    let device = "character special file";
    assert_eq!(
        bundle.output(),
        format!(
            "{device} 1:3 666 0:0\n{device} 1:5 666 0:0\n{device} 1:7 666 0:0\n\
             {device} 1:8 666 0:0\n{device} 1:9 666 0:0\n{device} 5:0 666 0:0\n\
             {device} a:e5 640 7:8\nfifo 0:0 600 0:0\n\
             /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n"
        )
    );
}

#[test]
fn something_else_in_a_devices_place_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.rootfs().join("dev/null"), "no device").unwrap();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    let message = bundle.refusal();
    assert!(message.contains("/dev/null"), "{message}");
}

#[test]
fn paths_are_masked_and_made_read_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.rootfs().join("secret")).unwrap();
    fs::write(bundle.rootfs().join("secret/file"), "hidden").unwrap();
    fs::write(bundle.rootfs().join("plain"), "hidden").unwrap();
    fs::create_dir(bundle.rootfs().join("fixed")).unwrap();
    for path in ["/secret", "/plain", "/absent", "/bin/sh/below"] {
        bundle.push("/linux/maskedPaths", json!(path));
    }
    bundle.push("/linux/readonlyPaths", json!("/fixed"));
    bundle.set("/root/readonly", json!(false));
    bundle.script("ls /secret; cat /plain; touch /secret/x; touch /fixed/x; touch /free; echo 1 >/proc/sys/kernel/domainname");
    let output = bundle.run();
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr).matches("Read-only file system").count(), 3, "{output:?}");
}

#[test]
fn the_cgroup_mount_shows_the_containers_own() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script(
        "cd /sys/fs/cgroup; if [ -e cgroup.procs ]; then cat cgroup.procs; else \
         cat memory/tasks; cat unified/cgroup.procs; touch memory/x 2>&1; fi | sort | head -n 1",
    );
    bundle.script("f=/sys/fs/cgroup; [ -e $f/cgroup.procs ] || f=$f/memory; grep -c '^1$' $f/cgroup.procs; mkdir $f/x");
    let output = bundle.run();
    assert_eq!(text(&output.stdout), "1\n", "{output:?}");
    assert!(text(&output.stderr).contains("Read-only"));
    bundle.namespace("cgroup", None);
    bundle.script("grep -v ':/$' /proc/self/cgroup; f=/sys/fs/cgroup; [ -e $f/cgroup.procs ] || f=$f/memory; grep -c '^1$' $f/cgroup.procs");
    assert_eq!(bundle.output(), "1\n");
}

#[test]
fn propagation_is_as_the_configuration_says() {
    let Some(mut bundle) = Bundle::new() else { return };
    let optional = "cat /proc/self/mountinfo | while read i p d r m o rest; do \
                    [ $m = / ] && echo $rest | cut -d' ' -f1 | cut -d: -f1; done; true";
    bundle.script(optional);
    for (word, shown) in [("private", "-"), ("shared", "shared"), ("unbindable", "unbindable")] {
        bundle.set("/linux/rootfsPropagation", json!(word));
        assert_eq!(bundle.output().trim(), shown, "{word}");
    }
    bundle.spec["linux"].as_object_mut().unwrap().remove("rootfsPropagation");
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    bundle.mount("/mnt", "bind", outside.to_str().unwrap(), &["rbind", "rshared"]);
    bundle.set("/root/readonly", json!(false));
    bundle.script("grep -c ' /mnt .* shared:' /proc/self/mountinfo");
    assert_eq!(bundle.output(), "1\n");
}

#[test]
fn the_root_can_be_moved_instead_of_pivoted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ls / | wc -l; touch /x");
    bundle.write();
    let output = bundle.call(&["run", "--no-pivot", &bundle.id]);
    assert_eq!(text(&output.stdout), "7\n", "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn ids_of_a_mount_can_be_mapped() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "").unwrap();
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    bundle.push(
        "/mounts",
        json!({ "destination": "/mnt", "type": "bind", "source": outside, "options": ["bind"],
                "uidMappings": map, "gidMappings": map }),
    );
    bundle.set("/root/readonly", json!(false));
    bundle.script("stat -c '%u:%g' /mnt/file");
    assert_eq!(bundle.output(), "1000:1000\n");
    // With a user namespace the container's own mapping does, so that ids look unmapped.
    bundle.spec["mounts"].as_array_mut().unwrap().pop();
    bundle.mount("/mnt", "bind", outside.to_str().unwrap(), &["bind", "idmap"]);
    bundle.user_namespace();
    bundle.set("/root/readonly", json!(true));
    fs::create_dir(bundle.rootfs().join("mnt2")).unwrap();
    assert_eq!(bundle.output(), "0:0\n");
}

#[test]
fn older_kernels_do_with_the_older_calls() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !common::has("strace") {
        eprintln!("SKIPPED: strace is not installed");
        return;
    }
    bundle.mount("/mnt", "bind", "/etc", &["rbind", "ro", "nosuid", "noatime", "rprivate"]);
    fs::create_dir(bundle.rootfs().join("mnt")).unwrap();
    bundle.script("cat /proc/self/mountinfo | cut -d' ' -f4-8; ls /proc/self/fd | wc -l");
    let modern = bundle.output();
    let output = std::process::Command::new("strace")
        // What is not traced is not tampered with either.
        .args(["-f", "-o", "/dev/null", "-e", "trace=mount_setattr,close_range"])
        .args(["-e", "inject=mount_setattr,close_range:error=ENOSYS"])
        .args([common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let strip = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(strip(&common::text(&output.stdout)), strip(&modern), "{output:?}");
    bundle.assert_nothing_left();
}

#[test]
fn a_path_that_is_masked_twice_is_mounted_over_once() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.rootfs().join("secret")).unwrap();
    fs::write(bundle.rootfs().join("plain"), "hidden").unwrap();
    for path in ["/secret", "/plain", "/plain", "//secret/"] {
        bundle.push("/linux/maskedPaths", json!(path));
    }
    bundle.script("grep -c ' /secret ' /proc/mounts; grep -c ' /plain ' /proc/mounts; cat /plain");
    assert_eq!(bundle.output(), "1\n1\n");
}

#[test]
fn a_tmpfs_without_a_directory_below_it_is_open_to_all() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.rootfs().join("there")).unwrap();
    fs::set_permissions(bundle.rootfs().join("there"), fs::Permissions::from_mode(0o710)).unwrap();
    for place in ["/new/place", "/there"] {
        bundle.mount(place, "tmpfs", "tmpfs", &["rw", "nodev"]);
    }
    bundle.mount("/new/own", "tmpfs", "tmpfs", &["mode=700"]);
    bundle.mount("/new/copied", "tmpfs", "tmpfs", &["tmpcopyup"]);
    bundle.script("stat -c %a /new /new/place /there /new/own /new/copied");
    assert_eq!(bundle.output(), "755\n1777\n710\n700\n1777\n");
    // The kernel's own is not an option, and what is below has the mode of any directory.
    let mode = fs::metadata(bundle.rootfs().join("new/place")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

/// A tree of mounts within the container, of which later mounts take parts, named as they are at
/// the host: both their sources and their places.
fn tree_of_mounts(bundle: &mut Bundle, mapped: bool) {
    let outside = bundle.path().join("outside");
    for (place, below) in [("a", "x"), ("b", "y"), ("c", "z")] {
        fs::create_dir_all(outside.join(place).join(below)).unwrap();
        fs::write(outside.join(place).join(below).join("file"), place).unwrap();
        symlink(place, outside.join(format!("link-{place}"))).unwrap();
    }
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
    for place in ["mnt", "end"] {
        fs::create_dir(bundle.rootfs().join(place)).unwrap();
    }
    let outside = outside.display().to_string();
    for (source, place) in
        [("a", "/mnt"), ("link-b", "/mnt/x"), ("c", "/mnt/x/y"), ("link-a", "/mnt/x/y/z")]
    {
        bundle.mount(place, "bind", &format!("{outside}/{source}"), &["bind", "rprivate"]);
    }
    let root = bundle.rootfs().display().to_string();
    for (source, place) in
        [("/mnt/x", "/mnt/x/y/z/x"), ("/mnt/x/y", "/mnt/x/y/z"), ("/mnt", "/end")]
    {
        let (source, place) = (format!("{root}{source}"), format!("{root}{place}"));
        bundle.mount(&place, "bind", &source, &["rbind", "rprivate"]);
        if mapped {
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            let last = bundle.spec["mounts"].as_array().unwrap().len() - 1;
            bundle.set(&format!("/mounts/{last}/uidMappings"), map.clone());
            bundle.set(&format!("/mounts/{last}/gidMappings"), map);
        }
    }
}

#[test]
fn a_mount_takes_what_earlier_ones_have_put_in_the_container() {
    for in_user_namespace in [false, true] {
        let Some(mut bundle) = Bundle::new() else { return };
        if in_user_namespace {
            bundle.user_namespace();
        }
        tree_of_mounts(&mut bundle, false);
        bundle.args(&["/bin/cat", "/end/x/y/z/z/x/y/z/x/file"]);
        assert_eq!(bundle.output(), "a", "{in_user_namespace}");
    }
}

#[test]
fn what_is_taken_from_the_container_can_have_its_ids_mapped() {
    let Some(mut bundle) = Bundle::new() else { return };
    tree_of_mounts(&mut bundle, true);
    bundle.script("cat /end/x/y/z/z/x/y/z/x/file; stat -c ' %u' /end");
    let output = bundle.run();
    if text(&output.stderr).contains("map the ids") {
        eprintln!("SKIPPED: this file system takes no mapping of ids: {output:?}");
        return;
    }
    assert_eq!(text(&output.stdout), "a 100000\n", "{output:?}");
}

#[test]
fn places_behind_dangling_links_are_made_where_the_links_lead() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.path().join("source"), "bound").unwrap();
    symlink("/tmp/some/where", bundle.rootfs().join("jump")).unwrap();
    symlink("/jump/deep/file", bundle.rootfs().join("etc/far")).unwrap();
    symlink("/tmp/file", bundle.rootfs().join("etc/near")).unwrap();
    symlink("/tmp/directory", bundle.rootfs().join("etc/directory")).unwrap();
    bundle.mount("/etc/far", "", "source", &["bind"]);
    bundle.mount("/etc/near", "", "source", &["bind"]);
    bundle.mount("/etc/directory", "tmpfs", "tmpfs", &[]);
    bundle.script(
        "for f in /tmp/some/where/deep/file /tmp/file /tmp/directory; do \
         grep -c \" $f \" /proc/mounts; done; cat /tmp/some/where/deep/file /tmp/file",
    );
    assert_eq!(bundle.output(), "1\n1\n1\nboundbound");
}
