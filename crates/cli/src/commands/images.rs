//! `images`, `rmi`, `load`, `import`, `tag`, `bundle`, `history`, and of `image`: `prune`,
//! `exists`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use berth_engine::{Engine, ErrorKind, Filter, ListFilter, PruneOptions, RemoveOptions};
use berth_image::bundle::{Overrides, write_bundle};
use berth_image::{
    Explain, ImageSummary, ImportOptions, LoadOptions, Reference, RemoveMode, Removed, Source,
};

use super::image_data::{self, COLUMNS, HISTORY_COLUMNS};
use super::lifecycle::print_pruned;
use super::request::environment;
use super::selection::{Tally, removal_code};
use crate::args::image as args;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::listing::{Format, Headings, Listing};
use crate::output::progress::{Verbosity, listener};
use crate::terminal;

/// `berth images`
pub fn list(arguments: &args::List, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let store = context.store()?;
    let mut images = store.images().map_err(Failure::image)?;
    for (key, value) in &arguments.filters {
        images = filtered(images, key, value, context)?;
    }
    if let Some(name) = &arguments.name {
        let wanted = Reference::candidates(name)
            .map_err(|error| Failure::cannot("read the image's name", &error))?;
        let tagged = Reference::parse(name).is_ok() && names_tag(name);
        for image in &mut images {
            image.names.retain(|it| {
                wanted
                    .iter()
                    .any(|wanted| if tagged { it == wanted } else { it.name() == wanted.name() })
            });
        }
        images.retain(|image| !image.names.is_empty());
    }
    if arguments.quiet && format == Format::Default {
        for id in images.iter().filter_map(|image| image.id) {
            output::line(&if arguments.no_trunc { id.to_string() } else { id.short() })?;
        }
        return Ok(0);
    }
    let mut shown = vec!["Repository", "Tag", "ID", "CreatedSince", "Size"];
    if arguments.digests {
        shown.insert(2, "Digest");
    }
    let headings = Headings::hidden_if(arguments.noheading);
    let listing = Listing { format, columns: COLUMNS, shown, headings };
    let one_each = listing.format == Format::Json;
    let rows = images.iter().flat_map(|image| {
        let rows = image_data::rows(image, arguments.no_trunc);
        let count = if one_each { 1 } else { rows.len() };
        rows.into_iter().take(count)
    });
    output::print(&listing.render(rows.collect())?)?;
    Ok(0)
}

/// Whether a name as written has a tag of its own.
fn names_tag(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']))
}

fn filtered(
    mut images: Vec<ImageSummary>,
    key: &str,
    value: &str,
    context: &Context,
) -> Result<Vec<ImageSummary>, Failure> {
    match key {
        "dangling" => {
            let dangling: bool = value
                .parse()
                .map_err(|_| Failure::invalid("--filter dangling: true or false is expected"))?;
            images.retain(|image| image.names.is_empty() == dangling);
        }
        "reference" => images.retain(|image| {
            image
                .names
                .iter()
                .any(|name| [name.to_string(), name.name()].iter().any(|text| matches(value, text)))
        }),
        "label" => {
            let (label, wanted) =
                value.split_once('=').map_or((value, None), |(k, v)| (k, Some(v)));
            let store = context.store()?;
            images.retain(|image| {
                let Some(Ok(image)) = image.id.map(|id| store.resolve(&id.hex())) else {
                    return false;
                };
                let labels = image.execution().labels;
                labels.get(label).is_some_and(|value| wanted.is_none_or(|wanted| wanted == value))
            });
        }
        "before" | "since" => {
            let pivot = context.store()?.resolve(value).map_err(Failure::image)?;
            let time =
                |text: Option<&String>| text.and_then(|it| it.parse::<jiff::Timestamp>().ok());
            let pivot = time(pivot.config.created.as_ref());
            images.retain(|image| {
                let created = time(image.created.as_ref());
                if key == "before" { created < pivot } else { created > pivot }
            });
        }
        _ => {
            return Err(Failure::invalid(format!(
                "--filter {key}: dangling, reference, label, before or since is expected"
            )));
        }
    }
    Ok(images)
}

/// Whether `text`, or its last part, matches a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    fn whole(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
                rest.char_indices()
                    .map(|(at, _)| at)
                    .chain([rest.len()])
                    .any(|at| rest.get(at..).is_some_and(|rest| whole(after, rest)))
            }),
        }
    }
    whole(pattern, text)
        || text
            .match_indices('/')
            .any(|(at, _)| text.get(at + 1..).is_some_and(|rest| whole(pattern, rest)))
}

