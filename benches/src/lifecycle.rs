//! OCI runtimes, one command at a time: create, state, start, exec, delete.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::contest::Contestant;
use crate::options::{Options, Section};
use crate::places::Places;
use crate::processes::{Memory, output};
use crate::report::{Chapter, kibibytes, milliseconds, times};
use crate::runtimes::{OURS, make_bundle, programs};
use crate::scratch::Scratch;
use crate::statistics::{Sample, Summary};

/// What is measured, in the order in which it is done.
pub const STEPS: [&str; 5] = ["create", "state", "start", "exec", "delete"];
const PRIVATE_AT_MOST: u64 = 300 * 1024;

/// One runtime with a state directory of its own.
pub struct Runtime {
    pub name: &'static str,
    program: PathBuf,
    root: PathBuf,
}

impl Runtime {
    pub fn new(name: &'static str, program: PathBuf, scratch: &Scratch) -> Self {
        Self { name, program, root: scratch.run(name) }
    }

    /// A command of its.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(words);
        command
    }

    /// The container's state.
    fn state(&self, id: &str) -> anyhow::Result<Value> {
        let text = output(&mut self.command(&["state", id]))?;
        serde_json::from_str(&text)
            .with_context(|| format!("read the state that {} prints", self.name))
    }

    /// Ends a container and waits until it is stopped.
    fn stop(&self, id: &str) -> anyhow::Result<()> {
        output(&mut self.command(&["kill", id, "KILL"]))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.state(id)?.get("status").and_then(Value::as_str) != Some("stopped") {
            if Instant::now() > deadline {
                bail!("{} leaves {id} running", self.name);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Removes a container, whatever it does.
    pub fn remove(&self, id: &str) -> anyhow::Result<()> {
        output(&mut self.command(&["delete", "--force", id])).map(|_| ())
    }
}

/// What the steps cost a runtime.
pub struct Costs {
    samples: [Vec<Sample>; STEPS.len()],
    /// Memory of the created container that waits, in the last round.
    pub waiting: Memory,
}

impl Costs {
    fn new() -> Self {
        Self { samples: Default::default(), waiting: Memory::default() }
    }

    /// The summary of a step.
    pub fn summary(&self, step: usize) -> Option<Summary> {
        self.samples.get(step).and_then(|samples| Summary::of(samples))
    }

    /// Takes one container through its life.
    fn round(
        &mut self,
        runtime: &Runtime,
        launcher: &Path,
        bundle: &Path,
        id: &str,
        counts: bool,
    ) -> anyhow::Result<()> {
        for (step, samples) in STEPS.iter().zip(&mut self.samples) {
            let bundle = bundle.to_string_lossy();
            let mut words = vec![*step];
            match *step {
                "create" => words.extend(["--bundle", &bundle, id]),
                "exec" => words.extend([id, "/bin/true"]),
                _ => words.push(id),
            }
            if *step == "delete" {
                runtime.stop(id)?;
            }
            let arguments = runtime.command(&words);
            let arguments = arguments.get_args().map(std::ffi::OsStr::to_owned);
            let contestant = Contestant::new(runtime.name, &runtime.program, arguments);
            let sample = contestant.run(launcher, id).with_context(|| format!("{step} {id}"))?;
            if counts {
                samples.push(sample);
            }
            if *step == "create" {
                let state = runtime.state(id)?;
                let pid = state.get("pid").and_then(Value::as_u64).context("a state has a pid")?;
                self.waiting = Memory::of(u32::try_from(pid).context("a pid")?)?;
            }
        }
        Ok(())
    }
}

/// Lets runtimes take turns, every second time backwards.
pub fn measure(
    runtimes: &[Runtime],
    launcher: &Path,
    bundle: &Path,
    (warm_up, rounds): (usize, usize),
    unique: &str,
) -> Vec<anyhow::Result<Costs>> {
    let mut all: Vec<anyhow::Result<Costs>> = runtimes.iter().map(|_| Ok(Costs::new())).collect();
    for round in 0..warm_up + rounds {
        let mut turns: Vec<_> = runtimes.iter().zip(&mut all).enumerate().collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (place, (runtime, costs)) in turns {
            let Ok(known) = costs else { continue };
            let id = format!("{unique}-life-{place}-{round}");
            if let Err(error) = known.round(runtime, launcher, bundle, &id, round >= warm_up) {
                // Whatever it has left; what is reported is the first failure.
                let _ = runtime.remove(&id);
                *costs = Err(error);
            }
        }
    }
    all
}

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> anyhow::Result<Chapter> {
    let rounds = options.rounds.div_ceil(2);
    let introduction = format!(
        "{rounds} rounds in turns after {} that do not count: one container of the default bundle \
         is created, looked at, started, executed in, killed, and deleted. Medians, and minima in \
         brackets. Private memory is what a created container does not share with another one.",
        options.warm_up
    );
    let header = &["", "berth-runtime", "runc", "crun", "× crun"];
    let mut chapter = Chapter::new(Section::Lifecycle, introduction, header);
    let bundle = make_bundle(places, scratch, "bundle", &["/bin/pause"], None)?;
    let runtimes: Vec<Runtime> = programs(places, &mut chapter)
        .into_iter()
        .map(|(name, program)| Runtime::new(name, program, scratch))
        .collect();
    let turns = (options.warm_up, rounds);
    // A container of each runtime that waits all the time: what two have in common, such as the
    // program's own pages, is not counted as private.
    let neighbour = format!("{}-neighbour", scratch.unique());
    let path = bundle.to_string_lossy();
    for runtime in &runtimes {
        let created = output(&mut runtime.command(&["create", "--bundle", &path, &neighbour]));
        if let Err(error) = created {
            chapter.note(format!("{} has no neighbour: {error:#}", runtime.name));
        }
    }
    let all = measure(&runtimes, &places.floor, &bundle, turns, &scratch.unique());
    for runtime in &runtimes {
        // Removing the directories tells if something is left.
        let _ = runtime.remove(&neighbour);
    }
    let find = |name: &str| {
        let place = runtimes.iter().position(|runtime| runtime.name == name)?;
        all.get(place).and_then(|costs| costs.as_ref().ok())
    };
    for (step, name) in STEPS.iter().enumerate() {
        let summary = |runtime: &str| find(runtime).and_then(|costs| costs.summary(step));
        let cell = |runtime: &str| {
            summary(runtime).map_or_else(String::new, |summary| {
                let (median, least) = (summary.median, summary.minimum);
                format!("{} ({})", milliseconds(median), milliseconds(least))
            })
        };
        let ratio = summary(OURS).zip(summary("crun")).map(|(ours, crun)| ours.ratio(&crun));
        chapter.row([
            (*name).to_owned(),
            cell(OURS),
            cell("runc"),
            cell("crun"),
            ratio.map(times).unwrap_or_default(),
        ]);
        if let Some(ratio) = ratio {
            let what = format!("{name}: berth-runtime to crun");
            chapter.bar(&what, times(0.5), times(ratio), ratio <= 0.5);
        }
    }
    if let Some(ours) = find(OURS) {
        let private = ours.waiting.private;
        let what = "private memory of a created container";
        chapter.bar(
            what,
            kibibytes(PRIVATE_AT_MOST),
            kibibytes(private),
            private <= PRIVATE_AT_MOST,
        );
    }
    for (runtime, costs) in runtimes.iter().zip(&all) {
        match costs {
            Ok(costs) => chapter.note(format!(
                "a created container of {} has {} of private memory ({} written), {} resident",
                runtime.name,
                kibibytes(costs.waiting.private),
                kibibytes(costs.waiting.private_dirty),
                kibibytes(costs.waiting.resident)
            )),
            Err(error) => chapter.note(format!("{} failed: {error:#}", runtime.name)),
        }
    }
    Ok(chapter)
}
