//! Mount options (config.md, "Linux mount options") as attributes, propagation and file system data.

use berth_spec::runtime::Mount;

use crate::sys::MountAttributes;

// `MOUNT_ATTR_*` of linux/mount.h.
/// No writing.
pub(crate) const ATTRIBUTE_RDONLY: u64 = 0x01;
/// No set-user-id programs.
pub(crate) const ATTRIBUTE_NOSUID: u64 = 0x02;
/// No devices.
pub(crate) const ATTRIBUTE_NODEV: u64 = 0x04;
/// No programs.
pub(crate) const ATTRIBUTE_NOEXEC: u64 = 0x08;
/// The bits in which the access time mode stands; 0 is relatime.
pub(crate) const ATTRIBUTE_ATIME: u64 = 0x70;
/// No access times.
pub(crate) const ATTRIBUTE_NOATIME: u64 = 0x10;
/// Every access time.
pub(crate) const ATTRIBUTE_STRICTATIME: u64 = 0x20;
/// No access times of directories.
pub(crate) const ATTRIBUTE_NODIRATIME: u64 = 0x80;
/// Ids are mapped.
pub(crate) const ATTRIBUTE_IDMAP: u64 = 0x10_0000;
/// Symbolic links are not followed.
pub(crate) const ATTRIBUTE_NOSYMFOLLOW: u64 = 0x20_0000;

use {
    ATTRIBUTE_ATIME as ATIME, ATTRIBUTE_NOATIME as NOATIME, ATTRIBUTE_NODEV as NODEV,
    ATTRIBUTE_NODIRATIME as NODIRATIME, ATTRIBUTE_NOEXEC as NOEXEC, ATTRIBUTE_NOSUID as NOSUID,
    ATTRIBUTE_NOSYMFOLLOW as NOSYMFOLLOW, ATTRIBUTE_RDONLY as RDONLY,
    ATTRIBUTE_STRICTATIME as STRICTATIME,
};

// `MS_LAZYTIME` of linux/mount.h.
const LAZYTIME: u64 = 1 << 25;

const SHARED: u64 = libc::MS_SHARED;
const SLAVE: u64 = libc::MS_SLAVE;
const PRIVATE: u64 = libc::MS_PRIVATE;
const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

#[derive(Clone, Copy)]
enum Effect {
    /// Sets attributes.
    Set(u64),
    /// Clears attributes.
    Clear(u64),
    /// Chooses the access time mode.
    AccessTime(u64),
    /// The same for the whole tree.
    SetTree(u64),
    ClearTree(u64),
    AccessTimeTree(u64),
    /// Propagation of the mount, or of the tree.
    Propagation(u64),
    PropagationTree(u64),
    Bind,
    BindTree,
    CopyUp,
    IdMap,
    IdMapTree,
    Remount,
    /// A flag of the superblock, by the kernel's name, with its `MS_*` bit if it has one.
    Superblock(u64),
    /// Nothing: only says how loudly the kernel complains, or is the default.
    Nothing,
}

