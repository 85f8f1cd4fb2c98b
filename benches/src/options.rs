//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

pub const USAGE: &str = "\
berth-bench run|runtime [SECTION…] [OPTIONS]

Sections of `runtime` (all of them when none is named):
  runtimes      the OCI runtimes run `true` in the default bundle
  parts         where the time of the floor goes
  lifecycle     create, state, start, exec, delete; memory of a created container
  seccomp       with and without a profile; what a filtered call costs
  parallel      ten containers at once
  crowd         the same with 200 containers living (--crowd)

Sections of `run` (all of them when none is named):
  runtimes      as above
  containers    the engines run `true` in a container of the embedded image
  monitors      memory of the processes that stay beside running containers
  sizes         sizes of the programs

Options:
  --rounds N      rounds of the runtimes (default 100); of the engines a quarter
  --warm-up N     rounds that do not count (default 5)
  --crowd N       how many containers make the crowd (default 200)
  --monitors N    how many containers run at once (default 50); of the peers a fifth
  --store DIR     where images and writable layers lie (default /var/tmp)
  --run-on WHAT   tmpfs (default) or disk: what run-time state lies on
  --output FILE   what is written (default BENCHMARKS.md of the workspace)

Programs of ours are taken from BERTH_BIN_DIR, else from the workspace's dist build.
";

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Runtimes,
    Parts,
    Lifecycle,
    Seccomp,
    Parallel,
    Crowd,
    Containers,
    Monitors,
    Sizes,
}

/// Which of the two benchmarks is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Everything, beside its peers.
    Run,
    /// The OCI runtime, in depth.
    Runtime,
}

impl Task {
    /// Its sections, in order.
    pub fn sections(self) -> &'static [Section] {
        match self {
            Self::Run => {
                &[Section::Runtimes, Section::Containers, Section::Monitors, Section::Sizes]
            }
            Self::Runtime => &[
                Section::Runtimes,
                Section::Parts,
                Section::Lifecycle,
                Section::Seccomp,
                Section::Parallel,
                Section::Crowd,
            ],
        }
    }

    /// What marks its section of the file.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Run => "berth-bench",
            Self::Runtime => "berth-bench-runtime",
        }
    }

    /// The heading of its section.
    pub fn title(self) -> &'static str {
        match self {
            Self::Run => "Side by side",
            Self::Runtime => "The OCI runtime",
        }
    }
}

impl Section {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Runtimes => "OCI runtimes: `run` of `true` in the default bundle",
            Self::Parts => "Where a millisecond goes: the floor's parts",
            Self::Lifecycle => "OCI runtimes: one command at a time",
            Self::Seccomp => "OCI runtimes: `run` of `true` with the default seccomp profile",
            Self::Parallel => "OCI runtimes: ten at once",
            Self::Crowd => "OCI runtimes: in a crowd",
            Self::Containers => "Engines: `run --rm --network none IMAGE true`",
            Self::Monitors => "Monitors: memory beside a running container",
            Self::Sizes => "Programs: size on disk",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "runtimes" => Some(Self::Runtimes),
            "parts" => Some(Self::Parts),
            "lifecycle" => Some(Self::Lifecycle),
            "seccomp" => Some(Self::Seccomp),
            "parallel" => Some(Self::Parallel),
            "crowd" => Some(Self::Crowd),
            "containers" => Some(Self::Containers),
            "monitors" => Some(Self::Monitors),
            "sizes" => Some(Self::Sizes),
            _ => None,
        }
    }
}

/// What run-time state lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOn {
    /// As on most machines.
    Tmpfs,
    /// Beside the store.
    Disk,
}

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    pub task: Task,
    pub sections: Vec<Section>,
    pub rounds: usize,
    pub warm_up: usize,
    pub monitors: usize,
    pub crowd: usize,
    pub store: PathBuf,
    pub run_on: RunOn,
    pub output: PathBuf,
}

impl Options {
    /// Reads the command line; `None` asks for the usage.
    pub fn parse() -> anyhow::Result<Option<Self>> {
        use lexopt::prelude::*;

        let mut options = Self {
            task: Task::Run,
            sections: Vec::new(),
            rounds: 100,
            warm_up: 5,
            monitors: 50,
            crowd: 200,
            store: PathBuf::from("/var/tmp"),
            run_on: RunOn::Tmpfs,
            output: workspace_root().join("BENCHMARKS.md"),
        };
        let mut parser = lexopt::Parser::from_env();
        let mut task = None;
        while let Some(argument) = parser.next()? {
            match argument {
                Value(word) if task.is_none() => task = Some(word),
                Value(word) => {
                    let word = word.string()?;
                    options.sections.push(
                        Section::parse(&word).with_context(|| format!("no section {word:?}"))?,
                    );
                }
                Long("rounds") => options.rounds = parser.value()?.parse()?,
                Long("warm-up") => options.warm_up = parser.value()?.parse()?,
                Long("monitors") => options.monitors = parser.value()?.parse()?,
                Long("crowd") => options.crowd = parser.value()?.parse()?,
                Long("store") => options.store = parser.value()?.into(),
                Long("run-on") => {
                    options.run_on = match parser.value()?.string()?.as_str() {
                        "tmpfs" => RunOn::Tmpfs,
                        "disk" => RunOn::Disk,
                        other => bail!("--run-on is tmpfs or disk, not {other:?}"),
                    };
                }
                Long("output") => options.output = parser.value()?.into(),
                Short('h') | Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        options.task = match task {
            Some(task) if task == "run" => Task::Run,
            Some(task) if task == "runtime" => Task::Runtime,
            Some(task) if task != "help" => {
                bail!("there is no benchmark {}, only `run` and `runtime`", task.display())
            }
            _ => return Ok(None),
        };
        if options.rounds == 0 || options.monitors == 0 || options.crowd == 0 {
            bail!("--rounds, --monitors and --crowd are at least 1");
        }
        let known = options.task.sections();
        if let Some(other) = options.sections.iter().find(|section| !known.contains(section)) {
            bail!("the section {:?} is not one of this benchmark", other.title());
        }
        if options.sections.is_empty() {
            options.sections = known.to_vec();
        }
        Ok(Some(options))
    }
}

/// The workspace's root: this package's parent.
pub fn workspace_root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().map(PathBuf::from).unwrap_or(package)
}
