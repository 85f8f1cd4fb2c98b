//! `ps`

use berth_engine::ListFilter;
use berth_engine::view::{ContainerState, ContainerStatus, ContainerSummary};
use serde_json::{Map, Value, json};

use crate::args::container::{List, Sort};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::human;
use crate::output::listing::{Column, Format, Headings, Listing, Row, column};

const COLUMNS: &[Column] = &[
    column("ID", "CONTAINER ID"),
    column("Image", "IMAGE"),
    column("ImageID", "IMAGE ID"),
    column("Command", "COMMAND"),
    column("CreatedAt", "CREATED AT"),
    column("CreatedHuman", "CREATED"),
    column("RunningFor", "CREATED"),
    column("Status", "STATUS"),
    column("State", "STATE"),
    column("ExitCode", "EXIT CODE"),
    column("Ports", "PORTS"),
    column("Names", "NAMES"),
    column("Labels", "LABELS"),
    column("Mounts", "MOUNTS"),
    column("Networks", "NETWORKS"),
    column("Pid", "PID"),
    column("Restarts", "RESTARTS"),
    column("Size", "SIZE"),
];

/// How wide a command may be in the table.
const COMMAND_WIDTH: usize = 20;

/// `berth ps`
pub fn run(arguments: &List, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let engine = context.engine()?;
    let filter = ListFilter {
        all: arguments.all,
        last: if arguments.latest { Some(1) } else { arguments.last },
        size: arguments.size || arguments.sort == Sort::Size,
        filters: arguments.filters.clone(),
    };
    let mut list = context.block_on(async { Ok(engine.list(filter).await?) })?;
    sort(&mut list, arguments.sort);
    if arguments.quiet && format == Format::Default {
        for container in &list {
            let id = &container.id;
            output::line(if arguments.no_trunc { id } else { human::short_id(id) })?;
        }
        return Ok(0);
    }
    let mut shown = vec!["ID", "Image", "Command", "CreatedHuman", "Status", "Ports", "Names"];
    if arguments.size {
        shown.push("Size");
    }
    let headings = Headings::hidden_if(arguments.noheading);
    let listing = Listing { format, columns: COLUMNS, shown, headings };
    let rows = list.iter().map(|container| row(container, arguments.no_trunc)).collect();
    output::print(&listing.render(rows)?)?;
    Ok(0)
}

fn sort(list: &mut [ContainerSummary], order: Sort) {
    match order {
        // As the engine gives them.
        Sort::Created | Sort::Runningfor => {}
        Sort::Command => list.sort_by(|a, b| a.command.cmp(&b.command)),
        Sort::Id => list.sort_by(|a, b| a.id.cmp(&b.id)),
        Sort::Image => list.sort_by(|a, b| a.image.cmp(&b.image)),
        Sort::Names => list.sort_by(|a, b| a.name.cmp(&b.name)),
        Sort::Size => list.sort_by_key(|it| it.size.map_or(0, |size| size.writable)),
        Sort::Status => list.sort_by_key(|it| it.state.status.as_str()),
    }
}

fn row(container: &ContainerSummary, full: bool) -> Row {
    let cut = |id: &str| if full { id.to_owned() } else { human::short_id(id).to_owned() };
    let command = container.command.join(" ");
    let command = if full { command } else { human::ellipsis(&command, COMMAND_WIDTH) };
    let labels: Vec<String> =
        container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("ID", cut(&container.id).into());
    set("Image", container.image.clone().into());
    set("ImageID", cut(&container.image_id).into());
    set("Command", command.into());
    set("CreatedAt", human::table_time(container.created).into());
    set("CreatedHuman", human::ago(container.created).into());
    set("RunningFor", human::ago(container.created).into());
    set("Status", status(&container.state).into());
    set("State", container.state.status.as_str().into());
    set("ExitCode", container.state.exit_code.map_or(Value::Null, Value::from));
    set("Ports", "".into());
    set("Names", container.name.clone().into());
    set("Labels", labels.join(",").into());
    set("Mounts", container.mounts.join(",").into());
    set("Networks", container.network.clone().into());
    set("Pid", container.state.pid.unwrap_or(0).into());
    set("Restarts", container.state.restarts.into());
    set("Size", size(container).into());
    Row { fields, json: data(container) }
}

fn size(container: &ContainerSummary) -> String {
    container.size.map_or_else(String::new, |size| {
        format!("{} (virtual {})", human::size(size.writable), human::size(size.total))
    })
}

