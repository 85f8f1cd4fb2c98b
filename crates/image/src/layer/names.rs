//! Names of entries as paths below the root.

use super::ApplyError;

/// The longest path that the kernel takes, without the NUL.
pub(super) const PATH_LIMIT: usize = 4095;
/// How deep directories may be nested: far deeper than images are, and little enough for those who
/// walk the tree with a descriptor a level.
pub(super) const DEPTH_LIMIT: usize = 512;
/// How many symbolic links a path may pass through, as in the kernel.
pub(super) const LINK_LIMIT: usize = 40;

/// The name as components joined by single slashes, without dots; empty for the root itself.
///
/// An absolute name is taken relative to the root. `..` goes up as in a path without links; where
/// it leads out of the root, the archive is refused.
pub(super) fn normalize(name: &[u8], entry: &[u8]) -> Result<Vec<u8>, ApplyError> {
    let text = || String::from_utf8_lossy(entry).into_owned();
    let bad = |problem| ApplyError::Name { entry: text(), problem };
    if name.contains(&0) {
        return Err(bad("has a NUL in it"));
    }
    let mut path = Vec::with_capacity(name.len());
    let mut depth = 0;
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                if path.is_empty() {
                    return Err(ApplyError::Escape(text()));
                }
                path.truncate(parent(&path).len());
                depth -= 1;
            }
            component => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
                depth += 1;
            }
        }
    }
    if path.len() > PATH_LIMIT {
        return Err(bad("is longer than a path can be"));
    }
    if depth > DEPTH_LIMIT {
        return Err(bad("is nested deeper than 512 directories"));
    }
    Ok(path)
}

/// Everything before the last component; empty at the top.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.get(..slash)).unwrap_or(b"")
}

/// The last component.
pub(super) fn base(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path.get(slash + 1..).unwrap_or(b""),
        None => path,
    }
}

/// A path below another.
pub(super) fn join(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return base.to_vec();
    }
    [parent, b"/", base].concat()
}

/// The components of a path, with those that mean nothing left out and `..` kept.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Whether `path` is `above` or below it.
pub(super) fn is_within(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_below_the_root() {
        for (name, path) in [
            ("a/b", "a/b"),
            ("./a//./b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("a/../b", "b"),
            ("", ""),
            ("./", ""),
        ] {
            assert_eq!(normalize(name.as_bytes(), b"").unwrap(), path.as_bytes(), "{name}");
        }
        for name in ["..", "../x", "a/../../x", "/.."] {
            assert!(matches!(normalize(name.as_bytes(), b""), Err(ApplyError::Escape(_))));
        }
        assert!(normalize(b"a\0b", b"").is_err());
        assert!(normalize(&b"d/".repeat(600), b"").is_err());
        assert!(normalize(&b"x".repeat(5000), b"").is_err());
    }

    #[test]
    fn a_path_is_taken_apart() {
        assert_eq!((parent(b"a/b/c"), base(b"a/b/c")), (&b"a/b"[..], &b"c"[..]));
        assert_eq!((parent(b"a"), base(b"a")), (&b""[..], &b"a"[..]));
        assert!(is_within(b"a/b", b"a") && is_within(b"a", b"a") && !is_within(b"ab", b"a"));
    }
}
