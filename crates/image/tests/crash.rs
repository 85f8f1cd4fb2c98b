//! Killed processes and full disks: what is there is whole, what is not leaves nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use berth_image::{ErrorKind, Explain as _, LoadOptions, Silent, Source, Store, VerifyDepth};
use serde_json::json;
use support::{Archive, Packing, Place, is_root, look};

const ROOT: &str = "BERTH_IMAGE_TEST_ROOT";
const LAYOUT: &str = "BERTH_IMAGE_TEST_LAYOUT";

fn load_and_unpack(store: &Store, layout: &Path) {
    let source = Source::Path(layout);
    let loaded = store.load(source, &LoadOptions::default(), &Silent).unwrap();
    let image = store.resolve(&loaded[0].digest.to_string()).unwrap();
    store.unpack(&image, &Silent).unwrap();
}

/// Not a test of its own: what the killed process of the next one does.
#[test]
fn a_process_to_be_killed() {
    let (Some(root), Some(layout)) = (std::env::var_os(ROOT), std::env::var_os(LAYOUT)) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    load_and_unpack(&store, Path::new(&layout));
}

#[test]
fn a_kill_at_any_point_leaves_no_half_layer() {
    let place = Place::new();
    let mut layout = place.layout("app");
    let layers: Vec<_> = (0..3)
        .map(|layer| {
            let archive = (0..150).fold(Archive::new(), |archive, file| {
                archive.file(&format!("{layer}/{}/{file}", file % 20), &"content ".repeat(file))
            });
            (archive.finish(), Packing::Gzip)
        })
        .collect();
    layout.image("latest", &layers, json!({}));
    let whole = Store::open(&place.path("whole")).unwrap();
    load_and_unpack(&whole, &layout.path);
    let expected = look(&whole.root().join("layers"));
    let started = std::time::Instant::now();
    let child = |root: &Path| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_to_be_killed"])
            .env(ROOT, root)
            .env(LAYOUT, &layout.path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let root = place.path("killed");
    assert!(child(&root).wait().unwrap().success());
    let whole_time = started.elapsed();
    let (mut interrupted, turns) = (0, 20);
    for turn in 0..turns {
        drop(fs::remove_dir_all(&root));
        let mut process = child(&root);
        std::thread::sleep(whole_time.mul_f64(f64::from(turn) / f64::from(turns)));
        process.kill().unwrap();
        process.wait().unwrap();
        let left = root.join("tmp").is_dir()
            && fs::read_dir(root.join("tmp")).is_ok_and(|mut names| names.next().is_some());
        interrupted += u32::from(left);
        // Whatever has its name is whole, as it stands.
        if let Ok(found) = fs::read_dir(root.join("layers")) {
            let mine = look(&root.join("layers"));
            for layer in found {
                let name = layer.unwrap().file_name();
                let of = |tree: &std::collections::BTreeMap<std::path::PathBuf, support::Look>| {
                    let within =
                        |path: &&std::path::PathBuf| path.starts_with(Path::new(&name).join("fs"));
                    tree.keys()
                        .filter(within)
                        .map(|p| (p.clone(), tree[p].clone()))
                        .collect::<Vec<_>>()
                };
                assert_eq!(of(&mine), of(&expected));
            }
        }
        // The next command sweeps and goes on.
        let store = Store::open(&root).unwrap();
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
        let report = store.verify(None, VerifyDepth::Contents, &Silent).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        load_and_unpack(&store, &layout.path);
    }
    assert!(interrupted > 0, "no process was killed in the middle");
}

/// A small file system of its own.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, options: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, Some(options.as_c_str())).unwrap();
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut layout = place.layout("app");
    // 3 MB that compress well: the load fits, what is unpacked does not.
    let archive = (0..300).fold(Archive::new(), |archive, file| {
        archive.file(&format!("f{file}"), &"0123456789".repeat(1000))
    });
    layout.image("latest", &[(archive.finish(), Packing::Gzip)], json!({}));
    let small = place.path("small");
    let disk = SmallDisk::mount(&small, "size=1m");
    let store = Store::open(&small.join("root")).unwrap();
    store.load(Source::Path(&layout.path), &LoadOptions::default(), &Silent).unwrap();
    let image = store.resolve("app").unwrap();
    let error = store.unpack(&image, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.hints()[0].contains("disk is full"), "{:?}", error.hints());
    let is_empty =
        |path: &str| fs::read_dir(small.join("root").join(path)).unwrap().next().is_none();
    assert!(is_empty("tmp") && is_empty("layers"));
    drop(store);
    drop(disk);
    // The load itself does not fit.
    let plain = place.path("plain");
    let mut layout = support::Layout::new(&plain);
    let big = Archive::new().file("big", &"x".repeat(3 << 20)).finish();
    layout.image("latest", &[(big, Packing::Plain)], json!({}));
    let disk = SmallDisk::mount(&small, "size=1m");
    let store = Store::open(&small.join("root")).unwrap();
    for stream in [None, Some(layout.archive())] {
        let mut stream = stream.map(std::io::Cursor::new);
        let source = match &mut stream {
            Some(stream) => Source::Reader(stream),
            None => Source::Path(&plain),
        };
        let error = store.load(source, &LoadOptions::default(), &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(is_empty("tmp") && is_empty("images/blobs/sha256"));
    }
    drop(disk);
}
