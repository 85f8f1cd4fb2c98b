//! The store as its users see it: loading, names, listing, removal, verification.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use berth_image::{
    ErrorKind, Explain as _, ImportError, ImportOptions, LoadError, LoadOptions, ProblemKind,
    Reference, RemoveError, RemoveMode, ResolveError, Silent, Source, Store, VerifyDepth,
};
use serde_json::json;
use support::{Archive, Entry, Layout, Packing, Place, pack};

fn nobody(_: &str) -> Vec<String> {
    Vec::new()
}

fn options(name: &str) -> LoadOptions {
    LoadOptions { name: Some(Reference::parse(name).unwrap()), ..LoadOptions::default() }
}

fn layer(text: &str) -> (Vec<u8>, Packing) {
    (Archive::new().file("file", text).finish(), Packing::Gzip)
}

fn load(store: &Store, path: &Path) -> Vec<String> {
    store
        .load(Source::Path(path), &LoadOptions::default(), &Silent)
        .unwrap()
        .into_iter()
        .flat_map(|image| image.names)
        .map(|name| name.to_string())
        .collect()
}

/// An archive of `docker save`: two images that share a layer by a link.
fn docker_archive(packing: Packing) -> Vec<u8> {
    let layers = ["one", "two"].map(|text| Archive::new().file(text, text).finish());
    let digests = layers.each_ref().map(|layer| berth_image::Digest::of(layer).to_string());
    let config = |layers: &[&String]| {
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": layers}});
        config.to_string()
    };
    let (first, second) = (config(&[&digests[0]]), config(&[&digests[0], &digests[1]]));
    let manifest = json!([
        {"Config": "first.json", "RepoTags": ["first:1", "localhost/first:2"],
         "Layers": ["a/layer.tar"]},
        {"Config": "second.json", "RepoTags": null, "Layers": ["b/layer.tar", "c/layer.tar"]},
    ]);
    let packed = layers.each_ref().map(|layer| pack(layer, packing));
    Archive::new()
        .directory("a/")
        .entry(&Entry { data: &packed[0], ..Entry::new("a/layer.tar", b'0') })
        .symlink("b/layer.tar", "../a/layer.tar")
        .entry(&Entry { data: &packed[1], ..Entry::new("c/layer.tar", b'0') })
        .file("first.json", &first)
        .file("second.json", &second)
        .file("manifest.json", &manifest.to_string())
        .file("repositories", "{}")
        .finish()
}

#[test]
fn a_layout_directory_is_loaded_under_all_its_names() {
    let place = Place::new();
    let mut layout = place.layout("My_App.oci");
    let manifest = layout.manifest(&[layer("x")], json!({}), "amd64");
    layout.tag("latest", manifest.clone());
    layout.tag("v1", manifest.clone());
    layout.tag("quay.io/a/b:c", manifest);
    let names = load(&place.store, &layout.path);
    assert_eq!(names, ["localhost/my-app:latest", "localhost/my-app:v1", "quay.io/a/b:c"]);
    let rows = place.store.images().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].names.len(), 3);
    assert_eq!(rows[0].created.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert_eq!(rows[0].platform.as_deref(), Some("linux/amd64"));
    assert!(place.scratch().is_empty());
}

#[test]
fn archives_are_loaded_from_files_and_streams_in_every_compression() {
    let place = Place::new();
    let mut layout = place.layout("layout");
    layout.image("latest", &[layer("x"), layer("y")], json!({}));
    let archive = layout.archive();
    for (index, packing) in [Packing::Plain, Packing::Gzip, Packing::Zstd].into_iter().enumerate() {
        let packed = pack(&archive, packing);
        let file = place.path(&format!("app{index}.tar.gz"));
        fs::write(&file, &packed).unwrap();
        let fresh = Store::open(&place.path(&format!("store-{index}"))).unwrap();
        assert_eq!(load(&fresh, &file), [format!("localhost/app{index}:latest")]);
        let image = fresh.resolve(&format!("app{index}")).unwrap();
        fresh.unpack(&image, &Silent).unwrap();
        let fresh = Store::open(&place.path(&format!("stream-{index}"))).unwrap();
        let mut stream = Cursor::new(packed.clone());
        let loaded = fresh.load(Source::Reader(&mut stream), &options("given"), &Silent).unwrap();
        assert_eq!(loaded[0].names[0].to_string(), "docker.io/library/given:latest");
        assert_eq!(loaded[0].id, Some(image.id));
        // Once more, now that all is there.
        let mut stream = Cursor::new(packed);
        fresh.load(Source::Reader(&mut stream), &options("given"), &Silent).unwrap();
        assert_eq!(fresh.images().unwrap().len(), 1);
    }
}

