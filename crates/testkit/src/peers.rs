//! Other people's programs that ours are held against.

use std::path::PathBuf;
use std::process::Command;

/// A peer's program in `PATH` or where Debian keeps those of root.
///
/// # Errors
/// The reason for skipping, when it is not installed.
pub fn find(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("{program} is not installed"))
}

/// A command that runs `program` where crun works too: crun refuses a hybrid cgroup layout, and
/// sees none in a mount namespace in which the file that it looks at is empty.
///
/// # Errors
/// The reason for skipping, when the program is not installed.
pub fn on_hybrid(program: &str) -> Result<Command, String> {
    let path = find(program)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(
        "f=/sys/fs/cgroup/unified/cgroup.controllers; \
         [ ! -e $f ] || mount --bind /dev/null $f 2>/dev/null || exit 99; exec \"$@\"",
    );
    command.arg("sh").arg(path);
    Ok(command)
}
