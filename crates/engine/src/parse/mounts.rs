//! `--volume`, `--mount` and `--tmpfs`.

use std::path::{Path, PathBuf};

use crate::error::ParseError;
use crate::request::{CopyUp, MissingSource, MountRequest, MountSource};

/// Options that go to the runtime as they are.
const PLAIN: [&str; 27] = [
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "bind",
    "rbind",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
    "noatime",
    "atime",
    "relatime",
    "norelatime",
    "nodiratime",
    "diratime",
    "sync",
    "async",
    "rro",
];

fn absolute(text: &str, directory: &Path) -> PathBuf {
    if text.starts_with('/') { PathBuf::from(text) } else { directory.join(text) }
}

fn target(text: &str, whole: &str) -> Result<PathBuf, ParseError> {
    if !text.starts_with('/') {
        return Err(ParseError::new("mount", whole, "an absolute path in the container"));
    }
    if Path::new(text).components().count() == 1 {
        return Err(ParseError::new("mount", whole, "a path in the container other than /"));
    }
    Ok(PathBuf::from(text))
}

fn volume_name(text: &str, whole: &str) -> Result<String, ParseError> {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        return Ok(text.to_owned());
    }
    Err(ParseError::new(
        "mount",
        whole,
        "a volume's name of letters, digits, _ . and -, or a host path that starts with / or .",
    ))
}

/// An option of `--volume`; `Err` names the word that is not supported.
fn volume_option(mount: &mut MountRequest, option: &str, whole: &str) -> Result<(), ParseError> {
    match option {
        "" | "z" | "Z" => {} // SELinux relabelling, which is nothing without SELinux.
        "copy" => mount.copy_up = CopyUp::Yes,
        "nocopy" => mount.copy_up = CopyUp::No,
        "create" => mount.missing = MissingSource::Create,
        option if PLAIN.contains(&option) => mount.options.push(option.to_owned()),
        option => {
            return Err(ParseError::new(
                "mount",
                whole,
                format!("options that are supported ({option:?} is not)"),
            ));
        }
    }
    Ok(())
}

pub(super) fn volume(text: &str, directory: &Path) -> Result<MountRequest, ParseError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts.as_slice() {
        [destination] => (None, *destination, ""),
        [source, destination] => (Some(*source), *destination, ""),
        [source, destination, options] => (Some(*source), *destination, *options),
        _ => return Err(ParseError::new("volume", text, "[SOURCE:]TARGET[:OPTIONS]")),
    };
    let source = match source {
        None => MountSource::Anonymous,
        Some(path) if path.starts_with(['/', '.']) => MountSource::Bind(absolute(path, directory)),
        Some(name) => MountSource::Volume(volume_name(name, text)?),
    };
    let mut mount = MountRequest {
        source,
        target: target(destination, text)?,
        options: Vec::new(),
        missing: MissingSource::Refuse,
        copy_up: CopyUp::Yes,
    };
    for option in options.split(',') {
        volume_option(&mut mount, option, text)?;
    }
    Ok(mount)
}

pub(super) fn tmpfs(text: &str) -> Result<MountRequest, ParseError> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = MountRequest {
        source: MountSource::Tmpfs,
        target: target(destination, text)?,
        options: Vec::new(),
        missing: MissingSource::Refuse,
        copy_up: CopyUp::No,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        tmpfs_option(&mut mount, option, text)?;
    }
    Ok(mount)
}

fn tmpfs_option(mount: &mut MountRequest, option: &str, whole: &str) -> Result<(), ParseError> {
    let known = ["size=", "mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks=", "huge="];
    match option {
        "tmpcopyup" => mount.copy_up = CopyUp::Yes,
        "notmpcopyup" => mount.copy_up = CopyUp::No,
        option if known.iter().any(|prefix| option.starts_with(prefix)) => {
            mount.options.push(option.to_owned());
        }
        option => volume_option(mount, option, whole)?,
    }
    Ok(())
}

pub(super) fn mount(text: &str, directory: &Path) -> Result<MountRequest, ParseError> {
    let refuse = |expected: String| ParseError::new("mount", text, expected);
    let pairs: Vec<(&str, &str)> =
        text.split(',').map(|word| word.split_once('=').unwrap_or((word, ""))).collect();
    let find =
        |keys: &[&str]| pairs.iter().find(|(key, _)| keys.contains(key)).map(|(_, value)| *value);
    let kind = find(&["type"]).unwrap_or("volume");
    let source = find(&["source", "src"]);
    let destination = find(&["target", "destination", "dst"])
        .ok_or_else(|| refuse("target=PATH among the options".to_owned()))?;
    let source = match (kind, source) {
        ("bind", Some(path)) if !path.is_empty() => MountSource::Bind(absolute(path, directory)),
        ("bind", _) => return Err(refuse("source=PATH with type=bind".to_owned())),
        ("volume", None) => MountSource::Anonymous,
        ("volume", Some(name)) => MountSource::Volume(volume_name(name, text)?),
        ("tmpfs", _) => MountSource::Tmpfs,
        ("ramfs", _) => MountSource::Ramfs,
        ("devpts", _) => MountSource::Devpts,
        _ => return Err(refuse("type= bind, volume, tmpfs, ramfs or devpts".to_owned())),
    };
    let mut mount = MountRequest {
        copy_up: match source {
            MountSource::Volume(_) | MountSource::Anonymous => CopyUp::Yes,
            _ => CopyUp::No,
        },
        source,
        target: target(destination, text)?,
        options: Vec::new(),
        missing: MissingSource::Refuse,
    };
    for (key, value) in pairs {
        mount_option(&mut mount, key, value, text)?;
    }
    Ok(mount)
}

fn mount_option(
    mount: &mut MountRequest,
    key: &str,
    value: &str,
    whole: &str,
) -> Result<(), ParseError> {
    let is_true = matches!(value, "" | "true" | "1");
    let is_tmpfs = mount.source == MountSource::Tmpfs;
    match key {
        "type" | "source" | "src" | "target" | "destination" | "dst" => {}
        "ro" | "readonly" => mount.options.push(if is_true { "ro" } else { "rw" }.to_owned()),
        "rw" => mount.options.push(if is_true { "rw" } else { "ro" }.to_owned()),
        "bind-propagation" => volume_option(mount, value, whole)?,
        "bind-nonrecursive" if is_true => mount.options.push("bind".to_owned()),
        "bind-nonrecursive" => mount.options.push("rbind".to_owned()),
        "volume-nocopy" if is_true => mount.copy_up = CopyUp::No,
        "relabel" | "consistency" => {}
        "tmpfs-size" => mount.options.push(format!("size={value}")),
        "tmpfs-mode" => mount.options.push(format!("mode={value}")),
        key if value.is_empty() && is_tmpfs => tmpfs_option(mount, key, whole)?,
        key if is_tmpfs => tmpfs_option(mount, &format!("{key}={value}"), whole)?,
        "mode" | "uid" | "gid" | "max" if mount.source == MountSource::Devpts => {
            mount.options.push(format!("{key}={value}"));
        }
        key if value.is_empty() => volume_option(mount, key, whole)?,
        key => {
            return Err(ParseError::new(
                "mount",
                whole,
                format!("options that are supported ({key:?} is not)"),
            ));
        }
    }
    Ok(())
}
