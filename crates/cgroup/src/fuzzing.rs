//! What is done with foreign bytes in search of a crash or a broken promise: by the fuzz targets
//! (`fuzz/`), and on a small scale by the property tests below.

use std::path::Component;

use crate::Hierarchies;
use crate::mount_table::MountLine;
use crate::systemd::wire::{self, FIXED_HEADER, Message};

/// A message of the bus: it is read within its bounds or refused.
pub fn bus(data: &[u8]) {
    if let Some(fixed) = data.first_chunk::<FIXED_HEADER>() {
        let _ = wire::remaining(fixed);
    }
    let Ok(message) = Message::parse(data) else { return };
    let mut body = message.body();
    let _ = body.text();
    let _ = body.signature();
    let mut numbers = 0;
    while body.u32().is_ok() {
        numbers += 1;
    }
    assert!(numbers * 4 <= data.len());
}

/// `/proc/self/mountinfo`, a NUL, and `/proc/self/cgroup`: the process' own paths never lead up.
pub fn mounts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (mountinfo, own) = text.split_once('\0').unwrap_or((&text, "0::/\n"));
    for mount in mountinfo.lines().filter_map(MountLine::parse) {
        // What is escaped is longer than what it stands for.
        let length = mount.root().as_os_str().len() + mount.mount_point().as_os_str().len();
        assert!(length <= mountinfo.len());
    }
    let Ok(hierarchies) = Hierarchies::parse(mountinfo, own) else { return };
    for mount in hierarchies.mounts() {
        let path = hierarchies.own_path(mount);
        assert!(path.is_absolute() && !path.components().any(|c| c == Component::ParentDir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_testkit::damaged;
    use proptest::prelude::*;

    /// A reply with a signature and a string in its body.
    const REPLY: &[u8] = b"l\x02\x01\x01\x08\0\0\0\x01\0\0\0\x0f\0\0\0\
        \x05\x01u\0\x07\0\0\0\x08\x01g\0\x01s\0\0\x03\0\0\0abc\0";
    const MOUNTS: &[u8] =
        b"32 31 0:29 /a /sys/fs/cgroup/cpu\\040x rw shared:9 - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /u rw - cgroup2 cgroup2 rw\n\x009:name=systemd:/\n1:cpu:/a/b\n0::/../u\n";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_message_is_read_or_refused(data in damaged(REPLY)) {
            bus(&data);
        }

        #[test]
        fn any_table_of_mounts_is_read_or_refused(data in damaged(MOUNTS)) {
            mounts(&data);
        }
    }

    #[test]
    fn the_undamaged_ones_are_read() {
        assert_eq!(Message::parse(REPLY).unwrap().reply_to, 7);
        let text = std::str::from_utf8(MOUNTS).unwrap();
        let (mountinfo, own) = text.split_once('\0').unwrap();
        assert_eq!(Hierarchies::parse(mountinfo, own).unwrap().mounts().len(), 2);
    }
}
