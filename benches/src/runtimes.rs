//! OCI runtimes: one container of the default bundle from `run` to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::contest::{self, Contestant, UNIQUE};
use crate::options::{Options, Section};
use crate::places::{Places, installed};
use crate::processes::output;
use crate::report::Chapter;
use crate::scratch::Scratch;

const FLOOR: &str = "floor";
const OURS: &str = "berth-runtime";

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> anyhow::Result<Chapter> {
    let introduction = format!(
        "{} rounds in turns, forwards and backwards, after {} that do not count; all in one mount \
         namespace in which `unified/cgroup.controllers` is empty, or crun 1.8 would refuse a \
         hybrid machine. The floor makes the same container by plain system calls. Peak memory is \
         the largest resident size of one process.",
        options.rounds, options.warm_up
    );
    let mut chapter = Chapter::new(Section::Runtimes, introduction, Chapter::CONTEST);
    let bundle = make_bundle(places, scratch)?;

    let mut contestants = vec![Contestant::new(
        FLOOR,
        &places.floor,
        ["run".into(), bundle.clone(), UNIQUE.into(), "/bin/true".into()],
    )];
    for name in [OURS, "runc", "crun"] {
        let program = if name == OURS { places.ours(name) } else { installed(name) };
        match program {
            Some(program) => contestants.push(contestant(name, &program, &bundle, scratch)),
            None if name == OURS => chapter.note(format!("SKIPPED: {}", places.missing(name))),
            None => chapter.note(format!("SKIPPED: {name} is not installed")),
        }
    }
    let results = contest::hold(
        &contestants,
        &places.floor,
        options.warm_up,
        options.rounds,
        &scratch.unique(),
    );
    chapter.contest(&results);
    chapter.ratio_bar("berth-runtime to crun", &results, OURS, "crun", 0.9);
    chapter.ratio_bar("berth-runtime to runc", &results, OURS, "runc", 0.3);
    Ok(chapter)
}

fn contestant(name: &str, program: &Path, bundle: &Path, scratch: &Scratch) -> Contestant {
    let root = scratch.run(name);
    Contestant::new(
        name,
        program,
        ["--root".into(), root, "run".into(), "--bundle".into(), bundle.into(), UNIQUE.into()],
    )
}

/// The bundle that `spec` describes, with `true` as the command and no terminal.
fn make_bundle(places: &Places, scratch: &Scratch) -> anyhow::Result<PathBuf> {
    let bundle = scratch.store("bundle");
    let binaries = bundle.join("rootfs/bin");
    fs::create_dir_all(&binaries).context("make the bundle")?;
    fs::copy(&places.floor, binaries.join("true")).context("copy `true` into the bundle")?;

    let runtime = installed("runc")
        .or_else(|| places.ours(OURS))
        .context("neither runc nor berth-runtime is there to write the default bundle")?;
    output(Command::new(runtime).arg("spec").current_dir(&bundle))?;
    let config = bundle.join("config.json");
    let text = fs::read_to_string(&config).context("read the default config.json")?;
    let mut value: Value = serde_json::from_str(&text).context("read the default config.json")?;
    let process = value
        .get_mut("process")
        .and_then(Value::as_object_mut)
        .context("the default config.json has no process")?;
    process.insert("terminal".to_owned(), json!(false));
    process.insert("args".to_owned(), json!(["/bin/true"]));
    fs::write(&config, value.to_string()).context("write config.json")?;
    Ok(bundle)
}
