//! The `config.json` that a container gets when nobody asks for anything else: what Docker gives,
//! in the terms of the runtime specification.
//!
//! Everything here is data for a caller to change; nothing depends on an image.

use std::path::PathBuf;

use berth_spec::runtime::{
    Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType,
    LinuxResources, Mount, Root, Spec, default_device_rules,
};

/// The capabilities that a container has by default.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Paths that a container cannot read by default.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that a container cannot write by default.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The version of the runtime specification that the default follows: it uses nothing newer, and
/// runtimes of some years ago refuse versions that they do not know.
pub const VERSION: &str = "1.0.2";

/// The search path for programs of an image that sets none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The default configuration, without a process: `bundle::runtime_spec` adds the image's.
pub fn default_spec() -> Spec {
    Spec {
        oci_version: VERSION.to_owned(),
        root: Some(Root { path: PathBuf::from("rootfs"), readonly: false }),
        mounts: mounts(),
        linux: Some(Linux {
            resources: Some(LinuxResources { devices: device_rules(), ..Default::default() }),
            namespaces: namespaces(),
            masked_paths: MASKED_PATHS.map(str::to_owned).to_vec(),
            readonly_paths: READONLY_PATHS.map(str::to_owned).to_vec(),
            seccomp: Some(berth_seccomp::default_profile(
                &CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
            )),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// The default mounts.
pub fn mounts() -> Vec<Mount> {
    let mount = |destination: &str, typ: &str, source: &str, options: &[&str]| Mount {
        destination: PathBuf::from(destination),
        typ: Some(typ.to_owned()),
        source: Some(PathBuf::from(source)),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
    ]
}

/// New namespaces of every kind but `user` and `time`.
pub fn namespaces() -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as T;
    [T::Pid, T::Network, T::Mount, T::Ipc, T::Uts, T::Cgroup]
        .map(|typ| LinuxNamespace { typ, path: None })
        .to_vec()
}

/// Denies every device, then allows to make any node and to use the harmless ones.
pub fn device_rules() -> Vec<LinuxDeviceCgroup> {
    std::iter::once(LinuxDeviceCgroup::all(false)).chain(default_device_rules()).collect()
}

/// Capability sets of a process that may use `names`. As execve(2) would have it, a process that
/// is not root has them in its bounding set only.
pub fn capabilities<S: AsRef<str>>(names: &[S], uid: u32) -> LinuxCapabilities {
    let bounding: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
    let held = if uid == 0 { bounding.clone() } else { Vec::new() };
    LinuxCapabilities {
        bounding,
        effective: held.clone(),
        permitted: held,
        ..LinuxCapabilities::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_closed_and_says_what_docker_says() {
        let spec = default_spec();
        let linux = spec.linux.unwrap();
        assert!(linux.seccomp.is_some());
        let first = linux.resources.unwrap().devices.into_iter().next().unwrap();
        assert!(!first.allow && first.typ.is_none());
        assert!(!CAPABILITIES.contains(&"CAP_SYS_ADMIN"));
        let user = capabilities(&CAPABILITIES, 1000);
        assert!(user.effective.is_empty() && user.bounding.len() == 14);
    }
}
