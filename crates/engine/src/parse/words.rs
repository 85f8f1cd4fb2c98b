//! `FromStr` for the request's small types.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::ParseError;
use crate::request::*;

impl FromStr for Entrypoint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.trim_start().starts_with('[') {
            return serde_json::from_str(text).map(Self).map_err(|_| {
                ParseError::new("entrypoint", text, "a program, or a JSON array of strings")
            });
        }
        Ok(Self(if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }))
    }
}

impl FromStr for NamespaceMode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.split_once(':') {
            None if matches!(text, "" | "private" | "shareable") => Ok(Self::Private),
            None if text == "host" => Ok(Self::Host),
            Some(("container", name)) if !name.is_empty() => Ok(Self::Container(name.to_owned())),
            Some(("ns", path)) if path.starts_with('/') => Ok(Self::Path(PathBuf::from(path))),
            _ => Err(ParseError::new(
                "namespace mode",
                text,
                "private, host, container:NAME or ns:/PATH",
            )),
        }
    }
}

impl FromStr for NetworkMode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "host" => Ok(Self::Host),
            Some(("container", name)) if !name.is_empty() => Ok(Self::Container(name.to_owned())),
            Some(("ns", path)) if path.starts_with('/') => Ok(Self::Path(PathBuf::from(path))),
            _ => Err(ParseError::new(
                "network",
                text,
                "none, host, container:NAME or ns:/PATH (other networks are not supported yet)",
            )),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || {
            ParseError::new(
                "restart policy",
                text,
                "no, always, unless-stopped or on-failure[:MAX]",
            )
        };
        match text {
            "" | "no" | "never" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            "on-failure" => Ok(Self::OnFailure { max: None }),
            _ => {
                let max = text.strip_prefix("on-failure:").ok_or_else(refuse)?;
                let max: u32 = max.parse().map_err(|_| refuse())?;
                // Zero means no limit to docker and podman alike.
                Ok(Self::OnFailure { max: (max > 0).then_some(max) })
            }
        }
    }
}

impl FromStr for ImageVolumes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "anonymous" | "bind" => Ok(Self::Anonymous),
            "tmpfs" => Ok(Self::Tmpfs),
            "ignore" => Ok(Self::Ignore),
            _ => Err(ParseError::new("image volume mode", text, "anonymous, tmpfs or ignore")),
        }
    }
}

impl FromStr for LogDriver {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "k8s-file" | "json-file" => Ok(Self::K8sFile),
            "none" => Ok(Self::None),
            _ => Err(ParseError::new("log driver", text, "k8s-file or none")),
        }
    }
}

impl FromStr for SecurityOption {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || {
            ParseError::new(
                "security option",
                text,
                "no-new-privileges, seccomp=FILE, seccomp=unconfined, mask=PATH[:PATH], \
                 unmask=ALL, unmask=PATH[:PATH], proc-opts=OPTION, apparmor=PROFILE or label=WORD",
            )
        };
        // Docker once took a colon in place of the equals sign; podman still does.
        let (key, value) = match text.split_once(['=', ':']) {
            None if text == "no-new-privileges" => return Ok(Self::NoNewPrivileges(true)),
            None => return Err(refuse()),
            Some(pair) => pair,
        };
        let list = |separator| value.split(separator).map(str::to_owned).collect::<Vec<_>>();
        match (key, value) {
            ("no-new-privileges", "true") => Ok(Self::NoNewPrivileges(true)),
            ("no-new-privileges", "false") => Ok(Self::NoNewPrivileges(false)),
            (_, "") => Err(refuse()),
            ("seccomp", "unconfined") => Ok(Self::SeccompUnconfined),
            ("seccomp", file) => Ok(Self::SeccompProfile(PathBuf::from(file))),
            ("mask", _) => Ok(Self::Mask(list(':'))),
            ("unmask", "ALL" | "all") => Ok(Self::UnmaskAll),
            ("unmask", _) => Ok(Self::Unmask(list(':'))),
            ("proc-opts", _) => Ok(Self::ProcOptions(list(','))),
            ("apparmor", profile) => Ok(Self::Apparmor(profile.to_owned())),
            ("label", label) => Ok(Self::Label(label.to_owned())),
            _ => Err(refuse()),
        }
    }
}