/// `berth rmi`
pub fn remove(arguments: &args::Remove, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    let names = if arguments.all {
        every_name(&engine.images().images().map_err(Failure::image)?)
    } else {
        arguments.images.clone()
    };
    let may_be_missing = arguments.ignore || arguments.all;
    context.block_on(async {
        let mut tally = Tally::default();
        let mut told = BTreeSet::new();
        for name in names {
            match remove_one(engine, &name, arguments.force).await {
                Err(failure) if may_be_missing && failure.kind() == ErrorKind::NotFound => {}
                result => {
                    if let Some(removed) = tally.take_with(result, removal_code) {
                        print_removed(&removed, &mut told)?;
                    }
                }
            }
        }
        Ok(tally.exit_code())
    })
}

/// Removes a name or an image. Only when something is in the way, and `force` says so, the
/// containers that use it go first.
async fn remove_one(engine: &Engine, name: &str, force: bool) -> Result<Removed, Failure> {
    match engine.remove_image(name, RemoveMode::Careful).await.map_err(Failure::from) {
        Err(failure) if force && failure.kind() == ErrorKind::Conflict => {
            let image = engine.images().resolve(name).map_err(Failure::image)?;
            remove_users(engine, &image.id.hex()).await?;
            Ok(engine.remove_image(name, RemoveMode::Force).await?)
        }
        result => result,
    }
}

/// All names of all images, and the digests of those that have none.
fn every_name(images: &[ImageSummary]) -> Vec<String> {
    let names = |image: &ImageSummary| match image.names.as_slice() {
        [] => vec![image.digest.to_string()],
        names => names.iter().map(ToString::to_string).collect(),
    };
    images.iter().flat_map(names).collect()
}

/// Removes the containers that use an image.
async fn remove_users(engine: &Engine, image: &str) -> Result<(), Failure> {
    let filters = vec![Filter::Ancestor(image.to_owned())];
    let users = engine.list(ListFilter { all: true, filters, ..ListFilter::default() }).await?;
    let options = RemoveOptions { force: true, volumes: true, timeout: None };
    for user in users {
        engine.remove(&user.id, options).await?;
    }
    Ok(())
}

/// Tells what was removed, each once: manifests that differ may be of one image.
fn print_removed(removed: &Removed, told: &mut BTreeSet<String>) -> Result<(), Failure> {
    let names = removed.untagged.iter().map(|name| format!("Untagged: {name}"));
    let images = removed.images.iter().map(|id| format!("Deleted: {}", id.hex()));
    for line in names.chain(images) {
        if !told.contains(&line) {
            output::line(&line)?;
            told.insert(line);
        }
    }
    Ok(())
}

/// `berth image prune`
pub fn prune(arguments: &args::Prune, context: &Context) -> Result<u8, Failure> {
    let question = if arguments.all {
        "WARNING! This will remove all images without at least one container using them."
    } else {
        "WARNING! This will remove all images without a name."
    };
    if !arguments.force && !output::confirm(question)? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let options =
        PruneOptions { images: true, all_images: arguments.all, ..PruneOptions::default() };
    let pruned = context.block_on(async { Ok(engine.system_prune(options).await?) })?;
    print_pruned(&pruned)?;
    Ok(0)
}

/// `berth image exists`
pub fn exists(arguments: &args::Exists, context: &Context) -> Result<u8, Failure> {
    match context.store()?.resolve(&arguments.image) {
        Ok(_) => Ok(0),
        Err(error) if error.kind() == berth_image::ErrorKind::NotFound => Ok(1),
        Err(error) => Err(Failure::image(error)),
    }
}

/// `berth load`
pub fn load(arguments: &args::Load, context: &Context) -> Result<u8, Failure> {
    let path = arguments.input.as_deref().or(arguments.path.as_deref());
    let progress = listener(verbosity(arguments.quiet));
    let store = context.store()?;
    let options = LoadOptions::default();
    let loaded = with_source(path, |source| {
        store.load(source, &options, progress.as_ref()).map_err(Failure::image)
    })?;
    drop(progress);
    for image in loaded {
        if image.names.is_empty() {
            let id = image.id.unwrap_or(image.digest);
            output::line(&format!("Loaded image: {id}"))?;
        }
        for name in image.names {
            output::line(&format!("Loaded image: {name}"))?;
        }
    }
    Ok(0)
}

