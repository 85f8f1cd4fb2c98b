//! `spec`: a configuration to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use berth_spec::runtime::{
    Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxIdMapping, LinuxNamespace,
    LinuxNamespaceType, LinuxResources, Mount, Process, Rlimit, Root, Spec,
};

use super::log::Fault;

/// Writes `config.json` into a bundle.
pub(crate) fn write(bundle: Option<&Path>, rootless: bool) -> Result<(), Fault> {
    let path = bundle.unwrap_or(Path::new(".")).join("config.json");
    let spec = if rootless { rootless_spec() } else { spec() };
    let mut text = serde_json::to_string_pretty(&spec)
        .map_err(|error| Fault::new(format!("cannot write JSON: {error}")))?;
    text.push('\n');
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Fault::new(format!("{} is there already", path.display()))
                .with_hint("remove it first, or give another --bundle"));
        }
        file => file.map_err(|error| Fault::io(format!("create {}", path.display()), &error))?,
    };
    file.write_all(text.as_bytes())
        .map_err(|error| Fault::io(format!("write {}", path.display()), &error))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        typ: Some(typ.to_owned()),
        source: Some(source.into()),
        options: words(options),
        ..Mount::default()
    }
}

fn namespaces(kinds: &[LinuxNamespaceType]) -> Vec<LinuxNamespace> {
    kinds.iter().map(|&typ| LinuxNamespace { typ, path: None }).collect()
}

/// What `runc spec` gives, for a container of root's.
fn spec() -> Spec {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount as Mounts, Network, Pid, Uts};
    let capabilities = words(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut kinds = vec![Pid, Network, Ipc, Uts, Mounts];
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        kinds.push(Cgroup);
    }
    Spec {
        // The oldest version that has all that is used here, so that any runtime takes it.
        oci_version: "1.0.2".to_owned(),
        process: Some(Process {
            terminal: true,
            args: words(&["sh"]),
            env: words(&[
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ]),
            cwd: "/".into(),
            capabilities: Some(LinuxCapabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..LinuxCapabilities::default()
            }),
            rlimits: vec![Rlimit { typ: "RLIMIT_NOFILE".to_owned(), soft: 1024, hard: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: Some("berth".to_owned()),
        mounts: mounts(),
        linux: Some(Linux {
            resources: Some(LinuxResources {
                devices: vec![LinuxDeviceCgroup {
                    allow: false,
                    access: Some("rwm".to_owned()),
                    ..LinuxDeviceCgroup::default()
                }],
                ..LinuxResources::default()
            }),
            namespaces: namespaces(&kinds),
            masked_paths: words(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]),
            readonly_paths: words(&[
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ]),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn mounts() -> Vec<Mount> {
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}

/// The same for an unprivileged user: a user namespace, the host's network, no limits.
fn rootless_spec() -> Spec {
    use LinuxNamespaceType::{Cgroup, Network, User};
    let mut spec = spec();
    let map = |host_id| vec![LinuxIdMapping { container_id: 0, host_id, size: 1 }];
    if let Some(linux) = &mut spec.linux {
        linux.namespaces.retain(|namespace| !matches!(namespace.typ, Network | Cgroup));
        linux.namespaces.push(LinuxNamespace { typ: User, path: None });
        linux.uid_mappings = map(rustix::process::geteuid().as_raw());
        linux.gid_mappings = map(rustix::process::getegid().as_raw());
        linux.resources = None;
    }
    for mount in &mut spec.mounts {
        // Groups beside the user's own are not mapped.
        mount.options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        if mount.destination == Path::new("/sys") {
            // A new sysfs needs a new network namespace.
            mount.typ = Some("none".to_owned());
            mount.source = Some("/sys".into());
            mount.options = words(&["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        write(Some(directory.path()), false).unwrap();
        assert!(write(Some(directory.path()), false).is_err());
        let text = std::fs::read(directory.path().join("config.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Spec>(&text).unwrap(), spec());
    }
}
