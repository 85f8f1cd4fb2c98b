//! Layers become directories: every awkward thing that an archive can hold.

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use berth_image::{ApplyError, Explain as _, LoadOptions, Silent, Source, UnpackError};
use serde_json::json;
use support::{Archive, Entry, Packing, Place, is_root, look};

#[test]
fn every_kind_of_entry_is_extracted_with_all_that_belongs_to_it() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let long = format!("long/{}/leaf", ["x".repeat(120).as_str(); 6].join("/"));
    let longest = format!("long/{}", "n".repeat(255));
    let target = "t".repeat(1000);
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let layer = Archive::new()
        .entry(&Entry { mode: 0o711, ..Entry::new("./", b'5') })
        .entry(&Entry { mode: 0o1777, ..Entry::new("sticky", b'5') })
        .entry(&Entry { uid: 3_000_000, gid: 4_000_000, mode: 0o750, ..Entry::new("own/", b'5') })
        .entry(&Entry { mode: 0o4755, uid: 7, data: b"x", ..Entry::new("suid", b'0') })
        .entry(&Entry { mode: 0o2755, gid: 7, data: b"x", ..Entry::new("sgid", b'0') })
        .entry(&Entry { mode: 0, data: b"x", ..Entry::new("noread", b'0') })
        .entry(&Entry { device: (1, 3), mode: 0o666, ..Entry::new("null", b'3') })
        .entry(&Entry { device: (7, 99), mode: 0o660, ..Entry::new("block", b'4') })
        .entry(&Entry { mode: 0o600, ..Entry::new("fifo", b'6') })
        .symlink("dangling", "/no/such")
        .symlink("longlink", &target)
        .file(&long, "deep")
        .file(&longest, "255")
        .file("sp ace\ttab\nline", "odd")
        .entry(&Entry {
            pax: vec![
                ("mtime", b"1700000000.123456789"),
                ("SCHILY.xattr.user.k", b"v"),
                ("SCHILY.xattr.security.capability", capability),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
                ("path", "pax-\u{e9}".as_bytes()),
            ],
            data: b"pax",
            ..Entry::new("short", b'0')
        })
        .entry(&Entry { mtime: 4_294_967_301, ..Entry::new("future", b'0') })
        .entry(&Entry { mtime: 0, ..Entry::new("epoch", b'0') })
        .entry(&Entry { pax: vec![("mtime", b"-1.5")], ..Entry::new("before", b'0') })
        .file("first", "hard")
        .hard_link("sticky/second", "./first")
        .entry(&Entry::new("v7dir/", b'0'))
        .finish();
    let (_, layers) = place.unpacked(&[layer]);
    let tree = look(&layers[0]);
    let at = |path: &str| tree.get(std::path::Path::new(path)).unwrap_or_else(|| panic!("{path}"));
    assert_eq!(at("").mode, 0o711);
    assert_eq!(at("sticky").mode, 0o1777);
    assert_eq!((at("own").owner, at("own").mode), ((3_000_000, 4_000_000), 0o750));
    assert_eq!((at("suid").mode, at("suid").owner.0), (0o4755, 7));
    assert_eq!((at("sgid").mode, at("sgid").owner.1), (0o2755, 7));
    assert_eq!(at("noread").mode, 0);
    assert_eq!((at("null").kind, at("null").device, at("null").mode), ('c', 0x103, 0o666));
    assert_eq!((at("block").kind, at("block").mode), ('b', 0o660));
    assert_eq!((at("fifo").kind, at("fifo").mode), ('p', 0o600));
    assert_eq!(at("longlink").content, target);
    assert_eq!(at(&long).kind, 'f');
    assert_eq!(at(&longest).kind, 'f');
    assert_eq!(at("sp ace\ttab\nline").kind, 'f');
    let pax = at("pax-\u{e9}");
    assert_eq!(pax.mtime, (1_700_000_000, 123_456_789));
    let names: Vec<&String> = pax.xattrs.keys().collect();
    assert_eq!(names, ["security.capability", "user.k"]);
    assert_eq!(at("future").mtime.0, 4_294_967_301);
    assert_eq!(at("epoch").mtime, (0, 0));
    assert_eq!(at("before").mtime, (-2, 500_000_000));
    assert_eq!(at("first").links, 2);
    assert_eq!(at("v7dir").kind, 'd');
    let inode = |path: &str| fs::symlink_metadata(layers[0].join(path)).unwrap().ino();
    assert_eq!(inode("first"), inode("sticky/second"));
    assert!(place.scratch().is_empty());
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let below = Archive::new()
        .file("gone/file", "1")
        .file("delete", "1")
        .file("opaque/old", "1")
        .file("opaque/sub/old", "1")
        .file("same", "below")
        .file("dir/below", "1")
        .file("later/below", "1")
        .file("swap/in", "directory becomes file")
        .file("file", "becomes directory")
        .finish();
    let above = Archive::new()
        .file(".wh.gone", "")
        .file(".wh.delete", "")
        .file("opaque/new", "2")
        .file("opaque/.wh..wh..opq", "")
        .file("same", "above")
        .file(".wh.same", "")
        .file("dir/above", "2")
        .file(".wh.dir", "")
        .file(".wh.later", "")
        .file("later/above", "2")
        .file("swap", "file")
        .file("file/in", "x")
        .file("dir/.wh.nosuch", "")
        .finish();
    let (image, layers) = place.unpacked(&[below, above]);
    let kind = fs::symlink_metadata(layers[0].join("gone")).unwrap();
    assert!(kind.file_type().is_char_device() && kind.rdev() == 0);
    let tree = place.tree(&image);
    let names: Vec<String> =
        look(&tree).keys().map(|path| path.to_str().unwrap().to_owned()).collect();
    assert_eq!(
        names,
        [
            "",
            "dir",
            "dir/above",
            "file",
            "file/in",
            "later",
            "later/above",
            "opaque",
            "opaque/new",
            "same",
            "swap"
        ]
    );
    assert_eq!(fs::read_to_string(tree.join("same")).unwrap(), "above");
}

