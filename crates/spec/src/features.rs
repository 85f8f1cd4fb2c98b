//! What a runtime says of itself (features.md and features-linux.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The features structure that `features` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Features {
    /// The oldest specification version that is accepted.
    pub oci_version_min: String,
    /// The newest specification version that is accepted.
    pub oci_version_max: String,
    /// The hook names that are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// The mount options that are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
    /// The Linux part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<LinuxFeatures>,
    /// Names and values of the runtime's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Annotation keys that must not be given by an untrusted party.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub potentially_unsafe_config_annotations: Vec<String>,
}

/// The Linux part of [`Features`] (features-linux.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxFeatures {
    /// Namespace types that are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Capability names that are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// What is known of cgroups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<CgroupFeatures>,
    /// What is known of seccomp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<SeccompFeatures>,
    /// AppArmor support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<Enabled>,
    /// SELinux support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux: Option<Enabled>,
    /// Intel RDT support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdtFeatures>,
    /// Memory policy support: modes and flags that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicyFeatures>,
    /// Mount extensions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_extensions: Option<MountExtensions>,
    /// Network device support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_devices: Option<Enabled>,
}

/// Whether something is supported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Enabled {
    /// Whether it is.
    pub enabled: bool,
}

/// cgroup support.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CgroupFeatures {
    /// cgroup v1.
    pub v1: bool,
    /// cgroup v2.
    pub v2: bool,
    /// systemd scopes.
    pub systemd: bool,
    /// systemd scopes of a user's own service manager.
    pub systemd_user: bool,
    /// The rdma controller.
    pub rdma: bool,
}

/// Seccomp support.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompFeatures {
    /// Whether it is supported at all.
    pub enabled: bool,
    /// Actions that are known.
    pub actions: Vec<String>,
    /// Comparison operators that are known.
    pub operators: Vec<String>,
    /// Architectures that are known.
    pub archs: Vec<String>,
    /// Filter flags that are known.
    pub known_flags: Vec<String>,
    /// Filter flags that this kernel takes.
    pub supported_flags: Vec<String>,
}

/// Intel RDT support.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IntelRdtFeatures {
    /// Whether it is supported at all.
    pub enabled: bool,
    /// Whether `schemata` is.
    pub schemata: bool,
    /// Whether `enableMonitoring` is.
    pub monitoring: bool,
}

/// Memory policy support.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryPolicyFeatures {
    /// Modes that are known.
    pub modes: Vec<String>,
    /// Flags that are known.
    pub flags: Vec<String>,
}

/// Mount extensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MountExtensions {
    /// Mounts with ids mapped.
    pub idmap: Enabled,
}
