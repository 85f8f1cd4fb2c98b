//! Where the time of a container goes, by the floor's own clock: what no runtime can do without.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::options::{Options, Section};
use crate::places::Places;
use crate::processes::output;
use crate::report::Chapter;
use crate::runtimes::make_bundle;
use crate::scratch::Scratch;
use crate::statistics::{Sample, Summary};

/// A part and what it took in each round.
type Part = (String, Vec<Sample>);

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> anyhow::Result<Chapter> {
    let introduction = format!(
        "{} rounds after {} that do not count. The floor looks at the clock between its parts. The \
         parent's parts and the child's overlap where both have work: the child mounts while the \
         parent moves it into its cgroups.",
        options.rounds, options.warm_up
    );
    let mut chapter = Chapter::new(Section::Parts, introduction, &["", "Median", "Minimum"]);
    let bundle = make_bundle(places, scratch, "bundle", &["/bin/true"], None)?;
    let mut parts: Vec<Part> = Vec::new();
    for round in 0..options.warm_up + options.rounds {
        let id = format!("{}-parts-{round}", scratch.unique());
        let found = once(&places.floor, &bundle, &id)?;
        if round < options.warm_up {
            continue;
        }
        for (name, wall) in found {
            let sample = Sample { wall, processor: wall, peak: 0 };
            match parts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, samples)) => samples.push(sample),
                None => parts.push((name, vec![sample])),
            }
        }
    }
    for (name, samples) in parts {
        let summary = Summary::of(&samples).context("a part was measured")?;
        chapter.row([name, microseconds(summary.median), microseconds(summary.minimum)]);
    }
    Ok(chapter)
}

fn microseconds(duration: Duration) -> String {
    format!("{:.0} µs", duration.as_secs_f64() * 1e6)
}

/// One container's parts, as the floor prints them: nanoseconds and a name on each line.
fn once(floor: &Path, bundle: &Path, id: &str) -> anyhow::Result<Vec<(String, Duration)>> {
    let mut command = Command::new(floor);
    let text = output(command.arg("parts").arg(bundle).args([id, "/bin/true"]))?;
    text.lines()
        .map(|line| {
            let (number, name) = line.split_once(' ').context("a part has a name")?;
            let nanoseconds = number.parse().context("a part has a time")?;
            Ok((name.to_owned(), Duration::from_nanos(nanoseconds)))
        })
        .collect()
}
