//! Namespaces and the host name (config-linux.md, "Namespaces").

use std::path::PathBuf;

use berth_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Kind, Spec};

use super::{RequestError, linux};
use crate::records::short;
use crate::request::{ContainerRequest, NamespaceMode, NetworkMode};

/// The network mode where nobody says: the only private one there is so far.
pub(crate) const DEFAULT_NETWORK: NetworkMode = NetworkMode::None;

/// Sets namespaces and host name; gives the name that the container will see. Namespaces of other
/// containers are left out until [`join`].
pub(super) fn apply(
    spec: &mut Spec,
    request: &ContainerRequest,
    id: &str,
) -> Result<String, RequestError> {
    if let NamespaceMode::Container(_) | NamespaceMode::Path(_) = request.cgroupns {
        return Err(RequestError::Unsupported {
            what: "a cgroup namespace of another container".to_owned(),
            reason: "only private and host are",
        });
    }
    for (kind, mode) in modes(request) {
        // A user namespace of its own needs a mapping, which cannot be asked for yet.
        let wanted = match mode {
            Mode::Private => kind != Kind::User,
            Mode::Host | Mode::Container(_) => false,
            Mode::Path(_) => true,
        };
        let namespaces = &mut linux(spec).namespaces;
        namespaces.retain(|namespace| namespace.typ != kind);
        if wanted {
            let path = match mode {
                Mode::Path(path) => Some(path),
                _ => None,
            };
            namespaces.push(LinuxNamespace { typ: kind, path });
        }
    }
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let network_is_host = matches!(request.network, Some(NetworkMode::Host));
    let hostname = match (&request.hostname, &request.uts) {
        (Some(name), _) => name.clone(),
        (None, NamespaceMode::Host) => host(),
        (None, _) if network_is_host => host(),
        (None, _) => short(id).to_owned(),
    };
    check_hostname(&hostname)?;
    spec.hostname = (request.uts == NamespaceMode::Private).then(|| hostname.clone());
    check_sysctls(request)?;
    linux(spec).sysctl.clone_from(&request.sysctls);
    Ok(hostname)
}

/// One kind of namespace for every option that has one.
enum Mode {
    Private,
    Host,
    Container(String),
    Path(PathBuf),
}

impl From<&NamespaceMode> for Mode {
    fn from(mode: &NamespaceMode) -> Self {
        match mode {
            NamespaceMode::Private => Self::Private,
            NamespaceMode::Host => Self::Host,
            NamespaceMode::Container(name) => Self::Container(name.clone()),
            NamespaceMode::Path(path) => Self::Path(path.clone()),
        }
    }
}

impl From<&NetworkMode> for Mode {
    fn from(mode: &NetworkMode) -> Self {
        match mode {
            NetworkMode::None => Self::Private,
            NetworkMode::Host => Self::Host,
            NetworkMode::Container(name) => Self::Container(name.clone()),
            NetworkMode::Path(path) => Self::Path(path.clone()),
        }
    }
}

fn modes(request: &ContainerRequest) -> [(Kind, Mode); 6] {
    [
        (Kind::Pid, (&request.pid).into()),
        (Kind::Network, request.network.as_ref().unwrap_or(&DEFAULT_NETWORK).into()),
        (Kind::Ipc, (&request.ipc).into()),
        (Kind::Uts, (&request.uts).into()),
        (Kind::Cgroup, (&request.cgroupns).into()),
        (Kind::User, (&request.userns).into()),
    ]
}

/// Adds the namespaces of other containers. `process_of` gives a running container's first process.
pub(crate) fn join<E>(
    spec: &mut Spec,
    request: &ContainerRequest,
    mut process_of: impl FnMut(&str) -> Result<i32, E>,
) -> Result<(), E> {
    for (kind, mode) in modes(request) {
        let Mode::Container(name) = mode else { continue };
        let pid = process_of(&name)?;
        let file = match kind {
            Kind::Network => "net",
            kind => kind.as_str(),
        };
        let path = PathBuf::from(format!("/proc/{pid}/ns/{file}"));
        let namespaces = &mut linux(spec).namespaces;
        namespaces.retain(|namespace| namespace.typ != kind);
        // Joining a user namespace that one is in already is an error to the kernel.
        let own = std::fs::read_link(format!("/proc/self/ns/{file}")).ok();
        if kind != Kind::User || own.is_none() || std::fs::read_link(&path).ok() != own {
            namespaces.push(LinuxNamespace { typ: kind, path: Some(path) });
        }
    }
    Ok(())
}

fn check_hostname(name: &str) -> Result<(), RequestError> {
    let is_valid = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if is_valid {
        return Ok(());
    }
    Err(RequestError::Value {
        option: "--hostname",
        value: name.to_owned(),
        expected: "a host name of at most 64 letters, digits, '-' and '.'".to_owned(),
    })
}

/// Kernel parameters of a namespace can be set only where the namespace is the container's own.
fn check_sysctls(request: &ContainerRequest) -> Result<(), RequestError> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.auto_msgmni",
    ];
    for name in request.sysctls.keys() {
        let host_namespace = if name.starts_with("net.") {
            matches!(request.network, Some(NetworkMode::Host)).then_some("--network host")
        } else if name.starts_with("fs.mqueue.") || IPC.contains(&name.as_str()) {
            (request.ipc == NamespaceMode::Host).then_some("--ipc host")
        } else if matches!(name.as_str(), "kernel.hostname" | "kernel.domainname") {
            (request.uts == NamespaceMode::Host).then_some("--uts host")
        } else {
            return Err(RequestError::Value {
                option: "--sysctl",
                value: name.clone(),
                expected: "a parameter that a container has of its own (net.*, fs.mqueue.*, \
                           kernel.msg*, kernel.sem, kernel.shm*, kernel.hostname, \
                           kernel.domainname)"
                    .to_owned(),
            });
        };
        if let Some(second) = host_namespace {
            return Err(RequestError::Conflict { first: "--sysctl", second });
        }
    }
    Ok(())
}
