//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

pub const USAGE: &str = "\
berth-bench run [SECTION…] [OPTIONS]

Sections (all of them when none is named):
  runtimes      the OCI runtimes run `true` in the default bundle
  containers    the engines run `true` in a container of the embedded image
  monitors      memory of the processes that stay beside running containers
  sizes         sizes of the programs

Options:
  --rounds N      rounds of the runtimes (default 100); of the engines a quarter
  --warm-up N     rounds that do not count (default 5)
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
    Containers,
    Monitors,
    Sizes,
}

impl Section {
    pub const ALL: &[Self] = &[Self::Runtimes, Self::Containers, Self::Monitors, Self::Sizes];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Runtimes => "OCI runtimes: `run` of `true` in the default bundle",
            Self::Containers => "Engines: `run --rm --network none IMAGE true`",
            Self::Monitors => "Monitors: memory beside a running container",
            Self::Sizes => "Programs: size on disk",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "runtimes" => Some(Self::Runtimes),
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
    pub sections: Vec<Section>,
    pub rounds: usize,
    pub warm_up: usize,
    pub monitors: usize,
    pub store: PathBuf,
    pub run_on: RunOn,
    pub output: PathBuf,
}

impl Options {
    /// Reads the command line; `None` asks for the usage.
    pub fn parse() -> anyhow::Result<Option<Self>> {
        use lexopt::prelude::*;

        let mut options = Self {
            sections: Vec::new(),
            rounds: 100,
            warm_up: 5,
            monitors: 50,
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
        match task {
            Some(task) if task == "run" => {}
            Some(task) if task != "help" => {
                bail!("there is no benchmark {}, only `run`", task.display())
            }
            _ => return Ok(None),
        }
        if options.rounds == 0 || options.monitors == 0 {
            bail!("--rounds and --monitors are at least 1");
        }
        if options.sections.is_empty() {
            options.sections = Section::ALL.to_vec();
        }
        Ok(Some(options))
    }
}

/// The workspace's root: this package's parent.
pub fn workspace_root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().map(PathBuf::from).unwrap_or(package)
}
