//! The mounts of the configuration as steps (config.md, "Mounts"; config-linux.md, "Default File
//! Systems").

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_cgroup::{Hierarchies, HierarchyKind};
use berth_spec::runtime::{Linux, LinuxIdMapping, Mount};
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use super::options::{self, ATTRIBUTE_IDMAP, ATTRIBUTE_RDONLY, BindReach, MountOptions};
use super::{c_path, c_string};
use crate::config::ConfigError;
use crate::idmap;
use crate::sys::{self, MountAttributes, Reach};

/// A mount to make.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// Where in the container.
    pub destination: CString,
    /// What.
    pub kind: MountKind,
    /// Attributes of the mount itself.
    pub attributes: MountAttributes,
    /// Attributes of all that comes with it.
    pub tree_attributes: MountAttributes,
    /// Propagation changes in order: the kind, and the reach.
    pub propagation: Vec<(u64, Reach)>,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum MountKind {
    /// A new instance of a file system.
    FileSystem {
        /// Its type.
        name: CString,
        /// Its parameters, the source among them.
        parameters: Vec<(CString, Option<CString>)>,
        /// Whether it is mounted on nothing but a real directory: procfs and sysfs must not be
        /// led astray by a symbolic link.
        ordinary_directory: bool,
        /// Whether the content of the directory below is copied into it.
        copy_up: bool,
    },
    /// A part of another file system.
    Bind {
        /// Which part.
        source: BindSource,
        /// Whether with all that is mounted in it.
        reach: Reach,
    },
    /// The container's own cgroup in every hierarchy.
    Cgroup(CgroupMount),
}

/// What is bound.
#[derive(Debug)]
pub(crate) enum BindSource {
    /// An absolute path of the host.
    Path(CString),
    /// A detached mount that was made of it.
    Tree(OwnedFd),
}

/// The cgroup file system of a container.
#[derive(Debug)]
pub(crate) struct CgroupMount {
    /// One mount over the destination (v2), or a tmpfs with a mount a hierarchy.
    pub unified_only: bool,
    /// The hierarchies.
    pub entries: Vec<CgroupEntry>,
}

/// A hierarchy in a container.
#[derive(Debug)]
pub(crate) struct CgroupEntry {
    /// The name of its directory.
    pub name: CString,
    /// Other names for it: the controllers of a hierarchy that has several.
    pub links: Vec<CString>,
    /// The directory of the host to bind; `None` when it is not known before the clone.
    pub source: Option<CString>,
    /// Which hierarchy it is, to be told its source later.
    pub kind: HierarchyKind,
}

/// What mounts depend on.
pub(crate) struct MountContext<'a> {
    /// The bundle, which relative sources are relative to.
    pub bundle: &'a Path,
    /// The configuration's Linux part.
    pub linux: &'a Linux,
    /// Whether sources are opened here rather than by the new process: it may not be able to
    /// reach them in its user namespace.
    pub open_sources: bool,
    /// The hierarchies of the host and the container's directory in each.
    pub cgroups: Option<(&'a Hierarchies, Vec<(HierarchyKind, PathBuf)>)>,
}

impl MountPlan {
    /// Prepares one mount.
    pub(crate) fn new(
        mount: &Mount,
        index: usize,
        context: &MountContext<'_>,
    ) -> Result<Self, ConfigError> {
        let field = format!("mounts[{index}]");
        // Relative destinations are an old mistake that runc takes as relative to the root.
        let destination = Path::new("/").join(&mount.destination);
        if destination.components().count() < 2 {
            return Err(ConfigError::invalid(
                format!("{field}.destination"),
                "must be a path below the root",
            ));
        }
        let parsed = options::parse(mount, &field)?;
        let typ = mount.typ.as_deref().unwrap_or("none");
        let kind = match (parsed.bind, typ) {
            (Some(reach), _) => bind(mount, reach, &parsed, &field, context)?,
            (None, "bind") => bind(mount, BindReach::One, &parsed, &field, context)?,
            (None, "cgroup" | "cgroup2") => MountKind::Cgroup(cgroup(&field, context)?),
            (None, "none") => {
                return Err(ConfigError::invalid(
                    format!("{field}.type"),
                    "is missing, and the options have neither bind nor rbind",
                ));
            }
            (None, typ) => file_system(mount, typ, &parsed, &field, context)?,
        };
        let propagation = parsed.propagation.iter();
        Ok(Self {
            destination: c_path(&destination, &format!("{field}.destination"))?,
            kind,
            attributes: parsed.attributes,
            tree_attributes: parsed.tree_attributes,
            propagation: propagation
                .map(|&(kind, tree)| (kind, if tree { Reach::Tree } else { Reach::One }))
                .collect(),
        })
    }
}

