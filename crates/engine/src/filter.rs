//! Which containers a listing shows (`ps --filter`, `prune --filter`, `events --filter`).

use std::str::FromStr;

use crate::error::ParseError;

/// Which containers `list` gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListFilter {
    /// `--all`: those too that don't run. Any `status`, `exited` or `id` filter implies it as in
    /// podman when a status is asked for.
    pub all: bool,
    /// `--last N`, `--latest`: the newest only, running or not.
    pub last: Option<usize>,
    /// `--size`: measure the files.
    pub size: bool,
    /// `--filter`: of one key any may match, of several keys each must.
    pub filters: Vec<Filter>,
}

/// `--filter KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// `id=`: a prefix.
    Id(String),
    /// `name=`: a part of the name (`^` and `$` anchor it).
    Name(String),
    /// `label=KEY[=VALUE]`.
    Label(String, Option<String>),
    /// `label!=KEY[=VALUE]`.
    NotLabel(String, Option<String>),
    /// `status=`.
    Status(crate::view::ContainerStatus),
    /// `exited=CODE`.
    Exited(i32),
    /// `ancestor=IMAGE`: name, or id prefix.
    Ancestor(String),
    /// `before=CONTAINER`.
    Before(String),
    /// `since=CONTAINER`.
    Since(String),
    /// `until=TIME`: created before it.
    Until(jiff::Timestamp),
    /// `volume=NAME|TARGET`.
    Volume(String),
    /// `network=none|host|…`.
    Network(String),
    /// `restart-policy=`.
    RestartPolicy(String),
}

impl FromStr for Filter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        use crate::view::ContainerStatus;
        let refuse = || {
            ParseError::new(
                "filter",
                text,
                "KEY=VALUE with one of the keys id, name, label, label!, status, exited, ancestor, \
                 before, since, until, volume, network, restart-policy",
            )
        };
        let (key, value) = text.split_once('=').ok_or_else(refuse)?;
        let owned = value.to_owned();
        let label = || match value.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (value.to_owned(), None),
        };
        Ok(match key {
            "id" => Self::Id(owned),
            "name" => Self::Name(owned),
            "label" => {
                let (key, value) = label();
                Self::Label(key, value)
            }
            "label!" => {
                let (key, value) = label();
                Self::NotLabel(key, value)
            }
            "status" => Self::Status(match value {
                "created" | "initialized" | "configured" => ContainerStatus::Created,
                "running" => ContainerStatus::Running,
                "paused" => ContainerStatus::Paused,
                "restarting" => ContainerStatus::Restarting,
                "exited" | "stopped" | "dead" => ContainerStatus::Exited,
                "removing" => ContainerStatus::Removing,
                _ => {
                    return Err(ParseError::new(
                        "status",
                        value,
                        "created, running, paused, restarting, exited or removing",
                    ));
                }
            }),
            "exited" => Self::Exited(value.parse().map_err(|_| refuse())?),
            "ancestor" => Self::Ancestor(owned),
            "before" => Self::Before(owned),
            "since" => Self::Since(owned),
            "until" => Self::Until(crate::parse::moment(value, jiff::Timestamp::now())?),
            "volume" => Self::Volume(owned),
            "network" => Self::Network(owned),
            "restart-policy" => Self::RestartPolicy(owned),
            _ => return Err(refuse()),
        })
    }
}
