//! What a configuration must hold as a whole, and what of it is refused by name.

use berth_spec::runtime::{
    Hooks, Linux, LinuxNamespaceType, LinuxSeccomp, Process, SeccompAction, Spec,
};

use super::namespaces::{NamespacePlan, flag};
use super::process::has_selinux;
use crate::config::ConfigError;

/// Checks what no other part of the plan looks at.
pub(crate) fn spec(spec: &Spec, namespaces: &NamespacePlan) -> Result<(), ConfigError> {
    version(&spec.oci_version)?;
    if spec.process.is_none() {
        return Err(ConfigError::invalid("process", "is missing"));
    }
    if spec.vm {
        return Err(ConfigError::unsupported("vm", "berth-runtime starts no virtual machines"));
    }
    let own = namespaces.all();
    if own & flag(LinuxNamespaceType::Uts) == 0 {
        for (field, value) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
            if value.as_deref().is_some_and(|name| !name.is_empty()) {
                return Err(ConfigError::invalid(
                    field,
                    "needs a uts namespace in linux.namespaces",
                ));
            }
        }
    }
    for (field, value) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        if value.as_deref().is_some_and(|name| name.len() > 64) {
            return Err(ConfigError::invalid(field, "is longer than 64 bytes"));
        }
    }
    if let Some(hooks) = &spec.hooks {
        check_hooks(hooks)?;
    }
    if let Some(process) = &spec.process {
        check_process(process)?;
    }
    spec.linux.as_ref().map_or(Ok(()), |part| linux(part, own))
}

/// Checks a process of `exec`.
pub(crate) fn check_process(process: &Process) -> Result<(), ConfigError> {
    if process.command_line.is_some() && process.args.is_empty() {
        return Err(ConfigError::unsupported("process.commandLine", "it is for Windows"));
    }
    Ok(())
}

/// Any version 1, as the specification's own rules of compatibility have it.
fn version(text: &str) -> Result<(), ConfigError> {
    let invalid = |problem: String| ConfigError::invalid("ociVersion", problem);
    if text.is_empty() {
        return Err(invalid("is empty".to_owned()));
    }
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => {
            Err(invalid(format!("is {text:?}; versions 1.0.0 to 1.x are understood")))
        }
        _ => Err(invalid(format!("is {text:?}, which is no version such as 1.0.2"))),
    }
}

fn check_hooks(hooks: &Hooks) -> Result<(), ConfigError> {
    let kinds = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, hooks) in kinds {
        for (index, hook) in hooks.iter().enumerate() {
            if !hook.path.is_absolute() {
                return Err(ConfigError::invalid(
                    format!("hooks.{kind}[{index}].path"),
                    "must be absolute",
                ));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return Err(ConfigError::invalid(
                    format!("hooks.{kind}[{index}].timeout"),
                    "must be above zero",
                ));
            }
        }
    }
    Ok(())
}

/// Whether a filter has a rule that asks a listener.
pub(crate) fn asks_listener(profile: &LinuxSeccomp) -> bool {
    profile.syscalls.iter().any(|rule| rule.action == SeccompAction::Notify)
}

fn linux(linux: &Linux, own: u64) -> Result<(), ConfigError> {
    if let Some(profile) = &linux.seccomp
        && profile.listener_path.as_deref().is_none_or(|path| path.as_os_str().is_empty())
    {
        if asks_listener(profile) {
            return Err(ConfigError::invalid(
                "linux.seccomp.listenerPath",
                "is missing, and a rule asks a listener by SCMP_ACT_NOTIFY",
            ));
        }
        if profile.listener_metadata.as_deref().is_some_and(|data| !data.is_empty()) {
            return Err(ConfigError::invalid(
                "linux.seccomp.listenerMetadata",
                "must not be set without linux.seccomp.listenerPath",
            ));
        }
    }
    network_devices(linux, own)?;
    if let Some(rdt) = &linux.intel_rdt {
        crate::resctrl::check(rdt)?;
    }
    if linux.mount_label.as_deref().is_some_and(|label| !label.is_empty()) && !has_selinux() {
        return Err(ConfigError::unsupported(
            "linux.mountLabel",
            "this kernel has no SELinux, or it is off",
        ));
    }
    Ok(())
}