/// The names of resource limits, without `RLIMIT_`.
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Ulimit {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || {
            ParseError::new("ulimit", text, "NAME=SOFT[:HARD] such as nofile=1024:4096, or host")
        };
        if text == "host" {
            return Ok(Self { name: "host".to_owned(), soft: 0, hard: 0 });
        }
        let (name, values) = text.split_once('=').ok_or_else(refuse)?;
        let lower = name.to_ascii_lowercase();
        let name = lower.strip_prefix("rlimit_").unwrap_or(&lower);
        if !LIMITS.contains(&name) {
            return Err(refuse());
        }
        let number = |text: &str| text.parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(refuse);
        let (soft, hard) = match values.split_once(':') {
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(values)?, number(values)?),
        };
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(ParseError::new(
                "ulimit",
                text,
                "a soft limit that is not above the hard one",
            ));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

impl FromStr for HostEntry {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse =
            || ParseError::new("host entry", text, "NAME[;NAME]:ADDRESS or NAME:host-gateway");
        let (names, address) = text.split_once([':', '=']).ok_or_else(refuse)?;
        let names: Vec<String> = names.split(';').map(str::to_owned).collect();
        if names.iter().any(|name| name.is_empty() || name.contains(char::is_whitespace)) {
            return Err(refuse());
        }
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let address = match address {
            "host-gateway" => HostAddress::HostGateway,
            _ => HostAddress::Address(address.parse().map_err(|_| refuse())?),
        };
        Ok(Self { names, address })
    }
}

fn is_permissions(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3 && text.chars().all(|c| "rwm".contains(c))
}

impl FromStr for DeviceRequest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse =
            || ParseError::new("device", text, "HOST[:CONTAINER][:PERMISSIONS of r, w, m]");
        let mut parts = text.split(':');
        let host = parts.next().filter(|host| host.starts_with('/')).ok_or_else(refuse)?;
        let (container, permissions) = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => (host, "rwm"),
            (Some(path), None, _) if path.starts_with('/') => (path, "rwm"),
            (Some(permissions), None, _) => (host, permissions),
            (Some(path), Some(permissions), None) if path.starts_with('/') => (path, permissions),
            _ => return Err(refuse()),
        };
        if !is_permissions(permissions) {
            return Err(refuse());
        }
        Ok(Self {
            host: PathBuf::from(host),
            container: PathBuf::from(container),
            permissions: permissions.to_owned(),
        })
    }
}

impl FromStr for DeviceRule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || {
            ParseError::new("device rule", text, "TYPE MAJOR:MINOR PERMISSIONS such as 'c 1:3 rwm'")
        };
        let mut words = text.split_whitespace();
        let kind = match words.next() {
            Some("a") => 'a',
            Some("b") => 'b',
            Some("c") => 'c',
            _ => return Err(refuse()),
        };
        let (major, minor) =
            words.next().and_then(|numbers| numbers.split_once(':')).ok_or_else(refuse)?;
        let number = |text: &str| match text {
            "*" => Ok(None),
            _ => text.parse::<u32>().map(|n| Some(i64::from(n))).map_err(|_| refuse()),
        };
        let permissions = words.next().filter(|text| is_permissions(text)).ok_or_else(refuse)?;
        if words.next().is_some() {
            return Err(refuse());
        }
        Ok(Self {
            kind,
            major: number(major)?,
            minor: number(minor)?,
            permissions: permissions.to_owned(),
        })
    }
}

impl FromStr for WaitCondition {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "stopped" | "exited" | "not-running" => Ok(Self::Stopped),
            "next-exit" => Ok(Self::NextExit),
            "running" => Ok(Self::Running),
            "created" | "configured" => Ok(Self::Created),
            "paused" => Ok(Self::Paused),
            "removed" | "removing" => Ok(Self::Removed),
            _ => Err(ParseError::new(
                "condition",
                text,
                "stopped, exited, next-exit, running, created, paused or removed",
            )),
        }
    }
}
