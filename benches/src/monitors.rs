//! Monitors: what the process occupies that stays beside a running container.

use std::time::Duration;

use anyhow::Context as _;

use crate::options::{Options, Section};
use crate::peers::{Berth, Containerd, Podman, wait_for};
use crate::places::Places;
use crate::processes::{self, Memory, output};
use crate::report::{Chapter, kibibytes};
use crate::scratch::Scratch;

const SLEEP: &[&str] = &["sleep", "3600"];
/// Time for a monitor to come to rest.
const SETTLE: Duration = Duration::from_millis(500);

const MEAN_AT_MOST: u64 = 300 * 1024;
const SINGLE_AT_MOST: u64 = 400 * 1024;

/// One engine's monitors.
struct Fleet {
    /// The one of a first container alone.
    single: Memory,
    /// The mean of all.
    mean: Memory,
    count: usize,
}

/// Starts one container, looks, starts the others, and looks again.
fn measure(
    count: usize,
    what: &str,
    start: impl Fn(usize) -> anyhow::Result<()>,
    find: impl Fn() -> anyhow::Result<Vec<u32>>,
) -> anyhow::Result<Fleet> {
    start(0)?;
    let only = wait_for(1, what, &find)?;
    std::thread::sleep(SETTLE);
    let single = Memory::of(*only.first().context("there is one")?)?;
    for number in 1..count {
        start(number)?;
    }
    let all = wait_for(count, what, &find)?;
    std::thread::sleep(SETTLE);
    let memories = all.into_iter().map(Memory::of).collect::<anyhow::Result<Vec<_>>>()?;
    let mean = Memory::mean(&memories).context("there is one")?;
    Ok(Fleet { single, mean, count })
}

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> Chapter {
    let peers = options.monitors.div_ceil(5);
    let introduction = "From `smaps_rollup` of each process. PSS counts a page that several \
                        processes share in parts; private dirty is what only this process has \
                        written.";
    let header = &[
        "",
        "Containers",
        "Mean PSS",
        "Mean private dirty",
        "Mean RSS",
        "One alone: \
                                                                                  PSS",
        "One alone: private dirty",
    ];
    let mut chapter = Chapter::new(Section::Monitors, introduction, header);
    let ours = berth(options.monitors, places, scratch);
    if let Ok(fleet) = &ours {
        let mean = fleet.mean.proportional;
        let what = format!("mean PSS of berth-monitor at {}", fleet.count);
        chapter.bar(&what, kibibytes(MEAN_AT_MOST), kibibytes(mean), mean <= MEAN_AT_MOST);
        let single = fleet.single.private_dirty;
        let what = "private dirty memory of a single berth-monitor";
        chapter.bar(what, kibibytes(SINGLE_AT_MOST), kibibytes(single), single <= SINGLE_AT_MOST);
    }
    for (name, fleet) in [
        ("berth-monitor", ours),
        ("conmon", conmon(peers, scratch)),
        ("containerd-shim-runc-v2", shim(peers, scratch)),
    ] {
        match fleet {
            Ok(fleet) => chapter.row([
                name.to_owned(),
                fleet.count.to_string(),
                kibibytes(fleet.mean.proportional),
                kibibytes(fleet.mean.private_dirty),
                kibibytes(fleet.mean.resident),
                kibibytes(fleet.single.proportional),
                kibibytes(fleet.single.private_dirty),
            ]),
            Err(error) => chapter.note(format!("SKIPPED: {name}: {error:#}")),
        }
    }
    chapter
}

fn berth(count: usize, places: &Places, scratch: &Scratch) -> anyhow::Result<Fleet> {
    let berth = Berth::set_up(places, scratch)?;
    let needle = scratch.run("berth").to_string_lossy().into_owned();
    let names: Vec<String> =
        (0..count).map(|number| format!("{}-{number}", scratch.unique())).collect();
    let fleet = measure(
        count,
        "berth-monitor",
        |number| {
            let name = names.get(number).context("a container has a name")?;
            let options = ["run", "--detach", "--network", "none", "--name", name, "demo"];
            output(berth.command(&options).args(SLEEP)).map(|_| ())
        },
        || processes::find("berth-monitor", &needle),
    );
    let removed = output(berth.command(&["rm", "--force"]).args(&names));
    let fleet = fleet?;
    removed.context("remove berth's containers")?;
    wait_for(0, "berth-monitor", || processes::find("berth-monitor", &needle))?;
    Ok(fleet)
}

fn conmon(count: usize, scratch: &Scratch) -> anyhow::Result<Fleet> {
    let podman = Podman::set_up(scratch, "crun").or_else(|_| Podman::set_up(scratch, "runc"))?;
    let needle = scratch.run("podman").to_string_lossy().into_owned();
    measure(count, "conmon", |_| podman.start(SLEEP), || processes::find("conmon", &needle))
}

fn shim(count: usize, scratch: &Scratch) -> anyhow::Result<Fleet> {
    let containerd = Containerd::set_up(scratch)?;
    measure(
        count,
        "containerd-shim-runc-v2",
        |number| containerd.start(&format!("{}-{number}", scratch.unique()), SLEEP),
        || containerd.shims(),
    )
}
