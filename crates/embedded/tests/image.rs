//! The embedded archive is an image that the specification's rules hold for.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The files of the archive, by path.
fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(berth_embedded::ARCHIVE).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(path, bytes);
    }
    files
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The blob that a descriptor names, checked against digest and size.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let name = descriptor["digest"].as_str().unwrap();
    let bytes = &files[&format!("blobs/{}", name.replace(':', "/"))];
    assert_eq!(digest(bytes), name);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

/// The only element of an array.
fn only(array: &Value) -> &Value {
    let [element] = array.as_array().unwrap().as_slice() else { panic!("not one: {array}") };
    element
}

/// The image's configuration and its uncompressed layer.
fn image() -> (Value, Vec<u8>) {
    let files = files();
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let entry = only(&index["manifests"]);
    let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(name, berth_embedded::REFERENCE);
    let manifest: Value = serde_json::from_slice(blob(&files, entry)).unwrap();
    let config = blob(&files, &manifest["config"]);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(blob(&files, only(&manifest["layers"])))
        .read_to_end(&mut plain)
        .unwrap();
    (serde_json::from_slice(config).unwrap(), plain)
}

#[test]
fn the_archive_is_a_layout_whose_digests_hold() {
    assert_eq!(files()["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let (config, layer) = image();
    assert_eq!(*only(&config["rootfs"]["diff_ids"]), digest(&layer));
    assert_eq!(*only(&config["config"]["Cmd"]), "/bin/hello");
    let layers = config["history"].as_array().unwrap();
    assert_eq!(layers.iter().filter(|entry| entry["empty_layer"] != true).count(), 1);
}

#[test]
fn the_layer_holds_the_program_and_its_links_in_order() {
    let (_, layer) = image();
    let mut names = Vec::new();
    let mut program = Vec::new();
    for entry in tar::Archive::new(layer.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
        if name == "bin/sh" {
            assert_eq!(entry.link_name().unwrap().unwrap().to_str(), Some("berth-applets"));
        }
        if name == "bin/berth-applets" {
            entry.read_to_end(&mut program).unwrap();
        }
        names.push(name);
    }
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    assert!(names.contains(&"bin/hello".to_owned()) && names.contains(&"etc/passwd".to_owned()));
    assert_eq!(program, berth_embedded::INIT);
}

#[test]
fn the_archive_stays_below_a_megabyte_and_a_half() {
    assert!(berth_embedded::ARCHIVE.len() < 3 << 19, "{}", berth_embedded::ARCHIVE.len());
}

#[test]
fn the_program_is_static_and_runs() {
    use std::os::unix::fs::PermissionsExt;
    let directory = std::env::temp_dir().join(format!("berth-embedded-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("init");
    std::fs::write(&path, berth_embedded::INIT).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = std::process::Command::new(&path)
        .args(
            [path.as_os_str(), "/bin/sh".as_ref(), "-c".as_ref(), "exit 7".as_ref()]
                .get(1..)
                .unwrap(),
        )
        .output()
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    // A static program asks for no interpreter (PT_INTERP would name one).
    assert!(!berth_embedded::INIT.windows(12).any(|window| window == b"/lib64/ld-li"));
}
