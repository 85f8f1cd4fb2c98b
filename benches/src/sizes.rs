//! How large the programs are.

use std::fs;
use std::path::PathBuf;

use crate::options::Section;
use crate::places::{Places, installed};
use crate::report::{Chapter, mebibytes};

const MEBIBYTE: u64 = 1024 * 1024;

/// Our programs, with the size that each may have at most.
const OURS: &[(&str, Option<u64>)] = &[
    ("berth-runtime", Some(2 * MEBIBYTE)),
    ("berth-monitor", None),
    ("berth", Some(25 * MEBIBYTE)),
];
const PEERS: &[&str] = &["runc", "crun", "conmon", "containerd-shim-runc-v2", "podman"];

pub fn run(places: &Places) -> Chapter {
    let mut chapter = Chapter::new(
        Section::Sizes,
        "As installed. Ours are static; crun's, conmon's and podman's libraries come on top.",
        &["", "Size"],
    );
    let size = |path: PathBuf| fs::metadata(path).map(|file| file.len()).ok();
    for &(name, at_most) in OURS {
        let Some(size) = places.ours(name).and_then(size) else {
            chapter.note(format!("SKIPPED: {}", places.missing(name)));
            continue;
        };
        chapter.row([name.to_owned(), mebibytes(size)]);
        if let Some(at_most) = at_most {
            chapter.bar(name, mebibytes(at_most), mebibytes(size), size <= at_most);
        }
    }
    for &name in PEERS {
        match installed(name).and_then(size) {
            Some(size) => chapter.row([name.to_owned(), mebibytes(size)]),
            None => chapter.note(format!("SKIPPED: {name} is not installed")),
        }
    }
    chapter
}
