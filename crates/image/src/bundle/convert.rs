//! The conversion of an image's configuration to a runtime configuration (image-spec
//! conversion.md), every line of its tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_spec::image::{ExecutionConfig, ImageConfig};
use berth_spec::runtime::{Process, Spec};

use crate::bundle::RootLookup;
use crate::bundle::user::{UserError, resolve_user};
use crate::default_spec;
use crate::error::{ErrorKind, Explain};

/// Labels that some runtime takes for orders (commands run on the host, settings of the host's
/// service manager): a foreign image must not give them.
const UNSAFE_LABELS: [&str; 7] = [
    "run.oci.",
    "org.systemd.property.",
    "org.criu.config",
    "io.katacontainers.",
    "dev.gvisor.",
    "io.kubernetes.cri",
    "io.podman.annotations.",
];

/// What a caller wants otherwise than the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Takes the place of the image's entrypoint, and drops the image's command.
    pub entrypoint: Option<Vec<String>>,
    /// Takes the place of the image's command.
    pub command: Option<Vec<String>>,
    /// `NAME=value`: each takes the place of the image's variable of that name.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// In any form that `Config.User` may have.
    pub user: Option<String>,
    /// Whether the process has a terminal.
    pub terminal: bool,
}

/// Why an image's configuration cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Nothing to run.
    #[error("the image has neither an entrypoint nor a command, and none was given")]
    NoCommand,
    /// A variable that is not `NAME=value`.
    #[error("the environment variable `{0}` is not NAME=value")]
    Environment(String),
    /// Not for Linux.
    #[error("the image is for `{0}`, not for linux")]
    Platform(String),
    /// The user cannot be told.
    #[error("cannot tell the user that the image's process runs as")]
    User(#[source] UserError),
    /// A volume that is not a path.
    #[error("the image's volume `{0}` is not an absolute path below the root")]
    Volume(String),
}

impl Explain for ConvertError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::User(error) => error.kind(),
            _ => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoCommand => vec!["give a command after the image's name".to_owned()],
            Self::User(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// A converted configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The runtime configuration.
    pub spec: Spec,
    /// The paths of the image's volumes, for the caller to provide mounts for.
    pub volumes: Vec<String>,
    /// Labels that were left out because a runtime could take them for orders.
    pub omitted_labels: Vec<String>,
}

/// The default configuration with the image's process, annotations and volumes.
pub fn runtime_spec(
    config: &ImageConfig,
    root: &dyn RootLookup,
    overrides: &Overrides,
) -> Result<Converted, ConvertError> {
    let mut spec = default_spec::default_spec();
    spec.process = Some(process_from_image(config, root, overrides)?);
    let (annotations, omitted_labels) = annotations(config);
    spec.annotations = annotations;
    Ok(Converted { spec, volumes: volumes(config)?, omitted_labels })
}

/// `process`: verbatim fields, and `Config.User` resolved within the image.
///
/// `PATH` and `HOME` (and `TERM` with a terminal) are added where neither the image nor the caller
/// sets them. Capabilities are the default ones.
pub fn process_from_image(
    config: &ImageConfig,
    root: &dyn RootLookup,
    overrides: &Overrides,
) -> Result<Process, ConvertError> {
    let os = &config.platform.os;
    if !os.is_empty() && os != "linux" {
        return Err(ConvertError::Platform(os.clone()));
    }
    let nothing = ExecutionConfig::default();
    let execution = config.config.as_ref().unwrap_or(&nothing);
    let wanted = overrides.user.as_ref().or(execution.user.as_ref());
    let user = resolve_user(wanted.map_or("", String::as_str), root).map_err(ConvertError::User)?;
    let home = user.home.as_deref().unwrap_or("/");
    let cwd = overrides
        .working_dir
        .as_deref()
        .or(execution.working_dir.as_deref())
        .filter(|directory| !directory.is_empty())
        .unwrap_or("/");
    let cwd =
        if cwd.starts_with('/') { PathBuf::from(cwd) } else { PathBuf::from(format!("/{cwd}")) };
    Ok(Process {
        terminal: overrides.terminal,
        args: arguments(execution, overrides)?,
        env: environment(execution, overrides, home)?,
        cwd,
        capabilities: Some(default_spec::capabilities(&default_spec::CAPABILITIES, user.user.uid)),
        user: user.user,
        ..Process::default()
    })
}

