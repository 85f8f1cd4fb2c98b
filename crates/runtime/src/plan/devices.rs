//! Device nodes (config-linux.md, "Devices" and "Default Devices").

use std::ffi::CString;
use std::path::{Path, PathBuf};

use berth_spec::runtime::{Linux, LinuxDevice};
use rustix::fs::FileType;

use super::mounts::{BindSource, open_tree};
use super::process::NO_ID;
use super::{c_path, c_string};
use crate::config::ConfigError;
use crate::sys::Reach;

/// A device to provide.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    /// Where in the container.
    pub path: CString,
    /// How.
    pub node: Node,
}

/// How a device gets there.
#[derive(Debug)]
pub(crate) enum Node {
    /// By making it.
    Make {
        /// Its type.
        kind: FileType,
        /// Its number.
        device: u64,
        /// Its permission bits.
        mode: u32,
        /// Its owner in the container.
        owner: Option<(u32, u32)>,
    },
    /// By binding the host's, where none can be made: in a user namespace.
    Bind {
        /// The host's.
        source: BindSource,
        /// What it must be.
        kind: FileType,
        /// What it must be.
        device: u64,
    },
}

/// The devices that every container has.
const DEFAULT: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Where the devices are that every container has.
pub(crate) fn default_paths<'a>() -> impl Iterator<Item = &'a Path> {
    DEFAULT.iter().map(|(path, ..)| Path::new(path))
}

/// How devices are provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceMode {
    /// Made.
    Make,
    /// Bound, the new process opening the host's.
    Bind,
    /// Bound, opened here, since the new process may not reach them.
    BindOpened,
}

/// The devices of the configuration, and the default ones that it does not name. In a /dev that is
/// not the container's own nothing is made.
pub(crate) fn prepare(
    linux: &Linux,
    mode: DeviceMode,
    own_dev: bool,
) -> Result<Vec<DevicePlan>, ConfigError> {
    let mut devices = Vec::with_capacity(DEFAULT.len() + linux.devices.len());
    let default = if own_dev { DEFAULT } else { &[] };
    for &(path, major, minor) in default {
        if linux.devices.iter().any(|device| device.path == Path::new(path)) {
            continue;
        }
        let device = rustix::fs::makedev(major, minor);
        devices.push(DevicePlan {
            path: c_string(path, "linux.devices")?,
            node: node(Path::new(path), FileType::CharacterDevice, device, 0o666, None, mode)?,
        });
    }
    for (index, device) in linux.devices.iter().enumerate() {
        if !own_dev && device.path.starts_with("/dev") {
            continue;
        }
        devices.push(given(device, &format!("linux.devices[{index}]"), mode)?);
    }
    Ok(devices)
}

fn given(device: &LinuxDevice, field: &str, mode: DeviceMode) -> Result<DevicePlan, ConfigError> {
    let kind = match device.typ.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => {
            return Err(ConfigError::invalid(
                format!("{field}.type"),
                format!("is {other:?}; expected \"c\", \"b\", \"u\" or \"p\""),
            ));
        }
    };
    let number = |value: Option<i64>, name: &str| match (value, kind) {
        (Some(value), _) => u32::try_from(value)
            .map_err(|_| ConfigError::invalid(format!("{field}.{name}"), "is out of range")),
        (None, FileType::Fifo) => Ok(0),
        (None, _) => Err(ConfigError::invalid(format!("{field}.{name}"), "is missing")),
    };
    let device_number =
        rustix::fs::makedev(number(device.major, "major")?, number(device.minor, "minor")?);
    if !device.path.is_absolute() {
        return Err(ConfigError::invalid(format!("{field}.path"), "must be absolute"));
    }
    let owner = match (device.uid, device.gid) {
        (None, None) => None,
        (uid, gid) => Some((uid.unwrap_or(0), gid.unwrap_or(0))),
    };
    if owner.is_some_and(|(uid, gid)| uid == NO_ID || gid == NO_ID) {
        return Err(ConfigError::invalid(format!("{field}.uid"), "or gid is -1, which is no id"));
    }
    let permissions = device.file_mode.unwrap_or(0o666) & 0o7777;
    // A FIFO can be made anywhere.
    let mode = if kind == FileType::Fifo { DeviceMode::Make } else { mode };
    // Without the slash at its end that is for directories.
    let path: PathBuf = device.path.components().collect();
    Ok(DevicePlan {
        path: c_path(&path, &format!("{field}.path"))?,
        node: node(&path, kind, device_number, permissions, owner, mode).map_err(|error| {
            match error {
                ConfigError::Open { path, source, .. } => {
                    ConfigError::Open { field: format!("{field}.path"), path, source }
                }
                error => error,
            }
        })?,
    })
}

fn node(
    path: &Path,
    kind: FileType,
    device: u64,
    mode: u32,
    owner: Option<(u32, u32)>,
    how: DeviceMode,
) -> Result<Node, ConfigError> {
    Ok(match how {
        DeviceMode::Make => Node::Make { kind, device, mode, owner },
        DeviceMode::Bind => {
            Node::Bind { source: BindSource::Path(c_path(path, "linux.devices")?), kind, device }
        }
        DeviceMode::BindOpened => {
            let tree = open_tree(path, Reach::One).map_err(|errno| ConfigError::Open {
                field: "linux.devices".to_owned(),
                path: path.to_owned(),
                source: errno.into(),
            })?;
            Node::Bind { source: BindSource::Tree(tree), kind, device }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_of_the_configuration_takes_the_default_ones_place() {
        let null = LinuxDevice {
            typ: "c".to_owned(),
            path: "/dev/null".into(),
            major: Some(1),
            minor: Some(3),
            file_mode: Some(0o600),
            uid: Some(7),
            ..LinuxDevice::default()
        };
        let linux = Linux { devices: vec![null], ..Linux::default() };
        let devices = prepare(&linux, DeviceMode::Make, true).unwrap();
        assert_eq!(devices.len(), DEFAULT.len());
        let last = devices.last().unwrap();
        assert!(matches!(last.node, Node::Make { mode: 0o600, owner: Some((7, 0)), .. }));
    }

    #[test]
    fn a_slash_at_the_end_of_a_path_is_no_directory() {
        let pipe =
            LinuxDevice { typ: "p".to_owned(), path: "/x//pipe/".into(), ..LinuxDevice::default() };
        let device = given(&pipe, "linux.devices[0]", DeviceMode::Make).unwrap();
        assert_eq!(device.path.as_c_str(), c"/x/pipe");
    }

    #[test]
    fn a_device_without_a_number_is_refused() {
        for (typ, major) in [("c", None), ("b", Some(-1)), ("x", Some(1))] {
            let device = LinuxDevice {
                typ: typ.to_owned(),
                path: "/dev/x".into(),
                major,
                minor: Some(0),
                ..LinuxDevice::default()
            };
            let linux = Linux { devices: vec![device], ..Linux::default() };
            assert!(prepare(&linux, DeviceMode::Make, true).is_err(), "{typ}");
        }
    }
}
