//! `info`, `version`, and of `system`: `prune`, `migrate`.

use berth_engine::ErrorKind;
use berth_engine::view::{ContainerStatus, MonitorChange};
use serde_json::{Value, json};

use super::lifecycle::print_pruned;
use super::selection::{self, Tally};
use crate::args::system as args;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::listing::Format;
use crate::output::template::{Template, TemplateError};
use crate::output::{self, human};

/// `berth info`
pub fn info(arguments: &args::Info, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let engine = context.engine()?;
    let info = context.block_on(async { Ok(engine.info().await?) })?;
    let count = |status: &str| info.containers.get(status).copied().unwrap_or(0);
    let value = json!({
        "host": {
            "arch": info.architecture,
            "cgroupManager": info.cgroup_manager,
            "cgroupVersion": info.cgroup_layout,
            "cpus": info.cpus,
            "hostname": info.hostname,
            "kernel": info.kernel,
            "memTotal": info.memory,
            "memory": human::memory(info.memory),
            "monitor": info.monitor,
            "ociRuntime": info.runtime,
            "ociRuntimes": runtimes(&info.runtimes, &format),
            "os": info.operating_system,
            "rootless": info.rootless,
            "security": info.security,
        },
        "store": {
            "containers": {
                "number": info.containers.values().sum::<u64>(),
                "paused": count("paused"),
                "running": count("running"),
                "stopped": count("exited") + count("created"),
            },
            "images": { "number": info.images },
            "root": info.root,
            "runRoot": info.runroot,
            "snapshotDriver": info.snapshot_driver,
        },
        "version": { "Version": info.version, "OsArch": os_arch() },
    });
    output::print(&one(&format, &value)?)?;
    Ok(0)
}

/// The runtimes by name: in full for programs, in a few words for people.
fn runtimes(runtimes: &[berth_engine::RuntimeInfo], format: &Format) -> Value {
    let describe = |runtime: &berth_engine::RuntimeInfo| {
        let features = match format {
            Format::Default => json!(runtime.abilities()),
            _ => json!(runtime.features),
        };
        json!({
            "features": features,
            "path": runtime.path,
            "problem": runtime.problem,
            "version": runtime.version,
        })
    };
    runtimes.iter().map(|runtime| (runtime.name.clone(), describe(runtime))).collect()
}

/// `berth version`
pub fn version(arguments: &args::Version, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let value = json!({
        "Client": {
            "Version": env!("CARGO_PKG_VERSION"),
            "OsArch": os_arch(),
            "RuntimeSpec": berth_spec::RUNTIME_SPEC_VERSION,
            "Runtime": context.config().runtime,
        },
    });
    let text = match (&format, value.get("Client")) {
        (Format::Default, Some(client)) => indented(client, 0),
        (format, _) => one(format, &value)?,
    };
    output::print(&text)?;
    Ok(0)
}

fn os_arch() -> String {
    format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// One thing: as an indented list, as JSON, or through a template.
fn one(format: &Format, value: &Value) -> Result<String, TemplateError> {
    let rendered = |template: &Template| Ok(template.render(value)? + "\n");
    match format {
        Format::Default => Ok(indented(value, 0)),
        Format::Json => Ok(output::json(value) + "\n"),
        Format::Lines(template) | Format::Table(template) => rendered(template),
    }
}

/// Names and values, what is below further to the right.
fn indented(value: &Value, depth: usize) -> String {
    let Value::Object(members) = value else { return String::new() };
    let mut text = String::new();
    for (name, value) in members {
        let padding = "  ".repeat(depth);
        match value {
            Value::Object(_) => {
                text.push_str(&format!("{padding}{name}:\n{}", indented(value, depth + 1)));
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(output::template::display).collect();
                text.push_str(&format!("{padding}{name}: {}\n", items.join(", ")));
            }
            Value::Null => {}
            other => {
                text.push_str(&format!("{padding}{name}: {}\n", output::template::display(other)));
            }
        }
    }
    text
}

/// `berth system prune`
pub fn prune(arguments: args::Prune, context: &Context) -> Result<u8, Failure> {
    if !arguments.force && !output::confirm(&question(&arguments))? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let options = berth_engine::PruneOptions {
        containers: true,
        volumes: arguments.volumes,
        images: true,
        all_images: arguments.all,
        filters: arguments.filters,
    };
    let pruned = context.block_on(async { Ok(engine.system_prune(options).await?) })?;
    print_pruned(&pruned)?;
    Ok(0)
}

/// `berth system migrate`
pub fn migrate(arguments: args::Migrate, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        let (names, is_gone_an_error) = if arguments.containers.is_empty() {
            let lives = |status: ContainerStatus| {
                status.is_active() || status == ContainerStatus::Restarting
            };
            (selection::all(engine, lives).await?, false)
        } else {
            (arguments.containers, true)
        };
        let tasks =
            names.iter().map(async |name| engine.migrate(name).await.map_err(Failure::from));
        let mut tally = Tally::default();
        for result in selection::together(tasks).await {
            let result = match result {
                Err(failure) if !is_gone_an_error && failure.kind() == ErrorKind::NotFound => {
                    continue;
                }
                result => result,
            };
            if let Some(Some(monitor)) = tally.take(result)
                && let MonitorChange::Replaced { .. } = monitor.change
            {
                output::line(&monitor.name)?;
            }
        }
        Ok(tally.exit_code())
    })
}

fn question(arguments: &args::Prune) -> String {
    let mut text = "WARNING! This will remove:\n  - all stopped containers".to_owned();
    if arguments.volumes {
        text.push_str("\n  - all volumes not used by at least one container");
    }
    text.push_str(if arguments.all {
        "\n  - all images without at least one container using them"
    } else {
        "\n  - all images without a name"
    });
    text.push_str("\n  - whatever killed processes left behind");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_indented_below_their_names() {
        let value = json!({"a": {"b": 1, "c": ["x", "y"]}, "d": null, "e": "f"});
        assert_eq!(indented(&value, 0), "a:\n  b: 1\n  c: x, y\ne: f\n");
    }
}