#[test]
fn a_docker_archive_with_several_images_is_loaded() {
    for packing in [Packing::Plain, Packing::Gzip] {
        let place = Place::new();
        let archive = docker_archive(packing);
        let file = place.path("saved.tar");
        fs::write(&file, &archive).unwrap();
        let mut stream = Cursor::new(pack(&archive, Packing::Gzip));
        let other = Store::open(&place.path("other")).unwrap();
        let from_file =
            place.store.load(Source::Path(&file), &LoadOptions::default(), &Silent).unwrap();
        let from_stream =
            other.load(Source::Reader(&mut stream), &LoadOptions::default(), &Silent).unwrap();
        assert_eq!(from_file, from_stream);
        assert_eq!(from_file.len(), 2);
        let names: Vec<String> = from_file[0].names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker.io/library/first:1", "localhost/first:2"]);
        assert!(from_file[1].names.is_empty());
        let second = from_file[1].id.unwrap().to_string();
        let image = place.store.resolve(&second).unwrap();
        let layers = place.store.unpack(&image, &Silent).unwrap();
        assert!(layers[0].join("two").exists() && layers[1].join("one").exists());
        assert_eq!(place.store.resolve("first:2").unwrap().reference.unwrap().tag(), Some("2"));
        assert!(place.scratch().is_empty());
    }
}

#[test]
fn one_image_of_several_can_be_chosen() {
    let place = Place::new();
    let file = place.path("saved.tar");
    fs::write(&file, docker_archive(Packing::Plain)).unwrap();
    let only = |name: &str| LoadOptions { only: Some(name.to_owned()), ..LoadOptions::default() };
    let loaded = place.store.load(Source::Path(&file), &only("first:1"), &Silent).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].names.len(), 1);
    let error = place.store.load(Source::Path(&file), &only("none"), &Silent).unwrap_err();
    assert!(matches!(error, LoadError::NoSuchImage { .. }) && error.kind() == ErrorKind::NotFound);
}

