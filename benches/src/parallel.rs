//! OCI runtimes: many containers at once.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::lifecycle::Runtime;
use crate::options::{Options, Section};
use crate::places::Places;
use crate::report::{Chapter, milliseconds, times};
use crate::runtimes::{OURS, make_bundle, programs};
use crate::scratch::Scratch;
use crate::statistics::{Sample, Summary};

/// How many run at once.
const AT_ONCE: usize = 10;

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> anyhow::Result<Chapter> {
    let rounds = options.rounds.div_ceil(4);
    let introduction = format!(
        "{rounds} rounds in turns after {} that do not count. {AT_ONCE} `run`s of `true` are started \
         together; the time is that until the last one has ended.",
        options.warm_up
    );
    let header = &["", "Median of ten", "Minimum", "Containers a second"];
    let mut chapter = Chapter::new(Section::Parallel, introduction, header);
    let bundle = make_bundle(places, scratch, "bundle", &["/bin/true"], None)?;
    let bundle = bundle.to_string_lossy();
    let runtimes: Vec<Runtime> = programs(places, &mut chapter)
        .into_iter()
        .map(|(name, program)| Runtime::new(name, program, scratch))
        .collect();
    let mut all: Vec<anyhow::Result<Vec<Sample>>> =
        runtimes.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..options.warm_up + rounds {
        let mut turns: Vec<_> = runtimes.iter().zip(&mut all).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (runtime, samples) in turns {
            let Ok(list) = samples else { continue };
            let unique = format!("{}-ten-{}-{round}", scratch.unique(), runtime.name);
            match together(runtime, &bundle, &unique) {
                Ok(sample) if round >= options.warm_up => list.push(sample),
                Ok(_) => {}
                Err(error) => *samples = Err(error),
            }
        }
    }
    let mut medians = Vec::new();
    for (runtime, samples) in runtimes.iter().zip(all) {
        let summary = samples.and_then(|samples| Summary::of(&samples).context("no round counts"));
        match summary {
            Ok(summary) => {
                let rate = AT_ONCE as f64 / summary.median.as_secs_f64();
                chapter.row([
                    runtime.name.to_owned(),
                    milliseconds(summary.median),
                    milliseconds(summary.minimum),
                    format!("{rate:.0}"),
                ]);
                medians.push((runtime.name, summary));
            }
            Err(error) => chapter.note(format!("{} failed: {error:#}", runtime.name)),
        }
    }
    let find = |name: &str| medians.iter().find(|(known, _)| *known == name);
    if let Some(((_, ours), (_, crun))) = find(OURS).zip(find("crun")) {
        let ratio = ours.ratio(crun);
        chapter.bar("ten at once: berth-runtime to crun", times(0.5), times(ratio), ratio <= 0.5);
    }
    Ok(chapter)
}

/// Starts ten containers and waits for all of them.
fn together(runtime: &Runtime, bundle: &str, unique: &str) -> anyhow::Result<Sample> {
    let start = Instant::now();
    let mut children = Vec::with_capacity(AT_ONCE);
    for number in 0..AT_ONCE {
        let id = format!("{unique}-{number}");
        let mut command = runtime.command(&["run", "--bundle", bundle, &id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        children.push(command.spawn().with_context(|| format!("start {}", runtime.name))?);
    }
    let mut failed = None;
    for mut child in children {
        let status = child.wait().with_context(|| format!("wait for {}", runtime.name))?;
        if !status.success() {
            failed = Some(status);
        }
    }
    let wall = start.elapsed();
    match failed {
        Some(status) => bail!("{} failed ({status})", runtime.name),
        None => Ok(Sample { wall, processor: wall, peak: 0 }),
    }
}
