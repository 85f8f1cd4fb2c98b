//! From an image's configuration and a request to a `config.json` (runtime-spec config.md).
//!
//! Everything here is a function of its arguments and of what it reads from the host (device nodes,
//! capabilities, the cgroup layout); nothing is made or mounted. The image crate gives the default
//! configuration with the image's process in it; what the request says is merged over it.

mod devices;
mod limits;
mod mounts;
mod namespaces;
mod process;
mod security;

use std::path::{Path, PathBuf};

use berth_image::bundle::{ConvertError, Overrides, RootLookup, UserError};
use berth_spec::image::{ImageConfig, Platform};
use berth_spec::runtime::Spec;

use crate::config::CgroupManager;
use crate::error::{EngineError, ErrorKind};
use crate::identity;
use crate::plan::{Details, ResolvedMount, RootSource};
use crate::request::{ContainerRequest, NamespaceMode, NetworkMode};
use crate::signal::Signal;

pub(crate) use limits::resources_of;
pub(crate) use namespaces::join;
pub(crate) use security::{available, default_filter};

/// Why a request cannot be made into a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The image's part of it.
    #[error(transparent)]
    Image(#[from] ConvertError),
    /// A group that the image does not know.
    #[error("cannot add a group to the process")]
    Group(#[source] UserError),
    /// The user of a further process.
    #[error("cannot tell the user that the command runs as")]
    User(#[source] UserError),
    /// Two options that exclude each other.
    #[error("{first} and {second} cannot be used together")]
    Conflict {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// An option with a value that cannot be.
    #[error("{option}: {value:?} is not {expected}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// Something that this machine, or berth, cannot do.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why it cannot be.
        reason: &'static str,
    },
    /// A capability that this process does not have itself.
    #[error("the capability {0} cannot be given: berth does not have it")]
    Capability(String),
    /// Two mounts on one path.
    #[error("two mounts on {}", .0.display())]
    DuplicateMount(PathBuf),
    /// A file on the host cannot be used.
    #[error("{option}: cannot use {}", path.display())]
    HostFile {
        /// The option.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A profile that is not JSON, or not a profile.
    #[error("--security-opt seccomp={}: not a system call filter profile", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl EngineError for RequestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::HostFile { source, .. } => crate::error::io_kind(source),
            Self::Capability(_) => ErrorKind::Denied,
            // As podman and docker have it: the command cannot be executed as that user.
            Self::User(error) | Self::Image(ConvertError::User(error)) if is_unknown(error) => {
                ErrorKind::CommandNotExecutable
            }
            Self::Image(error) => crate::error::image_kind(error),
            _ => ErrorKind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        use berth_image::Explain as _;
        match self {
            Self::Image(error) => error.hints(),
            Self::Group(error) | Self::User(error) => error.hints(),
            Self::HostFile { option: "--volume", .. } => {
                vec!["create the directory first, or give a volume's name instead of a path".into()]
            }
            Self::Conflict { first: "--rm", .. } => {
                vec!["leave one out; of the policies only on-failure goes with --rm".into()]
            }
            Self::Capability(_) => {
                vec!["leave it out, or run berth with that capability".into()]
            }
            _ => Vec::new(),
        }
    }
}

/// What is to be said of an image that is for another kind of machine. An emulator may run it, so
/// it is no error.
fn foreign_platform(image: &Platform) -> Option<String> {
    let host = berth_image::platform::host();
    let is_told = !image.architecture.is_empty();
    if !is_told || berth_image::platform::rank(&host, image).is_some() {
        return None;
    }
    let display = berth_image::platform::display;
    Some(format!("the image is for {}, this machine is {}", display(image), display(&host)))
}

fn is_unknown(error: &UserError) -> bool {
    matches!(error, UserError::UnknownUser(_) | UserError::UnknownGroup(_))
}

/// What the configuration depends on besides image and request.
pub(crate) struct Context<'a> {
    pub(crate) id: &'a str,
    /// The container's run directory.
    pub(crate) run: &'a Path,
    /// Where volumes are.
    pub(crate) volumes: &'a Path,
    pub(crate) cgroup_manager: CgroupManager,
    /// The init program for `--init`.
    pub(crate) init: Option<&'a Path>,
    /// Reads the image's files.
    pub(crate) lookup: &'a dyn RootLookup,
}

/// A request made into a configuration.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) details: Details,
    pub(crate) warnings: Vec<String>,
}

/// Where the init program is inside a container.
pub(crate) const INIT_PATH: &str = "/run/berth-init";
/// Seconds between the stop signal and SIGKILL where nobody says.
const STOP_TIMEOUT: u32 = 10;

