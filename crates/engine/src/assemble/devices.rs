//! Devices and the rules for them (config-linux.md, "Devices", "Allowed Device list").

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use berth_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, Spec};

use super::{RequestError, linux};
use crate::request::ContainerRequest;

/// How deep a directory given to `--device`, or /dev with `--privileged`, is searched.
const DEPTH: usize = 8;
/// What of /dev is not the host's devices: a container has its own there.
const OWN: [&str; 7] =
    ["/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/console", "/dev/.lxc", "/dev/.udev"];

pub(super) fn apply(spec: &mut Spec, request: &ContainerRequest) -> Result<(), RequestError> {
    let mut devices = Vec::new();
    if request.privileged {
        host_devices(Path::new("/dev"), DEPTH, &mut devices);
        linux(spec).resources.get_or_insert_default().devices = vec![LinuxDeviceCgroup::all(true)];
    }
    let mut rules = Vec::new();
    for wanted in &request.devices {
        let mut found = Vec::new();
        collect(&wanted.host, &wanted.container, DEPTH, &mut found).map_err(|source| {
            RequestError::HostFile { option: "--device", path: wanted.host.clone(), source }
        })?;
        if found.is_empty() {
            return Err(RequestError::Value {
                option: "--device",
                value: wanted.host.display().to_string(),
                expected: "a device, or a directory of devices".to_owned(),
            });
        }
        rules.extend(found.iter().map(|device| LinuxDeviceCgroup {
            allow: true,
            typ: Some(device.typ.clone()),
            major: device.major,
            minor: device.minor,
            access: Some(wanted.permissions.clone()),
        }));
        devices.retain(|known: &LinuxDevice| !found.iter().any(|new| new.path == known.path));
        devices.extend(found);
    }
    for rule in &request.device_cgroup_rules {
        rules.push(LinuxDeviceCgroup {
            allow: true,
            typ: Some(rule.kind.to_string()),
            major: rule.major,
            minor: rule.minor,
            access: Some(rule.permissions.clone()),
        });
    }
    let linux = linux(spec);
    linux.devices.extend(devices);
    linux.resources.get_or_insert_default().devices.extend(rules);
    Ok(())
}

/// The device at `host`, or all below it.
fn collect(
    host: &Path,
    container: &Path,
    depth: usize,
    found: &mut Vec<LinuxDevice>,
) -> std::io::Result<()> {
    let metadata = std::fs::metadata(host)?;
    if let Some(device) = device(&metadata, container) {
        found.push(device);
    } else if metadata.is_dir() && depth > 0 {
        for entry in std::fs::read_dir(host)? {
            let name = entry?.file_name();
            // What vanished since, or is no device, is nobody's loss.
            let _ = collect(&host.join(&name), &container.join(&name), depth - 1, found);
        }
    }
    Ok(())
}

/// Every device of the host that a privileged container gets; it goes without what can't be read.
fn host_devices(directory: &Path, depth: usize, found: &mut Vec<LinuxDevice>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if OWN.iter().any(|own| path == Path::new(own)) || is_terminal(&path) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        if let Some(device) = device(&metadata, &path) {
            found.push(device);
        } else if metadata.is_dir() && depth > 0 {
            host_devices(&path, depth - 1, found);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
}

/// The host's terminals and the nodes that every runtime makes itself.
fn is_terminal(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits = name.strip_prefix("tty").unwrap_or("x");
    let is_console = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_console || matches!(name, "null" | "zero" | "full" | "random" | "urandom" | "tty" | "ptmx")
}

fn device(metadata: &std::fs::Metadata, container: &Path) -> Option<LinuxDevice> {
    let kind = metadata.file_type();
    let typ = if kind.is_char_device() {
        "c"
    } else if kind.is_block_device() {
        "b"
    } else {
        return None;
    };
    let number = metadata.rdev();
    Some(LinuxDevice {
        typ: typ.to_owned(),
        path: PathBuf::from(container),
        major: Some(i64::from(rustix::fs::major(number))),
        minor: Some(i64::from(rustix::fs::minor(number))),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    })
}
