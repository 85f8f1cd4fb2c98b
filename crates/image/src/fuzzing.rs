//! What is done with foreign bytes in search of a crash or a broken promise: by the fuzz targets
//! (`fuzz/`), and on a small scale by the property tests below.

use std::fmt::Debug;

use berth_spec::image::{ImageConfig, Index, Manifest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bundle::{Overrides, RootLookup, resolve_user, runtime_spec};
use crate::error::FileError;
use crate::reference::Reference;
use crate::tar::TarReader;

/// The name of an image: what is understood is understood the same again in its full form.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = Reference::parse(text) {
        let full = reference.to_string();
        assert_eq!(Reference::parse(&full).expect("its own form"), reference, "{full}");
        let bad = |part: &str| part.is_empty() || part == "." || part == "..";
        assert!(!reference.repository().split('/').any(bad), "{full}");
    }
    let _ = Reference::candidates(text);
}

/// An archive, as it is and with every checksum right: it comes to an end, and an entry's data is no
/// longer than what is there.
pub fn archive(data: &[u8]) {
    read_archive(data);
    read_archive(&with_checksums(data));
}

/// Damage to a header would otherwise be refused for its checksum, and no field be looked at.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    for block in archive.chunks_exact_mut(512).filter(|block| block.iter().any(|&b| b != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

fn read_archive(data: &[u8]) {
    let mut reader = TarReader::new(data);
    let mut stored = 0;
    while let Ok(Some(_)) = reader.next() {
        assert!(reader.position() <= data.len() as u64);
        while let Ok(chunk) = reader.chunk(4096)
            && !chunk.is_empty()
        {
            let length = chunk.len();
            stored += length;
            reader.consume(length);
        }
    }
    assert!(stored <= data.len());
}

/// The documents of a layout: what can be read is written and read as the same again, and what an
/// image asks for becomes a process with a program and a directory.
pub fn documents(data: &[u8]) {
    let _ = again::<Index>(data);
    let _ = again::<Manifest>(data);
    let Some(config) = again::<ImageConfig>(data) else { return };
    let nobody = Files(b"", b"");
    let Ok(converted) = runtime_spec(&config, &nobody, &Overrides::default()) else { return };
    let process = converted.spec.process.expect("the conversion makes a process");
    assert!(process.cwd.is_absolute());
    assert!(process.args.first().is_some_and(|program| !program.is_empty()));
    assert!(converted.volumes.iter().all(|volume| volume.starts_with('/')));
    let annotations = converted.spec.annotations;
    assert!(!converted.omitted_labels.iter().any(|label| annotations.contains_key(label)));
}

/// The document, when it is one, and when it is the same after it has been written.
fn again<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let document = serde_json::from_slice::<T>(data).ok()?;
    let text = serde_json::to_vec(&document).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("what was written is read"), document);
    Some(document)
}

struct Files<'a>(&'a [u8], &'a [u8]);

impl RootLookup for Files<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(Some(if path == "/etc/passwd" { self.0 } else { self.1 }.to_vec()))
    }
}

/// A user, a NUL, `/etc/passwd`, a NUL and `/etc/group`: nobody gets an id that is none, and a number
/// is that number or an error.
pub fn user(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (wanted, files) = (String::from_utf8_lossy(part()), Files(part(), part()));
    let Ok(found) = resolve_user(&wanted, &files) else { return };
    let ids = [found.user.uid, found.user.gid];
    assert!(ids.iter().chain(&found.user.additional_gids).all(|&id| id != u32::MAX));
    let name = wanted.split(':').next().unwrap_or_default();
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        assert_eq!(name.parse(), Ok(found.user.uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_testkit::damaged;
    use proptest::prelude::*;

    /// An index, a manifest and an image's configuration at once: each ignores the others' members.
    const DOCUMENT: &[u8] = br#"{"schemaVersion":2,"layers":[],
        "config":{"mediaType":"a/b","digest":"sha256:0","size":1,"User":"7:8","Cmd":["sh"],
            "Env":["A=b"],"WorkingDir":"/w","Volumes":{"/v":{}},"Labels":{"run.oci.x":"1","l":"2"}},
        "manifests":[{"mediaType":"a/b","digest":"sha256:1","size":2}],
        "architecture":"amd64","os":"linux","history":[{"created_by":"x"}],
        "rootfs":{"type":"layers","diff_ids":["sha256:2"]}}"#;

    fn small_archive() -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_gnu();
        header.set_size(5);
        let long = format!("{}/file", "d".repeat(150));
        builder.append_data(&mut header, long, &b"12345"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn the_undamaged_ones_are_read() {
        assert!(again::<Index>(DOCUMENT).is_some() && again::<Manifest>(DOCUMENT).is_some());
        let config = again::<ImageConfig>(DOCUMENT).unwrap();
        let converted = runtime_spec(&config, &Files(b"", b""), &Overrides::default()).unwrap();
        assert_eq!((converted.volumes.len(), converted.omitted_labels.len()), (1, 1));
        let archive = small_archive();
        let entry = TarReader::new(&archive[..]).next().unwrap().unwrap();
        assert_eq!((entry.path.len(), entry.size), (155, 5));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_name_is_understood_or_refused(data in damaged(b"registry.example:5000/a/b_c:tag@sha256:e3b0c442")) {
            reference(&data);
        }

        #[test]
        fn any_archive_ends(data in damaged(&small_archive())) {
            archive(&data);
        }

        #[test]
        fn any_document_is_read_or_refused(data in damaged(DOCUMENT)) {
            documents(&data);
        }

        #[test]
        fn any_user_is_somebody_or_an_error(data in damaged(b"a:g\0root:x:0:0::/:\na:x:7:8::/h:\n\0g:x:9:a\n")) {
            user(&data);
        }
    }
}
