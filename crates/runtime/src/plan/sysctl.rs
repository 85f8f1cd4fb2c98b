//! Kernel parameters (config-linux.md, "Sysctl"): those of the container's own namespaces only.

use std::ffi::CString;

use berth_spec::runtime::{Linux, LinuxNamespaceType};

use super::c_string;
use super::namespaces::{NamespacePlan, flag};
use crate::config::ConfigError;

/// A parameter to set.
#[derive(Debug)]
pub(crate) struct SysctlPlan {
    /// Its file below the root of procfs.
    pub path: CString,
    /// Its value.
    pub value: Vec<u8>,
}

/// Parameters of the IPC namespace.
const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/msg_next_id",
    "kernel/sem",
    "kernel/sem_next_id",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_next_id",
    "kernel/shm_rmid_forced",
    "kernel/auto_msgmni",
];

/// Checks and prepares all parameters.
pub(crate) fn prepare(
    linux: &Linux,
    domainname: Option<&str>,
    namespaces: &NamespacePlan,
) -> Result<Vec<SysctlPlan>, ConfigError> {
    let own = namespaces.all();
    linux
        .sysctl
        .iter()
        .map(|(key, value)| {
            let field = format!("linux.sysctl.{key}");
            let path = normalise(key);
            if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
                return Err(ConfigError::invalid(field, "is not the name of a kernel parameter"));
            }
            let kind = namespace_of(&path).ok_or_else(|| {
                ConfigError::unsupported(
                    &field,
                    "it is not a parameter of a namespace, but of the host",
                )
            })?;
            if own & flag(kind) == 0 {
                return Err(ConfigError::invalid(
                    field,
                    format!("needs a {} namespace of the container's own", kind.as_str()),
                ));
            }
            let other = domainname.filter(|name| !name.is_empty() && name != value);
            if other.is_some() && path == "kernel/domainname" {
                return Err(ConfigError::invalid(field, "differs from domainname"));
            }
            Ok(SysctlPlan {
                path: c_string(&format!("sys/{path}"), &field)?,
                value: value.as_bytes().to_vec(),
            })
        })
        .collect()
}

/// `net.ipv4.ip_forward` and `net/ipv4/conf/eth0.1/x` are both ways to write a name: the first
/// separator tells which.
fn normalise(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes().get(at) == Some(&b'.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn namespace_of(path: &str) -> Option<LinuxNamespaceType> {
    if path.starts_with("net/") {
        Some(LinuxNamespaceType::Network)
    } else if path.starts_with("fs/mqueue/") || IPC.contains(&path) {
        Some(LinuxNamespaceType::Ipc)
    } else if path == "kernel/domainname" {
        Some(LinuxNamespaceType::Uts)
    } else if path.starts_with("user/") {
        Some(LinuxNamespaceType::User)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str) -> Result<String, ConfigError> {
        let mut linux = Linux::default();
        linux.sysctl.insert(key.to_owned(), "1".to_owned());
        let namespaces = NamespacePlan {
            clone: flag(LinuxNamespaceType::Network) | flag(LinuxNamespaceType::Ipc),
            ..NamespacePlan::default()
        };
        prepare(&linux, None, &namespaces).map(|plans| plans[0].path.to_str().unwrap().to_owned())
    }

    #[test]
    fn names_are_read_with_dots_and_with_slashes() {
        assert_eq!(check("net.ipv4.ip_forward").unwrap(), "sys/net/ipv4/ip_forward");
        assert_eq!(check("net/ipv4/conf/eth0.1/x").unwrap(), "sys/net/ipv4/conf/eth0.1/x");
        assert_eq!(check("net.ipv4.conf.eth0/1.x").unwrap(), "sys/net/ipv4/conf/eth0.1/x");
        assert_eq!(check("kernel.shm_rmid_forced").unwrap(), "sys/kernel/shm_rmid_forced");
    }

    #[test]
    fn a_domain_name_is_said_once() {
        let mut linux = Linux::default();
        linux.sysctl.insert("kernel.domainname".to_owned(), "here".to_owned());
        let clone = flag(LinuxNamespaceType::Uts);
        let namespaces = NamespacePlan { clone, ..NamespacePlan::default() };
        for (name, good) in [(None, true), (Some(""), true), (Some("here"), true)] {
            assert_eq!(prepare(&linux, name, &namespaces).is_ok(), good, "{name:?}");
        }
        let error = prepare(&linux, Some("there"), &namespaces).unwrap_err().to_string();
        assert!(error.contains("linux.sysctl.kernel.domainname"), "{error}");
    }

    #[test]
    fn parameters_of_the_host_are_refused() {
        for key in [
            "kernel.core_pattern",
            "vm.swappiness",
            "kernel.hostname",
            "kernel.domainname",
            "net.../../kernel/core_pattern",
            "net/../kernel/core_pattern",
            "fs.mqueue/../../kernel/core_pattern",
            "",
            "net.",
        ] {
            assert!(check(key).is_err(), "{key}");
        }
    }
}
