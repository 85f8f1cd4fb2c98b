//! A Debian image of several layers, made on this machine with Debian's own tools.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::command::finish_with;
use crate::peers;

/// The image in two forms.
#[derive(Debug, Clone)]
pub struct DebianImage {
    /// An OCI layout; the tag is `latest`.
    pub layout: PathBuf,
    /// The same as a Docker archive, named `debian-perl:latest`.
    pub docker_archive: PathBuf,
}

/// One maker at a time in this process; other processes are kept apart by the final rename.
static MAKING: Mutex<()> = Mutex::new(());

/// The image, made on first use and kept below `/var/tmp` (it takes a minute or two).
///
/// Three layers: Debian's minimal system with perl; a file added and one removed; a directory
/// replaced.
///
/// # Errors
/// The reason for skipping.
pub fn image() -> Result<DebianImage, String> {
    crate::root()?;
    for program in ["mmdebstrap", "umoci", "skopeo"] {
        peers::find(program)?;
    }
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cache = PathBuf::from("/var/tmp/berth-test-images");
    let ready = cache.join("debian-1");
    if !ready.join("complete").exists() {
        std::fs::create_dir_all(&cache)
            .map_err(|error| format!("make {}: {error}", cache.display()))?;
        let making = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(&cache)
            .map_err(|error| format!("no scratch directory: {error}"))?;
        make(making.path())?;
        // Whoever is first wins; both made the same.
        drop(std::fs::rename(making.keep(), &ready));
    }
    Ok(DebianImage { layout: ready.join("layout"), docker_archive: ready.join("docker.tar") })
}

fn make(directory: &Path) -> Result<(), String> {
    let script = r#"
set -eu
cd "$1"
mmdebstrap --quiet --variant=apt --include=perl-base bookworm base.tar
umoci init --layout layout
umoci new --image layout:latest
umoci raw add-layer --image layout:latest base.tar
mkdir -p l2/opt/berth; echo second > l2/opt/berth/layer; : > l2/opt/berth/gone
tar --owner=0 --group=0 -C l2 -cf l2.tar opt
umoci raw add-layer --image layout:latest l2.tar
mkdir -p l3/opt/berth l3/usr/share; : > l3/opt/berth/.wh.gone; echo third > l3/opt/berth/top
: > l3/usr/share/.wh.doc
tar --owner=0 --group=0 -C l3 -cf l3.tar opt usr/share/.wh.doc
umoci raw add-layer --image layout:latest l3.tar
umoci config --image layout:latest --config.cmd /bin/bash --config.env PATH=/usr/sbin:/usr/bin:/sbin:/bin --config.workingdir /opt/berth --config.label made.by=umoci
skopeo copy --quiet --insecure-policy oci:layout:latest docker-archive:docker.tar:debian-perl:latest
rm -rf base.tar l2 l2.tar l3 l3.tar
: > complete
"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(directory);
    let finished = finish_with(&mut command, b"", Duration::from_mins(15));
    if finished.code == 0 {
        Ok(())
    } else {
        Err(format!("Debian's packages cannot be had: {}", finished.stderr.trim()))
    }
}