const OPTIONS: &[(&str, Effect)] = &[
    ("async", Effect::Superblock(0)),
    ("atime", Effect::AccessTime(0)),
    ("bind", Effect::Bind),
    ("defaults", Effect::Nothing),
    ("dev", Effect::Clear(NODEV)),
    ("diratime", Effect::Clear(NODIRATIME)),
    ("dirsync", Effect::Superblock(libc::MS_DIRSYNC)),
    ("exec", Effect::Clear(NOEXEC)),
    ("idmap", Effect::IdMap),
    ("iversion", Effect::Superblock(libc::MS_I_VERSION)),
    ("lazytime", Effect::Superblock(LAZYTIME)),
    ("loud", Effect::Nothing),
    ("mand", Effect::Superblock(libc::MS_MANDLOCK)),
    ("noatime", Effect::AccessTime(NOATIME)),
    ("nodev", Effect::Set(NODEV)),
    ("nodiratime", Effect::Set(NODIRATIME)),
    ("noexec", Effect::Set(NOEXEC)),
    ("noiversion", Effect::Nothing),
    ("nolazytime", Effect::Superblock(0)),
    ("nomand", Effect::Superblock(0)),
    ("norelatime", Effect::AccessTime(0)),
    ("nostrictatime", Effect::AccessTime(0)),
    ("nosuid", Effect::Set(NOSUID)),
    ("nosymfollow", Effect::Set(NOSYMFOLLOW)),
    ("private", Effect::Propagation(PRIVATE)),
    ("ratime", Effect::AccessTimeTree(0)),
    ("rbind", Effect::BindTree),
    ("rdev", Effect::ClearTree(NODEV)),
    ("rdiratime", Effect::ClearTree(NODIRATIME)),
    ("relatime", Effect::AccessTime(0)),
    ("remount", Effect::Remount),
    ("rexec", Effect::ClearTree(NOEXEC)),
    ("ridmap", Effect::IdMapTree),
    ("rnoatime", Effect::AccessTimeTree(NOATIME)),
    ("rnodev", Effect::SetTree(NODEV)),
    ("rnodiratime", Effect::SetTree(NODIRATIME)),
    ("rnoexec", Effect::SetTree(NOEXEC)),
    ("rnorelatime", Effect::AccessTimeTree(0)),
    ("rnostrictatime", Effect::AccessTimeTree(0)),
    ("rnosuid", Effect::SetTree(NOSUID)),
    ("rnosymfollow", Effect::SetTree(NOSYMFOLLOW)),
    ("ro", Effect::Set(RDONLY)),
    ("rprivate", Effect::PropagationTree(PRIVATE)),
    ("rrelatime", Effect::AccessTimeTree(0)),
    ("rro", Effect::SetTree(RDONLY)),
    ("rrw", Effect::ClearTree(RDONLY)),
    ("rshared", Effect::PropagationTree(SHARED)),
    ("rslave", Effect::PropagationTree(SLAVE)),
    ("rstrictatime", Effect::AccessTimeTree(STRICTATIME)),
    ("rsuid", Effect::ClearTree(NOSUID)),
    ("rsymfollow", Effect::ClearTree(NOSYMFOLLOW)),
    ("runbindable", Effect::PropagationTree(UNBINDABLE)),
    ("rw", Effect::Clear(RDONLY)),
    ("shared", Effect::Propagation(SHARED)),
    ("silent", Effect::Nothing),
    ("slave", Effect::Propagation(SLAVE)),
    ("strictatime", Effect::AccessTime(STRICTATIME)),
    ("suid", Effect::Clear(NOSUID)),
    ("symfollow", Effect::Clear(NOSYMFOLLOW)),
    ("sync", Effect::Superblock(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Effect::Propagation(UNBINDABLE)),
];

/// Every mount option that is known, for `features`.
pub(crate) fn names() -> Vec<String> {
    OPTIONS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Whether an option is a flag of the superblock, which a bind mount shares and leaves as it is.
pub(crate) fn is_superblock_option(option: &str) -> bool {
    OPTIONS.iter().any(|(name, effect)| *name == option && matches!(effect, Effect::Superblock(_)))
}

/// The `MS_*` bit of a flag of the superblock.
pub(crate) fn superblock_flag(option: &[u8]) -> Option<u64> {
    OPTIONS.iter().find_map(|(name, effect)| match effect {
        Effect::Superblock(flag) if name.as_bytes() == option => Some(*flag),
        _ => None,
    })
}

/// Whether a file system's options are beyond fsconfig(2): it takes values of up to 255 bytes, and
/// knows no `iversion`.
pub(crate) fn needs_classic(data: &[(String, Option<String>)]) -> bool {
    data.iter().any(|(key, value)| match value {
        Some(value) => value.len() > 255,
        None => key == "iversion",
    })
}

/// Whether a bind is of one mount or of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindReach {
    /// `bind`.
    One,
    /// `rbind`.
    Tree,
}

/// What the options of one mount say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// For the mount itself.
    pub attributes: MountAttributes,
    /// For the whole tree.
    pub tree_attributes: MountAttributes,
    /// Propagation changes, in order: the kind, and whether of the tree.
    pub propagation: Vec<(u64, bool)>,
    /// `bind` or `rbind`.
    pub bind: Option<BindReach>,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// `remount`.
    pub remount: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub id_map: Option<bool>,
    /// What the file system gets: `key=value` or a flag.
    pub data: Vec<(String, Option<String>)>,
}

impl MountAttributes {
    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    fn access_time(&mut self, mode: u64) {
        // The kernel wants all of the mode's bits cleared before one is set.
        self.clear |= ATIME;
        self.set = self.set & !ATIME | mode;
    }
}

/// Understands the options of a mount.
pub(crate) fn parse(mount: &Mount) -> MountOptions {
    let mut parsed = MountOptions::default();
    for option in &mount.options {
        let known = OPTIONS.binary_search_by(|(name, _)| (*name).cmp(option));
        let effect = known.ok().and_then(|at| OPTIONS.get(at)).map(|(_, effect)| *effect);
        match effect {
            Some(effect) => apply(effect, option, &mut parsed),
            // Comments for other programs, as in fstab.
            None if option.starts_with("x-") || option.is_empty() => {}
            None => parsed.data.push(match option.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (option.clone(), None),
            }),
        }
    }
    parsed
}

