//! `config.json` (config.md, config-linux.md): everything that the specification defines for Linux.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::resources::*;
pub use crate::seccomp::*;

/// The whole configuration of a container (config.md).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The version of the specification that the bundle follows (SemVer).
    pub oci_version: String,
    /// The root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Mounts beyond the root, in order.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub mounts: Vec<Mount>,
    /// The container's process; required by `start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The host name in the UTS namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The domain name in the UTS namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Commands at points of the life cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Arbitrary metadata.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The Linux part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// Whether there is a part for runtimes that start virtual machines, which a runtime of
    /// processes refuses. (The parts of other platforms are unknown properties to this one.)
    #[serde(default, deserialize_with = "is_there", skip_serializing)]
    pub vm: bool,
}

/// Takes a value of any kind, and keeps no more than that it was there.
fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<serde::de::IgnoredAny>::deserialize(deserializer).map(|value| value.is_some())
}

/// The root file system (config.md, "Root").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// The directory, absolute or relative to the bundle.
    pub path: PathBuf,
    /// Whether the root is read-only inside the container.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub readonly: bool,
}

/// One mount (config.md, "Mounts").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where, absolute inside the container.
    pub destination: PathBuf,
    /// The file system type; absent or `none` for binds.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// A device name, or for binds a path, absolute or relative to the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// Options as in fstab, and those that the specification adds.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub options: Vec<String>,
    /// Mapping of user ids for an id-mapped mount.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// Mapping of group ids for an id-mapped mount.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub gid_mappings: Vec<LinuxIdMapping>,
}

/// The process to run (config.md, "Process").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether a pseudo-terminal is attached.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub terminal: bool,
    /// Size of the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who the process runs as; root, if nobody is named. (A `null` is somebody's mistake, and not
    /// taken for root.)
    #[serde(default)]
    pub user: User,
    /// The arguments; the first is the program.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub args: Vec<String>,
    /// Windows only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// `NAME=value` strings.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// The working directory, absolute inside the container.
    pub cwd: PathBuf,
    /// Capability sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<LinuxCapabilities>,
    /// Resource limits.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub rlimits: Vec<Rlimit>,
    /// Whether the process and its children can gain no privileges.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub no_new_privileges: bool,
    /// The AppArmor profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// The value for `/proc/self/oom_score_adj`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Scheduling attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// The SELinux label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// I/O priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// CPU affinity around `exec`.
    #[serde(rename = "execCPUAffinity", default, skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleSize {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// Who a process runs as (config.md, "POSIX-platform User").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// The file mode creation mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary group ids inside the container.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub additional_gids: Vec<u32>,
    /// Windows only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Capability sets: names such as `CAP_KILL`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxCapabilities {
    /// The bounding set.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub bounding: Vec<String>,
    /// The effective set.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub effective: Vec<String>,
    /// The inheritable set.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub inheritable: Vec<String>,
    /// The permitted set.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub permitted: Vec<String>,
    /// The ambient set.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ambient: Vec<String>,
}

/// A resource limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rlimit {
    /// The limit's name, such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub typ: String,
    /// What is enforced.
    pub soft: u64,
    /// The ceiling for `soft`.
    pub hard: u64,
}

/// Scheduling attributes (sched_setattr(2)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
    /// Such as `SCHED_OTHER`.
    pub policy: String,
    /// Nice value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// Static priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Such as `SCHED_FLAG_RESET_ON_FORK`.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub flags: Vec<String>,
    /// Deadline: run time, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<u64>,
    /// Deadline: absolute deadline, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Deadline: period, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
}

/// I/O priority (ioprio_set(2)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`.
    pub class: String,
    /// Within the class.
    #[serde(default, deserialize_with = "crate::null_as_absent")]
    pub priority: i32,
}

/// CPU affinity around `exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecCpuAffinity {
    /// CPU list before the move into the container's cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// CPU list after it.
    #[serde(rename = "final", default, skip_serializing_if = "Option::is_none")]
    pub final_: Option<String>,
}

