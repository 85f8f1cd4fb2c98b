//! A `config.json`: what can be read is written and read as the same again, and its profile of system
//! calls is compiled or refused.
#![no_main]

use berth_spec::runtime::{Process, Spec};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let document = serde_json::from_slice::<T>(data).ok()?;
    let text = serde_json::to_vec(&document).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("what was written is read"), document);
    Some(document)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = again::<Process>(data);
    if let Some(profile) = again::<Spec>(data).and_then(|spec| spec.linux?.seccomp) {
        let _ = berth_seccomp::compile(&profile);
    }
});
