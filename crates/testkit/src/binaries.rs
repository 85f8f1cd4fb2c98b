//! Where the built binaries are.

use std::path::{Path, PathBuf};

/// The directory of the binaries under test: `BERTH_BIN_DIR`, or the workspace's `dist` build.
///
/// # Errors
/// The reason for skipping, when there are none.
pub fn directory() -> Result<PathBuf, String> {
    if let Some(directory) = std::env::var_os("BERTH_BIN_DIR") {
        return Ok(directory.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let target = workspace.map(|workspace| workspace.join("target")).unwrap_or_default();
    let triples = std::fs::read_dir(&target).into_iter().flatten().flatten();
    triples
        .map(|triple| triple.path().join("dist"))
        .find(|dist| dist.join("berth").is_file())
        .ok_or_else(|| "no built binaries: run `cargo xtask dist` or set BERTH_BIN_DIR".to_owned())
}

/// One of our binaries by name.
///
/// # Errors
/// The reason for skipping, when it is not built.
pub fn path(name: &str) -> Result<PathBuf, String> {
    let path = directory()?.join(name);
    if path.is_file() { Ok(path) } else { Err(format!("{} is not built", path.display())) }
}
