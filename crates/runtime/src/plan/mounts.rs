//! The mounts of the configuration as steps (config.md, "Mounts"; config-linux.md, "Default File
//! Systems").

use std::cell::OnceCell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use berth_cgroup::{Hierarchies, HierarchyKind};
use berth_spec::runtime::{Linux, Mount};
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
    /// The mapping of the ids of a new file system, or of what is bound from inside the container.
    /// (What is bound of the host has been mapped before.)
    pub id_map: Option<IdMap>,
    /// Whether it becomes read-only last of all, since something is still to be made in it.
    pub late_readonly: bool,
    /// Such a mount, until then.
    pub late: OnceCell<OwnedFd>,
}

/// A mapping of ids that a mount gets.
#[derive(Debug)]
pub(crate) struct IdMap {
    /// A user namespace that has the mapping.
    pub namespace: OwnedFd,
    /// How far it reaches.
    pub reach: Reach,
}

impl IdMap {
    /// The mapping as an attribute.
    pub(crate) fn attributes(&self) -> MountAttributes {
        MountAttributes {
            set: ATTRIBUTE_IDMAP,
            user_namespace: self.namespace.as_raw_fd() as u64,
            ..MountAttributes::default()
        }
    }
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum MountKind {
    /// A new instance of a file system.
    FileSystem {
        /// Its type.
        name: CString,
        /// Its parameters, the source among them.
        parameters: Parameters,
        /// Whether it is mounted on nothing but a real directory: procfs and sysfs must not be
        /// led astray by a symbolic link.
        ordinary_directory: bool,
        /// Whether the content of the directory below is copied into it.
        copy_up: bool,
        /// What mount(2) is told instead of the parameters, which fsconfig(2) cannot take.
        classic: Option<ClassicMount>,
    },
    /// Other options for what is mounted there already.
    Remount {
        /// Parameters of the file system; `None` to leave those alone.
        parameters: Option<Parameters>,
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

/// Keys of a file system, with values or as flags.
pub(crate) type Parameters = Vec<(CString, Option<CString>)>;

/// A new file system as mount(2) wants it.
#[derive(Debug)]
pub(crate) struct ClassicMount {
    /// The source.
    pub source: CString,
    /// The file system's own options, with commas between them.
    pub data: CString,
    /// `MS_*` flags of the superblock.
    pub flags: u64,
}

/// What is bound.
#[derive(Debug)]
pub(crate) enum BindSource {
    /// An absolute path of the host.
    Path(CString),
    /// A path below the container's root, which an earlier mount may provide.
    Inside(CString),
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

/// File systems that have nothing in them that somebody else has written.
const EMPTY: [&CStr; 5] = [c"proc", c"sysfs", c"tmpfs", c"devpts", c"mqueue"];

/// What mounts depend on.
pub(crate) struct MountContext<'a> {
    /// The bundle, which relative sources are relative to.
    pub bundle: &'a Path,
    /// The configuration's Linux part.
    pub linux: &'a Linux,
    /// Whether sources are opened here rather than by the new process: it may not be able to
    /// reach them in its user namespace.
    pub open_sources: bool,
    /// The container's root directory.
    pub root: &'a Path,
    /// The user namespace that the container joins, if it does.
    pub user_namespace: Option<&'a OwnedFd>,
    /// The hierarchies of the host and the container's directory in each.
    pub cgroups: Option<(&'a Hierarchies, Vec<(HierarchyKind, PathBuf)>)>,
}

impl MountPlan {
    /// Whether the process must be in its cgroup before it makes the mount: to find it there, or
    /// because the content of a file system may take any amount of memory.
    pub(crate) fn needs_cgroup(&self) -> bool {
        match &self.kind {
            MountKind::Bind { .. } => false,
            MountKind::Cgroup(_) | MountKind::Remount { .. } => true,
            MountKind::FileSystem { name, copy_up, .. } => {
                *copy_up || !EMPTY.contains(&name.as_c_str())
            }
        }
    }

    /// Prepares one mount.
    pub(crate) fn new(
        mount: &Mount,
        index: usize,
        context: &MountContext<'_>,
    ) -> Result<Self, ConfigError> {
        let field = format!("mounts[{index}]");
        // Relative destinations are an old mistake that runc takes as relative to the root.
        let destination = Path::new("/").join(&mount.destination);
        // Some name the place by its path at the host, which runc takes, too.
        let destination = match destination.strip_prefix(context.root) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => destination,
        };
        if destination.components().count() < 2 {
            return Err(ConfigError::invalid(
                format!("{field}.destination"),
                "must be a path below the root",
            ));
        }
        let parsed = options::parse(mount);
        let typ = mount.typ.as_deref().unwrap_or("none");
        let mut id_map = None;
        let kind = match (parsed.bind, typ) {
            _ if parsed.remount => remount(&parsed, &field)?,
            (Some(_), _) | (None, "bind") => {
                let reach = parsed.bind.unwrap_or(BindReach::One);
                bind(mount, reach, &parsed, &field, context, &mut id_map)?
            }
            (None, "cgroup" | "cgroup2") => MountKind::Cgroup(cgroup(&field, context)?),
            (None, "none") => {
                return Err(ConfigError::invalid(
                    format!("{field}.type"),
                    "is missing, and the options have neither bind nor rbind",
                ));
            }
            (None, typ) => {
                id_map = id_mapping(mount, &parsed, &field, context)?;
                file_system(mount, typ, &parsed, &field, context)?
            }
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
            id_map,
            late_readonly: false,
            late: OnceCell::new(),
        })
    }
}

/// Has mounts that become read-only do so last, if something is still to be made in them: devices
/// in /dev, and the places of later mounts in a new tmpfs.
pub(crate) fn delay_readonly(plans: &mut [MountPlan]) {
    let path = |plan: &MountPlan| {
        use std::os::unix::ffi::OsStrExt as _;
        PathBuf::from(std::ffi::OsStr::from_bytes(plan.destination.to_bytes()))
    };
    let destinations: Vec<PathBuf> = plans.iter().map(path).collect();
    for (index, plan) in plans.iter_mut().enumerate() {
        let Some((own, later)) = destinations.get(index..).and_then(<[_]>::split_first) else {
            continue;
        };
        let MountKind::FileSystem { name, .. } = &plan.kind else { continue };
        let filled = own == Path::new("/dev")
            || name.as_c_str() == c"tmpfs" && later.iter().any(|path| path.starts_with(own));
        if filled && plan.attributes.set & ATTRIBUTE_RDONLY != 0 {
            plan.attributes.set &= !ATTRIBUTE_RDONLY;
            plan.late_readonly = true;
        }
    }
}

fn parameters(data: &[(String, Option<String>)], field: &str) -> Result<Parameters, ConfigError> {
    let one = |(key, value): &(String, Option<String>)| {
        let value = value.as_deref().map(|value| c_string(value, field)).transpose()?;
        Ok((c_string(key, field)?, value))
    };
    data.iter().map(one).collect()
}

/// Options change what is mounted; what they do not name stays as it is, as mount(8) has it.
fn remount(parsed: &MountOptions, field: &str) -> Result<MountKind, ConfigError> {
    if parsed.copy_up || parsed.id_map.is_some() {
        let problem = "tmpcopyup and idmap are for new mounts";
        return Err(ConfigError::invalid(format!("{field}.options"), problem));
    }
    // Of a bind mount only the mount's own options change, not those of what it shares.
    if parsed.bind.is_some() {
        return Ok(MountKind::Remount { parameters: None });
    }
    let mut parameters = parameters(&parsed.data, &format!("{field}.options"))?;
    for (bits, word) in [(parsed.attributes.set, c"ro"), (parsed.attributes.clear, c"rw")] {
        if bits & ATTRIBUTE_RDONLY != 0 {
            parameters.push((word.to_owned(), None));
        }
    }
    Ok(MountKind::Remount { parameters: Some(parameters) })
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
    let source = mount.source.as_deref().unwrap_or(Path::new(typ));
    let source = c_path(source, &format!("{field}.source"))?;
    let in_kernel_only = matches!(
        typ,
        "tmpfs" | "proc" | "sysfs" | "mqueue" | "devpts" | "overlay" | "bpf" | "securityfs"
    );
    let readonly = parsed.attributes.set & ATTRIBUTE_RDONLY != 0 && !in_kernel_only;
    let options = format!("{field}.options");
    let mut parameters = parameters(&parsed.data, &options)?;
    if let Some(label) = context.linux.mount_label.as_deref().filter(|label| !label.is_empty())
        && !matches!(typ, "proc" | "sysfs")
    {
        parameters.push((c"context".to_owned(), Some(c_string(label, "linux.mountLabel")?)));
    }
    let classic = options::needs_classic(&parsed.data)
        .then(|| classic(source.clone(), &parameters, readonly))
        .transpose()?;
    parameters.insert(0, (c"source".to_owned(), Some(source)));
    if readonly {
        parameters.push((c"ro".to_owned(), None));
    }
    Ok(MountKind::FileSystem {
        name: c_string(typ, &format!("{field}.type"))?,
        parameters,
        ordinary_directory: matches!(typ, "proc" | "sysfs"),
        copy_up: parsed.copy_up,
        classic,
    })
}

#[cold]
fn classic(
    source: CString,
    parameters: &Parameters,
    readonly: bool,
) -> Result<ClassicMount, ConfigError> {
    let mut flags = if readonly { libc::MS_RDONLY } else { 0 };
    let mut data = Vec::new();
    for (key, value) in parameters {
        if value.is_none()
            && let Some(flag) = options::superblock_flag(key.to_bytes())
        {
            flags |= flag;
            continue;
        }
        if !data.is_empty() {
            data.push(b',');
        }
        data.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            data.push(b'=');
            data.extend_from_slice(value.to_bytes());
        }
    }
    let data = CString::new(data)
        .map_err(|_| ConfigError::invalid("mounts", "there is a NUL byte in the options"))?;
    Ok(ClassicMount { source, data, flags })
}

fn bind(
    mount: &Mount,
    reach: BindReach,
    parsed: &MountOptions,
    field: &str,
    context: &MountContext<'_>,
    later: &mut Option<IdMap>,
) -> Result<MountKind, ConfigError> {
    let source_field = format!("{field}.source");
    let source = mount
        .source
        .as_deref()
        .filter(|source| !source.as_os_str().is_empty())
        .ok_or_else(|| ConfigError::invalid(&source_field, "a bind mount needs a source"))?;
    // Callers pass values such as mode= and size= on for all mounts, and mount(2) passes over them.
    let superblock = options::is_superblock_option;
    if let Some((key, _)) =
        parsed.data.iter().find(|(key, value)| value.is_none() && !superblock(key))
    {
        return Err(ConfigError::unsupported(
            format!("{field}.options ({key})"),
            "a bind mount has no options of a file system",
        ));
    }
    let source = context.bundle.join(source);
    let reach = if reach == BindReach::Tree { Reach::Tree } else { Reach::One };
    let id_map = id_mapping(mount, parsed, field, context)?;
    // An id mapping takes privileges over the file system: the process has them for what is inside
    // its root only when it is in no user namespace of its own.
    let inside = source.strip_prefix(context.root).ok();
    let inside = inside.filter(|_| id_map.is_none() || !context.open_sources);
    let source = if let Some(inside) = inside {
        *later = id_map;
        BindSource::Inside(c_path(&Path::new("/").join(inside), &source_field)?)
    } else if context.open_sources || id_map.is_some() {
        let tree = open_tree(&source, reach).map_err(|errno| ConfigError::Open {
            field: source_field,
            path: source.clone(),
            source: errno.into(),
        })?;
        if let Some(map) = id_map {
            sys::mount_setattr(&tree, map.reach, &map.attributes()).map_err(|errno| {
                let source = idmap::IdMapError::Mount(errno.into());
                ConfigError::IdMap { field: field.to_owned(), source }
            })?;
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

/// The mapping of a mount: its own, or where it only asks for one, the container's.
fn id_mapping(
    mount: &Mount,
    parsed: &MountOptions,
    field: &str,
    context: &MountContext<'_>,
) -> Result<Option<IdMap>, ConfigError> {
    let own = (&mount.uid_mappings, &mount.gid_mappings);
    let containers = (&context.linux.uid_mappings, &context.linux.gid_mappings);
    let reach = if parsed.id_map == Some(true) { Reach::Tree } else { Reach::One };
    let failed = |source| ConfigError::IdMap { field: field.to_owned(), source };
    let (uids, gids) = match (own.0.is_empty(), own.1.is_empty(), parsed.id_map) {
        (false, false, _) => own,
        (true, true, None) => return Ok(None),
        (true, true, Some(_)) => containers,
        _ => {
            return Err(ConfigError::invalid(
                format!("{field}.uidMappings"),
                "both uidMappings and gidMappings are needed",
            ));
        }
    };
    let namespace = match (uids.is_empty(), context.user_namespace) {
        (false, _) => idmap::user_namespace(uids, gids).map_err(failed)?,
        (true, Some(joined)) => {
            joined.try_clone().map_err(|source| failed(idmap::IdMapError::Namespace(source)))?
        }
        (true, None) => {
            return Err(ConfigError::invalid(
                format!("{field}.options"),
                "idmap needs uidMappings of the mount, or a user namespace of the container",
            ));
        }
    };
    Ok(Some(IdMap { namespace, reach }))
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
