//! Whom a container's cgroup belongs to (config-linux.md, "Cgroup ownership").

use berth_cgroup::{Hierarchies, Layout, Owner};
use berth_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use crate::plan::NamespacePlan;

/// The container's user, as the host sees it, where the container may manage groups of its own:
/// with cgroup v2 mounted for it to write to, in a cgroup namespace of its own.
pub(crate) fn owner(
    spec: &Spec,
    namespaces: &NamespacePlan,
    hierarchies: &Hierarchies,
) -> Option<Owner> {
    let writable = spec.mounts.iter().any(|mount| {
        matches!(mount.typ.as_deref(), Some("cgroup" | "cgroup2"))
            && !mount.options.iter().any(|option| option == "ro")
    });
    let has_own = namespaces.has_new(LinuxNamespaceType::Cgroup);
    if !writable || !has_own || hierarchies.layout() != Layout::V2 {
        return None;
    }
    let linux = spec.linux.as_ref()?;
    let user = &spec.process.as_ref()?.user;
    if linux.uid_mappings.is_empty() {
        // Root of the host has it already.
        let own = user.uid != rustix::process::geteuid().as_raw();
        return own.then_some(Owner { uid: user.uid, gid: None });
    }
    let uid = host_id(&linux.uid_mappings, user.uid)?;
    // Without privileges a file can be given to nobody else.
    let own = rustix::process::geteuid();
    (own.is_root() || own.as_raw() == uid).then(|| Owner {
        uid,
        gid: host_id(&linux.gid_mappings, user.gid).filter(|_| own.is_root()),
    })
}

fn host_id(mappings: &[LinuxIdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id).filter(|&o| o < mapping.size)?;
        mapping.host_id.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_their_mapping() {
        let mapping = |container_id, host_id, size| LinuxIdMapping { container_id, host_id, size };
        let mappings = [mapping(0, 1000, 1), mapping(1, 100_000, 10)];
        assert_eq!(host_id(&mappings, 0), Some(1000));
        assert_eq!(host_id(&mappings, 4), Some(100_003));
        assert_eq!(host_id(&mappings, 11), None);
    }
}