/// Makes the configuration.
pub(crate) fn assemble(
    config: &ImageConfig,
    request: ContainerRequest,
    root: RootSource,
    context: &Context<'_>,
) -> Result<Assembled, RequestError> {
    check(&request)?;
    let mut warnings = Vec::new();
    let mut image_config = config.clone();
    process::leave_out(&mut image_config, &request);
    let converted =
        berth_image::bundle::runtime_spec(&image_config, context.lookup, &overrides(&request))?;
    if !converted.omitted_labels.is_empty() {
        warnings.push(format!(
            "labels of the image that a runtime could take for orders are left out of the \
             annotations: {}",
            converted.omitted_labels.join(", ")
        ));
    }
    let mut spec = converted.spec;
    let (entrypoint, command) = process::words(&image_config, &request);
    let hostname = namespaces::apply(&mut spec, &request, context.id)?;
    process::apply(&mut spec, &request, context, &hostname)?;
    let mounts = mounts::apply(&mut spec, &request, &converted.volumes, context)?;
    limits::apply(&mut spec, &request, context)?;
    devices::apply(&mut spec, &request)?;
    let default_seccomp = security::apply(&mut spec, &request)?;
    if let Some(linux) = spec.linux.as_mut().filter(|_| default_seccomp) {
        linux.seccomp = None;
    }
    warnings.extend(foreign_platform(&config.platform));
    if matches!(request.ipc, NamespaceMode::Container(_)) {
        warnings.push("/dev/shm is not shared with the other container, only IPC objects".into());
    }
    let execution = image_config.config.unwrap_or_default();
    let mut labels = execution.labels;
    labels.extend(request.labels.clone());
    spec.annotations.extend(request.annotations.clone());
    let image_signal = execution.stop_signal.as_deref().and_then(|text| text.parse().ok());
    let details = Details {
        default_seccomp,
        root,
        mounts,
        entrypoint,
        command,
        labels,
        user: request.user.clone().or(execution.user).unwrap_or_default(),
        stop_signal: request.stop_signal.or(image_signal).unwrap_or(Signal::TERMINATE),
        stop_timeout: request.stop_timeout.unwrap_or(STOP_TIMEOUT),
        image_digest: String::new(),
        spec,
        request,
    };
    Ok(Assembled { details, warnings })
}

/// Options that exclude each other, whatever the image.
fn check(request: &ContainerRequest) -> Result<(), RequestError> {
    use crate::request::RestartPolicy;
    if let Some(name) = request.name.as_deref().filter(|name| !identity::is_name(name)) {
        return Err(RequestError::Value {
            option: "--name",
            value: name.to_owned(),
            expected: "a name of letters, digits, '_', '.' and '-', the first a letter or digit"
                .to_owned(),
        });
    }
    if request.replace && request.name.is_none() {
        return Err(RequestError::Value {
            option: "--replace",
            value: String::new(),
            expected: "possible without --name".to_owned(),
        });
    }
    // As in podman: one that is started again after failures alone has an end to be removed at.
    let has_end = matches!(request.restart, RestartPolicy::No | RestartPolicy::OnFailure { .. });
    if request.remove && !has_end {
        return Err(RequestError::Conflict { first: "--rm", second: "--restart" });
    }
    if request.uts == NamespaceMode::Host && request.hostname.is_some() {
        return Err(RequestError::Conflict { first: "--hostname", second: "--uts host" });
    }
    if matches!(request.network, Some(NetworkMode::Container(_))) && !request.add_hosts.is_empty() {
        return Err(RequestError::Conflict { first: "--add-host", second: "--network container:" });
    }
    if request.no_hosts && !request.add_hosts.is_empty() {
        return Err(RequestError::Conflict { first: "--no-hosts", second: "--add-host" });
    }
    if request.init && request.pid == NamespaceMode::Host {
        return Err(RequestError::Conflict { first: "--init", second: "--pid host" });
    }
    Ok(())
}

fn overrides(request: &ContainerRequest) -> Overrides {
    Overrides {
        entrypoint: request.entrypoint.as_ref().map(|entrypoint| entrypoint.0.clone()),
        command: (!request.command.is_empty()).then(|| request.command.clone()),
        env: request.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        working_dir: request.workdir.as_ref().map(|path| path.to_string_lossy().into_owned()),
        user: request.user.clone(),
        terminal: request.tty,
    }
}

/// The part of a configuration that only Linux has; the default configuration has one.
fn linux(spec: &mut Spec) -> &mut berth_spec::runtime::Linux {
    spec.linux.get_or_insert_default()
}

/// Mounts that use a volume.
pub(crate) fn volumes_of(mounts: &[ResolvedMount]) -> Vec<crate::records::VolumeUse> {
    let mut uses: Vec<crate::records::VolumeUse> = Vec::new();
    for mount in mounts {
        if let Some(name) = &mount.name
            && !uses.iter().any(|known| known.name == *name)
        {
            uses.push(crate::records::VolumeUse { name: name.clone(), anonymous: mount.anonymous });
        }
    }
    uses
}

#[cfg(test)]
mod tests;
