//! `features` (features.md, features-linux.md): what of the specification is done here.

use std::collections::BTreeMap;

use berth_spec::features::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures,
    MountExtensions,
};
use berth_spec::runtime::LinuxNamespaceType;

use crate::supported;

/// The features document of this runtime.
pub fn features() -> Features {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let annotation = "org.opencontainers.runtime-spec.features.berth.version";
    Features {
        oci_version_min: "1.0.0".to_owned(),
        oci_version_max: berth_spec::RUNTIME_SPEC_VERSION.to_owned(),
        hooks: words(&[
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ]),
        mount_options: supported::mount_options(),
        linux: Some(LinuxFeatures {
            namespaces: LinuxNamespaceType::ALL
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .collect(),
            capabilities: supported::capabilities(),
            cgroup: Some(CgroupFeatures {
                v1: true,
                v2: true,
                systemd: true,
                systemd_user: false,
                rdma: true,
            }),
            seccomp: Some(berth_seccomp::features()),
            apparmor: Some(Enabled { enabled: true }),
            selinux: Some(Enabled { enabled: true }),
            intel_rdt: Some(IntelRdtFeatures { enabled: true, schemata: true, monitoring: true }),
            memory_policy: Some(MemoryPolicyFeatures {
                modes: supported::memory_policy_modes(),
                flags: supported::memory_policy_flags(),
            }),
            mount_extensions: Some(MountExtensions { idmap: Enabled { enabled: true } }),
            net_devices: Some(Enabled { enabled: true }),
        }),
        annotations: BTreeMap::from([(
            annotation.to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        )]),
        potentially_unsafe_config_annotations: Vec::new(),
    }
}
