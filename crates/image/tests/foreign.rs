//! Other people's tools: what berth writes they read, and what they write berth reads.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use berth_image::bundle::{Overrides, write_bundle};
use berth_image::{LoadOptions, Silent, Source, Store};
use serde_json::json;
use support::{Archive, Entry, Layout, Packing, Place, has, is_root, look, run};

/// Two layers with all that umoci handles.
fn layers() -> Vec<(Vec<u8>, Packing)> {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let below = Archive::new()
        .entry(&Entry { mode: 0o755, ..Entry::new("./", b'5') })
        .directory("bin")
        .directory("gone")
        .directory("opaque")
        .directory("opaque/sub")
        .directory("keep")
        .directory("links")
        .entry(&Entry { mode: 0o1777, ..Entry::new("sticky", b'5') })
        .entry(&Entry { mode: 0o750, uid: 1234, gid: 4321, ..Entry::new("own", b'5') })
        .entry(&Entry { mode: 0o4755, data: b"x", ..Entry::new("bin/suid", b'0') })
        .file("gone/file", "1")
        .file("opaque/old", "1")
        .file("opaque/sub/old", "1")
        .file("keep/f", "keep")
        .file("links/first", "hard")
        .hard_link("links/second", "links/first")
        .symlink("links/up", "../keep/f")
        .symlink("links/abs", "/keep/f")
        .entry(&Entry { device: (1, 3), mode: 0o666, ..Entry::new("null", b'3') })
        .entry(&Entry { device: (7, 99), mode: 0o660, ..Entry::new("block", b'4') })
        .entry(&Entry { mode: 0o600, ..Entry::new("fifo", b'6') })
        .entry(&Entry {
            pax: vec![
                ("SCHILY.xattr.user.k", b"v"),
                ("SCHILY.xattr.security.capability", capability),
                ("mtime", b"1700000000.123456789"),
            ],
            data: b"x",
            ..Entry::new("attributes", b'0')
        })
        .file(&format!("keep/{}", "n".repeat(255)), "long name")
        .file("swap", "becomes a directory")
        .finish();
    let above = Archive::new()
        .file(".wh.gone", "")
        .directory("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "2")
        .directory("swap")
        .file("swap/in", "x")
        .file("keep/new", "below a directory that is only passed through")
        .hard_link("third", "links/second")
        .finish();
    vec![(below, Packing::Gzip), (above, Packing::Plain)]
}

fn layout(place: &Place, name: &str) -> Layout {
    let mut layout = place.layout(name);
    layout.image("latest", &layers(), json!({"Cmd": ["true"], "Env": ["A=1"]}));
    layout
}

fn load(store: &Store, path: &Path) {
    store.load(Source::Path(path), &LoadOptions::default(), &Silent).unwrap();
}

#[test]
fn umoci_unpacks_the_same_tree_from_the_store() {
    if !is_root() || !has("umoci") {
        return;
    }
    let place = Place::new();
    load(&place.store, &layout(&place, "app").path);
    let images = place.store.images_path();
    let theirs = place.path("umoci");
    let image = format!("{}:localhost/app:latest", images.display());
    run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&theirs));
    let ours = place.tree(&place.store.resolve("app").unwrap());
    let (ours, theirs) = (look(&ours), look(&theirs.join("rootfs")));
    let names = |tree: &std::collections::BTreeMap<_, _>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (path, look) in &ours {
        assert_eq!(look, &theirs[path], "{}", path.display());
    }
}

#[test]
fn overlay_shows_the_tree_that_copying_makes() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    load(&place.store, &layout(&place, "app").path);
    let image = place.store.resolve("app").unwrap();
    let layers = place.store.unpack(&image, &Silent).unwrap();
    let lower: Vec<&str> = layers.iter().map(|path| path.to_str().unwrap()).collect();
    let merged = place.path("merged");
    fs::create_dir(&merged).unwrap();
    let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    let flags = rustix::mount::MountFlags::RDONLY;
    if let Err(error) =
        rustix::mount::mount("overlay", &merged, "overlay", flags, Some(options.as_c_str()))
    {
        support::skip(&format!("overlay cannot be mounted: {error}"));
        return;
    }
    let shown = std::panic::catch_unwind(|| look(&merged));
    rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(look(&place.tree(&image)), shown.unwrap());
}

#[test]
fn skopeo_reads_the_store_and_its_copies_are_loaded() {
    if !has("skopeo") {
        return;
    }
    let place = Place::new();
    load(&place.store, &layout(&place, "app").path);
    let image = place.store.resolve("app").unwrap();
    let ours = format!("oci:{}:localhost/app:latest", place.store.images_path().display());
    let skopeo = || {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "--override-arch", "amd64"]);
        skopeo
    };
    let inspected = run(skopeo().args(["inspect", &ours]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], image.manifest_digest.to_string());
    let tree = look(&place.tree(&image));
    for (index, (transport, end)) in [
        ("oci-archive", ":localhost/copied:1"),
        ("docker-archive", ":localhost/copied:1"),
        ("oci", ":localhost/copied:1"),
    ]
    .into_iter()
    .enumerate()
    {
        let copy = place.path(&format!("copy-{index}"));
        run(skopeo().args(["copy", &ours]).arg(format!("{transport}:{}{end}", copy.display())));
        let store = Store::open(&place.path(&format!("store-{index}"))).unwrap();
        load(&store, &copy);
        let copied = store.resolve("copied:1").unwrap();
        assert_eq!(copied.config.rootfs.diff_ids, image.config.rootfs.diff_ids, "{transport}");
        let bundle = place.path(&format!("bundle-{index}"));
        write_bundle(&store, &copied, &bundle, &Overrides::default(), &Silent).unwrap();
        assert_eq!(look(&bundle.join("rootfs")), tree, "{transport}");
    }
    // Written by skopeo into the store itself.
    let into = format!("oci:{}:localhost/direct:2", place.store.images_path().display());
    run(skopeo().args(["copy", &ours, &into]));
    let direct = place.store.resolve("localhost/direct:2").unwrap();
    assert_eq!(direct.id, image.id);
    assert!(place.store.images().unwrap().iter().any(|row| row.names.len() == 2));
}

