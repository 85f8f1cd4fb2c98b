//! Capabilities, system call filter, masked paths, labels (config.md "Process", config-linux.md).

use std::collections::BTreeSet;
use std::path::Path;

use berth_image::default_spec::CAPABILITIES;
use berth_spec::capability::NAMES;
use berth_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Spec};

use super::{RequestError, linux};
use crate::request::{ContainerRequest, SecurityOption};

/// The capabilities that this process could hand on: its bounding set.
pub(crate) fn available() -> BTreeSet<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let mask = set.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    NAMES
        .iter()
        .enumerate()
        .filter(|(number, _)| mask & (1 << number) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// Sets all of it; `true` when the system call filter is the default one.
pub(super) fn apply(spec: &mut Spec, request: &ContainerRequest) -> Result<bool, RequestError> {
    let capabilities = capabilities(request, &available())?;
    if let Some(process) = spec.process.as_mut() {
        process.capabilities = Some(sets(&capabilities, request, process.user.uid)?);
        process.no_new_privileges = false;
    }
    if request.privileged {
        let linux = linux(spec);
        linux.masked_paths.clear();
        linux.readonly_paths.clear();
        for mount in &mut spec.mounts {
            let kind = mount.typ.as_deref();
            if matches!(kind, Some("sysfs" | "cgroup")) {
                mount.options.retain(|option| option != "ro");
            }
        }
    }
    let mut filter = if request.privileged { FilterChoice::None } else { FilterChoice::Default };
    for option in &request.security {
        security_option(spec, option, &mut filter)?;
    }
    linux(spec).seccomp = match &filter {
        FilterChoice::Default => Some(default_filter(spec)),
        FilterChoice::None => None,
        FilterChoice::File(profile) => Some((**profile).clone()),
    };
    Ok(matches!(filter, FilterChoice::Default))
}

enum FilterChoice {
    Default,
    None,
    File(Box<LinuxSeccomp>),
}

/// The default system call filter for a configuration's capabilities.
pub(crate) fn default_filter(spec: &Spec) -> LinuxSeccomp {
    let bounding = spec
        .process
        .as_ref()
        .and_then(|process| process.capabilities.as_ref())
        .map(|capabilities| capabilities.bounding.iter().cloned().collect())
        .unwrap_or_default();
    berth_seccomp::default_profile(&bounding)
}

fn security_option(
    spec: &mut Spec,
    option: &SecurityOption,
    filter: &mut FilterChoice,
) -> Result<(), RequestError> {
    match option {
        SecurityOption::NoNewPrivileges(on) => {
            if let Some(process) = spec.process.as_mut() {
                process.no_new_privileges = *on;
            }
        }
        SecurityOption::SeccompUnconfined => *filter = FilterChoice::None,
        SecurityOption::SeccompProfile(path) => {
            *filter = FilterChoice::File(Box::new(profile::read(path, &default_names(spec))?));
        }
        SecurityOption::Mask(paths) => linux(spec).masked_paths.extend(paths.iter().cloned()),
        SecurityOption::UnmaskAll => {
            linux(spec).masked_paths.clear();
            linux(spec).readonly_paths.clear();
        }
        SecurityOption::Unmask(paths) => {
            let keep = |known: &String| !paths.contains(known);
            linux(spec).masked_paths.retain(keep);
            linux(spec).readonly_paths.retain(keep);
        }
        SecurityOption::ProcOptions(options) => {
            let proc = spec.mounts.iter_mut().find(|mount| mount.typ.as_deref() == Some("proc"));
            if let Some(mount) = proc {
                mount.options.extend(options.iter().cloned());
            }
        }
        SecurityOption::Apparmor(profile) if profile == "unconfined" => {}
        SecurityOption::Apparmor(profile) => {
            if !Path::new("/sys/module/apparmor").exists() {
                return Err(RequestError::Unsupported {
                    what: format!("--security-opt apparmor={profile}"),
                    reason: "this kernel has no AppArmor",
                });
            }
            if let Some(process) = spec.process.as_mut() {
                process.apparmor_profile = Some(profile.clone());
            }
        }
        SecurityOption::Label(label) if label == "disable" || label == "nested" => {}
        SecurityOption::Label(label) => {
            return Err(RequestError::Unsupported {
                what: format!("--security-opt label={label}"),
                reason: if Path::new("/sys/fs/selinux/enforce").exists() {
                    "only label=disable is"
                } else {
                    "this kernel has no SELinux"
                },
            });
        }
    }
    Ok(())
}

fn default_names(spec: &Spec) -> BTreeSet<String> {
    let capabilities = spec.process.as_ref().and_then(|process| process.capabilities.as_ref());
    capabilities.map(|sets| sets.bounding.iter().cloned().collect()).unwrap_or_default()
}

/// A capability's name as the specification spells it; `None` for `all`.
fn name(option: &'static str, text: &str) -> Result<Option<&'static str>, RequestError> {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(None);
    }
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .find(|known| known.strip_prefix("CAP_") == Some(bare))
        .map(|known| Some(*known))
        .ok_or_else(|| RequestError::Value {
            option,
            value: text.to_owned(),
            expected: "a capability".to_owned(),
        })
}

/// The bounding set: the default ones, plus added, minus dropped. An explicit name outweighs `all`.
fn capabilities(
    request: &ContainerRequest,
    available: &BTreeSet<String>,
) -> Result<BTreeSet<String>, RequestError> {
    let read = |option, words: &[String]| -> Result<(bool, BTreeSet<&'static str>), RequestError> {
        let names: Vec<_> =
            words.iter().map(|word| name(option, word)).collect::<Result<_, _>>()?;
        Ok((names.contains(&None), names.into_iter().flatten().collect()))
    };
    let (add_all, added) = read("--cap-add", &request.cap_add)?;
    let (drop_all, dropped) = read("--cap-drop", &request.cap_drop)?;
    if add_all && drop_all {
        return Err(RequestError::Conflict { first: "--cap-add all", second: "--cap-drop all" });
    }
    if let Some(both) = added.intersection(&dropped).next() {
        return Err(RequestError::Value {
            option: "--cap-add",
            value: (*both).to_owned(),
            expected: "possible together with --cap-drop of the same".to_owned(),
        });
    }
    if let Some(missing) = added.iter().find(|name| !available.contains(**name)) {
        return Err(RequestError::Capability((*missing).to_owned()));
    }
    let mut set: BTreeSet<String> = if add_all || (request.privileged && !drop_all) {
        available.clone()
    } else if drop_all {
        BTreeSet::new()
    } else {
        let defaults = CAPABILITIES.iter().map(|name| (*name).to_owned());
        defaults.filter(|name| available.contains(name)).collect()
    };
    set.extend(added.iter().map(|name| (*name).to_owned()));
    set.retain(|name| !dropped.contains(name.as_str()));
    Ok(set)
}

/// The sets of a process. One that is not root has what was added explicitly, through the ambient
/// set; else its capabilities are those that it could gain by a set-user-ID program.
fn sets(
    bounding: &BTreeSet<String>,
    request: &ContainerRequest,
    uid: u32,
) -> Result<LinuxCapabilities, RequestError> {
    let all: Vec<String> = bounding.iter().cloned().collect();
    if uid == 0 {
        return Ok(LinuxCapabilities {
            bounding: all.clone(),
            effective: all.clone(),
            permitted: all,
            ..LinuxCapabilities::default()
        });
    }
    let mut added = BTreeSet::new();
    for word in &request.cap_add {
        match name("--cap-add", word)? {
            Some(name) => {
                added.insert(name.to_owned());
            }
            None => added.extend(bounding.iter().cloned()),
        }
    }
    let added: Vec<String> = added.into_iter().collect();
    Ok(LinuxCapabilities {
        bounding: all,
        effective: added.clone(),
        permitted: added.clone(),
        inheritable: added.clone(),
        ambient: added,
    })
}

/// System call filter profiles in files: the runtime specification's form, or Docker's.
mod profile {
    use std::collections::BTreeSet;
    use std::path::Path;

    use berth_spec::runtime::LinuxSeccomp;
    use serde_json::Value;

    use super::RequestError;

    pub(super) fn read(
        path: &Path,
        capabilities: &BTreeSet<String>,
    ) -> Result<LinuxSeccomp, RequestError> {
        let text = std::fs::read_to_string(path).map_err(|source| RequestError::HostFile {
            option: "--security-opt seccomp",
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| RequestError::Profile { path: path.to_owned(), source };
        let mut profile: Value = serde_json::from_str(&text).map_err(failed)?;
        translate(&mut profile, capabilities);
        serde_json::from_value(profile).map_err(failed)
    }

    /// Docker's form has rules that hold under conditions, one name a rule in old files, and maps of
    /// architectures.
    pub(super) fn translate(profile: &mut Value, capabilities: &BTreeSet<String>) {
        let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
        let Some(object) = profile.as_object_mut() else { return };
        if let Some(maps) = object.remove("archMap") {
            let native = format!("SCMP_ARCH_{}", machine.to_ascii_uppercase());
            let mine = maps
                .as_array()
                .into_iter()
                .flatten()
                .find(|map| map.get("architecture").and_then(Value::as_str) == Some(&native));
            let mut architectures = vec![Value::String(native.clone())];
            if let Some(Value::Array(more)) = mine.and_then(|map| map.get("subArchitectures")) {
                architectures.extend(more.iter().cloned());
            }
            object.entry("architectures").or_insert(Value::Array(architectures));
        }
        let architecture = match machine.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let holds = |rule: &Value| {
            let words = |part: &str, key: &str| -> Vec<String> {
                let list = rule.get(part).and_then(|part| part.get(key)).and_then(Value::as_array);
                let words = list.into_iter().flatten().filter_map(Value::as_str);
                words.map(str::to_owned).collect()
            };
            let arches = (words("includes", "arches"), words("excludes", "arches"));
            let caps = (words("includes", "caps"), words("excludes", "caps"));
            let is_here = |names: &[String]| names.iter().any(|name| name == architecture);
            (arches.0.is_empty() || is_here(&arches.0))
                && !is_here(&arches.1)
                && caps.0.iter().all(|name| capabilities.contains(name))
                && !caps.1.iter().any(|name| capabilities.contains(name))
        };
        if let Some(Value::Array(rules)) = object.get_mut("syscalls") {
            rules.retain(holds);
            for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
                if let Some(name) = rule.remove("name") {
                    rule.entry("names").or_insert(Value::Array(vec![name]));
                }
                if rule.get("args").is_some_and(Value::is_null) {
                    rule.remove("args");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ImageSource;

    fn request() -> ContainerRequest {
        ContainerRequest::new(ImageSource::Reference("x".to_owned()))
    }

    fn all() -> BTreeSet<String> {
        NAMES.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn capabilities_are_added_and_dropped_in_every_spelling() {
        let mut wanted = request();
        assert_eq!(capabilities(&wanted, &all()).unwrap().len(), CAPABILITIES.len());
        wanted.cap_add = vec!["net_admin".to_owned(), "CAP_SYS_TIME".to_owned()];
        wanted.cap_drop = vec!["Cap_Chown".to_owned()];
        let set = capabilities(&wanted, &all()).unwrap();
        assert!(set.contains("CAP_NET_ADMIN") && set.contains("CAP_SYS_TIME"));
        assert!(!set.contains("CAP_CHOWN"));
        wanted.cap_drop = vec!["ALL".to_owned()];
        assert_eq!(capabilities(&wanted, &all()).unwrap().len(), 2);
        wanted.cap_add = vec!["nonsense".to_owned()];
        assert!(capabilities(&wanted, &all()).is_err());
    }

    #[test]
    fn what_berth_does_not_have_it_does_not_give() {
        let mut few = all();
        few.remove("CAP_SYS_RESOURCE");
        few.remove("CAP_CHOWN");
        let mut wanted = request();
        assert!(!capabilities(&wanted, &few).unwrap().contains("CAP_CHOWN"));
        wanted.cap_add = vec!["all".to_owned()];
        assert!(!capabilities(&wanted, &few).unwrap().contains("CAP_SYS_RESOURCE"));
        wanted.cap_add = vec!["sys_resource".to_owned()];
        let error = capabilities(&wanted, &few).unwrap_err();
        assert!(matches!(error, RequestError::Capability(_)), "{error}");
    }

    #[test]
    fn a_user_other_than_root_has_only_what_was_added() {
        let mut wanted = request();
        let bounding = capabilities(&wanted, &all()).unwrap();
        assert!(sets(&bounding, &wanted, 1000).unwrap().effective.is_empty());
        wanted.cap_add = vec!["net_raw".to_owned()];
        let sets = sets(&bounding, &wanted, 1000).unwrap();
        assert_eq!(sets.ambient, ["CAP_NET_RAW"]);
    }

    #[test]
    fn dockers_profiles_are_translated() {
        let mut value = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null},
                {"name": "write", "action": "SCMP_ACT_ALLOW"},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}
            ]
        });
        profile::translate(&mut value, &BTreeSet::new());
        let filter: LinuxSeccomp = serde_json::from_value(value).unwrap();
        let names: Vec<_> = filter.syscalls.iter().flat_map(|rule| &rule.names).collect();
        assert_eq!(names, ["read", "write"]);
    }
}
