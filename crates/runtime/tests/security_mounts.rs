//! CVE-2021-30465, CVE-2026-41579, CVE-2026-47766: places in the container's root that links lead
//! away from, while the root is put together.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Bundle, json, text};

/// A directory of the host that an attack wants to reach, with what may be lost in it.
struct Victim(PathBuf);

impl Victim {
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.path().join("victim");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("ptmx"), "precious").unwrap();
        fs::write(path.join("console"), "precious").unwrap();
        Self(path)
    }

    fn assert_untouched(&self) {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["console", "ptmx"]);
        for name in names {
            assert_eq!(fs::read_to_string(self.0.join(name)).unwrap(), "precious");
        }
    }

    /// The ways in which a link of the container's can speak of it.
    fn ways(&self, from: &Path) -> [PathBuf; 2] {
        let up = "../".repeat(from.components().count() + 4);
        [self.0.clone(), Path::new(&format!("{up}{}", self.0.display())).to_owned()]
    }
}

#[test]
fn a_container_that_swaps_links_in_a_shared_volume_redirects_no_mount() {
    let (Some(mut attacker), Some(mut bundle)) = (Bundle::new(), Bundle::new()) else { return };
    let victim = Victim::new(&bundle);
    let volume = bundle.path().join("volume");
    fs::create_dir_all(volume.join("real")).unwrap();
    let source = volume.to_str().unwrap().to_owned();
    // The attacker's only right is to write to the volume, from a container of its own.
    let [absolute, relative] = victim.ways(&volume);
    let (absolute, relative) = (absolute.display(), relative.display());
    attacker.mount("/volume", "bind", &source, &["rbind", "rw"]);
    attacker.script(&format!(
        "cd /volume; exec 2>/dev/null; while [ ! -e stop ]; do \
         rm -rf real; ln -s {absolute} real; rm -rf real; ln -s {relative} real; rm -rf real; \
         mkdir -p real/deep; echo x >>turns; done"
    ));
    attacker.start_detached();
    let turns = || fs::metadata(volume.join("turns")).map_or(0, |found| found.len());
    common::eventually("the attacker swaps", || turns() > 2);
    bundle.mount("/volume", "bind", &source, &["rbind", "rw"]);
    bundle.mount("/volume/real/deep/tmpfs", "tmpfs", "tmpfs", &[]);
    bundle.mount("/volume/real/deep/bind", "bind", "/tmp", &["rbind"]);
    bundle.mount("/volume/real/file", "bind", "/etc/hostname", &["bind"]);
    bundle.push("/linux/maskedPaths", json!("/volume/real/deep"));
    bundle.push("/linux/readonlyPaths", json!("/volume/real"));
    bundle.set("/root/readonly", json!(false)).args(&["/bin/true"]);
    let (mut ran, mut failed) = (0, 0);
    let (begin, first) = (Instant::now(), turns());
    while ran + failed < 40 && begin.elapsed() < Duration::from_mins(1) {
        if bundle.run().status.success() {
            ran += 1;
        } else {
            failed += 1;
        }
        victim.assert_untouched();
    }
    assert!(turns() > first, "nothing was swapped meanwhile ({ran} ran, {failed} failed)");
    fs::write(volume.join("stop"), "").unwrap();
    attacker.must(&["delete", "--force", &attacker.id]);
}

#[test]
fn a_link_in_the_place_of_dev_is_refused_and_leads_nowhere() {
    let Some(mut bundle) = Bundle::new() else { return };
    let victim = Victim::new(&bundle);
    let dev = bundle.rootfs().join("dev");
    let with_mounts = bundle.spec["mounts"].clone();
    for way in victim.ways(&dev) {
        fs::remove_dir(&dev).or_else(|_| fs::remove_file(&dev)).unwrap();
        symlink(&way, &dev).unwrap();
        for own_dev in [true, false] {
            bundle.spec["mounts"] = with_mounts.clone();
            if !own_dev {
                let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
                mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
            }
            for terminal in [false, true] {
                bundle.set("/process/terminal", json!(terminal));
                let message = bundle.refusal();
                assert!(message.contains("/dev"), "{message}");
                victim.assert_untouched();
            }
        }
    }
}

#[test]
fn links_below_dev_lead_no_device_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let victim = Victim::new(&bundle);
    let dev = bundle.rootfs().join("dev");
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    for way in victim.ways(&dev) {
        for name in ["net", "null", "ptmx", "console", "fd"] {
            let _ = fs::remove_file(dev.join(name));
            symlink(way.join(name), dev.join(name)).unwrap();
        }
        bundle.spec["linux"]["devices"] =
            json!([{ "path": "/dev/net/../net/tun", "type": "c", "major": 10, "minor": 200 }]);
        // A link where a node belongs is told of; what it leads to is not made.
        assert!(bundle.refusal().contains("/dev/null"));
        victim.assert_untouched();
        fs::remove_file(dev.join("null")).unwrap();
        let _ = bundle.run();
        victim.assert_untouched();
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            let _ = fs::remove_file(dev.join(name));
        }
    }
}

#[test]
fn a_console_is_not_put_over_what_a_link_leads_to() {
    let Some(mut bundle) = Bundle::new() else { return };
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| m["destination"] != "/dev");
    // CVE-2025-52565: the terminal would lie over a file that is protected later.
    symlink("/proc/sysrq-trigger", bundle.rootfs().join("dev/console")).unwrap();
    fs::create_dir(bundle.rootfs().join("dev/pts")).unwrap();
    bundle.set("/process/terminal", json!(true));
    let message = bundle.refusal();
    assert!(message.contains("/dev/console"), "{message}");
}

#[test]
fn mount_points_of_an_image_that_are_links_stay_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let victim = Victim::new(&bundle);
    for (name, way) in ["a", "b"].iter().zip(victim.ways(&bundle.rootfs())) {
        symlink(way, bundle.rootfs().join(name)).unwrap();
        bundle.mount(&format!("/{name}/made/deep"), "tmpfs", "tmpfs", &[]);
        bundle.mount(&format!("/{name}/file"), "bind", "/etc/hostname", &["bind"]);
        bundle.push("/linux/maskedPaths", json!(format!("/{name}/ptmx")));
        bundle.push("/linux/readonlyPaths", json!(format!("/{name}")));
    }
    let inside = format!("{}/made/deep", victim.0.display());
    bundle.script(&format!("grep -c ' {inside} ' /proc/self/mountinfo"));
    let output = bundle.run();
    let count: u32 = text(&output.stdout).trim().parse().unwrap_or_default();
    assert!(count >= 2, "{output:?}");
    victim.assert_untouched();
}

#[test]
fn procfs_and_sysfs_go_on_directories_only() {
    let Some(bundle) = Bundle::new() else { return };
    for name in ["proc", "sys"] {
        let path = bundle.rootfs().join(name);
        fs::remove_dir(&path).unwrap();
        symlink("/tmp", &path).unwrap();
        let message = bundle.refusal();
        assert!(message.contains(&format!("/{name}")), "{message}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }
}
