//! What happened to containers: the monitors' events, and the engine's own, as JSON lines on tmpfs.
//!
//! A container's events are in its run directory while it exists. When it is removed they are
//! appended to the common file, where the engine's own are too. Reading gives both, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::error::{EventsError, FileError};
use crate::filter::Filter;
use crate::records::ContainerRecord;
use crate::view::Event;

/// The common file is cut to its newer half when it is larger.
const LARGEST: u64 = 4 << 20;

/// A line of the common file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// An event of the engine's.
    Own(Event),
    /// One of a monitor's, of a container that is gone.
    Monitor(berth_monitor::events::Event),
}

/// An error and its causes in one line.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// Appends an event. Losing one is no reason to fail.
pub(crate) fn append(
    path: &Path,
    record: &ContainerRecord,
    status: &str,
    attributes: &[(&str, &str)],
) {
    let event = Event {
        time: Timestamp::now(),
        status: status.to_owned(),
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.image.clone(),
        attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    if let Ok(mut line) = serde_json::to_vec(&event) {
        line.push(b'\n');
        write(path, &line);
    }
}

/// Appends a removed container's events.
pub(crate) fn archive(run: &Path, path: &Path) {
    if let Ok(text) = std::fs::read(run.join(berth_monitor::events::FILE)) {
        write(path, &text);
    }
}

fn write(path: &Path, bytes: &[u8]) {
    let Ok(mut file) = File::options().create(true).append(true).open(path) else { return };
    // One write a line keeps lines of several processes apart.
    let _ = file.write_all(bytes);
    if file.metadata().is_ok_and(|metadata| metadata.len() > LARGEST) {
        shorten(path);
    }
}

fn shorten(path: &Path) {
    let Ok(text) = std::fs::read(path) else { return };
    let (_, newer) = text.split_at(text.len() / 2);
    let start = newer.iter().position(|byte| *byte == b'\n').map_or(newer.len(), |at| at + 1);
    let temporary = path.with_extension("new");
    if std::fs::write(&temporary, newer.get(start..).unwrap_or_default()).is_ok() {
        let _ = std::fs::rename(&temporary, path);
    }
}

/// Which events are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventsOptions {
    /// `--since`.
    pub since: Option<Timestamp>,
    /// `--until`; events end there.
    pub until: Option<Timestamp>,
    /// Go on with new events; podman's default (`--stream=false` says no).
    pub follow: bool,
    /// `--filter`: `Id`, `Name`, `Ancestor`, `Label` count.
    pub filters: Vec<Filter>,
    /// `--filter event=…`: these kinds only; empty for all.
    pub kinds: Vec<String>,
}

/// An event, told apart from all others.
type Key = (Timestamp, String, String);

impl Core {
    /// Events that were not seen yet, in order. `seen` is brought up to date.
    pub(crate) fn events(
        &self,
        options: &EventsOptions,
        seen: &mut BTreeSet<Key>,
    ) -> Result<Vec<Event>, EventsError> {
        let records = self.records().containers()?;
        let mut names: BTreeMap<String, (String, String)> = records
            .iter()
            .map(|record| (record.id.clone(), (record.name.clone(), record.image.clone())))
            .collect();
        let mut events = Vec::new();
        let mut strange = Vec::new();
        for line in self.common_events()? {
            match line {
                Line::Own(event) => {
                    names.insert(event.id.clone(), (event.name.clone(), event.image.clone()));
                    events.push(event);
                }
                Line::Monitor(event) => strange.push(event),
            }
        }
        for record in &records {
            let run = self.paths.run(&record.id);
            // A container that goes while it is read has its events in the common file.
            strange.extend(berth_monitor::events::read(&run, 0).unwrap_or_default());
        }
        events.extend(strange.into_iter().filter_map(|event| translate(event, &names)));
        events.sort_by_key(|event| event.time);
        let labels: BTreeMap<&str, &BTreeMap<String, String>> =
            records.iter().map(|r| (r.id.as_str(), &r.details.labels)).collect();
        events.retain(|event| {
            is_wanted(options, event, labels.get(event.id.as_str()).copied())
                && seen.insert((event.time, event.id.clone(), event.status.clone()))
        });
        Ok(events)
    }

    fn common_events(&self) -> Result<Vec<Line>, FileError> {
        let path = self.paths.events();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::new("read", &path)(error)),
        };
        let mut lines = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(FileError::new("read", &path))?;
            lines.extend(serde_json::from_slice(&line).ok());
        }
        Ok(lines)
    }
}

fn translate(
    event: berth_monitor::events::Event,
    names: &BTreeMap<String, (String, String)>,
) -> Option<Event> {
    use berth_monitor::events::EventKind as Kind;
    let mut attributes = BTreeMap::new();
    let mut add = |key: &str, value: String| attributes.insert(key.to_owned(), value);
    let status = match event.kind {
        Kind::Created { .. } => "init",
        Kind::Started { pid } => {
            add("pid", pid.to_string());
            "start"
        }
        Kind::Paused => "pause",
        Kind::Resumed => "unpause",
        Kind::Oom => "oom",
        Kind::Exited { code, signal, oom_killed, restarting } => {
            if let Some(code) = code {
                add("containerExitCode", code.to_string());
            }
            if let Some(signal) = signal {
                add("signal", signal.to_string());
            }
            if oom_killed {
                add("oomKilled", "true".to_owned());
            }
            if restarting {
                add("restarting", "true".to_owned());
            }
            "died"
        }
        Kind::ExecStarted { session, pid } => {
            add("execID", session);
            add("pid", pid.to_string());
            "exec"
        }
        Kind::ExecExited { session, code } => {
            add("execID", session);
            if let Some(code) = code {
                add("containerExitCode", code.to_string());
            }
            "exec_died"
        }
        Kind::RestartFailed { error } => {
            add("error", error);
            "restart_failed"
        }
        Kind::Adopted { monitor } => {
            add("monitor", monitor.to_string());
            "adopt"
        }
        Kind::Replaced { version } => {
            add("version", version);
            "replace"
        }
        Kind::LogLost { bytes, error } => {
            add("bytes", bytes.to_string());
            add("error", error);
            "log_lost"
        }
        Kind::CleanupFailed { code } => {
            add("code", code.to_string());
            "cleanup_failed"
        }
    };
    let (name, image) = names.get(&event.id).cloned().unwrap_or_default();
    Some(Event {
        time: event.time.parse().ok()?,
        status: status.to_owned(),
        id: event.id,
        name,
        image,
        attributes,
    })
}

fn is_wanted(
    options: &EventsOptions,
    event: &Event,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    if options.since.is_some_and(|since| event.time < since)
        || options.until.is_some_and(|until| event.time > until)
        || (!options.kinds.is_empty() && !options.kinds.contains(&event.status))
    {
        return false;
    }
    options.filters.iter().all(|filter| match filter {
        Filter::Id(prefix) => event.id.starts_with(prefix),
        Filter::Name(name) => event.name == *name || event.id.starts_with(name),
        Filter::Ancestor(image) => event.image.contains(image.as_str()),
        Filter::Label(key, value) => labels
            .and_then(|labels| labels.get(key))
            .is_some_and(|there| value.as_ref().is_none_or(|wanted| wanted == there)),
        _ => true,
    })
}
