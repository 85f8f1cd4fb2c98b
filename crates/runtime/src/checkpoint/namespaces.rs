//! Namespaces that the container did not get for itself: CRIU keeps nothing of them, and the restored
//! processes join those that the configuration names.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use berth_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::error::CriuError;
use super::request::{option, pair};
use super::wire::{Message, Value};
use crate::config::ConfigError;

/// A kind of namespace: the kernel's name, CRIU's name for one from outside, if it knows of any.
const KINDS: &[(LinuxNamespaceType, &str, Option<&str>)] = &[
    (LinuxNamespaceType::Network, "net", Some("extRootNetNS")),
    (LinuxNamespaceType::Pid, "pid", Some("extRootPidNS")),
    (LinuxNamespaceType::Ipc, "ipc", None),
    (LinuxNamespaceType::Uts, "uts", None),
    (LinuxNamespaceType::User, "user", None),
    (LinuxNamespaceType::Time, "time", None),
];

/// Refuses what CRIU cannot do.
pub(super) fn check(spec: &Spec) -> Result<(), ConfigError> {
    if spec.linux.as_ref().is_some_and(|linux| linux.intel_rdt.is_some()) {
        return Err(ConfigError::unsupported("linux.intelRdt", "CRIU keeps no resource group"));
    }
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    let mut own_mounts = false;
    for (index, namespace) in namespaces.enumerate() {
        let shared = namespace.path.is_some();
        match namespace.typ {
            LinuxNamespaceType::Mount if !shared => own_mounts = true,
            LinuxNamespaceType::Cgroup if shared => {
                return Err(ConfigError::unsupported(
                    format!("linux.namespaces[{index}].path"),
                    "CRIU joins no cgroup namespace",
                ));
            }
            _ => {}
        }
    }
    if own_mounts {
        return Ok(());
    }
    Err(ConfigError::unsupported(
        "linux.namespaces",
        "a container without a mount namespace of its own cannot be restored",
    ))
}

/// The namespaces that are joined rather than made, and not the runtime's own.
fn joined(spec: &Spec) -> impl Iterator<Item = (&Path, &'static str, Option<&'static str>)> {
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.filter_map(|LinuxNamespace { typ, path }| {
        let (_, name, key) = KINDS.iter().find(|(kind, ..)| kind == typ)?;
        Some((path.as_deref()?, *name, *key))
    })
}

fn inode(path: impl AsRef<Path>) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn is_own(inode_number: Option<u64>, name: &str) -> bool {
    inode_number.is_some() && inode_number == inode(format!("/proc/self/ns/{name}"))
}

/// Tells CRIU which namespaces of a process are not the container's.
pub(super) fn leave_out(options: &mut Message, spec: &Spec, pid: i32) {
    for (_, name, key) in joined(spec) {
        let number = inode(format!("/proc/{pid}/ns/{name}"));
        if let (Some(key), Some(number), false) = (key, number, is_own(number, name)) {
            options.bytes(option::EXTERNAL, format!("{name}[{number}]:{key}").as_bytes());
        }
    }
}

/// Tells CRIU which namespaces to join. The descriptors must be open in CRIU, under their numbers.
pub(super) fn join(options: &mut Message, opened: &[(OwnedFd, &'static str)], spec: &Spec) {
    for (file, key) in opened {
        let number = file.as_raw_fd() as u64;
        pair(options, option::INHERIT_FD, key.as_bytes(), Value::Number(number));
    }
    for (path, name, key) in joined(spec) {
        if key.is_none() && !is_own(inode(path), name) {
            let path = path.as_os_str().as_encoded_bytes();
            pair(options, option::JOIN_NAMESPACE, name.as_bytes(), Value::Bytes(path));
        }
    }
}

/// Opens the namespaces that CRIU takes as descriptors.
pub(super) fn open(spec: &Spec) -> Result<Vec<(OwnedFd, &'static str)>, CriuError> {
    let mut opened = Vec::new();
    for (path, name, key) in joined(spec) {
        let Some(key) = key.filter(|_| !is_own(inode(path), name)) else { continue };
        let failed = |source: io::Error| {
            CriuError::io(format!("open the {name} namespace {}", path.display()), source)
        };
        opened.push((File::open(path).map_err(failed)?.into(), key));
    }
    Ok(opened)
}
