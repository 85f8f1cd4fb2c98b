//! OCI runtimes: one container of the default bundle from `run` to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::contest::{self, Contestant, UNIQUE};
use crate::options::{Options, Section, Task};
use crate::places::{Places, installed};
use crate::processes::output;
use crate::report::{Chapter, mebibytes};
use crate::scratch::Scratch;

pub const FLOOR: &str = "floor";
const FLOOR_WITHOUT_CGROUPS: &str = "floor without cgroups";
pub const OURS: &str = "berth-runtime";
/// The programs that take part, ours first.
pub const RUNTIMES: [&str; 3] = [OURS, "runc", "crun"];

/// What the runtime may have at most.
const PEAK_AT_MOST: u64 = 2 << 20;
const SIZE_AT_MOST: u64 = 3 << 19;

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> anyhow::Result<Chapter> {
    let introduction = format!(
        "{} rounds in turns, forwards and backwards, after {} that do not count; all in one mount \
         namespace in which `unified/cgroup.controllers` is empty, or crun 1.8 would refuse a \
         hybrid machine. The floor makes the same container by plain system calls. Peak memory is \
         the largest resident size of one process.",
        options.rounds, options.warm_up
    );
    let mut chapter = Chapter::new(Section::Runtimes, introduction, Chapter::CONTEST);
    let bundle = make_bundle(places, scratch, "bundle", &["/bin/true"], None)?;
    let mut contestants = vec![floor(FLOOR, "run", places, &bundle)];
    if options.task == Task::Runtime {
        let task = "run-without-cgroups";
        contestants.push(floor(FLOOR_WITHOUT_CGROUPS, task, places, &bundle));
    }
    for (name, program) in programs(places, &mut chapter) {
        contestants.push(contestant(name, name, &program, &bundle, scratch));
    }
    let results = contest::hold(
        &contestants,
        &places.floor,
        options.warm_up,
        options.rounds,
        &scratch.unique(),
    );
    chapter.contest(&results);
    if options.task == Task::Run {
        chapter.ratio_bar("berth-runtime to crun", &results, OURS, "crun", 0.9);
        chapter.ratio_bar("berth-runtime to runc", &results, OURS, "runc", 0.3);
        return Ok(chapter);
    }
    chapter.ratio_bar("berth-runtime to crun", &results, OURS, "crun", 0.5);
    chapter.ratio_bar("berth-runtime to the floor", &results, OURS, FLOOR, 1.4);
    let ours = results.iter().find(|(name, _)| name == OURS);
    if let Some((_, Ok(summary))) = ours {
        let peak = summary.peak;
        chapter.bar("peak memory", mebibytes(PEAK_AT_MOST), mebibytes(peak), peak <= PEAK_AT_MOST);
    }
    if let Some(file) = places.ours(OURS).and_then(|path| path.metadata().ok()) {
        let size = file.len();
        chapter.bar("size", mebibytes(SIZE_AT_MOST), mebibytes(size), size <= SIZE_AT_MOST);
    }
    Ok(chapter)
}

/// The runtimes that are there; of the others a note says that they are not.
pub fn programs(places: &Places, chapter: &mut Chapter) -> Vec<(&'static str, PathBuf)> {
    let mut found = Vec::new();
    for name in RUNTIMES {
        let program = if name == OURS { places.ours(name) } else { installed(name) };
        match program {
            Some(program) => found.push((name, program)),
            None if name == OURS => chapter.note(format!("SKIPPED: {}", places.missing(name))),
            None => chapter.note(format!("SKIPPED: {name} is not installed")),
        }
    }
    found
}

/// The floor as one that takes part.
pub fn floor(name: &str, task: &str, places: &Places, bundle: &Path) -> Contestant {
    let command = [task.into(), bundle.as_os_str().to_owned(), UNIQUE.into(), "/bin/true".into()];
    Contestant::new(name, &places.floor, command)
}

/// `run` of a bundle by a runtime, whose state lies at a place named like it.
pub fn contestant(
    name: &str,
    runtime: &str,
    program: &Path,
    bundle: &Path,
    scratch: &Scratch,
) -> Contestant {
    let root = scratch.run(runtime);
    Contestant::new(
        name,
        program,
        ["--root".into(), root, "run".into(), "--bundle".into(), bundle.into(), UNIQUE.into()],
    )
}

/// The bundle that `spec` describes, with another command and no terminal.
pub fn make_bundle(
    places: &Places,
    scratch: &Scratch,
    name: &str,
    command: &[&str],
    seccomp: Option<Value>,
) -> anyhow::Result<PathBuf> {
    let bundle = scratch.store(name);
    let binaries = bundle.join("rootfs/bin");
    fs::create_dir_all(&binaries).context("make the bundle")?;
    // One program that does what its name says.
    for program in ["true", "pause", "calls"] {
        fs::copy(&places.floor, binaries.join(program)).context("copy a program")?;
    }
    let config = bundle.join("config.json");
    if config.exists() {
        fs::remove_file(&config).context("remove the last config.json")?;
    }
    let runtime = installed("runc")
        .or_else(|| places.ours(OURS))
        .context("neither runc nor berth-runtime is there to write the default bundle")?;
    output(Command::new(runtime).arg("spec").current_dir(&bundle))?;
    let text = fs::read_to_string(&config).context("read the default config.json")?;
    let mut value: Value = serde_json::from_str(&text).context("read the default config.json")?;
    let object = |value: &mut Value, key: &str| -> anyhow::Result<serde_json::Map<String, Value>> {
        let found = value.get_mut(key).and_then(Value::as_object_mut).map(std::mem::take);
        found.with_context(|| format!("the default config.json has no {key}"))
    };
    let mut process = object(&mut value, "process")?;
    process.insert("terminal".to_owned(), json!(false));
    process.insert("args".to_owned(), json!(command));
    let mut linux = object(&mut value, "linux")?;
    if let Some(profile) = seccomp {
        linux.insert("seccomp".to_owned(), profile);
    }
    let whole = value.as_object_mut().context("the default config.json is no object")?;
    whole.insert("process".to_owned(), process.into());
    whole.insert("linux".to_owned(), linux.into());
    fs::write(&config, value.to_string()).context("write config.json")?;
    Ok(bundle)
}