#[test]
fn an_opaque_root_hides_everything_below() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let below = Archive::new().file("a/1", "").file("b", "").finish();
    let above = Archive::new().file("a/2", "").file(".wh..wh..opq", "").finish();
    let (image, _) = place.unpacked(&[below, above]);
    let names: Vec<_> = look(&place.tree(&image)).into_keys().collect();
    assert_eq!(names.iter().map(|n| n.to_str().unwrap()).collect::<Vec<_>>(), ["", "a", "a/2"]);
}

#[test]
fn a_hard_link_to_a_lower_layers_file_takes_all_its_names_up() {
    let place = Place::new();
    let below = Archive::new()
        .entry(&Entry { mode: 0o640, data: b"hard", ..Entry::new("a/first", b'0') })
        .hard_link("b/second", "a/first")
        .file("single", "one")
        .symlink("via", "a")
        .finish();
    let above = Archive::new()
        .hard_link("c/third", "b/second")
        .hard_link("fourth", "via/first")
        .hard_link("twin", "single")
        .finish();
    let (image, layers) = place.unpacked(&[below, above]);
    let tree = place.tree(&image);
    let inode = |path: &str| fs::metadata(tree.join(path)).unwrap().ino();
    for path in ["b/second", "c/third", "fourth"] {
        assert_eq!(inode(path), inode("a/first"), "{path}");
    }
    assert_eq!(fs::metadata(tree.join("fourth")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(inode("twin"), inode("single"));
    assert!(!layers[0].join("via").exists());
}

#[test]
fn a_directory_that_is_only_passed_through_keeps_what_is_below() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let below = Archive::new()
        .entry(&Entry { mode: 0o2750, uid: 5, gid: 6, mtime: 77, ..Entry::new("d", b'5') })
        .entry(&Entry { mode: 0o700, uid: 8, mtime: 88, ..Entry::new("d/e", b'5') })
        .finish();
    let above = Archive::new().file("d/e/new", "x").file("none/such/f", "y").finish();
    let (_, layers) = place.unpacked(&[below, above]);
    let tree = look(&layers[0]);
    let at = |path: &str| &tree[std::path::Path::new(path)];
    assert_eq!((at("d").mode, at("d").owner, at("d").mtime.0), (0o2750, (5, 6), 77));
    assert_eq!((at("d/e").mode, at("d/e").owner, at("d/e").mtime.0), (0o700, (8, 0), 88));
    assert_eq!((at("none/such").mode, at("none/such").mtime.0), (0o755, 1_700_000_000));
}

#[test]
fn content_goes_where_a_lower_layers_link_leads() {
    let place = Place::new();
    let below = Archive::new()
        .directory("usr/lib")
        .file("usr/lib/old", "1")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr/../usr/lib")
        .symlink("broken", "loop")
        .symlink("loop", "broken")
        .finish();
    let above = Archive::new()
        .file("lib/new", "2")
        .file("lib/.wh.old", "")
        .file("abs/sub/x", "3")
        .hard_link("lib/link", "lib/new")
        .file("broken/y", "4")
        .finish();
    let (image, layers) = place.unpacked(&[below, above]);
    assert!(!layers[0].join("lib").exists());
    let tree = place.tree(&image);
    assert_eq!(fs::read_link(tree.join("lib")).unwrap().to_str(), Some("usr/lib"));
    assert_eq!(fs::read_to_string(tree.join("usr/lib/new")).unwrap(), "2");
    assert_eq!(fs::read_to_string(tree.join("usr/lib/link")).unwrap(), "2");
    assert_eq!(fs::read_to_string(tree.join("usr/lib/sub/x")).unwrap(), "3");
    assert!(!tree.join("usr/lib/old").exists());
    // A link that leads nowhere gives way.
    assert_eq!(fs::read_to_string(tree.join("broken/y")).unwrap(), "4");
}

#[test]
fn a_link_of_the_same_archive_is_followed_within_the_root() {
    let place = Place::new();
    let layer = Archive::new()
        .symlink("out", "../../../../../../../../tmp")
        .file("out/inside", "x")
        .symlink("usr/lib64", "../lib")
        .file("usr/lib64/f", "y")
        .finish();
    let (_, layers) = place.unpacked(&[layer]);
    assert_eq!(fs::read_to_string(layers[0].join("tmp/inside")).unwrap(), "x");
    assert_eq!(fs::read_to_string(layers[0].join("lib/f")).unwrap(), "y");
    assert!(!std::path::Path::new("/tmp/inside").exists());
}

#[test]
fn the_last_of_several_entries_of_a_name_stays() {
    let place = Place::new();
    let layer = Archive::new()
        .file("twice", "first")
        .file("twice", "second")
        .file("tree/a/b", "x")
        .file("tree", "now a file")
        .file("file", "x")
        .directory("file")
        .file("file/in", "y")
        .symlink("link", "twice")
        .file("link", "no link")
        .file("hard", "x")
        .hard_link("hard", "twice")
        .hard_link("hard", "hard")
        .finish();
    let (_, layers) = place.unpacked(&[layer]);
    let read = |path: &str| fs::read_to_string(layers[0].join(path)).unwrap();
    assert_eq!(read("twice"), "second");
    assert_eq!(read("tree"), "now a file");
    assert_eq!(read("file/in"), "y");
    assert_eq!(read("link"), "no link");
    assert_eq!(read("hard"), "second");
}

#[test]
fn sparse_files_of_every_format_keep_their_holes() {
    let place = Place::new();
    let size = (8u64 << 20).to_string();
    let data = b"middle-end!".as_slice();
    let map = format!("2\n{}\n7\n{}\n4\n", 4 << 20, (8 << 20) - 4);
    let mut v1 = map.into_bytes();
    v1.resize(512, 0);
    v1.extend_from_slice(data);
    let offsets = [(4u64 << 20).to_string(), ((8u64 << 20) - 4).to_string()];
    let flat = format!("{},7,{},4", offsets[0], offsets[1]);
    let layer = Archive::new()
        .entry(&Entry {
            data: &v1,
            pax: vec![
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"one"),
                ("GNU.sparse.realsize", size.as_bytes()),
            ],
            ..Entry::new("GNUSparseFile.0/one", b'0')
        })
        .entry(&Entry {
            data,
            pax: vec![
                ("GNU.sparse.size", size.as_bytes()),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.map", flat.as_bytes()),
            ],
            ..Entry::new("zero-one", b'0')
        })
        .entry(&Entry {
            data,
            pax: vec![
                ("GNU.sparse.size", size.as_bytes()),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", offsets[0].as_bytes()),
                ("GNU.sparse.numbytes", b"7"),
                ("GNU.sparse.offset", offsets[1].as_bytes()),
                ("GNU.sparse.numbytes", b"4"),
            ],
            ..Entry::new("zero-zero", b'0')
        })
        .finish();
    let (_, layers) = place.unpacked(&[layer]);
    for name in ["one", "zero-one", "zero-zero"] {
        let content = fs::read(layers[0].join(name)).unwrap();
        assert_eq!(content.len(), 8 << 20, "{name}");
        assert_eq!(&content[4 << 20..(4 << 20) + 7], b"middle-", "{name}");
        assert_eq!(&content[(8 << 20) - 4..], b"end!", "{name}");
        let blocks = fs::metadata(layers[0].join(name)).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{name} has {blocks} blocks");
    }
}

