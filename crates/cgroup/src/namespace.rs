//! Whether this process is in a user namespace of somebody's, where its root is not the machine's.

/// Answers from the map of user ids, which only the first namespace has whole.
pub(crate) fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = map.split_whitespace().collect();
    words != ["0", "0", "4294967295"]
}

/// Whether the machine's own rights are missing: another user's, or those of a namespace.
pub fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root() || in_user_namespace()
}