fn file_system(
    mount: &Mount,
    typ: &str,
    parsed: &MountOptions,
    field: &str,
    context: &MountContext<'_>,
) -> Result<MountKind, ConfigError> {
    if parsed.copy_up && typ != "tmpfs" {
        return Err(ConfigError::invalid(
            format!("{field}.options"),
            "tmpcopyup is for tmpfs only",
        ));
    }
    if parsed.id_map.is_some() || !mount.uid_mappings.is_empty() {
        return Err(ConfigError::unsupported(
            format!("{field}.uidMappings"),
            "only bind mounts can have their ids mapped",
        ));
    }
    let source = mount.source.as_deref().unwrap_or(Path::new(typ));
    let mut parameters =
        vec![(c"source".to_owned(), Some(c_path(source, &format!("{field}.source"))?))];
    let in_kernel_only = matches!(
        typ,
        "tmpfs" | "proc" | "sysfs" | "mqueue" | "devpts" | "overlay" | "bpf" | "securityfs"
    );
    if parsed.attributes.set & ATTRIBUTE_RDONLY != 0 && !in_kernel_only {
        parameters.push((c"ro".to_owned(), None));
    }
    let options = format!("{field}.options");
    for (key, value) in &parsed.data {
        let value = value.as_deref().map(|value| c_string(value, &options)).transpose()?;
        parameters.push((c_string(key, &options)?, value));
    }
    if let Some(label) = context.linux.mount_label.as_deref().filter(|label| !label.is_empty())
        && !matches!(typ, "proc" | "sysfs")
    {
        parameters.push((c"context".to_owned(), Some(c_string(label, "linux.mountLabel")?)));
    }
    Ok(MountKind::FileSystem {
        name: c_string(typ, &format!("{field}.type"))?,
        parameters,
        ordinary_directory: matches!(typ, "proc" | "sysfs"),
        copy_up: parsed.copy_up,
    })
}

fn bind(
    mount: &Mount,
    reach: BindReach,
    parsed: &MountOptions,
    field: &str,
    context: &MountContext<'_>,
) -> Result<MountKind, ConfigError> {
    let source_field = format!("{field}.source");
    let source = mount
        .source
        .as_deref()
        .filter(|source| !source.as_os_str().is_empty())
        .ok_or_else(|| ConfigError::invalid(&source_field, "a bind mount needs a source"))?;
    let superblock = options::is_superblock_option;
    if let Some((key, _)) =
        parsed.data.iter().find(|(key, value)| value.is_some() || !superblock(key))
    {
        return Err(ConfigError::unsupported(
            format!("{field}.options ({key})"),
            "a bind mount has no options of a file system",
        ));
    }
    let source = context.bundle.join(source);
    let reach = if reach == BindReach::Tree { Reach::Tree } else { Reach::One };
    let mappings = id_mappings(mount, parsed, field, context.linux)?;
    let source = if context.open_sources || mappings.is_some() {
        let tree = open_tree(&source, reach).map_err(|errno| ConfigError::Open {
            field: source_field,
            path: source.clone(),
            source: errno.into(),
        })?;
        if let Some((uids, gids, reach)) = mappings {
            map_ids(&tree, uids, gids, reach)
                .map_err(|source| ConfigError::IdMap { field: field.to_owned(), source })?;
        }
        BindSource::Tree(tree)
    } else {
        // Told here, because it is the commonest mistake and the new process would say less of it.
        if let Err(errno) = rustix::fs::stat(&source) {
            return Err(ConfigError::Open {
                field: source_field,
                path: source,
                source: errno.into(),
            });
        }
        BindSource::Path(c_path(&source, &source_field)?)
    };
    Ok(MountKind::Bind { source, reach })
}

