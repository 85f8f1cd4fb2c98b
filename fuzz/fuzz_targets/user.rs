//! A user of an image against its `/etc/passwd` and `/etc/group`.
#![no_main]

use berth_image::FileError;
use berth_image::bundle::{RootLookup, resolve_user};

struct Files<'a>(&'a [u8], &'a [u8]);

impl RootLookup for Files<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(Some(if path == "/etc/passwd" { self.0 } else { self.1 }.to_vec()))
    }
}

/// A user, a NUL, `/etc/passwd`, a NUL and `/etc/group`: nobody gets an id that is none, and a number
/// is that number or an error.
fn user(data: &[u8]) {
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

libfuzzer_sys::fuzz_target!(|data: &[u8]| user(data));
