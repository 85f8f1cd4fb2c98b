//! Listing: records and the files of monitors, no monitor asked.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;

use crate::core::Core;
use crate::error::QueryError;
use crate::filter::{Filter, ListFilter};
use crate::plan::RootSource;
use crate::records::ContainerRecord;
use crate::request::{NetworkMode, RestartPolicy};
use crate::state::Observed;
use crate::view::{ContainerSize, ContainerStatus, ContainerSummary};

impl Core {
    /// Containers that a filter lets through, newest first.
    pub(crate) fn list(&self, filter: &ListFilter) -> Result<Vec<ContainerSummary>, QueryError> {
        let records = self.records().containers()?;
        let bounds = Bounds::find(self, &filter.filters)?;
        let asks_status =
            filter.filters.iter().any(|f| matches!(f, Filter::Status(_) | Filter::Exited(_)));
        let all = filter.all || filter.last.is_some() || asks_status;
        let mut list = Vec::new();
        for record in records {
            if !bounds.hold(&record) || !passes_record(&filter.filters, &record) {
                continue;
            }
            let Some((record, observed)) = self.settle_or_show(record)? else { continue };
            let status = observed.state.status;
            if (!all && !status.is_active() && status != ContainerStatus::Restarting)
                || !passes_state(&filter.filters, &observed)
            {
                continue;
            }
            let size = if filter.size { Some(self.size(&record)) } else { None };
            list.push(summary(record, observed, size));
            if filter.last.is_some_and(|last| list.len() >= last) {
                break;
            }
        }
        Ok(list)
    }

    /// A container's state, mended if need be. What cannot be mended now is shown as it is: one
    /// broken container does not take the listing with it.
    fn settle_or_show(
        &self,
        record: ContainerRecord,
    ) -> Result<Option<(ContainerRecord, Observed)>, QueryError> {
        let observed = self.observe(&record)?;
        if observed.remedy == crate::state::Remedy::None {
            return Ok(Some((record, observed)));
        }
        let again = record.clone();
        match self.settle(record) {
            Ok(settled) => Ok(settled),
            Err(_) => Ok(Some((again, observed))),
        }
    }

    /// Bytes of a container's files.
    pub(crate) fn size(&self, record: &ContainerRecord) -> ContainerSize {
        let writable = disk_usage(&self.paths.container(&record.id).join("upper"));
        let layers = match &record.details.root {
            RootSource::Layers { layers, .. } => layers.iter().map(|layer| disk_usage(layer)).sum(),
            RootSource::Directory(path) => disk_usage(path),
        };
        ContainerSize { writable, total: writable + layers }
    }
}

/// Bytes that a directory's files take; what cannot be read counts nothing.
pub(crate) fn disk_usage(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let mut total = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            total += disk_usage(&entry.path());
        } else if metadata.is_file() {
            total += metadata.size();
        }
    }
    total
}

/// `before=` and `since=`: moments of other containers.
struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Bounds {
    fn find(core: &Core, filters: &[Filter]) -> Result<Self, QueryError> {
        let mut bounds = Self { before: None, since: None };
        for filter in filters {
            match filter {
                Filter::Before(word) => {
                    bounds.before = Some(core.find::<QueryError>(word)?.created);
                }
                Filter::Since(word) => bounds.since = Some(core.find::<QueryError>(word)?.created),
                _ => {}
            }
        }
        Ok(bounds)
    }

    fn hold(&self, record: &ContainerRecord) -> bool {
        self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
    }
}

/// Whether each key that is given has a value that matches.
fn each_key(filters: &[Filter], matches: impl Fn(&Filter) -> Option<bool>) -> bool {
    let mut kinds: Vec<(std::mem::Discriminant<Filter>, bool)> = Vec::new();
    for filter in filters {
        let Some(holds) = matches(filter) else { continue };
        // Labels must all hold; of other keys one value is enough.
        let is_label = matches!(filter, Filter::Label(..) | Filter::NotLabel(..));
        if is_label && !holds {
            return false;
        }
        let kind = std::mem::discriminant(filter);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, any)) => *any = *any || holds,
            None => kinds.push((kind, holds)),
        }
    }
    kinds.iter().all(|(_, any)| *any)
}

