//! Running helpers, finding processes, and reading what they occupy.

use std::fs;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::tempfile;

/// How long anything may take: what hangs must not hang the benchmark.
const LIMIT: Duration = Duration::from_mins(1);

/// A command that has ended.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end. What it prints goes to files rather than into pipes: a process that
/// stays behind, such as a container or its monitor, may keep them, and nobody waits for that.
pub fn finish(command: &mut Command) -> anyhow::Result<Finished> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut files = [tempfile()?, tempfile()?];
    let [stdout, stderr] = &files;
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("wait for {name}"))? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).with_context(|| format!("end {name}"))?;
            bail!("{name} did not end within {} seconds", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    let mut texts = Vec::with_capacity(2);
    for file in &mut files {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).context("read what it said")?;
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    let stderr = texts.pop().unwrap_or_default();
    Ok(Finished { status, stdout: texts.pop().unwrap_or_default(), stderr })
}

/// Runs a command to its end; gives what it printed.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let finished = finish(command)?;
    if !finished.status.success() {
        bail!("{name} failed ({}): {}", finished.status, finished.stderr.trim());
    }
    Ok(finished.stdout.trim().to_owned())
}

/// The ids of the processes that run `program` with an argument that contains `needle`.
pub fn find(program: &str, needle: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let entry = entry.context("list /proc")?;
        let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
        // A process may end at any time.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split('\0');
        let name = words.next().map(Path::new).and_then(Path::file_name);
        if name.is_some_and(|name| name == program) && words.any(|word| word.contains(needle)) {
            found.push(id);
        }
    }
    Ok(found)
}

/// What a process occupies, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Its share of all pages that it has mapped.
    pub proportional: u64,
    /// Pages of its own that it has written.
    pub private_dirty: u64,
    /// All pages that nobody else has.
    pub private: u64,
    /// All pages that it has mapped.
    pub resident: u64,
}

impl Memory {
    /// Reads `/proc/PID/smaps_rollup`.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_ascii_whitespace().next());
            number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        Self {
            proportional: field("Pss"),
            private_dirty: field("Private_Dirty"),
            private: field("Private_Dirty") + field("Private_Clean"),
            resident: field("Rss"),
        }
    }

    /// The mean of several; `None` of none.
    pub fn mean(of: &[Self]) -> Option<Self> {
        let count = u64::try_from(of.len()).ok().filter(|count| *count > 0)?;
        let mean = |key: fn(&Self) -> u64| of.iter().map(key).sum::<u64>() / count;
        Some(Self {
            proportional: mean(|memory| memory.proportional),
            private_dirty: mean(|memory| memory.private_dirty),
            private: mean(|memory| memory.private),
            resident: mean(|memory| memory.resident),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_text() {
        let text = "00400000-7fff ---p [rollup]\nRss:  8 kB\nPss:    3 kB\nPss_Dirty:  2 kB\n\
                    Private_Clean: 5 kB\nPrivate_Dirty:  1 kB\n";
        let memory = Memory::parse(text);
        assert_eq!((memory.resident, memory.proportional), (8192, 3072));
        assert_eq!((memory.private_dirty, memory.private), (1024, 6144));
        let mean = Memory::mean(&[memory, Memory::default()]).expect("of two");
        assert_eq!(mean.proportional, 1536);
        assert!(Memory::mean(&[]).is_none());
    }

    #[test]
    fn nobody_waits_for_what_a_command_leaves_behind() {
        let word = format!("85{}", std::process::id());
        let script = format!("sleep {word} & echo $!");
        let process = output(Command::new("sh").args(["-c", &script])).expect("sh is there");
        output(Command::new("kill").arg(&process)).expect("it still runs");
    }

    #[test]
    fn a_process_is_found_by_its_program_and_an_argument() {
        let word = format!("86{}", std::process::id());
        let mut child = Command::new("sleep").arg(&word).spawn().expect("sleep is there");
        // Between its exec and the kernel's account of it there is a moment.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut found = Vec::new();
        while found.is_empty() && std::time::Instant::now() < end {
            found = find("sleep", &word).expect("/proc is there");
        }
        let memory = Memory::of(child.id()).expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert_eq!(found, [child.id()]);
        assert!(memory.resident > 0);
    }
}
