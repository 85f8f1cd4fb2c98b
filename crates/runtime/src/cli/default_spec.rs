//! `spec`: a configuration to begin with, kept as text.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use super::log::Fault;

/// What `runc spec` gives, for a container of root's, in the oldest version of the specification
/// that has all of it.
const SPEC: &str = include_str!("spec.json");

/// The same for an unprivileged user: a user namespace, the host's network and sysfs, no limits,
/// no groups but the user's own.
const ROOTLESS: &str = include_str!("spec-rootless.json");

/// Writes the file.
pub(crate) fn write(path: &Path, rootless: bool) -> Result<(), Fault> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Fault::new(format!("{} is there already", path.display()))
                .with_hint("remove it first, or give another --bundle or --file"));
        }
        file => file.map_err(|error| Fault::io(format!("create {}", path.display()), &error))?,
    };
    file.write_all(text(rootless).as_bytes())
        .map_err(|error| Fault::io(format!("write {}", path.display()), &error))
}

fn text(rootless: bool) -> Cow<'static, str> {
    if rootless {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let gid = rustix::process::getegid().as_raw().to_string();
        return ROOTLESS.replace("@UID@", &uid).replace("@GID@", &gid).into();
    }
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        // With cgroup v2 the container's own is all that it should see.
        let last = "{ \"type\": \"mount\" }";
        return SPEC.replace(last, &format!("{last},\n      {{ \"type\": \"cgroup\" }}")).into();
    }
    SPEC.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_spec::runtime::{LinuxNamespaceType, Spec};

    #[test]
    fn a_configuration_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("config.json"), false).unwrap();
        assert!(write(&directory.path().join("config.json"), false).is_err());
        let text = std::fs::read(directory.path().join("config.json")).unwrap();
        let spec: Spec = serde_json::from_slice(&text).unwrap();
        let kinds: Vec<_> = spec.linux.unwrap().namespaces.iter().map(|n| n.typ).collect();
        assert!(kinds.contains(&LinuxNamespaceType::Mount));
        let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert_eq!(kinds.contains(&LinuxNamespaceType::Cgroup), v2);
    }

    #[test]
    fn an_unprivileged_users_configuration_maps_the_user() {
        let spec: Spec = serde_json::from_str(&text(true)).unwrap();
        let linux = spec.linux.unwrap();
        assert_eq!(linux.uid_mappings[0].host_id, rustix::process::geteuid().as_raw());
        assert_eq!(linux.gid_mappings[0].host_id, rustix::process::getegid().as_raw());
    }
}