/// The state in words: `Up 5 minutes`, `Exited (1) 2 hours ago`.
fn status(state: &ContainerState) -> String {
    let since = |time: Option<jiff::Timestamp>| time.map(human::since).unwrap_or_default();
    let exit = state.exit_code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
    match state.status {
        ContainerStatus::Created => "Created".to_owned(),
        ContainerStatus::Running => format!("Up {}", since(state.started_at)),
        ContainerStatus::Paused => format!("Up {} (Paused)", since(state.started_at)),
        ContainerStatus::Restarting => {
            format!("Restarting ({exit}) {} ago", since(state.finished_at))
        }
        // Nobody saw it end.
        ContainerStatus::Exited if state.finished_at.is_none() => format!("Exited ({exit})"),
        ContainerStatus::Exited => format!("Exited ({exit}) {} ago", since(state.finished_at)),
        ContainerStatus::Removing => "Removal In Progress".to_owned(),
    }
}

/// A container in podman's JSON form.
fn data(container: &ContainerSummary) -> Value {
    let seconds = |time: Option<jiff::Timestamp>| time.map_or(0, jiff::Timestamp::as_second);
    let state = &container.state;
    json!({
        "Id": container.id,
        "Names": [container.name],
        "Image": container.image,
        "ImageID": container.image_id,
        "Command": container.command,
        "Created": container.created.as_second(),
        "CreatedAt": human::ago(container.created),
        "State": state.status.as_str(),
        "Status": status(state),
        "Pid": state.pid.unwrap_or(0),
        "StartedAt": seconds(state.started_at),
        "ExitedAt": seconds(state.finished_at),
        "Exited": state.status == ContainerStatus::Exited,
        "ExitCode": state.exit_code,
        "OOMKilled": state.oom_killed,
        "Restarts": state.restarts,
        "Labels": container.labels,
        "Mounts": container.mounts,
        "Networks": [container.network],
        "Ports": null,
        "Size": container.size.map(|size| json!({
            "rwSize": size.writable,
            "rootFsSize": size.total,
        })),
        "AutoRemove": container.remove,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> ContainerSummary {
        let now = jiff::Timestamp::now();
        ContainerSummary {
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            image: "berth.local/demo:latest".into(),
            image_id: "fedcba9876543210".repeat(4),
            command: vec!["/bin/sh".into(), "-c".into(), "sleep 1000000000".into()],
            created: now - jiff::SignedDuration::from_secs(90),
            state: ContainerState {
                status: ContainerStatus::Exited,
                pid: None,
                started_at: Some(now),
                finished_at: Some(now - jiff::SignedDuration::from_secs(7200)),
                exit_code: Some(3),
                oom_killed: false,
                restarts: 0,
                monitor_pid: None,
                error: None,
            },
            labels: [("a".to_owned(), "b".to_owned())].into(),
            mounts: vec!["/data".into()],
            network: "none".into(),
            size: None,
            remove: false,
        }
    }

    #[test]
    fn a_row_is_cut_to_what_fits() {
        let fields = row(&container(), false).fields;
        assert_eq!(fields["ID"], "0123456789ab");
        assert_eq!(fields["ImageID"], "fedcba987654");
        assert_eq!(fields["Command"], "/bin/sh -c sleep 10…");
        assert_eq!(fields["Labels"], "a=b");
        let full = row(&container(), true).fields;
        assert_eq!(full["Command"], "/bin/sh -c sleep 1000000000");
    }

    #[test]
    fn every_column_is_filled() {
        let fields = row(&container(), false).fields;
        for column in COLUMNS {
            assert!(fields.contains_key(column.field), "{}", column.field);
        }
        assert_eq!(fields.len(), COLUMNS.len());
    }

    #[test]
    fn states_are_told_in_words() {
        let mut state = container().state;
        assert_eq!(status(&state), "Exited (3) 2 hours ago");
        state.exit_code = None;
        assert_eq!(status(&state), "Exited (unknown) 2 hours ago");
        state.status = ContainerStatus::Running;
        assert_eq!(status(&state), "Up Less than a second");
        state.status = ContainerStatus::Paused;
        assert_eq!(status(&state), "Up Less than a second (Paused)");
        state.status = ContainerStatus::Created;
        assert_eq!(status(&state), "Created");
    }
}
