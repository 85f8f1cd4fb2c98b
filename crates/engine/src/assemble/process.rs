//! The process: words, environment, user, limits (config.md, "Process").

use berth_image::bundle::resolve_groups;
use berth_spec::image::ImageConfig;
use berth_spec::runtime::{Rlimit, Spec};

use super::{Context, INIT_PATH, RequestError};
use crate::request::{ContainerRequest, Ulimit};

/// The file mode creation mask where nobody says.
const UMASK: u32 = 0o022;

/// Takes out of the image's environment what the request does not want of it.
pub(super) fn leave_out(config: &mut ImageConfig, request: &ContainerRequest) {
    let Some(execution) = config.config.as_mut() else { return };
    if request.unset_env_all {
        execution.env.clear();
    }
    execution.env.retain(|variable| {
        let name = variable.split('=').next().unwrap_or_default();
        !request.unset_env.contains(name)
    });
}

/// Entrypoint and command as they are shown.
pub(super) fn words(
    config: &ImageConfig,
    request: &ContainerRequest,
) -> (Vec<String>, Vec<String>) {
    let execution = config.config.clone().unwrap_or_default();
    let command = match (&request.entrypoint, request.command.is_empty()) {
        (None, true) => execution.cmd,
        _ => request.command.clone(),
    };
    let entrypoint = request.entrypoint.as_ref().map_or(execution.entrypoint, |e| e.0.clone());
    (entrypoint, command)
}

/// Merges the request into the process.
pub(super) fn apply(
    spec: &mut Spec,
    request: &ContainerRequest,
    context: &Context<'_>,
    hostname: &str,
) -> Result<(), RequestError> {
    let Some(process) = spec.process.as_mut() else { return Ok(()) };
    if request.init {
        if context.init.is_none() && request.init_path.is_none() {
            return Err(RequestError::Unsupported {
                what: "--init".to_owned(),
                reason: "no init program is configured, and none is built in",
            });
        }
        process.args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    for (name, value) in [("HOSTNAME", hostname), ("container", "berth")] {
        let is_set = process.env.iter().any(|variable| variable.split('=').next() == Some(name));
        if !is_set && !request.unset_env.contains(name) {
            process.env.push(format!("{name}={value}"));
        }
    }
    process.user.umask = Some(request.umask.unwrap_or(UMASK));
    let groups = resolve_groups(&request.group_add, context.lookup).map_err(RequestError::Group)?;
    for group in groups {
        if !process.user.additional_gids.contains(&group) {
            process.user.additional_gids.push(group);
        }
    }
    process.oom_score_adj = request.oom_score_adj;
    process.rlimits =
        request.ulimits.iter().filter(|ulimit| ulimit.name != "host").map(rlimit).collect();
    Ok(())
}

fn rlimit(ulimit: &Ulimit) -> Rlimit {
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    Rlimit {
        typ: format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase()),
        soft: value(ulimit.soft),
        hard: value(ulimit.hard),
    }
}
