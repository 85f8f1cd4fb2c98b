//! `stop`, `restart`, `kill`, `rm`, `wait`, `pause`, `unpause`, `rename`, `update`, and of
//! `container`: `prune`, `exists`, `cleanup`.

use std::collections::BTreeSet;

use berth_engine::view::{ContainerStatus, Pruned, Stopped};
use berth_engine::{Engine, ErrorKind, RemoveOptions, StopOptions};

use super::selection::{self, Tally, removal_code};
use crate::args::container as args;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::human;

/// Does one thing to all containers at the same time. Prints the name of each that it was done to
/// in the order in which they were named, then what failed.
async fn each(
    engine: &Engine,
    names: Vec<String>,
    missing: Missing,
    code: impl Fn(&Failure) -> u8,
    action: impl AsyncFn(&Engine, &str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let names = once_each(names);
    let results = selection::together(names.iter().map(|name| action(engine, name))).await;
    report(&names, results, missing, code)
}

/// The same for starts: what fails for want of another container, whose namespaces it joins, is
/// tried again when the others have been started.
pub async fn each_started(
    engine: &Engine,
    names: Vec<String>,
    action: impl AsyncFn(&Engine, &str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let names = once_each(names);
    let mut results = selection::together(names.iter().map(|name| action(engine, name))).await;
    if names.len() > 1 {
        for (name, result) in names.iter().zip(&mut results) {
            if result.as_ref().is_err_and(|failure| failure.kind() == ErrorKind::Conflict) {
                *result = action(engine, name).await;
            }
        }
    }
    report(&names, results, Missing::Fails, Failure::exit_code)
}

fn report(
    names: &[String],
    results: Vec<Result<(), Failure>>,
    missing: Missing,
    code: impl Fn(&Failure) -> u8,
) -> Result<u8, Failure> {
    let mut failures = Vec::new();
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(()) => output::line(name)?,
            Err(failure)
                if missing == Missing::Ignored && failure.kind() == ErrorKind::NotFound => {}
            Err(failure) => failures.push(failure),
        }
    }
    let mut tally = Tally::default();
    for failure in failures {
        tally.take_with(Err::<(), _>(failure), &code);
    }
    Ok(tally.exit_code())
}

/// The names without those that came before.
fn once_each(names: Vec<String>) -> Vec<String> {
    let mut known = BTreeSet::new();
    names.into_iter().filter(|name| known.insert(name.clone())).collect()
}

/// What a container that is not there means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// An error.
    Fails,
    /// Nothing: `--ignore`, `--all`.
    Ignored,
}

impl Missing {
    fn ignored_if(option: bool) -> Self {
        if option { Self::Ignored } else { Self::Fails }
    }
}

/// `berth stop`
pub fn stop(arguments: &args::Stop, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    let options = StopOptions { timeout: arguments.time, signal: arguments.signal };
    context.block_on(async {
        let (selection, files) = (&arguments.selection, Some(&arguments.cid_files));
        let names =
            selection::containers(engine, selection, files, ContainerStatus::is_active).await?;
        let missing = Missing::ignored_if(arguments.ignore || selection.all);
        each(engine, names, missing, Failure::exit_code, async |engine, name| {
            if let Stopped::Killed { signal, seconds } = engine.stop(name, options).await? {
                output::warning(&format!(
                    "container {name} did not end within {seconds} s of {signal} and was killed"
                ));
            }
            Ok(())
        })
        .await
    })
}

/// `berth restart`
pub fn restart(arguments: &args::Restart, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    let options = StopOptions { timeout: arguments.time, signal: None };
    context.block_on(async {
        let names = if arguments.running {
            selection::all(engine, ContainerStatus::is_active).await?
        } else {
            selection::containers(engine, &arguments.selection, None, |_| true).await?
        };
        each_started(engine, names, async |engine, name| Ok(engine.restart(name, options).await?))
            .await
    })
}

/// `berth kill`
pub fn kill(arguments: &args::Kill, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        let (selection, files) = (&arguments.selection, Some(&arguments.cid_files));
        let names =
            selection::containers(engine, selection, files, ContainerStatus::is_active).await?;
        each(engine, names, Missing::Fails, Failure::exit_code, async |engine, name| {
            Ok(engine.kill(name, arguments.signal).await?)
        })
        .await
    })
}

