//! Where the engine keeps things and which programs it starts.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::ConfigError;
use crate::handler::{BUILTIN, HandlerConfig};

/// The configuration of an [`Engine`](crate::Engine).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Persistent state: `--root`, `BERTH_ROOT`, `/var/lib/berth`.
    pub root: PathBuf,
    /// State on tmpfs: `--runroot`, `BERTH_RUNROOT`, `/run/berth`.
    pub runroot: PathBuf,
    /// The `berth-monitor` program; found beside the running program, then in `/usr/libexec/berth`,
    /// `/usr/local/libexec/berth` and `PATH`, or by `BERTH_MONITOR`.
    pub monitor: Option<PathBuf>,
    /// The program that does `container cleanup ID` when a monitor asks for it; the running one when
    /// absent. It is called as `PROGRAM --root ROOT --runroot RUNROOT container cleanup ID`.
    pub cleanup_program: Option<PathBuf>,
    /// The runtime when a container asks for none: `builtin`, a name or a path (`--runtime`,
    /// `BERTH_RUNTIME`).
    pub runtime: String,
    /// Runtimes by the names that people give them.
    pub runtimes: BTreeMap<String, HandlerConfig>,
    /// The configuration file, where it was named rather than found.
    pub file: Option<PathBuf>,
    /// The init program of `--init`; the applets program of the embedded image when absent.
    pub init: Option<PathBuf>,
    /// How cgroups are made.
    pub cgroup_manager: CgroupManager,
}

/// How cgroups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupManager {
    /// By making directories.
    #[default]
    Cgroupfs,
    /// By asking systemd for a scope.
    Systemd,
}

/// The configuration file, `berth.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    root: Option<PathBuf>,
    runroot: Option<PathBuf>,
    runtime: Option<String>,
    cgroup_manager: Option<CgroupManager>,
    runtimes: BTreeMap<String, HandlerConfig>,
}

/// The largest configuration file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most options that a runtime may be given.
const MAX_ARGUMENTS: usize = 64;

impl EngineConfig {
    /// The usual configuration, changed by the configuration file, changed by the environment.
    ///
    /// The file is the one given, or `BERTH_CONFIG`'s, which must be there; otherwise
    /// `/etc/berth/berth.toml`, if it is.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let named = file.map(Path::to_owned).or_else(|| variable("BERTH_CONFIG").map(Into::into));
        let path = named.clone().unwrap_or_else(|| PathBuf::from("/etc/berth/berth.toml"));
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::from_environment());
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let mut config = Self::from_environment();
        config.apply_file(&path, &text)?;
        // A helper that is started later, in another directory, is told where it is.
        config.file = named.map(|path| std::path::absolute(&path).unwrap_or(path));
        Ok(config)
    }

    /// Takes what the environment does not say from the file.
    pub(crate) fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let file: ConfigFile =
            toml::from_str(text).map_err(|error| ConfigError::syntax(path, text, &error))?;
        for (name, handler) in &file.runtimes {
            let is_plain = handler
                .path
                .as_ref()
                .is_none_or(|path| path.is_absolute() || path.components().count() == 1);
            let wrong = |word: &str| ConfigError::Runtime {
                path: path.to_owned(),
                name: name.clone(),
                problem: word.to_owned(),
            };
            if name == BUILTIN || name.is_empty() || name.contains('/') {
                return Err(wrong("a name other than `builtin`, without slashes, was expected"));
            }
            if !is_plain {
                return Err(wrong("`path` must be absolute, or a program's name"));
            }
            if handler.arguments.len() > MAX_ARGUMENTS {
                return Err(wrong("more than 64 `arguments`"));
            }
        }
        let unless_set = |name: &str| variable(name).is_none();
        if let Some(root) = file.root.filter(|_| unless_set("BERTH_ROOT")) {
            self.root = root;
        }
        if let Some(runroot) = file.runroot.filter(|_| unless_set("BERTH_RUNROOT")) {
            self.runroot = runroot;
        }
        if let Some(runtime) = file.runtime.filter(|_| unless_set("BERTH_RUNTIME")) {
            self.runtime = runtime;
        }
        self.cgroup_manager = file.cgroup_manager.unwrap_or(self.cgroup_manager);
        self.runtimes = file.runtimes;
        Ok(())
    }

    /// The configuration that the environment gives: the usual directories for this user, changed
    /// by `BERTH_ROOT`, `BERTH_RUNROOT`, `BERTH_RUNTIME`, `BERTH_MONITOR`.
    pub fn from_environment() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let home = variable("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let usual_root = || {
            if is_root {
                return PathBuf::from("/var/lib/berth");
            }
            let data = variable("XDG_DATA_HOME").map(PathBuf::from);
            data.unwrap_or_else(|| home.join(".local/share")).join("berth")
        };
        let usual_runroot = || {
            if is_root {
                return PathBuf::from("/run/berth");
            }
            let user = rustix::process::geteuid().as_raw();
            let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
            runtime.unwrap_or_else(|| PathBuf::from(format!("/run/user/{user}"))).join("berth")
        };
        let root = variable("BERTH_ROOT").map_or_else(usual_root, PathBuf::from);
        let runroot = variable("BERTH_RUNROOT").map_or_else(usual_runroot, PathBuf::from);
        Self {
            root,
            runroot,
            monitor: variable("BERTH_MONITOR").map(PathBuf::from),
            cleanup_program: None,
            runtime: variable("BERTH_RUNTIME")
                .and_then(|value| value.into_string().ok())
                .unwrap_or_else(|| BUILTIN.to_owned()),
            runtimes: BTreeMap::new(),
            file: None,
            init: None,
            cgroup_manager: CgroupManager::Cgroupfs,
        }
    }
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn read(path: &Path) -> std::io::Result<String> {
    let file = std::fs::File::open(path)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let mut config = EngineConfig::from_environment();
        config.apply_file(Path::new("/etc/berth/berth.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told_with_its_line() {
        let said = refused("runtime = \"runc\"\nrutnime = 3\n");
        assert!(said.starts_with("/etc/berth/berth.toml, line 2: "), "{said}");
        assert!(said.contains("rutnime") && !said.contains('\n'), "{said}");
        assert!(refused("cgroup_manager = \"none\"").contains("line 1"));
        assert!(refused("[runtimes.x]\npath = \"a/b\"").contains("`path` must be absolute"));
        assert!(refused("[runtimes.builtin]\npath = \"runc\"").contains("builtin"));
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let said = EngineConfig::load(Some(Path::new("/nowhere/berth.toml"))).unwrap_err();
        assert!(said.to_string().contains("/nowhere/berth.toml"), "{said}");
    }
}