/// Entrypoint and command, each from the caller or the image. An entrypoint of the caller's does
/// not go with a command of the image's.
fn arguments(
    execution: &ExecutionConfig,
    overrides: &Overrides,
) -> Result<Vec<String>, ConvertError> {
    let entrypoint = overrides.entrypoint.as_ref().unwrap_or(&execution.entrypoint);
    let nothing = Vec::new();
    let command = match (&overrides.command, &overrides.entrypoint) {
        (Some(command), _) => command,
        (None, Some(_)) => &nothing,
        (None, None) => &execution.cmd,
    };
    let arguments: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    if arguments.first().is_none_or(String::is_empty) {
        return Err(ConvertError::NoCommand);
    }
    Ok(arguments)
}

fn environment(
    execution: &ExecutionConfig,
    overrides: &Overrides,
    home: &str,
) -> Result<Vec<String>, ConvertError> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut env = execution.env.clone();
    for variable in &overrides.env {
        if !variable.contains('=') || variable.starts_with('=') {
            return Err(ConvertError::Environment(variable.clone()));
        }
        let wanted = name(variable);
        match env.iter_mut().find(|present| name(present) == wanted) {
            Some(present) => present.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    let mut add = |variable: &str, value: &str| {
        if !env.iter().any(|present| name(present) == variable) {
            env.push(format!("{variable}={value}"));
        }
    };
    add("PATH", default_spec::PATH);
    add("HOME", home);
    if overrides.terminal {
        add("TERM", "xterm");
    }
    Ok(env)
}

/// The annotations that the image's fields stand for, overridden by its labels; and the labels
/// that were left out as unsafe.
pub fn annotations(config: &ImageConfig) -> (BTreeMap<String, String>, Vec<String>) {
    let mut annotations = BTreeMap::new();
    let mut implicit = |key: &str, value: &str| {
        if !value.is_empty() {
            annotations.insert(format!("org.opencontainers.image.{key}"), value.to_owned());
        }
    };
    let platform = &config.platform;
    implicit("os", &platform.os);
    implicit("architecture", &platform.architecture);
    implicit("variant", platform.variant.as_deref().unwrap_or_default());
    implicit("os.version", platform.os_version.as_deref().unwrap_or_default());
    implicit("os.features", &platform.os_features.join(","));
    implicit("author", config.author.as_deref().unwrap_or_default());
    implicit("created", config.created.as_deref().unwrap_or_default());
    let mut omitted = Vec::new();
    if let Some(execution) = &config.config {
        implicit("stopSignal", execution.stop_signal.as_deref().unwrap_or_default());
        let ports: Vec<&str> = execution.exposed_ports.keys().map(String::as_str).collect();
        implicit("exposedPorts", &ports.join(","));
        for (key, value) in &execution.labels {
            if UNSAFE_LABELS.iter().any(|prefix| key.starts_with(prefix)) {
                omitted.push(key.clone());
            } else if !key.is_empty() {
                annotations.insert(key.clone(), value.clone());
            }
        }
    }
    (annotations, omitted)
}

/// The destinations of the image's volumes: absolute, without dots, each once.
pub fn volumes(config: &ImageConfig) -> Result<Vec<String>, ConvertError> {
    let mut volumes: Vec<String> = Vec::new();
    for path in config.config.iter().flat_map(|execution| execution.volumes.keys()) {
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() || parts.contains(&"..") || path.contains('\0') {
            return Err(ConvertError::Volume(path.clone()));
        }
        let path = format!("/{}", parts.join("/"));
        if !volumes.contains(&path) {
            volumes.push(path);
        }
    }
    Ok(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileError;

    struct Files;

    impl RootLookup for Files {
        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
            Ok((path == "/etc/passwd").then(|| b"app:x:1000:1000::/srv/app:/bin/sh\n".to_vec()))
        }
    }

    fn config(json: serde_json::Value) -> ImageConfig {
        serde_json::from_value(json).unwrap()
    }

    fn full() -> ImageConfig {
        config(serde_json::json!({
            "created": "2026-01-01T00:00:00Z", "author": "A. Uthor",
            "architecture": "arm64", "variant": "v8", "os": "linux",
            "os.version": "6.1", "os.features": ["a", "b"],
            "config": {
                "User": "app", "Env": ["A=1", "PATH=/bin"], "Entrypoint": ["/e"], "Cmd": ["c"],
                "WorkingDir": "/w", "StopSignal": "SIGQUIT",
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                "Volumes": {"/data": {}, "/data/": {}, "logs": {}},
                "Labels": {"x": "y", "org.opencontainers.image.author": "label",
                           "run.oci.hooks.stdout": "/x"}
            },
            "rootfs": {"type": "layers", "diff_ids": []}
        }))
    }

    #[test]
    fn verbatim_fields_are_verbatim() {
        let process = process_from_image(&full(), &Files, &Overrides::default()).unwrap();
        assert_eq!(process.args, ["/e", "c"]);
        assert_eq!(process.env, ["A=1", "PATH=/bin", "HOME=/srv/app"]);
        assert_eq!(process.cwd, PathBuf::from("/w"));
        assert_eq!((process.user.uid, process.user.gid), (1000, 1000));
        assert!(process.capabilities.unwrap().effective.is_empty());
    }

    #[test]
    fn fields_become_annotations_and_labels_take_precedence() {
        let (annotations, omitted) = annotations(&full());
        let image = |key: &str| {
            annotations.get(&format!("org.opencontainers.image.{key}")).map(String::as_str)
        };
        assert_eq!(image("os"), Some("linux"));
        assert_eq!(image("architecture"), Some("arm64"));
        assert_eq!(image("variant"), Some("v8"));
        assert_eq!(image("os.version"), Some("6.1"));
        assert_eq!(image("os.features"), Some("a,b"));
        assert_eq!(image("author"), Some("label"));
        assert_eq!(image("created"), Some("2026-01-01T00:00:00Z"));
        assert_eq!(image("stopSignal"), Some("SIGQUIT"));
        assert_eq!(image("exposedPorts"), Some("53/udp,80/tcp"));
        assert_eq!(annotations.get("x").map(String::as_str), Some("y"));
        assert_eq!(omitted, ["run.oci.hooks.stdout"]);
    }

    #[test]
    fn volumes_are_cleaned_and_hostile_ones_refused() {
        assert_eq!(volumes(&full()).unwrap(), ["/data", "/logs"]);
        for path in ["/", "", "/a/../../b"] {
            let hostile = config(serde_json::json!({
                "architecture": "amd64", "os": "linux", "config": {"Volumes": {path: {}}},
                "rootfs": {"type": "layers", "diff_ids": []}
            }));
            assert!(volumes(&hostile).is_err(), "{path}");
        }
    }

    #[test]
    fn the_caller_overrides_the_image() {
        let overrides = Overrides {
            entrypoint: Some(vec!["/x".to_owned()]),
            env: vec!["A=2".to_owned(), "B=3".to_owned()],
            working_dir: Some("rel".to_owned()),
            user: Some("0:0".to_owned()),
            terminal: true,
            ..Overrides::default()
        };
        let process = process_from_image(&full(), &Files, &overrides).unwrap();
        assert_eq!(process.args, ["/x"]);
        assert_eq!(process.env, ["A=2", "PATH=/bin", "B=3", "HOME=/", "TERM=xterm"]);
        assert_eq!(process.cwd, PathBuf::from("/rel"));
        assert_eq!(process.user.uid, 0);
        let command = Overrides { command: Some(vec!["d".to_owned()]), ..Overrides::default() };
        let process = process_from_image(&full(), &Files, &command).unwrap();
        assert_eq!(process.args, ["/e", "d"]);
    }

    #[test]
    fn an_image_without_a_command_needs_one() {
        let empty = config(serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}
        }));
        let error = process_from_image(&empty, &Files, &Overrides::default()).unwrap_err();
        assert!(matches!(error, ConvertError::NoCommand));
    }
}
