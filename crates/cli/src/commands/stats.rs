//! `stats`

use std::collections::HashMap;

use berth_engine::Engine;
use berth_engine::view::ContainerStatistics;
use serde_json::{Map, Value, json};

use super::selection;
use crate::args::container::Stats;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::human;
use crate::output::listing::{Column, Format, Headings, Listing, Row, column};
use crate::terminal;

const COLUMNS: &[Column] = &[
    column("ID", "ID"),
    column("Name", "NAME"),
    column("CPUPerc", "CPU %"),
    column("MemUsage", "MEM USAGE / LIMIT"),
    column("MemPerc", "MEM %"),
    column("NetIO", "NET IO"),
    column("BlockIO", "BLOCK IO"),
    column("PIDs", "PIDS"),
    column("CPUTime", "CPU TIME"),
    column("AvgCPU", "AVG CPU %"),
];

/// Clears the screen and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// `berth stats`
pub fn run(arguments: &Stats, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let in_place = !arguments.no_reset
        && !arguments.no_stream
        && format != Format::Json
        && terminal::is_terminal(std::io::stdout());
    let listing = Listing {
        format,
        columns: COLUMNS,
        shown: COLUMNS.iter().map(|column| column.field).collect(),
        headings: Headings::Shown,
    };
    let engine = context.engine()?;
    context.block_on(async {
        let mut before: HashMap<String, ContainerStatistics> = HashMap::new();
        loop {
            let names = names(engine, arguments).await?;
            let sample = if names.is_empty() && arguments.all {
                Vec::new()
            } else {
                engine.stats(&names).await?
            };
            let rows = sample.iter().map(|now| row(now, before.get(&now.id), arguments.no_trunc));
            let text = listing.render(rows.collect())?;
            output::print(&if in_place { format!("{CLEAR}{text}") } else { text })?;
            if arguments.no_stream {
                return Ok(0);
            }
            before = sample.into_iter().map(|now| (now.id.clone(), now)).collect();
            tokio::time::sleep(arguments.interval).await;
        }
    })
}

async fn names(engine: &Engine, arguments: &Stats) -> Result<Vec<String>, Failure> {
    if arguments.all {
        selection::all(engine, |_| true).await
    } else {
        Ok(arguments.containers.clone())
    }
}

fn row(now: &ContainerStatistics, before: Option<&ContainerStatistics>, full: bool) -> Row {
    let id = if full { &now.id } else { human::short_id(&now.id) };
    let cpu = before.and_then(|before| cpu_percent(before, now)).unwrap_or(now.cpu_average_percent);
    let pair =
        |(first, second): (u64, u64)| format!("{} / {}", human::size(first), human::size(second));
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("ID", id.into());
    set("Name", now.name.clone().into());
    set("CPUPerc", format!("{cpu:.2}%").into());
    set(
        "MemUsage",
        format!("{} / {}", human::memory(now.memory_usage), human::memory(now.memory_limit)).into(),
    );
    set("MemPerc", format!("{:.2}%", memory_percent(now)).into());
    set("NetIO", pair(now.network).into());
    set("BlockIO", pair(now.block).into());
    set("PIDs", now.pids.into());
    set("CPUTime", format!("{:.6}s", now.cpu_total as f64 / 1e9).into());
    set("AvgCPU", format!("{:.2}%", now.cpu_average_percent).into());
    let json = json!({
        "id": now.id,
        "name": now.name,
        "time": now.time,
        "cpu_percent": cpu,
        "avg_cpu": now.cpu_average_percent,
        "cpu_time": now.cpu_total,
        "cpu_system_time": now.cpu_system,
        "mem_usage": now.memory_usage,
        "mem_limit": now.memory_limit,
        "mem_percent": memory_percent(now),
        "net_input": now.network.0,
        "net_output": now.network.1,
        "block_input": now.block.0,
        "block_output": now.block.1,
        "pids": now.pids,
    });
    Row { fields, json }
}

/// Percent of one CPU used between two readings.
fn cpu_percent(before: &ContainerStatistics, now: &ContainerStatistics) -> Option<f64> {
    let elapsed = before.time.duration_until(now.time).as_secs_f64();
    let used = now.cpu_total.checked_sub(before.cpu_total)?;
    (elapsed > 0.0).then(|| used as f64 / 1e9 / elapsed * 100.0)
}

fn memory_percent(now: &ContainerStatistics) -> f64 {
    if now.memory_limit == 0 {
        0.0
    } else {
        now.memory_usage as f64 / now.memory_limit as f64 * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, cpu_total: u64) -> ContainerStatistics {
        ContainerStatistics {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            time: jiff::Timestamp::new(second, 0).unwrap(),
            cpu_total,
            cpu_system: 0,
            online_cpus: 2,
            cpu_average_percent: 1.5,
            memory_usage: 64 << 20,
            memory_limit: 128 << 20,
            network: (1000, 2_000_000),
            block: (0, 512),
            pids: 3,
        }
    }

    #[test]
    fn cpu_is_a_rate_between_readings_and_an_average_before() {
        let (first, second) = (sample(10, 0), sample(12, 1_000_000_000));
        assert_eq!(row(&first, None, false).fields["CPUPerc"], "1.50%");
        assert_eq!(row(&second, Some(&first), false).fields["CPUPerc"], "50.00%");
        // A container that was started again counts from zero.
        assert_eq!(row(&first, Some(&second), false).fields["CPUPerc"], "1.50%");
    }

    #[test]
    fn a_row_reads_as_people_read() {
        let fields = row(&sample(1, 0), None, false).fields;
        assert_eq!(fields["ID"], "0123456789ab");
        assert_eq!(fields["MemUsage"], "64MiB / 128MiB");
        assert_eq!(fields["MemPerc"], "50.00%");
        assert_eq!(fields["NetIO"], "1kB / 2MB");
        assert_eq!(fields["BlockIO"], "0B / 512B");
        assert_eq!(fields.len(), COLUMNS.len());
    }
}