/// Commands at points of the life cycle (config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Deprecated; after the namespaces exist, before pivot_root.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, after the namespaces exist, before pivot_root.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before pivot_root.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub create_container: Vec<Hook>,
    /// In the container's namespaces, as part of `start`.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, after the user's program is executed.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, after the container is deleted.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// Its arguments, the first being its name.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// Seconds until it is aborted; must be above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// The Linux part (config-linux.md).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// Devices to create.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub devices: Vec<LinuxDevice>,
    /// User id mappings of the user namespace.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// Group id mappings of the user namespace.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub gid_mappings: Vec<LinuxIdMapping>,
    /// Kernel parameters.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub sysctl: BTreeMap<String, String>,
    /// Where the container's cgroup is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<PathBuf>,
    /// Resource limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
    /// `shared`, `slave`, `private` or `unbindable` (and recursive `r…` forms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs_propagation: Option<String>,
    /// The system call filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<LinuxSeccomp>,
    /// Namespaces to create or join; a type that is absent is inherited.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub namespaces: Vec<LinuxNamespace>,
    /// Paths that the container cannot read.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub masked_paths: Vec<String>,
    /// Paths that the container cannot write.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub readonly_paths: Vec<String>,
    /// SELinux context of the mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// Execution domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<LinuxPersonality>,
    /// Intel RDT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<LinuxIntelRdt>,
    /// NUMA memory policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<LinuxMemoryPolicy>,
    /// Network devices to move into the container.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub net_devices: BTreeMap<String, LinuxNetDevice>,
    /// Offsets of the time namespace, by clock.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub time_offsets: BTreeMap<String, LinuxTimeOffset>,
}

/// A range of ids (user_namespaces(7)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxIdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A device to create.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxDevice {
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type")]
    pub typ: String,
    /// Where inside the container.
    pub path: PathBuf,
    /// Major number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Minor number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// The kinds of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LinuxNamespaceType {
    /// Process ids.
    #[serde(rename = "pid")]
    Pid,
    /// Network stack.
    #[serde(rename = "network")]
    Network,
    /// Mounts.
    #[serde(rename = "mount")]
    Mount,
    /// System V IPC and POSIX message queues.
    #[serde(rename = "ipc")]
    Ipc,
    /// Host and domain name.
    #[serde(rename = "uts")]
    Uts,
    /// User and group ids, capabilities.
    #[serde(rename = "user")]
    User,
    /// View of the cgroup tree.
    #[serde(rename = "cgroup")]
    Cgroup,
    /// Monotonic and boot clocks.
    #[serde(rename = "time")]
    Time,
}

impl LinuxNamespaceType {
    /// Every value, in the specification's order.
    pub const ALL: &[Self] = &[
        Self::Pid,
        Self::Network,
        Self::Mount,
        Self::Ipc,
        Self::Uts,
        Self::User,
        Self::Cgroup,
        Self::Time,
    ];

    /// The word in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Mount => "mount",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// A namespace to create or join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxNamespace {
    /// Its kind.
    #[serde(rename = "type")]
    pub typ: LinuxNamespaceType,
    /// A file to join it by; absent to create one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// Execution domain (personality(2)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxPersonality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None are defined.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub flags: Vec<String>,
}

/// Intel RDT.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxIntelRdt {
    /// Class of service.
    #[serde(rename = "closID", default, skip_serializing_if = "Option::is_none")]
    pub clos_id: Option<String>,
    /// Lines for the schemata file.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub schemata: Vec<String>,
    /// L3 schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// Memory bandwidth schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// Whether a monitoring group is made. (It replaced two switches of specification 1.1 that
    /// nobody ever implemented.)
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub enable_monitoring: bool,
}

/// NUMA memory policy (set_mempolicy(2)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxMemoryPolicy {
    /// Such as `MPOL_BIND`.
    pub mode: String,
    /// Node list; some modes have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// Such as `MPOL_F_STATIC_NODES`.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub flags: Vec<String>,
}

/// A network device to move into the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxNetDevice {
    /// Its name inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An offset of a clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxTimeOffset {
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secs: Option<i64>,
    /// Nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanosecs: Option<u32>,
}
