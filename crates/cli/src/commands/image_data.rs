//! Images in podman's and docker's JSON form, and their rows in listings.

use berth_image::{Image, ImageSummary, Reference};
use serde_json::{Map, Value, json};

use crate::output::human;
use crate::output::listing::{Column, Row, column};

/// Columns of `images`.
pub const COLUMNS: &[Column] = &[
    column("Repository", "REPOSITORY"),
    column("Tag", "TAG"),
    column("Digest", "DIGEST"),
    column("ID", "IMAGE ID"),
    column("CreatedSince", "CREATED"),
    column("CreatedAt", "CREATED AT"),
    column("Created", "CREATED"),
    column("Size", "SIZE"),
    column("Platform", "PLATFORM"),
];

/// Columns of `history`.
pub const HISTORY_COLUMNS: &[Column] = &[
    column("ID", "ID"),
    column("CreatedSince", "CREATED"),
    column("CreatedAt", "CREATED AT"),
    column("CreatedBy", "CREATED BY"),
    column("Size", "SIZE"),
    column("Comment", "COMMENT"),
];

/// One row for each name of an image; one without a name when it has none.
pub fn rows(image: &ImageSummary, full: bool) -> Vec<Row> {
    let json = summary(image);
    let names: Vec<Option<&Reference>> =
        if image.names.is_empty() { vec![None] } else { image.names.iter().map(Some).collect() };
    let id = image.id.as_ref().map(|id| if full { id.to_string() } else { id.short() });
    let created = image.created.as_deref().and_then(|text| text.parse().ok());
    let fields = |name: Option<&Reference>| {
        let none = || "<none>".to_owned();
        let mut fields = Map::new();
        let mut set = |name: &str, value: String| fields.insert(name.to_owned(), value.into());
        set("Repository", name.map_or_else(none, Reference::name));
        set("Tag", name.and_then(Reference::tag).map_or_else(none, str::to_owned));
        set("Digest", image.digest.to_string());
        set("ID", id.clone().unwrap_or_else(none));
        set("CreatedSince", created.map(human::ago).unwrap_or_default());
        set("Created", created.map(human::ago).unwrap_or_default());
        set("CreatedAt", created.map(human::table_time).unwrap_or_default());
        set("Size", human::size(image.size));
        set("Platform", image.platform.clone().unwrap_or_default());
        fields
    };
    names.into_iter().map(|name| Row { fields: fields(name), json: json.clone() }).collect()
}

fn summary(image: &ImageSummary) -> Value {
    let created: Option<jiff::Timestamp> =
        image.created.as_deref().and_then(|text| text.parse().ok());
    let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
    json!({
        "Id": image.id.as_ref().map(berth_image::Digest::hex),
        "RepoTags": names,
        "RepoDigests": digests(&image.names, &image.digest),
        "Names": names,
        "Digest": image.digest.to_string(),
        "Created": created.map_or(0, jiff::Timestamp::as_second),
        "CreatedAt": image.created,
        "Size": image.size,
        "VirtualSize": image.size,
        "Platform": image.platform,
        "Dangling": names.is_empty(),
    })
}

fn digests(names: &[Reference], digest: &berth_image::Digest) -> Vec<String> {
    let mut digests: Vec<String> =
        names.iter().map(|name| format!("{}@{digest}", name.name())).collect();
    digests.sort();
    digests.dedup();
    digests
}

/// Everything about an image; `names` are all that it has.
pub fn inspection(image: &Image, names: &[Reference]) -> Value {
    let config = &image.config;
    let execution = image.execution();
    let history: Vec<Value> = config
        .history
        .iter()
        .flatten()
        .map(|entry| {
            json!({
                "created": entry.created,
                "created_by": entry.created_by,
                "author": entry.author,
                "comment": entry.comment,
                "empty_layer": entry.empty_layer,
            })
        })
        .collect();
    json!({
        "Id": image.id.hex(),
        "Digest": image.manifest_digest.to_string(),
        "RepoTags": names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "RepoDigests": digests(names, &image.target),
        "Created": config.created,
        "Author": config.author.clone().unwrap_or_default(),
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "Config": execution,
        "Labels": execution.labels,
        "Annotations": image.manifest.annotations,
        "ManifestType": image.manifest.media_type.as_deref()
            .unwrap_or(berth_spec::image::media_type::MANIFEST),
        "User": execution.user.clone().unwrap_or_default(),
        "RootFS": { "Type": config.rootfs.typ, "Layers": config.rootfs.diff_ids },
        "History": history,
    })
}

/// The rows of `history`, newest first.
pub fn history(image: &Image, full: bool) -> Vec<Row> {
    let mut layers = image.manifest.layers.iter();
    let mut rows: Vec<Row> = Vec::new();
    for entry in image.config.history.iter().flatten() {
        let size = if entry.empty_layer { 0 } else { layers.next().map_or(0, |layer| layer.size) };
        rows.push(history_row(entry, size, full));
    }
    // Layers that the history does not tell of.
    let told = berth_spec::image::History::default();
    rows.extend(layers.map(|layer| history_row(&told, layer.size, full)));
    if let Some(newest) = rows.last_mut() {
        let id = if full { image.id.to_string() } else { image.id.short() };
        newest.fields.insert("ID".to_owned(), id.clone().into());
        if let Value::Object(members) = &mut newest.json {
            members.insert("id".to_owned(), id.into());
        }
    }
    rows.reverse();
    rows
}

fn history_row(entry: &berth_spec::image::History, size: u64, full: bool) -> Row {
    let created = entry.created.as_deref().and_then(|text| text.parse().ok());
    let by = entry.created_by.clone().unwrap_or_default();
    let mut fields = Map::new();
    let mut set = |name: &str, value: String| fields.insert(name.to_owned(), value.into());
    set("ID", "<missing>".to_owned());
    set("CreatedSince", created.map(human::ago).unwrap_or_default());
    set("CreatedAt", created.map(human::rfc3339).unwrap_or_default());
    set("CreatedBy", if full { by.clone() } else { human::ellipsis(&by, 45) });
    set("Size", human::size(size));
    set("Comment", entry.comment.clone().unwrap_or_default());
    let json = json!({
        "id": "<missing>",
        "created": entry.created,
        "CreatedBy": by,
        "size": size,
        "comment": entry.comment.clone().unwrap_or_default(),
    });
    Row { fields, json }
}
