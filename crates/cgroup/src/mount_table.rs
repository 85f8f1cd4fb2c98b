//! The table of mounts, /proc/PID/mountinfo (proc_pid_mountinfo(5)), a line at a time.
//!
//! It knows the fields of a line, not what is mounted.

use std::path::PathBuf;

/// A mount, as the table tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// Its id.
    pub id: &'a str,
    /// The id of the mount that it is mounted in.
    pub parent: &'a str,
    root: &'a str,
    mount_point: &'a str,
    /// Options of the mount.
    pub options: &'a str,
    /// The file system's type.
    pub kind: &'a str,
    /// Options of the file system.
    pub file_system_options: &'a str,
}

impl<'a> MountLine<'a> {
    /// The fields of a line; `None` when it is none.
    ///
    /// `31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu`
    pub fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let (mut left, mut right) = (left.split(' '), right.split(' '));
        Some(Self {
            id: left.next()?,
            parent: left.next()?,
            root: left.nth(1)?,
            mount_point: left.next()?,
            options: left.next()?,
            kind: right.next()?,
            file_system_options: right.nth(1)?,
        })
    }

    /// Which directory of the file system is mounted.
    pub fn root(&self) -> PathBuf {
        unescape(self.root)
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> PathBuf {
        unescape(self.mount_point)
    }
}

/// Space, tab, newline and backslash stand there as three octal digits.
fn unescape(text: &str) -> PathBuf {
    if !text.contains('\\') {
        return PathBuf::from(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let code = rest.get(at + 1..at + 4).and_then(|d| u8::from_str_radix(d, 8).ok());
        match code {
            Some(byte) => {
                out.push(char::from(byte));
                rest = rest.get(at + 4..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = rest.get(at + 1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_line_is_taken_apart_and_its_paths_are_unescaped() {
        let line = "99 31 0:32 /a\\040b /m\\134\\x rw,ro shared:9 master:2 - ext4 /dev/x rw,data";
        let found = MountLine::parse(line).expect("parses");
        assert_eq!((found.id, found.parent, found.kind), ("99", "31", "ext4"));
        assert_eq!(found.root(), Path::new("/a b"));
        assert_eq!(found.mount_point(), Path::new("/m\\\\x"));
        assert_eq!((found.options, found.file_system_options), ("rw,ro", "rw,data"));
        assert_eq!(MountLine::parse("99 31 0:32 /a"), None);
    }
}