/// Devices need a network namespace to go to, and names that the kernel takes.
fn network_devices(linux: &Linux, own: u64) -> Result<(), ConfigError> {
    let mut taken = Vec::new();
    for (name, device) in &linux.net_devices {
        let field = format!("linux.netDevices.{name}");
        if own & flag(LinuxNamespaceType::Network) == 0 {
            let problem = "needs a network namespace other than the runtime's";
            return Err(ConfigError::invalid(field, problem));
        }
        let inside = device.name.as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
        let allowed = |name: &str| {
            !name.is_empty()
                && name.len() < 16
                && name != "."
                && name != ".."
                && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
        };
        // The one template that there is makes the kernel choose a number.
        let plain = inside.replacen("%d", "", 1);
        if !allowed(name) || !allowed(inside) || name.contains('%') || plain.contains('%') {
            return Err(ConfigError::invalid(field, format!("{inside:?} names no device")));
        }
        if taken.contains(&inside) && !inside.contains('%') {
            return Err(ConfigError::invalid(field, format!("{inside:?} is given twice")));
        }
        taken.push(inside);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_spec::runtime::{Hook, LinuxNetDevice, LinuxSyscall};

    #[test]
    fn a_listener_needs_a_socket_and_metadata_needs_a_listener() {
        let profile = |action, metadata: Option<&str>| LinuxSeccomp {
            default_action: SeccompAction::Allow,
            default_errno_ret: None,
            architectures: Vec::new(),
            flags: Vec::new(),
            listener_path: None,
            listener_metadata: metadata.map(str::to_owned),
            syscalls: vec![LinuxSyscall {
                names: vec!["mkdir".to_owned()],
                action,
                errno_ret: None,
                args: Vec::new(),
            }],
        };
        let check = |profile| linux(&Linux { seccomp: Some(profile), ..Linux::default() }, 0);
        assert!(check(profile(SeccompAction::Log, None)).is_ok());
        assert!(check(profile(SeccompAction::Notify, None)).is_err());
        assert!(check(profile(SeccompAction::Log, Some("x"))).is_err());
    }

    #[test]
    fn network_devices_have_names_of_their_own_and_somewhere_to_go() {
        let check = |own, pairs: &[(&str, &str)]| {
            let device = |inside: &&str| LinuxNetDevice { name: Some((*inside).to_owned()) };
            let net_devices = pairs.iter().map(|(n, i)| ((*n).to_owned(), device(i))).collect();
            linux(&Linux { net_devices, ..Linux::default() }, own)
        };
        let own = flag(LinuxNamespaceType::Network);
        assert!(check(own, &[("a", ""), ("b", "c"), ("d", "e%d"), ("f", "e%d")]).is_ok());
        assert!(check(0, &[("a", "")]).is_err());
        for bad in [[("a", "b"), ("c", "b")], [("a", "b"), ("b", "")], [("a", "x/y"), ("c", "")]] {
            assert!(check(own, &bad).is_err(), "{bad:?}");
        }
        for bad in ["0123456789abcdef", "..", "a b", "a:b", "%s", "%d%d", "100%"] {
            assert!(check(own, &[("a", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_1_are_understood() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.2.0-rc.1", "1.2.0+dev"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "0.2.0", "2.0.0", "x.y.z"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hooks_have_an_absolute_path_and_a_timeout_above_zero() {
        let of = |path: &str, timeout| Hooks {
            poststop: vec![Hook { path: path.into(), timeout, ..Hook::default() }],
            ..Hooks::default()
        };
        assert!(check_hooks(&of("/bin/true", Some(1))).is_ok());
        assert!(check_hooks(&of("bin/true", None)).is_err());
        assert!(check_hooks(&of("/bin/true", Some(0))).is_err());
    }

    #[test]
    fn a_host_name_needs_a_namespace() {
        let named = Spec {
            oci_version: "1.0.2".to_owned(),
            process: Some(Process::default()),
            hostname: Some("h".to_owned()),
            ..Spec::default()
        };
        assert!(spec(&named, &NamespacePlan::default()).is_err());
    }
}
