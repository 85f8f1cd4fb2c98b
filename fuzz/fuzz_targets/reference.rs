//! The name of an image: what is understood is understood the same again in its full form.
#![no_main]

use berth_image::Reference;

fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = Reference::parse(text) {
        let full = reference.to_string();
        assert_eq!(Reference::parse(&full).expect("its own form"), reference, "{full}");
        let bad = |part: &str| part.is_empty() || part == "." || part == "..";
        assert!(!reference.repository().split('/').any(bad), "{full}");
    }
    let _ = Reference::candidates(text);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference(data));
