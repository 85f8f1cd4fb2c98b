//! Mounts: the default ones, those asked for, the image's volumes, and the files that name the
//! container and its network (config.md, "Mounts").

use std::path::{Component, Path, PathBuf};

use berth_spec::runtime::{Mount, Spec};

use super::{Context, INIT_PATH, RequestError};
use crate::identity;
use crate::plan::{MountKind, ResolvedMount};
use crate::request::{
    ContainerRequest, CopyUp, ImageVolumes, MissingSource, MountRequest, MountSource, NamespaceMode,
};

/// The size of /dev/shm where nobody says: podman's 64000 KiB.
const SHM_SIZE: u64 = 65_536_000;
/// Writable places of a read-only container.
const WRITABLE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// Sets the mounts; gives those that were asked for, with their sources on the host.
pub(super) fn apply(
    spec: &mut Spec,
    request: &ContainerRequest,
    image_volumes: &[String],
    context: &Context<'_>,
) -> Result<Vec<ResolvedMount>, RequestError> {
    if let Some(root) = spec.root.as_mut() {
        root.readonly = request.read_only;
    }
    let mut asked = Vec::new();
    for mount in &request.mounts {
        asked.push(resolve(mount, context)?);
    }
    for (index, mount) in asked.iter().enumerate() {
        if asked.iter().take(index).any(|earlier| earlier.target == mount.target) {
            return Err(RequestError::DuplicateMount(mount.target.clone()));
        }
    }
    asked.extend(of_image(image_volumes, &asked, request, context));
    defaults(spec, request);
    let is_taken = |target: &str| asked.iter().any(|mount| mount.target == Path::new(target));
    spec.mounts.retain(|mount| !asked.iter().any(|other| other.target == mount.destination));
    if request.read_only && request.read_only_tmpfs {
        for target in WRITABLE.into_iter().filter(|target| !is_taken(target)) {
            spec.mounts.push(tmpfs(target, &["rw", "rprivate", "nosuid", "nodev", "mode=1777"]));
        }
    }
    let mut binds = host_files(request, context);
    if request.init {
        let program = request.init_path.as_deref().or(context.init);
        binds.extend(program.map(|program| bind(program, INIT_PATH, &["ro", "nosuid", "nodev"])));
    }
    binds.retain(|mount| !asked.iter().any(|other| other.target == mount.destination));
    spec.mounts.extend(binds);
    spec.mounts.extend(asked.iter().map(mount_of));
    // A mount below another one comes after it; the order is otherwise as given.
    spec.mounts.sort_by_key(|mount| mount.destination.components().count());
    Ok(asked)
}

fn defaults(spec: &mut Spec, request: &ContainerRequest) {
    let size = request.shm_size.unwrap_or(SHM_SIZE);
    let ipc_is_host = request.ipc == NamespaceMode::Host;
    for mount in &mut spec.mounts {
        let destination = mount.destination.to_str().unwrap_or_default().to_owned();
        let destination = destination.as_str();
        if destination == "/dev/shm" && !ipc_is_host {
            mount.options.retain(|option| !option.starts_with("size="));
            mount.options.push(format!("size={size}"));
        }
        // An mqueue file system shows the queues of the IPC namespace that it is mounted in.
        if ipc_is_host && destination == "/dev/shm" {
            *mount = bind(Path::new(destination), destination, &["nosuid", "noexec", "nodev"]);
        }
        if request.pid == NamespaceMode::Host && destination == "/proc" {
            mount.options.retain(|option| option != "hidepid=2");
        }
    }
}

