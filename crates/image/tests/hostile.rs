//! Hostile archives: whatever they hold, nothing outside the layer changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use berth_image::{ImportOptions, Silent, Source, Store};
use proptest::prelude::*;
use support::{Archive, Entry, Look, is_root, look};

/// How often a name goes up: an archive whose entries' own names lead out is refused at once, so
/// most must stay in for the rest to be tried; targets of symbolic links may be anything.
#[derive(Clone, Copy)]
enum Upwards {
    Rarely,
    Often,
}

/// Names that stay in, lead out, or may do either through what earlier entries made.
fn name(outside: &str, upwards: Upwards) -> impl Strategy<Value = String> + use<> {
    let absolute = outside.to_owned();
    let (ups, escapes) = match upwards {
        Upwards::Rarely => (1, 1),
        Upwards::Often => (15, 20),
    };
    let part = prop_oneof![
        80 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned),
        ups => Just("..".to_owned()),
        3 => Just(".".to_owned()),
        3 => Just(String::new()),
        6 => Just("outside".to_owned()),
        6 => Just("canary".to_owned()),
        6 => prop::sample::select(vec![".wh.a", ".wh.b", ".wh..wh..opq"]).prop_map(str::to_owned),
    ];
    let path = prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    let form = prop_oneof![
        70 => Just(0), 10 => Just(1), 10 => Just(2), 10 => Just(3), escapes => Just(4),
    ];
    (path, form).prop_map(move |(path, form)| match form {
        1 => format!("{absolute}/{path}"),
        2 => format!("{absolute}/canary"),
        3 => format!("/{path}"),
        4 => format!("../../../../../../../../..{absolute}/canary"),
        _ => path,
    })
}

#[derive(Debug, Clone)]
struct Hostile {
    name: String,
    link: String,
    kind: u8,
    pax: bool,
}

fn archive(outside: &str) -> impl Strategy<Value = Vec<Hostile>> + use<> {
    let kind = prop_oneof![
        8 => Just(b'0'), 8 => Just(b'2'), 1 => Just(b'1'), 8 => Just(b'5'), 1 => Just(b'6'),
        1 => Just(b'3'),
    ];
    let (inner, outer) = (name(outside, Upwards::Rarely), name(outside, Upwards::Often));
    let entry = (name(outside, Upwards::Rarely), inner, outer, kind, any::<bool>()).prop_map(
        |(name, inner, outer, kind, pax)| {
            let link = if kind == b'2' { outer } else { inner };
            Hostile { name, link, kind, pax }
        },
    );
    prop::collection::vec(entry, 1..12)
}

fn bytes(entries: &[Hostile]) -> Vec<u8> {
    let mut archive = Archive::new();
    for Hostile { name, link, kind, pax } in entries {
        let data: &[u8] = if *kind == b'0' { b"pwned" } else { b"" };
        let mut entry = Entry {
            link: link.as_bytes(),
            data,
            mode: 0o777,
            uid: 4242,
            ..Entry::new(name, *kind)
        };
        if *pax {
            entry.pax = vec![("path", name.as_bytes()), ("linkpath", link.as_bytes())];
            entry.name = b"short";
        }
        archive = archive.entry(&entry);
    }
    archive.finish()
}

/// What stands around the store, and must stay as it is.
fn surroundings(directory: &Path) -> (Vec<PathBuf>, BTreeMap<PathBuf, Look>) {
    let names = names(directory);
    let files = look(&directory.join("outside"));
    assert_eq!(fs::read_to_string(directory.join("canary")).unwrap(), "alive");
    (names, files)
}

#[test]
fn nothing_outside_the_layer_changes() {
    if !is_root() {
        return;
    }
    let directory = support::temporary();
    let outside = directory.path().join("outside");
    fs::create_dir_all(outside.join("a/b")).unwrap();
    fs::write(outside.join("canary"), "alive").unwrap();
    fs::write(outside.join("a/canary"), "alive").unwrap();
    fs::write(directory.path().join("canary"), "alive").unwrap();
    let root = directory.path().join("root");
    let store = Store::open(&root).unwrap();
    let before = surroundings(directory.path());
    let layers_before = names(&root);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let unpacked_count = std::cell::Cell::new(0);
    let layer = || archive(outside.to_str().unwrap());
    runner
        .run(&(layer(), layer()), |(lower, upper)| {
            // The two as layers of one image, so that links of the one meet names of the other.
            let layout = support::temporary();
            let mut made = support::Layout::new(&layout.path().join("hostile"));
            let layers = [lower, upper].map(|layer| (bytes(&layer), support::Packing::Plain));
            made.image("latest", &layers, serde_json::json!({"Cmd": ["sh"]}));
            let loaded = store
                .load(Source::Path(&made.path), &berth_image::LoadOptions::default(), &Silent)
                .unwrap();
            let image = store.resolve(&loaded[0].digest.to_string()).unwrap();
            if store.unpack(&image, &Silent).is_ok() {
                unpacked_count.set(unpacked_count.get() + 1);
                let bundle = layout.path().join("bundle");
                berth_image::bundle::write_bundle(
                    &store,
                    &image,
                    &bundle,
                    &berth_image::bundle::Overrides::default(),
                    &Silent,
                )
                .unwrap();
            }
            let after = surroundings(directory.path());
            prop_assert_eq!(&before, &after);
            let scratch = fs::read_dir(root.join("tmp")).unwrap().count();
            prop_assert_eq!(scratch, 0);
            Ok(())
        })
        .unwrap();
    let unpacked = unpacked_count.get();
    assert!(unpacked > 30, "only {unpacked} of the archives could be unpacked at all");
    // And nothing in the store but what belongs there.
    assert_eq!(layers_before, names(&root));
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn any_bytes_are_read_or_refused_without_a_panic() {
    let directory = support::temporary();
    let store = Store::open(directory.path()).unwrap();
    let good = Archive::new()
        .directory("d")
        .file("d/f", &"content".repeat(100))
        .symlink("l", &"t".repeat(200))
        .entry(&Entry {
            data: b"1\n0\n4\n",
            pax: vec![
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"100"),
                ("mtime", b"1.5"),
                ("SCHILY.xattr.user.x", b"y"),
            ],
            ..Entry::new("sparse", b'0')
        })
        .entry(&Entry::new("old", b'S'))
        .finish();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) };
    let change = (0..good.len(), any::<u8>());
    let changes = prop::collection::vec(change, 0..12);
    proptest!(config, |(changes in changes, cut in 0..good.len(), fix in any::<bool>())| {
        let mut bytes = good.clone();
        for (place, value) in changes {
            bytes[place] = value;
        }
        if cut % 3 == 0 {
            bytes.truncate(cut);
        }
        if fix {
            // Right checksums let the damage get further.
            for block in bytes.chunks_mut(512).filter(|block| block.len() == 512) {
                if &block[257..262] == b"ustar" {
                    block[148..156].copy_from_slice(b"        ");
                    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
        }
        let mut stream = std::io::Cursor::new(bytes);
        let options = ImportOptions::default();
        if let Ok(image) = store.import(Source::Reader(&mut stream), &options, &Silent) {
            drop(store.unpack(&image, &Silent));
        }
    });
}
