//! A user namespace, where overlay's marks are in the `user` namespace of attributes and devices
//! cannot be made.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::process::Command;
use std::sync::Mutex;

use berth_image::{
    Explain as _, LoadOptions, Overlay, Progress, Silent, SnapshotDriver as _, Source, Store,
};
use berth_spec::rootfs::RootfsMount;
use serde_json::json;
use support::{Archive, Entry, Layout, Packing, Place, look, skip};

const INSIDE: &str = "BERTH_IMAGE_TEST_INSIDE";

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn warned(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// Not a test of its own: what the next one does in the namespace.
#[test]
fn inside_a_user_namespace() {
    let Some(directory) = std::env::var_os(INSIDE) else { return };
    let directory = std::path::Path::new(&directory);
    let below = Archive::new()
        .file("gone", "1")
        .file("opaque/old", "1")
        .file("kept/f", "1")
        .entry(&Entry { device: (1, 3), ..Entry::new("null", b'3') })
        .finish();
    let above = Archive::new()
        .file(".wh.gone", "")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "2")
        .file("kept/g", "2")
        .finish();
    let foreign = Archive::new().entry(&Entry { uid: 77, ..Entry::new("x", b'0') }).finish();
    let mut layout = Layout::new(&directory.join("app"));
    layout.image("latest", &[(below, Packing::Gzip), (above, Packing::Plain)], json!({}));
    layout.image("foreign", &[(foreign, Packing::Plain)], json!({}));
    let store = Store::open(&directory.join("root")).unwrap();
    store.load(Source::Path(&layout.path), &LoadOptions::default(), &Silent).unwrap();
    let image = store.resolve("app").unwrap();
    let warnings = Warnings::default();
    let layers = store.unpack(&image, &warnings).unwrap();
    assert_eq!(warnings.0.into_inner().unwrap().len(), 1);
    let container = directory.join("container");
    fs::create_dir(&container).unwrap();
    let RootfsMount::Overlay(mount) = Overlay::default().prepare(&layers, &container).unwrap()
    else {
        panic!("no overlay")
    };
    let lower: Vec<&str> = mount.lower.iter().map(|path| path.to_str().unwrap()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},{}",
        lower.join(":"),
        mount.upper.unwrap().display(),
        mount.work.unwrap().display(),
        mount.options.join(",")
    );
    let merged = directory.join("merged");
    fs::create_dir(&merged).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("overlay", &merged, "overlay", flags, Some(options.as_c_str())).unwrap();
    let names: Vec<_> = look(&merged).into_keys().collect();
    let names: Vec<&str> = names.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["", "kept", "kept/f", "kept/g", "opaque", "opaque/new"]);
    let error = store.unpack(&store.resolve("app:foreign").unwrap(), &Silent).unwrap_err();
    assert!(error.hints()[0].contains("/etc/subuid"), "{error:?}");
    println!("inside: well");
}

#[test]
fn layers_are_unpacked_and_stacked_in_a_user_namespace() {
    let can = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        skip("no user namespace can be made with unshare(1)");
        return;
    }
    let place = Place::new();
    let output = support::run(
        Command::new("unshare")
            .args(["--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "inside_a_user_namespace", "--nocapture"])
            .env(INSIDE, place.path("")),
    );
    assert!(output.contains("inside: well"), "{output}");
}
