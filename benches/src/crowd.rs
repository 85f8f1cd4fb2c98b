//! OCI runtimes while many containers live.

use std::path::Path;

use anyhow::Context as _;

use crate::contest::{self, found};
use crate::lifecycle::{self, Costs, Runtime, STEPS};
use crate::options::{Options, Section};
use crate::places::Places;
use crate::processes::output;
use crate::report::{Chapter, milliseconds, times};
use crate::runtimes::{self, FLOOR, OURS, make_bundle};
use crate::scratch::Scratch;
use crate::statistics::Summary;

/// What a crowd may make slower: nothing, but two measurements of one thing differ.
const AT_MOST: f64 = 1.1;

/// Containers that do nothing, until this is dropped.
struct Crowd<'a> {
    runtime: &'a Runtime,
    ids: Vec<String>,
}

impl<'a> Crowd<'a> {
    fn gather(
        runtime: &'a Runtime,
        bundle: &Path,
        count: usize,
        unique: &str,
    ) -> anyhow::Result<Self> {
        let bundle = bundle.to_string_lossy();
        let mut crowd = Self { runtime, ids: Vec::with_capacity(count) };
        for number in 0..count {
            let id = format!("{unique}-crowd-{number}");
            crowd.ids.push(id.clone());
            output(&mut runtime.command(&["create", "--bundle", &bundle, &id]))?;
            output(&mut runtime.command(&["start", &id]))?;
        }
        Ok(crowd)
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        for id in &self.ids {
            // Removing the directories tells if something is left.
            let _ = self.runtime.remove(id);
        }
    }
}

/// Medians of everything, alone or in a crowd.
struct Found {
    run: Vec<(String, anyhow::Result<Summary>)>,
    steps: Costs,
}

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> anyhow::Result<Chapter> {
    let rounds = options.rounds.div_ceil(4);
    let introduction = format!(
        "{rounds} rounds after {} that do not count, alone and then with {} containers of \
         berth-runtime living. The floor tells what the kernel itself makes of a crowd.",
        options.warm_up, options.crowd
    );
    let header = &["", "Alone", "In a crowd", "× alone"];
    let mut chapter = Chapter::new(Section::Crowd, introduction, header);
    let Some(program) = places.ours(OURS) else {
        chapter.note(format!("SKIPPED: {}", places.missing(OURS)));
        return Ok(chapter);
    };
    let paused = make_bundle(places, scratch, "bundle-of-crowd", &["/bin/pause"], None)?;
    let bundle = make_bundle(places, scratch, "bundle", &["/bin/true"], None)?;
    let runtime = [Runtime::new(OURS, program.clone(), scratch)];
    let measure = |word: &str| -> anyhow::Result<Found> {
        let contestants = [
            runtimes::floor(FLOOR, "run", places, &bundle),
            runtimes::contestant(OURS, OURS, &program, &bundle, scratch),
        ];
        let unique = format!("{}-{word}", scratch.unique());
        let launcher = &places.floor;
        let run = contest::hold(&contestants, launcher, options.warm_up, rounds, &unique);
        let turns = (options.warm_up, rounds);
        let steps = lifecycle::measure(&runtime, launcher, &paused, turns, &unique);
        let steps = steps.into_iter().next().context("one runtime takes part")??;
        Ok(Found { run, steps })
    };
    let alone = measure("alone")?;
    let [only] = &runtime;
    let crowd = Crowd::gather(only, &paused, options.crowd, &scratch.unique())?;
    let together = measure("together")?;
    drop(crowd);
    for name in [FLOOR, OURS] {
        if let Some((before, after)) = found(&alone.run, name).zip(found(&together.run, name)) {
            compare(&mut chapter, &format!("run: {name}"), before, after, name == OURS);
        }
    }
    for (step, name) in STEPS.iter().enumerate() {
        if let Some((before, after)) = alone.steps.summary(step).zip(together.steps.summary(step)) {
            compare(&mut chapter, &format!("{name}: {OURS}"), &before, &after, true);
        }
    }
    Ok(chapter)
}

fn compare(chapter: &mut Chapter, what: &str, alone: &Summary, crowd: &Summary, is_bar: bool) {
    let ratio = crowd.ratio(alone);
    let (before, after) = (milliseconds(alone.median), milliseconds(crowd.median));
    chapter.row([what.to_owned(), before, after, times(ratio)]);
    if is_bar {
        let what = format!("{what}, crowd to alone");
        chapter.bar(&what, times(AT_MOST), times(ratio), ratio <= AT_MOST);
    }
}
