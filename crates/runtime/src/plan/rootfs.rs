//! The root file system of a container: what is attached where, what is mounted in it, and how it
//! becomes `/` (config.md, "Root"; config-linux.md, "Rootfs Mount Propagation").

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::devices::{self, DeviceMode, DevicePlan};
use super::mounts::{self, MountContext, MountKind, MountPlan, open_tree};
use super::namespaces::NamespacePlan;
use super::{c_path, c_string, options};
use crate::config::ConfigError;
use crate::options::Pivot;
use crate::sys::Reach;

/// How the process gets its root.
#[derive(Debug)]
pub(crate) enum RootPlan {
    /// By making it, in a new mount namespace.
    Make(Box<RootfsPlan>),
    /// By `chroot`, in a mount namespace that is not its own.
    Chroot {
        /// The directory.
        directory: OwnedFd,
    },
    /// It comes with the mount namespace that is joined.
    Joined,
}

/// A root file system to make.
#[derive(Debug)]
pub(crate) struct RootfsPlan {
    /// The directory of the configuration.
    pub path: CString,
    /// A mount to use instead.
    pub mount: Option<OwnedFd>,
    /// Where it is attached.
    pub attach: Attach,
    /// What `/` becomes in the new mount namespace before anything is mounted.
    pub host_propagation: u64,
    /// What the container's root becomes in the end.
    pub propagation: Option<(u64, Reach)>,
    /// Whether the root is read-only in the end.
    pub readonly: bool,
    /// How the root is changed.
    pub pivot: Pivot,
    /// The mounts, in order.
    pub mounts: Vec<MountPlan>,
    /// Whether /dev is the container's own, so that nodes and links are made there.
    pub own_dev: bool,
    /// Device nodes.
    pub devices: Vec<DevicePlan>,
    /// Paths that can be neither read nor written.
    pub masked: Vec<CString>,
    /// Paths that cannot be written.
    pub readonly_paths: Vec<CString>,
}

/// Where the root file system is attached before it becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attach {
    /// Over the configuration's directory, where hooks expect it; or over `/` when that directory
    /// cannot be reached from a user namespace.
    Path,
    /// Over `/`: the mount that the directory is on is shared with the host, which must not see it.
    Root,
}

/// What the plan depends on beside the configuration.
pub(crate) struct RootContext<'a> {
    /// The mounts' context.
    pub mounts: MountContext<'a>,
    /// The namespaces.
    pub namespaces: &'a NamespacePlan,
    /// The mount to use as root.
    pub mount: Option<OwnedFd>,
    /// How the root is changed.
    pub pivot: Pivot,
    /// Whether the maker has privileges in its own user namespace.
    pub privileged: bool,
}

/// The absolute path of the root directory.
pub(crate) fn root_path(spec: &Spec, bundle: &Path) -> Result<PathBuf, ConfigError> {
    match &spec.root {
        Some(root) if root.path.as_os_str().is_empty() => {
            Err(ConfigError::invalid("root.path", "is empty"))
        }
        Some(root) => Ok(bundle.join(&root.path)),
        None => Err(ConfigError::invalid("root", "is missing")),
    }
}

impl RootPlan {
    /// Works out the root of a container.
    pub(crate) fn new(spec: &Spec, context: RootContext<'_>) -> Result<Self, ConfigError> {
        let path = root_path(spec, context.mounts.bundle)?;
        if context.namespaces.has_new(LinuxNamespaceType::Mount) {
            return RootfsPlan::new(spec, &path, context).map(|plan| Self::Make(Box::new(plan)));
        }
        refuse_mounts(spec, &context)?;
        let flags =
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map_err(|errno| {
                ConfigError::Open {
                    field: "root.path".to_owned(),
                    path: path.clone(),
                    source: errno.into(),
                }
            })?;
        Ok(Self::Chroot { directory })
    }
}

/// Nothing is mounted in a mount namespace that others use.
fn refuse_mounts(spec: &Spec, context: &RootContext<'_>) -> Result<(), ConfigError> {
    let linux = context.mounts.linux;
    let problem = [
        ("mounts", !spec.mounts.is_empty()),
        ("root.readonly", spec.root.as_ref().is_some_and(|root| root.readonly)),
        ("linux.devices", !linux.devices.is_empty()),
        ("linux.maskedPaths", !linux.masked_paths.is_empty()),
        ("linux.readonlyPaths", !linux.readonly_paths.is_empty()),
        ("linux.rootfsPropagation", linux.rootfs_propagation.is_some()),
        ("the detached root file system", context.mount.is_some()),
    ];
    match problem.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(ConfigError::unsupported(
            *field,
            "without a new mount namespace it would change other processes' mounts",
        )),
        None => Ok(()),
    }
}

