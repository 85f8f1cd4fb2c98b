//! What a configuration must hold as a whole, and what of it is refused by name.

use berth_spec::runtime::{Hooks, Linux, LinuxNamespaceType, Process, Spec};

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
    spec.linux.as_ref().map_or(Ok(()), linux)
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

fn linux(linux: &Linux) -> Result<(), ConfigError> {
    if linux.intel_rdt.is_some() {
        return Err(ConfigError::unsupported(
            "linux.intelRdt",
            "resource groups are not handled yet",
        ));
    }
    if !linux.net_devices.is_empty() {
        return Err(ConfigError::unsupported(
            "linux.netDevices",
            "devices are not moved into containers yet",
        ));
    }
    if linux.mount_label.as_deref().is_some_and(|label| !label.is_empty()) && !has_selinux() {
        return Err(ConfigError::unsupported(
            "linux.mountLabel",
            "this kernel has no SELinux, or it is off",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_spec::runtime::Hook;

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
