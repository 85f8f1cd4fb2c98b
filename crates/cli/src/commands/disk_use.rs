//! `system df`

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use berth_engine::ListFilter;
use berth_engine::view::{ContainerSummary, Volume};
use berth_image::ImageSummary;
use serde_json::{Map, Value};

use crate::args::system::DiskUse;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::listing::{Column, Format, Headings, Listing, Row, column};
use crate::output::table::Table;
use crate::output::{self, human};

const COLUMNS: &[Column] = &[
    column("Type", "TYPE"),
    column("Total", "TOTAL"),
    column("Active", "ACTIVE"),
    column("Size", "SIZE"),
    column("Reclaimable", "RECLAIMABLE"),
];

/// `berth system df`
pub fn run(arguments: &DiskUse, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let engine = context.engine()?;
    let filter = ListFilter { all: true, size: true, ..ListFilter::default() };
    let (containers, volumes) =
        context.block_on(async { Ok((engine.list(filter).await?, engine.volumes().await?)) })?;
    let images = context.store()?.images().map_err(Failure::image)?;
    let kinds = [
        ("Images", images.iter().map(|image| image_use(image, &containers)).collect()),
        ("Containers", containers.iter().map(container_use).collect()),
        ("Local Volumes", volumes.iter().map(volume_use).collect::<Vec<_>>()),
    ];
    if arguments.verbose {
        return print_details(&kinds);
    }
    let listing = Listing {
        format,
        columns: COLUMNS,
        shown: COLUMNS.iter().map(|column| column.field).collect(),
        headings: Headings::Shown,
    };
    let rows = kinds.iter().map(|(kind, uses)| row(kind, uses)).collect();
    output::print(&listing.render(rows)?)?;
    Ok(0)
}

/// What one thing takes, and whether something uses it.
struct Use {
    name: String,
    size: u64,
    active: bool,
}

fn image_use(image: &ImageSummary, containers: &[ContainerSummary]) -> Use {
    let id = image.id.map(|id| id.hex()).unwrap_or_default();
    let name = image.names.first().map_or_else(|| image.digest.short(), ToString::to_string);
    let active = containers.iter().any(|it| it.image_id.trim_start_matches("sha256:") == id);
    Use { name, size: image.size, active }
}

fn container_use(container: &ContainerSummary) -> Use {
    Use {
        name: container.name.clone(),
        size: container.size.map_or(0, |size| size.writable),
        active: container.state.status.is_active(),
    }
}

fn volume_use(volume: &Volume) -> Use {
    Use {
        name: volume.name.clone(),
        size: measure(&volume.path),
        active: !volume.used_by.is_empty(),
    }
}

/// Bytes that a directory's files take on disk; what cannot be read counts as nothing. A file with
/// several names counts once.
fn measure(directory: &Path) -> u64 {
    let mut total = 0;
    let mut seen = HashSet::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(details) = entry.metadata() else { continue };
            if details.nlink() == 1 || seen.insert((details.dev(), details.ino())) {
                total += details.blocks() * 512;
            }
            if details.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    total
}

fn row(kind: &str, uses: &[Use]) -> Row {
    let size: u64 = uses.iter().map(|it| it.size).sum();
    let idle: u64 = uses.iter().filter(|it| !it.active).map(|it| it.size).sum();
    let percent = (idle * 100).checked_div(size).unwrap_or(0);
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("Type", kind.into());
    set("Total", uses.len().into());
    set("Active", uses.iter().filter(|it| it.active).count().into());
    set("Size", human::size(size).into());
    set("Reclaimable", format!("{} ({percent}%)", human::size(idle)).into());
    let mut row = Row::shown(fields);
    if let Value::Object(members) = &mut row.json {
        members.insert("RawSize".to_owned(), size.into());
        members.insert("RawReclaimable".to_owned(), idle.into());
    }
    row
}

fn print_details(kinds: &[(&str, Vec<Use>)]) -> Result<u8, Failure> {
    for (kind, uses) in kinds {
        output::line(&format!("{kind}:"))?;
        let mut table =
            Table::with_headings(["NAME", "SIZE", "IN USE"].map(str::to_owned).to_vec());
        for it in uses {
            let active = if it.active { "yes" } else { "no" };
            table.row(vec![it.name.clone(), human::size(it.size), active.to_owned()]);
        }
        output::line(&table.render())?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_uses_can_be_reclaimed() {
        let uses = [("a", 100, true), ("b", 300, false)].map(|(name, size, active)| Use {
            name: name.into(),
            size,
            active,
        });
        let row = row("Images", &uses);
        assert_eq!(row.fields["Size"], "400B");
        assert_eq!(row.fields["Reclaimable"], "300B (75%)");
        assert_eq!(row.fields["Active"], 1);
        assert_eq!(row.json["RawSize"], 400);
    }

    #[test]
    fn a_file_with_two_names_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), vec![1; 8192]).unwrap();
        let once = measure(directory.path());
        assert!(once >= 8192);
        std::fs::hard_link(directory.path().join("a"), directory.path().join("b")).unwrap();
        assert_eq!(measure(directory.path()), once);
    }
}