impl RootfsPlan {
    fn new(spec: &Spec, path: &Path, context: RootContext<'_>) -> Result<Self, ConfigError> {
        let linux = context.mounts.linux;
        let propagation = match linux.rootfs_propagation.as_deref().filter(|word| !word.is_empty())
        {
            None => None,
            Some(word) => Some(options::propagation(word).ok_or_else(|| {
                ConfigError::invalid(
                    "linux.rootfsPropagation",
                    format!("is {word:?}; expected shared, slave, private or unbindable"),
                )
            })?),
        };
        let shared = propagation.is_some_and(|(kind, _)| kind == libc::MS_SHARED);
        let host_propagation = match propagation {
            Some((kind, _)) if kind == libc::MS_PRIVATE || kind == libc::MS_UNBINDABLE => {
                libc::MS_PRIVATE
            }
            _ if shared => 0,
            _ => libc::MS_SLAVE,
        };
        let in_user_namespace = context.namespaces.in_user_namespace();
        let mount = match context.mount {
            None if in_user_namespace && context.privileged => {
                Some(open_tree(path, Reach::Tree).map_err(|errno| ConfigError::Open {
                    field: "root.path".to_owned(),
                    path: path.to_owned(),
                    source: errno.into(),
                })?)
            }
            None => {
                check_directory(path)?;
                None
            }
            mount => mount,
        };
        let mut mounts = spec
            .mounts
            .iter()
            .enumerate()
            .map(|(index, mount)| MountPlan::new(mount, index, &context.mounts))
            .collect::<Result<Vec<_>, _>>()?;
        mounts::delay_readonly(&mut mounts);
        let own_dev = !spec
            .mounts
            .iter()
            .zip(&mounts)
            .any(|(mount, plan)| is_dev(mount) && matches!(plan.kind, MountKind::Bind { .. }));
        let mode = match (in_user_namespace, context.privileged) {
            (false, _) => DeviceMode::Make,
            (true, false) => DeviceMode::Bind,
            (true, true) => DeviceMode::BindOpened,
        };
        Ok(Self {
            path: c_path(path, "root.path")?,
            mount,
            attach: if shared { Attach::Root } else { Attach::Path },
            host_propagation,
            propagation: propagation
                .map(|(kind, tree)| (kind, if tree { Reach::Tree } else { Reach::One })),
            readonly: spec.root.as_ref().is_some_and(|root| root.readonly),
            pivot: context.pivot,
            mounts,
            own_dev,
            devices: devices::prepare(linux, mode, own_dev)?,
            masked: distinct(paths(&linux.masked_paths, "linux.maskedPaths")?),
            readonly_paths: paths(&linux.readonly_paths, "linux.readonlyPaths")?,
        })
    }
}

fn is_dev(mount: &Mount) -> bool {
    Path::new("/").join(&mount.destination) == Path::new("/dev")
}

fn check_directory(path: &Path) -> Result<(), ConfigError> {
    let failed = |source: std::io::Error| ConfigError::Open {
        field: "root.path".to_owned(),
        path: path.to_owned(),
        source,
    };
    let status = rustix::fs::stat(path).map_err(|errno| failed(errno.into()))?;
    if rustix::fs::FileType::from_raw_mode(status.st_mode) != rustix::fs::FileType::Directory {
        return Err(failed(std::io::Error::from_raw_os_error(libc::ENOTDIR)));
    }
    Ok(())
}

fn paths(texts: &[String], field: &str) -> Result<Vec<CString>, ConfigError> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let field = format!("{field}[{index}]");
            if !text.starts_with('/') {
                return Err(ConfigError::invalid(field, "must be absolute"));
            }
            c_string(text, &field)
        })
        .collect()
}

/// Each path once: masked again, it would only be one more mount. By components, so that a slash
/// more makes no difference.
fn distinct(paths: Vec<CString>) -> Vec<CString> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = |text: &CString| PathBuf::from(std::ffi::OsStr::from_bytes(text.to_bytes()));
    let mut known = std::collections::BTreeSet::new();
    paths.into_iter().filter(|text| known.insert(path(text))).collect()
}