/// `berth rm`
pub fn remove(arguments: &args::Remove, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    let options = RemoveOptions {
        force: arguments.force,
        volumes: arguments.volumes,
        timeout: arguments.time,
    };
    context.block_on(async {
        let (selection, files) = (&arguments.selection, Some(&arguments.cid_files));
        let names = selection::containers(engine, selection, files, |_| true).await?;
        // As in podman, --force is content when there is nothing to remove.
        let missing = Missing::ignored_if(arguments.ignore || arguments.force || selection.all);
        each(engine, names, missing, removal_code, async |engine, name| {
            engine.remove(name, options).await?;
            Ok(())
        })
        .await
    })
}

/// `berth pause`
pub fn pause(arguments: &args::Pause, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        let running = |status| status == ContainerStatus::Running;
        let names = selection::containers(engine, &arguments.selection, None, running).await?;
        each(engine, names, Missing::Fails, Failure::exit_code, async |engine, name| {
            Ok(engine.pause(name).await?)
        })
        .await
    })
}

/// `berth unpause`
pub fn unpause(arguments: &args::Unpause, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        let paused = |status| status == ContainerStatus::Paused;
        let names = selection::containers(engine, &arguments.selection, None, paused).await?;
        each(engine, names, Missing::Fails, Failure::exit_code, async |engine, name| {
            Ok(engine.unpause(name).await?)
        })
        .await
    })
}

/// `berth wait`
pub fn wait(arguments: &args::Wait, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        let mut tally = Tally::default();
        let waits = arguments
            .containers
            .iter()
            .map(async |name| engine.wait(name, arguments.condition).await.map_err(Failure::from));
        for outcome in selection::together(waits).await {
            match outcome {
                Err(failure) if arguments.ignore && failure.kind() == ErrorKind::NotFound => {
                    output::line("-1")?;
                }
                result => {
                    if let Some(outcome) = tally.take(result) {
                        output::line(&outcome.exit_code.unwrap_or(-1).to_string())?;
                    }
                }
            }
        }
        Ok(tally.exit_code())
    })
}

/// `berth rename`
pub fn rename(arguments: &args::Rename, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        engine.rename(&arguments.container, &arguments.name).await?;
        Ok(0)
    })
}

/// `berth update`
pub fn update(arguments: args::Update, context: &Context) -> Result<u8, Failure> {
    let args::Update { container, resources, restart } = arguments;
    let engine = context.engine()?;
    context.block_on(async {
        engine.update(&container, resources.into_resources(), restart).await?;
        output::line(&container)?;
        Ok(0)
    })
}

/// `berth container prune`
pub fn prune(arguments: &args::Prune, context: &Context) -> Result<u8, Failure> {
    let question = "WARNING! This will remove all non running containers.";
    if !arguments.force && !output::confirm(question)? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let pruned = context.block_on(async { Ok(engine.prune(&arguments.filters).await?) })?;
    print_pruned(&pruned)?;
    Ok(0)
}

/// What was pruned, kind by kind, then the room that it gave.
pub fn print_pruned(pruned: &Pruned) -> Result<(), Failure> {
    let kinds = [
        ("Deleted Containers", &pruned.containers),
        ("Deleted Images", &pruned.images),
        ("Deleted Volumes", &pruned.volumes),
        ("Mended", &pruned.healed),
    ];
    for (title, things) in kinds {
        if !things.is_empty() {
            output::line(title)?;
            things.iter().try_for_each(|thing| output::line(thing))?;
        }
    }
    output::line(&format!("Total reclaimed space: {}", human::size(pruned.reclaimed)))?;
    Ok(())
}

/// `berth container exists`
pub fn exists(arguments: &args::Exists, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        match engine.resolve(&arguments.container).await.map_err(Failure::from) {
            Ok(_) => Ok(0),
            Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(1),
            Err(failure) => Err(failure),
        }
    })
}

/// `berth container cleanup`
pub fn cleanup(arguments: &args::Cleanup, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    context.block_on(async {
        let stopped = |status: ContainerStatus| !status.is_active();
        let names = selection::containers(engine, &arguments.selection, None, stopped).await?;
        let mut tally = Tally::default();
        for name in names {
            tally.take(engine.cleanup(&name).await.map_err(Failure::from));
        }
        Ok(tally.exit_code())
    })
}