/// Makes a detached mount of a part of the host's file systems. Like one that is made in a new
/// mount namespace, it does not tell the host of what is mounted in it.
pub(crate) fn open_tree(source: &Path, reach: Reach) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if reach == Reach::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(CWD, source, flags)?;
    let slave = MountAttributes { propagation: libc::MS_SLAVE, ..MountAttributes::default() };
    sys::mount_setattr(&tree, Reach::Tree, &slave)?;
    Ok(tree)
}

type Mappings<'a> = (&'a [LinuxIdMapping], &'a [LinuxIdMapping], Reach);

fn id_mappings<'a>(
    mount: &'a Mount,
    parsed: &MountOptions,
    field: &str,
    linux: &'a Linux,
) -> Result<Option<Mappings<'a>>, ConfigError> {
    let given = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    let reach = if parsed.id_map == Some(true) { Reach::Tree } else { Reach::One };
    match (given, parsed.id_map) {
        (true, _) if mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty() => {
            Err(ConfigError::invalid(
                format!("{field}.uidMappings"),
                "both uidMappings and gidMappings are needed",
            ))
        }
        (true, _) => Ok(Some((&mount.uid_mappings, &mount.gid_mappings, reach))),
        (false, None) => Ok(None),
        (false, Some(_)) if linux.uid_mappings.is_empty() => Err(ConfigError::invalid(
            format!("{field}.options"),
            "idmap needs uidMappings of the mount or of the container",
        )),
        (false, Some(_)) => Ok(Some((&linux.uid_mappings, &linux.gid_mappings, reach))),
    }
}

fn map_ids(
    tree: &OwnedFd,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
    reach: Reach,
) -> Result<(), idmap::IdMapError> {
    use std::os::fd::AsRawFd as _;
    let namespace = idmap::user_namespace(uids, gids)?;
    let attributes = MountAttributes {
        set: ATTRIBUTE_IDMAP,
        user_namespace: namespace.as_raw_fd() as u64,
        ..MountAttributes::default()
    };
    sys::mount_setattr(tree, reach, &attributes)
        .map_err(|errno| idmap::IdMapError::Mount(errno.into()))
}

fn cgroup(field: &str, context: &MountContext<'_>) -> Result<CgroupMount, ConfigError> {
    let Some((hierarchies, paths)) = &context.cgroups else {
        return Err(ConfigError::unsupported(
            field,
            "no cgroup file system is mounted on this host",
        ));
    };
    let mut entries = Vec::new();
    for mount in hierarchies.mounts() {
        let name = match &mount.kind {
            HierarchyKind::Unified => "unified".to_owned(),
            HierarchyKind::Named(name) => name.clone(),
            HierarchyKind::Controllers(list) => mount
                .mount_point
                .file_name()
                .map_or_else(|| list.join(","), |name| name.to_string_lossy().into_owned()),
        };
        let links = match &mount.kind {
            HierarchyKind::Controllers(list) => list
                .iter()
                .filter(|controller| **controller != name)
                .map(|c| c_string(c, field))
                .collect(),
            _ => Ok(Vec::new()),
        };
        let source = paths.iter().find(|(kind, _)| *kind == mount.kind).map(|(_, path)| path);
        entries.push(CgroupEntry {
            name: c_string(&name, field)?,
            links: links?,
            source: source.map(|path| c_path(path, field)).transpose()?,
            kind: mount.kind.clone(),
        });
    }
    let unified_only = entries.iter().all(|entry| entry.kind == HierarchyKind::Unified);
    Ok(CgroupMount { unified_only, entries })
}
