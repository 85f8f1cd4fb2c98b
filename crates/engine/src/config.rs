//! Where the engine keeps things and which programs it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// Names of foreign runtimes and their programs.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// The init program of `--init`; the applets program of the embedded image when absent.
    pub init: Option<PathBuf>,
    /// How cgroups are made.
    pub cgroup_manager: CgroupManager,
}

/// How cgroups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupManager {
    /// By making directories.
    #[default]
    Cgroupfs,
    /// By asking systemd for a scope.
    Systemd,
}

impl EngineConfig {
    /// The configuration that the environment gives: the usual directories for this user, changed
    /// by `BERTH_ROOT`, `BERTH_RUNROOT`, `BERTH_RUNTIME`, `BERTH_MONITOR`.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
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
                .unwrap_or_else(|| "builtin".to_owned()),
            runtimes: BTreeMap::new(),
            init: None,
            cgroup_manager: CgroupManager::Cgroupfs,
        }
    }
}
