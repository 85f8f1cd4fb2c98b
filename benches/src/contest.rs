//! Contestants taking turns.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::processes::finish;
use crate::statistics::{Sample, Summary};

/// A program that takes part.
pub struct Contestant {
    /// What it is called in tables.
    pub name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

/// What an argument is replaced with so that no two runs have the same.
pub const UNIQUE: &str = "{unique}";

impl Contestant {
    /// A program with arguments, of which [`UNIQUE`] differs from run to run.
    pub fn new<A: Into<OsString>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// Sets variables.
    pub fn with_environment(mut self, variables: &[(OsString, OsString)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// Runs it once by the launcher.
    pub fn run(&self, launcher: &Path, unique: &str) -> anyhow::Result<Sample> {
        let arguments = self.arguments.iter().map(|argument| {
            if argument == UNIQUE { OsString::from(unique) } else { argument.clone() }
        });
        let finished = finish(
            Command::new(launcher)
                .arg("measure")
                .arg(&self.program)
                .args(arguments)
                .envs(self.environment.iter().map(|(name, value)| (name, value))),
        )?;
        let words = finished.stdout.split_ascii_whitespace();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let said = finished.stderr.trim();
        match numbers[..] {
            [wall, processor, peak, 0] => Ok(Sample {
                wall: Duration::from_nanos(wall),
                processor: Duration::from_nanos(processor),
                peak: peak * 1024,
            }),
            [_, _, _, code] => {
                bail!("{} ended with {code}: {said}", self.name)
            }
            _ => bail!("{} could not be measured ({}): {said}", self.name, finished.status),
        }
    }
}

/// What one contestant's runs come to.
pub fn found<'a>(
    results: &'a [(String, anyhow::Result<Summary>)],
    name: &str,
) -> Option<&'a Summary> {
    let result = results.iter().find(|(known, _)| known == name);
    result.and_then(|(_, result)| result.as_ref().ok())
}

/// Lets contestants take turns: `warm_up` rounds that do not count, then `rounds` that do, every
/// second one backwards. A contestant that fails is out, with the reason.
pub fn hold(
    contestants: &[Contestant],
    launcher: &Path,
    warm_up: usize,
    rounds: usize,
    unique: &str,
) -> Vec<(String, anyhow::Result<Summary>)> {
    let mut samples: Vec<anyhow::Result<Vec<Sample>>> =
        contestants.iter().map(|_| Ok(Vec::with_capacity(rounds))).collect();
    for round in 0..warm_up + rounds {
        let mut turns: Vec<_> = contestants.iter().zip(samples.iter_mut()).enumerate().collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (place, (contestant, samples)) in turns {
            let Ok(list) = samples else { continue };
            let unique = format!("{unique}-{place}-{round}");
            match contestant.run(launcher, &unique) {
                Ok(sample) if round >= warm_up => list.push(sample),
                Ok(_) => {}
                Err(error) => *samples = Err(error),
            }
        }
    }
    contestants
        .iter()
        .zip(samples)
        .map(|(contestant, samples)| {
            let summary = samples.and_then(|samples| {
                Summary::of(&samples).context("there was no round that counts")
            });
            (contestant.name.clone(), summary)
        })
        .collect()
}