#[test]
fn sparse_files_of_gnu_tar_are_read() {
    if !support::has("tar") {
        return;
    }
    let place = Place::new();
    let source = place.path("sparse");
    let file = fs::File::create(&source).unwrap();
    // More pieces than the header of the old format holds.
    for index in 0..60u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", index << 20).unwrap();
    }
    let expected = fs::read(&source).unwrap();
    for format in ["gnu", "pax", "pax --sparse-version=0.0", "pax --sparse-version=0.1"] {
        let archive = place.path("sparse.tar");
        let mut tar = std::process::Command::new("tar");
        tar.arg("--sparse").arg("--format").args(format.split(' '));
        support::run(
            tar.arg("-C").arg(place.directory.path()).arg("-cf").arg(&archive).arg("sparse"),
        );
        assert!(fs::metadata(&archive).unwrap().len() < 10 << 20);
        let (_, layers) = place.unpacked(&[fs::read(&archive).unwrap()]);
        let path = layers[0].join("sparse");
        assert_eq!(fs::read(&path).unwrap(), expected, "{format}");
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 10 << 20, "{format}");
    }
}

#[test]
fn layers_are_decompressed_in_every_form() {
    let place = Place::new();
    let content = "text ".repeat(100_000);
    for (index, packing) in
        [Packing::Plain, Packing::Gzip, Packing::GzipMembers, Packing::Zstd, Packing::ZstdFrames]
            .into_iter()
            .enumerate()
    {
        let layer = Archive::new().file(&format!("file-{index}"), &content).finish();
        let mut layout = place.layout(&format!("packed-{index}"));
        layout.image("latest", &[(layer, packing)], json!({}));
        place.store.load(Source::Path(&layout.path), &LoadOptions::default(), &Silent).unwrap();
        let image = place.store.resolve(&format!("packed-{index}")).unwrap();
        let layers = place.store.unpack(&image, &Silent).unwrap();
        let read = fs::read_to_string(layers[0].join(format!("file-{index}"))).unwrap();
        assert!(read == content, "form {index}");
    }
}