#[test]
fn an_index_keeps_its_digest_and_gives_this_machines_image() {
    let place = Place::new();
    let mut layout = place.layout("multi");
    let mut manifests: Vec<_> = ["amd64", "arm64", "riscv64"]
        .map(|arch| layout.manifest(&[layer(arch)], json!({}), arch))
        .to_vec();
    // A platform that did not come along.
    manifests.push(json!({"mediaType": manifests[0]["mediaType"], "size": 7,
        "digest": format!("sha256:{}", "1".repeat(64)),
        "platform": {"os": "linux", "architecture": "s390x"}}));
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    let descriptor = layout.blob(kind, index.to_string().as_bytes());
    layout.tag("latest", descriptor.clone());
    load(&place.store, &layout.path);
    let image = place.store.resolve("multi").unwrap();
    assert_eq!(image.target.to_string(), descriptor["digest"].as_str().unwrap());
    let host = berth_image::platform::host();
    assert_eq!(image.config.platform.architecture, host.architecture);
    let by_digest = format!("multi@{}", image.target);
    assert_eq!(place.store.resolve(&by_digest).unwrap().id, image.id);
    let other = berth_spec::image::Platform { architecture: "mips".to_owned(), ..host };
    let error = place.store.resolve_for("multi", &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(place.store.verify(None, VerifyDepth::Contents, &Silent).unwrap().problems.is_empty());
}

#[test]
fn images_are_found_by_name_digest_and_id() {
    let place = Place::new();
    let mut layout = place.layout("app");
    layout.image("latest", &[layer("x")], json!({}));
    layout.image("other", &[layer("y")], json!({}));
    load(&place.store, &layout.path);
    let image = place.store.resolve("app").unwrap();
    let id = image.id.hex();
    for name in [
        "localhost/app",
        "localhost/app:latest",
        &id,
        &id[..8],
        &image.id.to_string(),
        &image.target.to_string(),
        &format!("sha256:{}", &id[..12]),
    ] {
        assert_eq!(place.store.resolve(name).unwrap().id, image.id, "{name}");
    }
    let error = place.store.resolve("ap").unwrap_err();
    let ResolveError::NotFound { similar, .. } = &error else { panic!("{error}") };
    assert_eq!(similar.len(), 2);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(matches!(place.store.resolve("A B"), Err(ResolveError::Reference(_))));
    assert!(matches!(place.store.resolve("abcdef012345"), Err(ResolveError::NotFound { .. })));
}

#[test]
fn damaged_sources_are_refused_and_leave_nothing() {
    let place = Place::new();
    let mut layout = place.layout("app");
    let manifest = layout.manifest(&[layer(&"x".repeat(10_000))], json!({}), "amd64");
    layout.tag("latest", manifest);
    // What is right is kept, so each attempt has a store of its own.
    let mut attempts = 0;
    let mut refused = |source: Source<'_>| {
        attempts += 1;
        let store = Store::open(&place.path(&format!("store-{attempts}"))).unwrap();
        let error = store.load(source, &LoadOptions::default(), &Silent).unwrap_err();
        assert!(store.images().unwrap().is_empty());
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
        let report = store.verify(None, VerifyDepth::Contents, &Silent).unwrap();
        assert!(report.problems.is_empty());
        error
    };
    let blobs: Vec<_> = fs::read_dir(layout.path.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for blob in blobs {
        let good = fs::read(&blob).unwrap();
        for damage in [
            [good.as_slice(), b"x"].concat(),
            good[1..].to_vec(),
            good.iter().enumerate().map(|(i, b)| if i == 9 { b ^ 1 } else { *b }).collect(),
        ] {
            fs::write(&blob, damage).unwrap();
            let mut stream = Cursor::new(layout.archive());
            for source in [Source::Path(&layout.path), Source::Reader(&mut stream)] {
                let error = refused(source);
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                assert!(!error.hints().is_empty());
            }
        }
        fs::remove_file(&blob).unwrap();
        let error = refused(Source::Path(&layout.path));
        assert!(matches!(error, LoadError::Missing(_)), "{error}");
        fs::write(&blob, good).unwrap();
    }
    load(&place.store, &layout.path);
}

#[test]
fn what_is_no_image_is_told_apart() {
    let place = Place::new();
    let load = |bytes: Vec<u8>| {
        let mut stream = Cursor::new(bytes);
        place.store.load(Source::Reader(&mut stream), &LoadOptions::default(), &Silent).unwrap_err()
    };
    let root = Archive::new().file("etc/passwd", "").finish();
    let error = load(root);
    assert!(matches!(error, LoadError::Unknown { .. }));
    assert!(error.hints()[0].contains("import"));
    let ancient = Archive::new().file("repositories", "{}").finish();
    assert!(matches!(load(ancient), LoadError::Ancient { .. }));
    let error = load([0xfd, b'7', b'z', b'X', b'Z', 0, 1, 2].to_vec());
    assert!(matches!(error, LoadError::Read { .. }));
    assert!(error.hints()[0].contains("xz -dc"));
    assert!(matches!(load(b"not a tar".repeat(100)), LoadError::Archive { .. }));
    let missing =
        place.store.load(Source::Path(&place.path("nowhere")), &LoadOptions::default(), &Silent);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    let docker = Archive::new()
        .file("manifest.json", r#"[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l"]}]"#)
        .file("c.json", r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#)
        .file("l", "a layer that is not what it should be");
    assert!(matches!(load(docker.finish()), LoadError::DiffId { .. }));
}

#[test]
fn removal_follows_names_and_use() {
    let place = Place::new();
    let store = &place.store;
    let shared = layer("shared");
    let mut layout = place.layout("app");
    layout.image("one", &[shared.clone(), layer("1")], json!({}));
    layout.image("two", &[shared, layer("2")], json!({}));
    load(store, &layout.path);
    let one = store.resolve("app:one").unwrap();
    let two = store.resolve("app:two").unwrap();
    for image in [&one, &two] {
        store.unpack(image, &Silent).unwrap();
    }
    store.tag("app:one", "again").unwrap();
    // A name among several is only a name.
    let removed = store.remove("again", RemoveMode::Careful, &nobody).unwrap();
    assert_eq!(removed.untagged, ["docker.io/library/again:latest"]);
    assert!(removed.deleted.is_empty() && removed.images.is_empty());
    // By ID with several names: only when forced.
    store.tag("app:one", "again").unwrap();
    let error = store.remove(&one.id.to_string(), RemoveMode::Careful, &nobody).unwrap_err();
    assert!(matches!(error, RemoveError::SeveralNames { .. }));
    store.remove("again", RemoveMode::Careful, &nobody).unwrap();
    // In use: refused, or kept without a name.
    let used = |id: &str| {
        if id == one.id.to_string() { vec!["container".to_owned()] } else { Vec::new() }
    };
    let error = store.remove("app:one", RemoveMode::Careful, &used).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let removed = store.remove("app:one", RemoveMode::Force, &used).unwrap();
    assert!(removed.deleted.is_empty());
    assert!(store.resolve("app:one").is_err());
    assert!(store.is_image_unpacked(&store.resolve(&one.id.to_string()).unwrap()).unwrap());
    assert!(store.prune(&used).unwrap().images.is_empty());
    // No longer in use: pruned, but not what the other shares.
    let removed = store.prune(&nobody).unwrap();
    assert_eq!(removed.images, [one.id]);
    assert!(removed.reclaimed > 0);
    assert!(store.resolve(&one.id.to_string()).is_err());
    assert!(store.is_image_unpacked(&two).unwrap());
    assert!(store.verify(None, VerifyDepth::Contents, &Silent).unwrap().problems.is_empty());
    let removed = store.remove("app:two", RemoveMode::Careful, &nobody).unwrap();
    assert_eq!(removed.images, [two.id]);
    let left = |path: &str| fs::read_dir(store.root().join(path)).unwrap().count();
    assert_eq!((left("images/blobs/sha256"), left("layers")), (0, 0));
    assert_eq!(
        store.remove("app:two", RemoveMode::Careful, &nobody).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_lease_keeps_removal_waiting() {
    let place = Place::new();
    let mut layout = place.layout("app");
    layout.image("latest", &[layer("x")], json!({}));
    load(&place.store, &layout.path);
    let lease = place.store.lease().unwrap();
    let root = place.store.root().to_owned();
    let waiting = std::thread::spawn(move || {
        let store = Store::open(&root).unwrap();
        store.remove("app", RemoveMode::Careful, &nobody).unwrap();
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!waiting.is_finished());
    place.store.resolve("app").unwrap();
    drop(lease);
    waiting.join().unwrap();
    assert!(place.store.resolve("app").is_err());
}

#[test]
fn verification_finds_damage_and_loading_again_repairs_it() {
    let place = Place::new();
    let mut layout = place.layout("app");
    layout.image("latest", &[layer("x"), layer("y")], json!({}));
    load(&place.store, &layout.path);
    let image = place.store.resolve("app").unwrap();
    let layers = image.layers().unwrap();
    let damaged = place.store.blob_path(&layers[0].digest);
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[20] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    fs::remove_file(place.store.blob_path(&layers[1].digest)).unwrap();
    let report = place.store.verify(Some("app"), VerifyDepth::Blobs, &Silent).unwrap();
    assert_eq!(report.problems.len(), 2);
    let kind =
        |digest| &report.problems.iter().find(|problem| problem.digest == digest).unwrap().kind;
    assert!(matches!(kind(layers[0].digest), ProblemKind::Damaged { .. }));
    assert_eq!(*kind(layers[1].digest), ProblemKind::Missing);
    assert!(place.store.unpack(&image, &Silent).is_err());
    load(&place.store, &layout.path);
    let report = place.store.verify(None, VerifyDepth::Contents, &Silent).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.blobs, 4);
    // A damaged manifest: still listed, told, and gone when removed.
    fs::write(place.store.blob_path(&image.manifest_digest), "{}").unwrap();
    assert!(place.store.resolve("app").is_err());
    assert_eq!(place.store.images().unwrap().len(), 1);
    let report = place.store.verify(None, VerifyDepth::Blobs, &Silent).unwrap();
    assert!(!report.problems.is_empty());
    place.store.remove("app", RemoveMode::Careful, &nobody).unwrap();
    assert!(place.store.images().unwrap().is_empty());
}

#[test]
fn a_tarball_becomes_an_image() {
    let place = Place::new();
    let root = Archive::new()
        .file("etc/passwd", "app:x:7:8::/home:/bin/sh\n")
        .file("bin/sh", "shell")
        .finish();
    for (index, packing) in [Packing::Plain, Packing::Gzip, Packing::Zstd].into_iter().enumerate() {
        let options = ImportOptions {
            reference: Some(Reference::parse(&format!("imported:{index}")).unwrap()),
            changes: vec![r#"CMD ["sh"]"#.to_owned(), "USER app".to_owned(), "ENV A=1".to_owned()],
            message: Some("a remark".to_owned()),
            ..ImportOptions::default()
        };
        let mut stream = Cursor::new(pack(&root, packing));
        let image = place.store.import(Source::Reader(&mut stream), &options, &Silent).unwrap();
        let layers = place.store.unpack(&image, &Silent).unwrap();
        assert_eq!(fs::read_to_string(layers[0].join("bin/sh")).unwrap(), "shell");
        let image = place.store.resolve(&format!("imported:{index}")).unwrap();
        assert_eq!(image.execution().cmd, ["sh"]);
        assert_eq!(image.config.history.unwrap()[0].comment.as_deref(), Some("a remark"));
        assert!(image.config.created.unwrap().ends_with('Z'));
    }
    let import = |bytes: Vec<u8>, change: &str| {
        let options =
            ImportOptions { changes: vec![change.to_owned()], ..ImportOptions::default() };
        place.store.import(Source::Reader(&mut Cursor::new(bytes)), &options, &Silent).unwrap_err()
    };
    assert!(matches!(import(root.clone(), "RUN ls"), ImportError::Change(_)));
    assert!(matches!(import(b"x".repeat(1000), "USER a"), ImportError::Archive(_)));
    assert!(matches!(import(vec![0; 1024], "USER a"), ImportError::Empty));
    assert!(matches!(
        import(pack(&root, Packing::Gzip)[..50].to_vec(), "USER a"),
        ImportError::Read(_)
    ));
    assert!(place.scratch().is_empty());
}

#[test]
fn a_thousand_images_are_listed_in_no_time() {
    let place = Place::new();
    let mut layout = place.layout("many");
    let manifest = layout.manifest(&[layer("x")], json!({}), "amd64");
    layout.tag("latest", manifest);
    load(&place.store, &layout.path);
    // The index as a thousand loads would leave it.
    let path = place.store.images_path().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entry = index["manifests"][0].clone();
    let entries = (0..1000).map(|number| {
        let mut entry = entry.clone();
        entry["digest"] = json!(berth_image::Digest::of(&[number as u8, (number >> 8) as u8]));
        let name = format!("localhost/many:{number}");
        entry["annotations"]["org.opencontainers.image.ref.name"] = json!(name);
        entry["annotations"]["io.containerd.image.name"] = json!(name);
        entry
    });
    index["manifests"] = entries.collect();
    fs::write(&path, index.to_string()).unwrap();
    let started = std::time::Instant::now();
    assert_eq!(place.store.images().unwrap().len(), 1000);
    // Twenty milliseconds when optimised; a loaded machine and no optimisation here.
    assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
}

#[test]
fn many_processes_load_and_remove_at_once() {
    let place = Place::new();
    let layouts: Vec<Layout> = (0..4)
        .map(|index| {
            let mut layout = place.layout(&format!("app{index}"));
            let own = layer(&format!("own {index}"));
            layout.image("latest", &[layer("shared"), own], json!({}));
            layout
        })
        .collect();
    std::thread::scope(|scope| {
        for turn in 0..12 {
            let layout = &layouts[turn % 4];
            let root = place.store.root();
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                for _ in 0..5 {
                    load(&store, &layout.path);
                    let name = layout.path.file_name().unwrap().to_str().unwrap();
                    if let Ok(image) = store.resolve(name) {
                        match store.unpack(&image, &Silent) {
                            Ok(layers) => assert_eq!(layers.len(), 2),
                            // Removed by another in between.
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
                            }
                        }
                    }
                    if turn >= 8 {
                        match store.remove(name, RemoveMode::Careful, &nobody) {
                            Ok(_) => {}
                            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                        }
                    }
                }
            });
        }
    });
    for layout in &layouts {
        load(&place.store, &layout.path);
    }
    assert_eq!(place.store.images().unwrap().len(), 4);
    let report = place.store.verify(None, VerifyDepth::Contents, &Silent).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert!(place.scratch().is_empty());
}
