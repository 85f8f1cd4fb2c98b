//! `volume`

use berth_engine::ErrorKind;
use berth_engine::view::Volume;
use serde_json::{Map, Value, json};

use super::selection::{Tally, removal_code};
use crate::args::volume as args;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::listing::{Column, Format, Headings, Listing, Row, column};
use crate::output::{self, human};

const COLUMNS: &[Column] = &[
    column("Driver", "DRIVER"),
    column("Name", "VOLUME NAME"),
    column("Mountpoint", "MOUNTPOINT"),
    column("CreatedAt", "CREATED"),
    column("Labels", "LABELS"),
    column("Anonymous", "ANONYMOUS"),
    column("Scope", "SCOPE"),
];

/// `berth volume create`
pub fn create(arguments: args::Create, context: &Context) -> Result<u8, Failure> {
    let name = arguments.name.as_deref();
    let labels = arguments.label.into_iter().collect();
    let engine = context.engine()?;
    let created = context.block_on(async { Ok(engine.volume_create(name, labels).await?) });
    match (created, name) {
        (Ok(volume), _) => output::line(&volume.name)?,
        (Err(failure), Some(name)) if arguments.ignore && failure.kind() == ErrorKind::Conflict => {
            output::line(name)?;
        }
        (Err(failure), _) => return Err(failure),
    }
    Ok(0)
}

fn all(context: &Context) -> Result<Vec<Volume>, Failure> {
    let engine = context.engine()?;
    context.block_on(async { Ok(engine.volumes().await?) })
}

/// `berth volume ls`
pub fn list(arguments: &args::List, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let mut volumes = all(context)?;
    for (key, value) in &arguments.filters {
        retain(&mut volumes, key, value)?;
    }
    if arguments.quiet && format == Format::Default {
        volumes.iter().try_for_each(|volume| output::line(&volume.name))?;
        return Ok(0);
    }
    let headings = Headings::hidden_if(arguments.noheading);
    let listing = Listing { format, columns: COLUMNS, shown: vec!["Driver", "Name"], headings };
    output::print(&listing.render(volumes.iter().map(row).collect())?)?;
    Ok(0)
}

fn retain(volumes: &mut Vec<Volume>, key: &str, value: &str) -> Result<(), Failure> {
    match key {
        "name" => volumes.retain(|volume| volume.name.contains(value)),
        "label" => {
            let (key, wanted) = value.split_once('=').map_or((value, None), |(k, v)| (k, Some(v)));
            volumes.retain(|volume| {
                volume.labels.get(key).is_some_and(|label| wanted.is_none_or(|it| it == label))
            });
        }
        "dangling" => {
            let dangling: bool = value
                .parse()
                .map_err(|_| Failure::invalid("--filter dangling: true or false is expected"))?;
            volumes.retain(|volume| volume.used_by.is_empty() == dangling);
        }
        _ => {
            return Err(Failure::invalid(format!(
                "--filter {key}: name, label or dangling is expected"
            )));
        }
    }
    Ok(())
}

fn row(volume: &Volume) -> Row {
    let labels: Vec<String> =
        volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("Driver", "local".into());
    set("Name", volume.name.clone().into());
    set("Mountpoint", volume.path.to_string_lossy().into());
    set("CreatedAt", human::table_time(volume.created).into());
    set("Labels", labels.join(",").into());
    set("Anonymous", volume.anonymous.into());
    set("Scope", "local".into());
    Row { fields, json: inspection(volume) }
}

/// Everything about a volume, in podman's and docker's form.
pub fn inspection(volume: &Volume) -> Value {
    json!({
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": volume.path,
        "CreatedAt": volume.created,
        "Labels": volume.labels,
        "Scope": "local",
        "Options": {},
        "Anonymous": volume.anonymous,
        "UsedBy": volume.used_by,
    })
}

/// The volume of a name.
pub fn find(name: &str, context: &Context) -> Result<Volume, Failure> {
    all(context)?.into_iter().find(|volume| volume.name == name).ok_or_else(|| {
        Failure::new(ErrorKind::NotFound, format!("there is no volume {name:?}"))
            .with_hint("berth volume ls lists those that there are")
    })
}

/// `berth volume inspect`
pub fn inspect(arguments: &args::Inspect, context: &Context) -> Result<u8, Failure> {
    let names = names(&arguments.volumes, arguments.all, context)?;
    super::inspect::print_all(&names, arguments.format.format.as_deref(), |name| {
        find(name, context).map(|volume| inspection(&volume))
    })
}

fn names(named: &[String], everything: bool, context: &Context) -> Result<Vec<String>, Failure> {
    if everything {
        Ok(all(context)?.into_iter().map(|volume| volume.name).collect())
    } else {
        Ok(named.to_vec())
    }
}

/// `berth volume rm`
pub fn remove(arguments: &args::Remove, context: &Context) -> Result<u8, Failure> {
    let names = names(&arguments.volumes, arguments.all, context)?;
    let engine = context.engine()?;
    context.block_on(async {
        let mut tally = Tally::default();
        for name in names {
            let removed = engine.volume_remove(&name, arguments.force).await;
            if tally.take_with(removed.map_err(Failure::from), removal_code).is_some() {
                output::line(&name)?;
            }
        }
        Ok(tally.exit_code())
    })
}

/// `berth volume prune`
pub fn prune(arguments: &args::Prune, context: &Context) -> Result<u8, Failure> {
    let question = "WARNING! This will remove all volumes not used by at least one container.";
    if !arguments.force && !output::confirm(question)? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let removed = context.block_on(async { Ok(engine.volume_prune().await?) })?;
    removed.iter().try_for_each(|name| output::line(name))?;
    Ok(0)
}

/// `berth volume exists`
pub fn exists(arguments: &args::Exists, context: &Context) -> Result<u8, Failure> {
    Ok(u8::from(!all(context)?.iter().any(|volume| volume.name == arguments.volume)))
}