#[test]
fn what_cannot_be_a_layer_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let refused = |layer: Vec<u8>| {
        let image = place.loaded(&[layer]);
        let error = place.store.unpack(&image, &Silent).unwrap_err();
        assert!(place.scratch().is_empty());
        assert!(!place.store.is_image_unpacked(&image).unwrap());
        error
    };
    let apply = |layer: Vec<u8>| match refused(layer) {
        UnpackError::Apply { source, .. } => source,
        other => panic!("{other}"),
    };
    assert!(matches!(apply(Archive::new().file("../x", "").finish()), ApplyError::Escape(_)));
    assert!(matches!(
        apply(Archive::new().hard_link("x", "../../etc/passwd").finish()),
        ApplyError::Escape(_)
    ));
    assert!(matches!(
        apply(Archive::new().hard_link("x", "/etc/passwd").finish()),
        ApplyError::LinkTarget { .. }
    ));
    assert!(matches!(
        apply(Archive::new().file("a", "").file("a/b", "").finish()),
        ApplyError::BelowFile { .. }
    ));
    assert!(matches!(apply(Archive::new().file(".wh..", "").finish()), ApplyError::Name { .. }));
    assert!(matches!(
        apply(Archive::new().file("./", "").symlink("/", "x").finish()),
        ApplyError::Name { .. }
    ));
    let name = "n".repeat(256);
    assert!(matches!(apply(Archive::new().file(&name, "").finish()), ApplyError::Entry { .. }));
    let cut = Archive::new().file("x", &"y".repeat(5000)).unfinished();
    assert!(matches!(apply(cut[..2000].to_vec()), ApplyError::Tar(_)));
    assert!(matches!(apply(vec![b'x'; 2048]), ApplyError::Tar(_)));
    assert!(matches!(
        apply(Archive::new().entry(&Entry::new("dump", b'D')).finish()),
        ApplyError::Tar(_)
    ));
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let place = Place::new();
    let layer = Archive::new().file("x", "y").finish();
    let layout = place.layout("lying");
    let mut manifest = layout.manifest(&[(layer, Packing::Gzip)], json!({}), "amd64");
    let path = |digest: &str| layout.path.join("blobs/sha256").join(&digest[7..]);
    let bytes = fs::read(path(manifest["digest"].as_str().unwrap())).unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let config = fs::read_to_string(path(document["config"]["digest"].as_str().unwrap())).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["rootfs"]["diff_ids"][0] = json!(format!("sha256:{}", "0".repeat(64)));
    let kind = "application/vnd.oci.image.config.v1+json";
    document["config"] = layout.blob(kind, config.to_string().as_bytes());
    manifest =
        layout.blob(manifest["mediaType"].as_str().unwrap(), document.to_string().as_bytes());
    let mut layout = layout;
    layout.tag("latest", manifest);
    place.store.load(Source::Path(&layout.path), &LoadOptions::default(), &Silent).unwrap();
    let image = place.store.resolve("lying").unwrap();
    let error = place.store.unpack(&image, &Silent).unwrap_err();
    assert!(matches!(error, UnpackError::DiffId { .. }), "{error}");
    assert!(!error.hints().is_empty());
    assert!(place.scratch().is_empty());
}

#[test]
fn a_deep_tree_is_refused_in_time() {
    let place = Place::new();
    let image = place.loaded(&[Archive::new().file(&"d/".repeat(600), "").finish()]);
    assert!(place.store.unpack(&image, &Silent).is_err());
    // Links make a tree deeper than any one name is long.
    let mut archive = Archive::new();
    let step = "d/".repeat(200);
    for index in 0..20 {
        archive = archive.directory(&format!("l{index}/{step}"));
        archive = archive.symlink(&format!("l{index}/{step}next"), &format!("{step}{step}"));
        archive = archive.symlink(&format!("l{}", index + 1), &format!("l{index}/{step}next"));
    }
    let image = place.loaded(&[archive.finish()]);
    assert!(place.store.unpack(&image, &Silent).is_err());
    assert!(place.scratch().is_empty());
}

#[test]
fn an_image_without_layers_has_an_empty_one() {
    let place = Place::new();
    let (_, layers) = place.unpacked(&[]);
    assert_eq!(layers.len(), 1);
    assert_eq!(fs::read_dir(&layers[0]).unwrap().count(), 0);
}