fn apply(effect: Effect, option: &str, parsed: &mut MountOptions) {
    match effect {
        Effect::Set(bits) => parsed.attributes.set(bits),
        Effect::Clear(bits) => parsed.attributes.clear(bits),
        Effect::AccessTime(mode) => parsed.attributes.access_time(mode),
        Effect::SetTree(bits) => parsed.tree_attributes.set(bits),
        Effect::ClearTree(bits) => parsed.tree_attributes.clear(bits),
        Effect::AccessTimeTree(mode) => parsed.tree_attributes.access_time(mode),
        Effect::Propagation(kind) => parsed.propagation.push((kind, false)),
        Effect::PropagationTree(kind) => parsed.propagation.push((kind, true)),
        Effect::Bind => parsed.bind = parsed.bind.or(Some(BindReach::One)),
        Effect::BindTree => parsed.bind = Some(BindReach::Tree),
        Effect::CopyUp => parsed.copy_up = true,
        Effect::Remount => parsed.remount = true,
        Effect::IdMap => parsed.id_map = Some(false),
        Effect::IdMapTree => parsed.id_map = Some(true),
        Effect::Superblock(_) => parsed.data.push((option.to_owned(), None)),
        Effect::Nothing => {}
    }
}

/// The value of `linux.rootfsPropagation`: the kind, and whether of the tree.
pub(crate) fn propagation(word: &str) -> Option<(u64, bool)> {
    Some(match word {
        "shared" => (SHARED, false),
        "rshared" => (SHARED, true),
        "slave" => (SLAVE, false),
        "rslave" => (SLAVE, true),
        "private" => (PRIVATE, false),
        "rprivate" => (PRIVATE, true),
        "unbindable" => (UNBINDABLE, false),
        "runbindable" => (UNBINDABLE, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> MountOptions {
        let options = words.iter().map(|&word| word.to_owned()).collect();
        parse(&Mount { options, ..Mount::default() })
    }

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_option_of_the_specification_is_known() {
        let plain = "async bind defaults dirsync idmap iversion lazytime loud mand noiversion \
                     nolazytime nomand rbind remount ridmap silent sync tmpcopyup";
        let twice = "atime dev diratime exec noatime nodev nodiratime noexec norelatime \
                     nostrictatime nosuid nosymfollow relatime strictatime suid symfollow private \
                     shared slave unbindable";
        let recursive = twice.split_whitespace().map(|word| format!("r{word}"));
        let words = plain.split_whitespace().chain(twice.split_whitespace()).map(str::to_owned);
        let more = ["ro", "rw", "rro", "rrw"].map(str::to_owned);
        for word in words.chain(recursive).chain(more) {
            assert!(names().contains(&word), "{word}");
        }
    }

    #[test]
    fn the_last_of_contradicting_options_counts() {
        let parsed = options(&["ro", "nosuid", "rw", "noatime", "strictatime"]);
        assert_eq!(parsed.attributes.set, NOSUID | STRICTATIME);
        assert_eq!(parsed.attributes.clear, RDONLY | ATIME);
    }

    #[test]
    fn recursive_options_are_for_the_tree() {
        let parsed = options(&["rbind", "rro", "rnosymfollow", "rprivate", "slave"]);
        assert_eq!(parsed.bind, Some(BindReach::Tree));
        assert_eq!(parsed.attributes, MountAttributes::default());
        assert_eq!(parsed.tree_attributes.set, RDONLY | NOSYMFOLLOW);
        assert_eq!(parsed.propagation, [(PRIVATE, true), (SLAVE, false)]);
    }

    #[test]
    fn what_is_not_known_is_for_the_file_system() {
        let parsed = options(&["size=64k", "mode=755", "sync", "huge", "x-note"]);
        let data: Vec<_> = parsed.data.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        assert_eq!(
            data,
            [("size", Some("64k")), ("mode", Some("755")), ("sync", None), ("huge", None)]
        );
        assert!(options(&["remount", "ro"]).remount);
    }

    #[test]
    fn long_values_and_iversion_need_the_older_call() {
        let needs = |word: &str| needs_classic(&options(&[word]).data);
        assert!(needs("iversion") && needs(&format!("lowerdir={}", "x".repeat(256))));
        assert!(!needs("sync") && !needs(&format!("lowerdir={}", "x".repeat(255))));
        assert_eq!(superblock_flag(b"sync"), Some(libc::MS_SYNCHRONOUS));
        assert_eq!(superblock_flag(b"huge"), None);
    }
}