fn tmpfs(target: &str, options: &[&str]) -> Mount {
    Mount {
        destination: PathBuf::from(target),
        typ: Some("tmpfs".to_owned()),
        source: Some(PathBuf::from("tmpfs")),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Mount {
    let all = ["rbind", "rprivate"].iter().chain(options);
    Mount {
        destination: PathBuf::from(target),
        typ: Some("bind".to_owned()),
        source: Some(source.to_owned()),
        options: all.map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

/// /etc/hosts, /etc/hostname and /etc/resolv.conf from the run directory.
fn host_files(request: &ContainerRequest, context: &Context<'_>) -> Vec<Mount> {
    let options: &[&str] =
        if request.read_only && !request.read_only_tmpfs { &["ro"] } else { &[] };
    let mut names = vec!["hostname", "resolv.conf"];
    if !request.no_hosts {
        names.push("hosts");
    }
    names
        .iter()
        .map(|name| bind(&context.run.join(name), &format!("/etc/{name}"), options))
        .collect()
}

/// Makes a mount's source absolute on the host. Volumes get their place, and a name if need be.
fn resolve(mount: &MountRequest, context: &Context<'_>) -> Result<ResolvedMount, RequestError> {
    let target = clean(&mount.target)?;
    let mut options = mount.options.clone();
    let mut resolved = ResolvedMount {
        kind: MountKind::Bind,
        name: None,
        source: None,
        target,
        options: Vec::new(),
        copy_up: false,
        anonymous: false,
    };
    match &mount.source {
        MountSource::Bind(path) => {
            let there = std::fs::metadata(path);
            if let (Err(source), MissingSource::Refuse) = (there, mount.missing) {
                return Err(RequestError::HostFile {
                    option: "--volume",
                    path: path.clone(),
                    source,
                });
            }
            resolved.source = Some(path.clone());
            complete_bind(&mut options);
        }
        MountSource::Volume(name) => volume(&mut resolved, name.clone(), context, mount.copy_up),
        MountSource::Anonymous => {
            resolved.anonymous = true;
            volume(&mut resolved, identity::new_id(), context, mount.copy_up);
        }
        MountSource::Tmpfs => {
            resolved.kind = MountKind::Tmpfs;
            complete_tmpfs(&mut options, mount.copy_up);
        }
        MountSource::Ramfs => resolved.kind = MountKind::Ramfs,
        MountSource::Devpts => {
            resolved.kind = MountKind::Devpts;
            if options.is_empty() {
                let usual = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
                options.extend(usual.map(str::to_owned));
            }
        }
    }
    if resolved.kind == MountKind::Volume {
        complete_bind(&mut options);
    }
    resolved.options = options;
    Ok(resolved)
}

fn volume(resolved: &mut ResolvedMount, name: String, context: &Context<'_>, copy_up: CopyUp) {
    resolved.kind = MountKind::Volume;
    resolved.source = Some(context.volumes.join(&name).join("_data"));
    resolved.name = Some(name);
    resolved.copy_up = copy_up == CopyUp::Yes;
}

/// `rbind` and `rprivate` unless something of the kind is there; without device nodes as podman.
fn complete_bind(options: &mut Vec<String>) {
    let has =
        |options: &[String], words: &[&str]| options.iter().any(|o| words.contains(&o.as_str()));
    if !has(options, &["bind", "rbind"]) {
        options.push("rbind".to_owned());
    }
    let propagation = [
        "shared",
        "rshared",
        "slave",
        "rslave",
        "private",
        "rprivate",
        "unbindable",
        "runbindable",
    ];
    if !has(options, &propagation) {
        options.push("rprivate".to_owned());
    }
}

fn complete_tmpfs(options: &mut Vec<String>, copy_up: CopyUp) {
    let has =
        |options: &[String], words: &[&str]| options.iter().any(|o| words.contains(&o.as_str()));
    for (words, default) in [
        (["nosuid", "suid"], "nosuid"),
        (["nodev", "dev"], "nodev"),
        (["private", "rprivate"], "rprivate"),
    ] {
        if !has(options, &words) {
            options.push(default.to_owned());
        }
    }
    if copy_up == CopyUp::Yes {
        options.push("tmpcopyup".to_owned());
    }
}

/// An anonymous volume, or a tmpfs, for each of the image's volumes that nothing is mounted on.
fn of_image(
    paths: &[String],
    asked: &[ResolvedMount],
    request: &ContainerRequest,
    context: &Context<'_>,
) -> Vec<ResolvedMount> {
    let free = paths.iter().filter(|path| !asked.iter().any(|m| m.target == Path::new(path)));
    free.filter_map(|path| {
        let source = match request.image_volumes {
            ImageVolumes::Anonymous => MountSource::Anonymous,
            ImageVolumes::Tmpfs => MountSource::Tmpfs,
            ImageVolumes::Ignore => return None,
        };
        let mount = MountRequest {
            source,
            target: PathBuf::from(path),
            options: Vec::new(),
            missing: MissingSource::Create,
            copy_up: CopyUp::Yes,
        };
        let mut mount = mount;
        if request.image_volumes == ImageVolumes::Tmpfs {
            mount.copy_up = CopyUp::No;
        }
        resolve(&mount, context).ok()
    })
    .collect()
}

/// An absolute path without dots.
fn clean(target: &Path) -> Result<PathBuf, RequestError> {
    let mut path = PathBuf::from("/");
    for component in target.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    if !target.is_absolute() || path == Path::new("/") {
        return Err(RequestError::Value {
            option: "--volume",
            value: target.display().to_string(),
            expected: "an absolute path in the container other than /".to_owned(),
        });
    }
    Ok(path)
}

fn mount_of(mount: &ResolvedMount) -> Mount {
    let (typ, source) = match mount.kind {
        MountKind::Bind | MountKind::Volume => ("bind", mount.source.clone()),
        MountKind::Tmpfs => ("tmpfs", Some(PathBuf::from("tmpfs"))),
        MountKind::Devpts => ("devpts", Some(PathBuf::from("devpts"))),
        MountKind::Ramfs => ("ramfs", Some(PathBuf::from("ramfs"))),
    };
    Mount {
        destination: mount.target.clone(),
        typ: Some(typ.to_owned()),
        source,
        options: mount.options.clone(),
        ..Mount::default()
    }
}
