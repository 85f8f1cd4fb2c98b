//! Names that the shell completes: containers, images, volumes as they are now.
//!
//! Nothing here may print or fail: where the store cannot be read there is simply nothing to offer.

use std::ffi::{OsStr, OsString};

use berth_engine::{Engine, ListFilter};
use clap::Parser;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use crate::args::GlobalOptions;
use crate::context::Context;
use crate::failure::Failure;

/// Names of all containers.
pub fn containers() -> ArgValueCompleter {
    ArgValueCompleter::new(|prefix: &OsStr| offer(prefix, |it| container_names(it, Which::All)))
}

/// Names of running containers.
pub fn running_containers() -> ArgValueCompleter {
    ArgValueCompleter::new(|prefix: &OsStr| offer(prefix, |it| container_names(it, Which::Running)))
}

/// Names of images.
pub fn images() -> ArgValueCompleter {
    ArgValueCompleter::new(|prefix: &OsStr| offer(prefix, image_names))
}

/// Names of volumes.
pub fn volumes() -> ArgValueCompleter {
    ArgValueCompleter::new(|prefix: &OsStr| offer(prefix, volume_names))
}

/// Names of everything that can be inspected.
pub fn everything() -> ArgValueCompleter {
    ArgValueCompleter::new(|prefix: &OsStr| {
        let mut all = offer(prefix, |it| container_names(it, Which::All));
        all.extend(offer(prefix, image_names));
        all.extend(offer(prefix, volume_names));
        all
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Running,
}

type Names = Result<Vec<(String, String)>, Failure>;

fn offer(prefix: &OsStr, names: impl FnOnce(&Context) -> Names) -> Vec<CompletionCandidate> {
    let Some(prefix) = prefix.to_str() else { return Vec::new() };
    let Ok(context) = Context::new(&global_options()) else { return Vec::new() };
    names(&context)
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into())))
        .collect()
}

fn container_names(context: &Context, which: Which) -> Names {
    let engine: Engine = context.engine()?.clone();
    let filter = ListFilter { all: which == Which::All, ..ListFilter::default() };
    let list = context.block_on(async move { Ok(engine.list(filter).await?) })?;
    Ok(list.into_iter().map(|each| (each.name, each.image)).collect())
}

fn image_names(context: &Context) -> Names {
    let images = context.store()?.images().map_err(Failure::image)?;
    let names = images.into_iter().flat_map(|image| image.names);
    Ok(names.map(|name| (name.to_string(), String::new())).collect())
}

fn volume_names(context: &Context) -> Names {
    let engine: Engine = context.engine()?.clone();
    let volumes = context.block_on(async move { Ok(engine.volumes().await?) })?;
    Ok(volumes.into_iter().map(|volume| (volume.name, String::new())).collect())
}

/// The `--root` and `--runroot` of the line that is being completed.
fn global_options() -> GlobalOptions {
    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        global: GlobalOptions,
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let taken = words.windows(2).filter(|pair| pair[0] == "--root" || pair[0] == "--runroot");
    let options = std::iter::once("berth".into()).chain(taken.flatten().cloned());
    Only::try_parse_from(options).map(|only| only.global).unwrap_or_default()
}