fn has_label(record: &ContainerRecord, key: &str, value: Option<&String>) -> bool {
    let there = record.details.labels.get(key);
    there.is_some_and(|there| value.is_none_or(|value| value == there))
}

pub(crate) fn passes_record(filters: &[Filter], record: &ContainerRecord) -> bool {
    each_key(filters, |filter| {
        Some(match filter {
            Filter::Id(prefix) => record.id.starts_with(prefix),
            Filter::Name(part) => name_matches(&record.name, part),
            Filter::Label(key, value) => has_label(record, key, value.as_ref()),
            Filter::NotLabel(key, value) => !has_label(record, key, value.as_ref()),
            Filter::Ancestor(image) => is_ancestor(record, image),
            Filter::Until(moment) => record.created < *moment,
            Filter::Volume(word) => record.details.mounts.iter().any(|mount| {
                mount.name.as_deref() == Some(word.as_str()) || mount.target == Path::new(word)
            }),
            Filter::Network(name) => network_name(record) == *name,
            Filter::RestartPolicy(name) => restart_name(record.details.request.restart) == *name,
            Filter::Status(_) | Filter::Exited(_) | Filter::Before(_) | Filter::Since(_) => {
                return None;
            }
        })
    })
}

fn passes_state(filters: &[Filter], observed: &Observed) -> bool {
    each_key(filters, |filter| match filter {
        Filter::Status(status) => Some(observed.state.status == *status),
        Filter::Exited(code) => Some(
            observed.state.status == ContainerStatus::Exited
                && observed.state.exit_code == Some(*code),
        ),
        _ => None,
    })
}

/// A part of the name; `^` and `$` anchor it, as in the expressions that podman takes.
fn name_matches(name: &str, pattern: &str) -> bool {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    match (pattern.strip_prefix('^'), pattern.strip_suffix('$')) {
        (Some(_), Some(_)) => name == pattern.trim_start_matches('^').trim_end_matches('$'),
        (Some(start), None) => name.starts_with(start),
        (None, Some(end)) => name.ends_with(end),
        (None, None) => name.contains(pattern),
    }
}

fn is_ancestor(record: &ContainerRecord, image: &str) -> bool {
    if !record.image_id.is_empty() && record.image_id.starts_with(image) && image.len() >= 4 {
        return true;
    }
    if record.image == image {
        return true;
    }
    berth_image::Reference::candidates(image)
        .is_ok_and(|names| names.iter().any(|name| name.to_string() == record.image))
}

/// The network as it is shown.
pub(crate) fn network_name(record: &ContainerRecord) -> String {
    match &record.details.request.network {
        None | Some(NetworkMode::None) => "none".to_owned(),
        Some(NetworkMode::Host) => "host".to_owned(),
        Some(NetworkMode::Container(name)) => format!("container:{name}"),
        Some(NetworkMode::Path(path)) => format!("ns:{}", path.display()),
    }
}

/// The restart policy as it is given.
pub(crate) fn restart_name(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::No => "no",
        RestartPolicy::OnFailure { .. } => "on-failure",
        RestartPolicy::Always => "always",
        RestartPolicy::UnlessStopped => "unless-stopped",
    }
}

fn summary(
    record: ContainerRecord,
    observed: Observed,
    size: Option<ContainerSize>,
) -> ContainerSummary {
    let network = network_name(&record);
    let mut command = record.details.entrypoint;
    command.extend(record.details.command);
    ContainerSummary {
        id: record.id,
        name: record.name,
        image: record.image,
        image_id: record.image_id,
        command,
        created: record.created,
        state: observed.state,
        labels: record.details.labels,
        mounts: record
            .details
            .mounts
            .iter()
            .map(|mount| mount.target.to_string_lossy().into_owned())
            .collect(),
        network,
        size,
        remove: record.remove,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_by_part_and_by_anchor() {
        assert!(name_matches("calm_tide", "tide"));
        assert!(name_matches("calm_tide", "^calm"));
        assert!(name_matches("calm_tide", "^calm_tide$"));
        assert!(!name_matches("calm_tide", "^tide"));
        assert!(!name_matches("calm_tide2", "^calm_tide$"));
    }
}
