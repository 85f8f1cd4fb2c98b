//! An image's index, manifest and configuration: written and read again they are the same.
#![no_main]

use berth_spec::image::{ImageConfig, Index, Manifest};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let document = serde_json::from_slice::<T>(data).ok()?;
    let text = serde_json::to_vec(&document).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("what was written is read"), document);
    Some(document)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = again::<Index>(data);
    let _ = again::<Manifest>(data);
    let _ = again::<ImageConfig>(data);
});