/// `berth import`
pub fn import(arguments: args::Import, context: &Context) -> Result<u8, Failure> {
    let progress = listener(verbosity(arguments.quiet));
    let reference = arguments
        .reference
        .as_deref()
        .map(Reference::parse)
        .transpose()
        .map_err(|error| Failure::cannot("read the image's name", &error))?;
    let options = ImportOptions {
        reference,
        changes: arguments.change,
        message: arguments.message,
        platform: arguments.platform,
    };
    let store = context.store()?;
    let image = with_source(Some(&arguments.path), |source| {
        store.import(source, &options, progress.as_ref()).map_err(Failure::image)
    })?;
    drop(progress);
    output::line(&image.id.to_string())?;
    Ok(0)
}

fn verbosity(quiet: bool) -> Verbosity {
    if quiet { Verbosity::Quiet } else { Verbosity::Normal }
}

/// Opens what `path` names; `-` or nothing is standard input.
fn with_source<T>(
    path: Option<&Path>,
    action: impl FnOnce(Source<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match path {
        Some(path) if path != Path::new("-") => action(Source::Path(path)),
        _ if terminal::is_terminal(std::io::stdin()) => {
            Err(Failure::invalid("standard input is a terminal, not an archive")
                .with_hint("name the archive with --input FILE, or redirect it"))
        }
        _ => action(Source::Reader(&mut std::io::stdin())),
    }
}

/// `berth tag`
pub fn tag(arguments: &args::Tag, context: &Context) -> Result<u8, Failure> {
    let store = context.store()?;
    for name in &arguments.names {
        store.tag(&arguments.image, name).map_err(Failure::image)?;
    }
    Ok(0)
}

/// `berth bundle`
pub fn bundle(arguments: args::Bundle, context: &Context) -> Result<u8, Failure> {
    let mut words = arguments.words.into_iter();
    let image = words.next().unwrap_or_default();
    let Some(directory) = words.next().map(PathBuf::from) else {
        return Err(Failure::invalid(format!("there is no directory to unpack {image} to"))
            .with_hint("it is written as berth bundle IMAGE DIRECTORY [COMMAND [ARG...]]"));
    };
    let command: Vec<String> = words.collect();
    let environment = environment(&arguments.environment)?;
    let overrides = Overrides {
        entrypoint: arguments.entrypoint.map(|entrypoint| entrypoint.0),
        command: (!command.is_empty()).then_some(command),
        env: environment.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        working_dir: arguments.workdir,
        user: arguments.user,
        terminal: arguments.tty,
    };
    let engine = context.engine()?;
    let image = context.block_on(async { Ok(engine.image(&image).await?) })?;
    let progress = listener(verbosity(arguments.quiet));
    let written = write_bundle(engine.images(), &image, &directory, &overrides, progress.as_ref())
        .map_err(Failure::image)?;
    drop(progress);
    for label in written.omitted_labels {
        output::warning(&format!("label {label} is left out: runtimes could take it for an order"));
    }
    Ok(0)
}

/// `berth history`
pub fn history(arguments: &args::History, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let engine = context.engine()?;
    let image = context.block_on(async { Ok(engine.image(&arguments.image).await?) })?;
    let rows = image_data::history(&image, arguments.no_trunc);
    if arguments.quiet && format == Format::Default {
        for row in rows {
            output::line(row.fields.get("ID").and_then(|id| id.as_str()).unwrap_or_default())?;
        }
        return Ok(0);
    }
    let shown = vec!["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
    let listing = Listing { format, columns: HISTORY_COLUMNS, shown, headings: Headings::Shown };
    output::print(&listing.render(rows)?)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_name_or_its_last_parts() {
        assert!(matches("docker.io/library/debian:12", "docker.io/library/debian:12"));
        assert!(matches("debian*", "docker.io/library/debian:12"));
        assert!(matches("*deb*:1*", "docker.io/library/debian:12"));
        assert!(!matches("deb", "docker.io/library/debian:12"));
        assert!(!matches("*alpine*", "docker.io/library/debian:12"));
    }

    #[test]
    fn a_port_is_not_a_tag() {
        assert!(names_tag("debian:12"));
        assert!(names_tag("a/b@sha256:00"));
        assert!(!names_tag("localhost:5000/debian"));
    }
}
