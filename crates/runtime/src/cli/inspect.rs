//! What is known of containers, printed: `state`, `list`, `ps`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::Command;

use berth_runtime::{ContainerId, ContainerSummary, LookupError, Runtime};
use serde::Serialize;

use super::arguments::TableFormat;
use super::log::{Fault, Log, print};

/// The state as runc prints it: the specification's, and a little more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FullState<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'static str,
    bundle: &'a std::path::Path,
    rootfs: &'a std::path::Path,
    created: &'a str,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: &'a std::collections::BTreeMap<String, String>,
    owner: String,
}

impl<'a> FullState<'a> {
    fn new(summary: &'a ContainerSummary) -> Self {
        let state = &summary.state;
        Self {
            oci_version: &state.oci_version,
            id: &state.id,
            pid: state.pid.unwrap_or(0),
            status: state.status.as_str(),
            bundle: &state.bundle,
            rootfs: &summary.rootfs,
            created: &summary.created,
            annotations: &state.annotations,
            owner: owner(summary.owner),
        }
    }
}

/// The name of a user of the host; nothing for one without a name.
fn owner(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("#{uid}"))
}

/// Prints anything as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Fault::new(format!("cannot write JSON: {error}")))?;
    print(&format!("{text}\n"))
}

/// `state`.
pub(crate) fn state(runtime: &Runtime, id: &ContainerId) -> Result<(), Fault> {
    print_json(&FullState::new(&runtime.summary(id)?))
}

/// A directory of states that was asked for by name and is not there is a mistake.
pub(crate) fn check_root(root: &std::path::Path) -> Result<(), Fault> {
    match std::fs::metadata(root) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::io(format!("list {}", root.display()), &error)),
    }
}

/// `list`. A state that cannot be read is told of and left out.
pub(crate) fn list(
    runtime: &Runtime,
    format: TableFormat,
    quiet: bool,
    log: &Log,
) -> Result<(), Fault> {
    let mut summaries = Vec::new();
    for id in runtime.ids()? {
        match runtime.summary(&id) {
            Ok(summary) => summaries.push(summary),
            Err(LookupError::NotFound(_)) => {}
            Err(error) => log.warn(&berth_runtime::error::chain(&error)),
        }
    }
    if quiet {
        let ids = summaries.iter().map(|summary| format!("{}\n", summary.state.id));
        return print(&ids.collect::<String>());
    }
    let states: Vec<_> = summaries.iter().map(FullState::new).collect();
    match format {
        TableFormat::Json => {
            let text = serde_json::to_string(&states)
                .map_err(|error| Fault::new(format!("cannot write JSON: {error}")))?;
            print(&format!("{text}\n"))
        }
        TableFormat::Table => print(&table(&states)),
    }
}

fn table(states: &[FullState<'_>]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = states.iter().map(|state| {
        [
            state.id.to_owned(),
            state.pid.to_string(),
            state.status.to_owned(),
            state.bundle.display().to_string(),
            state.created.to_owned(),
            state.owner.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let mut widths = [12usize; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 3);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `ps`.
pub(crate) fn processes(
    runtime: &Runtime,
    id: &ContainerId,
    format: TableFormat,
    options: &[OsString],
) -> Result<(), Fault> {
    let processes = runtime.processes(id)?;
    if format == TableFormat::Json {
        let text = serde_json::to_string(&processes)
            .map_err(|error| Fault::new(format!("cannot write JSON: {error}")))?;
        return print(&format!("{text}\n"));
    }
    let default = [OsString::from("-ef")];
    let options = if options.is_empty() { &default[..] } else { options };
    let output = Command::new("ps")
        .args(options)
        .output()
        .map_err(|error| Fault::io("start ps(1)", &error).with_hint("use --format json"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::new(format!("ps(1) failed: {}", message.trim())));
    }
    print(&select(&String::from_utf8_lossy(&output.stdout), &processes)?)
}

/// The lines of ps(1) that are of these processes, by its PID column.
fn select(text: &str, processes: &[i32]) -> Result<String, Fault> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|word| word == "PID").ok_or_else(|| {
        Fault::new("ps(1) prints no PID column").with_hint("add pid to its -o option")
    })?;
    let mut selected = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid: i32| processes.contains(&pid)) {
            selected.push_str(line);
            selected.push('\n');
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_their_pid_column() {
        let text = "UID   PID  PPID CMD\nroot    1     0 init 22\nroot   22     1 sleep\n";
        assert_eq!(select(text, &[22]).unwrap(), "UID   PID  PPID CMD\nroot   22     1 sleep\n");
        assert!(select("CMD\nsleep\n", &[1]).is_err());
    }
}