#[test]
fn images_of_buildah_are_loaded() {
    if !is_root() || !has("buildah") {
        return;
    }
    let place = Place::new();
    let file = place.path("Containerfile");
    fs::write(place.path("hello"), "hello").unwrap();
    fs::write(
        &file,
        "FROM scratch\nCOPY hello /a/hello\nENV X=1\nLABEL l=v\nCOPY hello /b\nCMD [\"/b\"]\n",
    )
    .unwrap();
    let buildah = || {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(place.path("b-root")).arg("--runroot").arg(place.path("b-run"));
        buildah.args(["--storage-driver", "vfs"]);
        buildah
    };
    run(buildah()
        .args(["build", "--layers", "--isolation", "chroot", "-t", "localhost/built:1", "-f"])
        .arg(&file)
        .arg(place.directory.path()));
    for (transport, format) in
        [("oci-archive", "oci"), ("docker-archive", "docker"), ("oci", "oci")]
    {
        let copy = place.path(&format!("built-{transport}"));
        let target = format!("{transport}:{}:localhost/built:1", copy.display());
        run(buildah()
            .args(["push", "--format"])
            .arg(match format {
                "docker" => "v2s2",
                other => other,
            })
            .args(["localhost/built:1", &target]));
        let store = Store::open(&place.path(&format!("store-{transport}"))).unwrap();
        load(&store, &copy);
        let image = store.resolve("built:1").unwrap();
        assert_eq!(image.execution().cmd, ["/b"]);
        assert_eq!(image.execution().labels.get("l").map(String::as_str), Some("v"));
        let bundle = place.path(&format!("bundle-{transport}"));
        write_bundle(&store, &image, &bundle, &Overrides::default(), &Silent).unwrap();
        assert_eq!(fs::read_to_string(bundle.join("rootfs/a/hello")).unwrap(), "hello");
    }
}

/// An image with Debian's static busybox, if that is there.
fn busybox(place: &Place) -> bool {
    let Ok(program) = fs::read("/bin/busybox") else {
        support::skip("/bin/busybox is not installed");
        return false;
    };
    let layer = Archive::new()
        .directory("data")
        .file("data/seed", "seeded")
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .file("etc/group", "root:x:0:\napp:x:1000:\nextra:x:2000:app\n")
        .entry(&Entry { mode: 0o755, data: &program, ..Entry::new("bin/busybox", b'0') })
        .symlink("bin/sh", "busybox")
        .finish();
    let mut layout = place.layout("busybox");
    layout.image(
        "latest",
        &[(layer, Packing::Gzip)],
        json!({
            "Entrypoint": ["sh", "-c"],
            "Cmd": ["busybox id; busybox pwd; busybox env; busybox cat /data/seed && busybox touch /data/new; busybox hostname"],
            "Env": ["PATH=/bin", "GREETING=hello"], "User": "app", "WorkingDir": "/etc",
            "Volumes": {"/data": {}},
        }),
    );
    load(&place.store, &layout.path);
    true
}

/// A runtime in mounts of its own, where a half-used cgroup v2 beside v1, which crun refuses, looks
/// unused.
fn in_own_mounts(runtime: &str) -> Command {
    let script = "controllers=/sys/fs/cgroup/unified/cgroup.controllers; \
                  if [ -e $controllers ]; then mount --bind /dev/null $controllers; fi; \
                  exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, runtime]);
    command
}

#[test]
fn runtimes_run_a_bundle_as_it_is() {
    if !is_root() {
        return;
    }
    for runtime in ["runc", "crun"] {
        if !has(runtime) {
            continue;
        }
        let place = Place::new();
        if !busybox(&place) {
            return;
        }
        let image = place.store.resolve("busybox").unwrap();
        let bundle = place.path("bundle");
        write_bundle(&place.store, &image, &bundle, &Overrides::default(), &Silent).unwrap();
        let id = format!("berth-image-test-{}-{runtime}", std::process::id());
        let state = place.path("state");
        let output = in_own_mounts(runtime)
            .arg("--root")
            .arg(&state)
            .args(["run", "--bundle"])
            .arg(&bundle)
            .arg(&id)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{runtime}: {text}{error}");
        assert!(
            text.contains("uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"),
            "{text}"
        );
        for line in ["/etc", "GREETING=hello", "HOME=/home/app", "seeded"] {
            assert!(text.contains(line), "{runtime}: no `{line}` in {text}");
        }
    }
}
