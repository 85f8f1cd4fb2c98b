//! Engines: a container of an image, from the command to its end, with everything removed.

use crate::contest;
use crate::options::{Options, Section};
use crate::peers::{Berth, Podman};
use crate::places::Places;
use crate::report::Chapter;
use crate::scratch::Scratch;

const OURS: &str = "berth";
const THEIRS: &str = "podman with crun";
const THEIRS_WITH_RUNC: &str = "podman with runc";

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> Chapter {
    let rounds = options.rounds.div_ceil(4);
    let introduction = format!(
        "{rounds} rounds in turns after {} that do not count. Both engines have the embedded image \
         in a store of their own, side by side. podman gets limits that it may set and \
         `--cgroup-manager cgroupfs`; peak memory and processor time leave out what has become a \
         daemon by then.",
        options.warm_up
    );
    let mut chapter = Chapter::new(Section::Containers, introduction, Chapter::CONTEST);
    let mut contestants = Vec::new();
    match Berth::set_up(places, scratch) {
        Ok(berth) => contestants.push(berth.contestant(OURS)),
        Err(error) => chapter.note(format!("SKIPPED: {OURS}: {error:#}")),
    }
    let mut podmans = Vec::new();
    for (name, runtime) in [(THEIRS, "crun"), (THEIRS_WITH_RUNC, "runc")] {
        match Podman::set_up(scratch, runtime) {
            Ok(podman) => {
                contestants.push(podman.contestant(name));
                podmans.push(podman);
            }
            Err(error) => chapter.note(format!("SKIPPED: {name}: {error:#}")),
        }
    }
    let results =
        contest::hold(&contestants, &places.floor, options.warm_up, rounds, &scratch.unique());
    chapter.contest(&results);
    chapter.ratio_bar("berth to podman with crun", &results, OURS, THEIRS, 0.12);
    chapter.ratio_bar("berth to podman with runc", &results, OURS, THEIRS_WITH_RUNC, 0.12);
    chapter
}
