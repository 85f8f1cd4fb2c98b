//! OCI runtimes with the default seccomp profile: what it adds, and what filtered calls cost.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;

use crate::contest::{self, found};
use crate::lifecycle::Runtime;
use crate::options::{Options, Section};
use crate::places::Places;
use crate::processes::output;
use crate::report::Chapter;
use crate::runtimes::{OURS, contestant, make_bundle, programs};
use crate::scratch::Scratch;

/// What the profile may add, in milliseconds.
const AT_MOST: f64 = 0.2;

/// The capabilities of the default bundle.
const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// The calls whose cost is measured, in the order in which `calls` prints them.
const CALLS: [&str; 2] = ["getpid", "personality"];

pub fn run(options: &Options, places: &Places, scratch: &Scratch) -> anyhow::Result<Chapter> {
    let introduction = format!(
        "{} rounds in turns after {} that do not count, with and without the profile that lets \
         pass what Docker's lets pass; crun keeps compiled filters in a cache.",
        options.rounds, options.warm_up
    );
    let mut chapter = Chapter::new(Section::Seccomp, introduction, Chapter::CONTEST);
    let capabilities: BTreeSet<String> = CAPABILITIES.map(str::to_owned).into();
    let profile = serde_json::to_value(berth_seccomp::default_profile(&capabilities))
        .context("write the default profile")?;
    let plain = make_bundle(places, scratch, "bundle", &["/bin/true"], None)?;
    let with = Some(profile.clone());
    let filtered = make_bundle(places, scratch, "bundle-filtered", &["/bin/true"], with)?;
    let programs = programs(places, &mut chapter);
    let mut contestants = Vec::new();
    for (name, program) in &programs {
        contestants.push(contestant(name, name, program, &plain, scratch));
        let with = format!("{name}, filtered");
        contestants.push(contestant(&with, name, program, &filtered, scratch));
    }
    let results = contest::hold(
        &contestants,
        &places.floor,
        options.warm_up,
        options.rounds,
        &scratch.unique(),
    );
    chapter.contest(&results);
    for (name, _) in &programs {
        let Some((without, with)) =
            found(&results, name).zip(found(&results, &format!("{name}, filtered")))
        else {
            continue;
        };
        let added = (with.median.as_secs_f64() - without.median.as_secs_f64()) * 1e3;
        if *name == OURS {
            let what = "what the profile adds to berth-runtime";
            chapter.bar(
                what,
                format!("{AT_MOST:.2} ms"),
                format!("{added:.2} ms"),
                added <= AT_MOST,
            );
        } else {
            chapter.note(format!("the profile adds {added:.2} ms to {name}"));
        }
    }
    let mut costs = Vec::new();
    for (name, profile) in [("unfiltered", None), ("filtered", Some(profile))] {
        let bundle = make_bundle(places, scratch, "bundle-calls", &["/bin/calls"], profile)?;
        for (runtime, program) in &programs {
            let runtime = Runtime::new(runtime, program.clone(), scratch);
            match calls(&runtime, &bundle, &scratch.unique()) {
                Ok(cost) => costs.push((format!("{name} by {}", runtime.name), cost)),
                Err(error) => chapter.note(format!("{} failed: {error:#}", runtime.name)),
            }
        }
    }
    for (name, cost) in costs {
        let [plain, conditional] = CALLS;
        let [first, second] = cost;
        chapter.note(format!(
            "a call {name}: {first:.0} ns ({plain}, which the kernel knows to pass), {second:.0} ns \
             ({conditional}, whose argument is looked at)"
        ));
    }
    Ok(chapter)
}

/// What calls cost in a container, in nanoseconds: the least of five times.
fn calls(runtime: &Runtime, bundle: &Path, unique: &str) -> anyhow::Result<[f64; 2]> {
    let mut least = [f64::INFINITY; 2];
    for round in 0..5 {
        let id = format!("{unique}-calls-{round}");
        let bundle = bundle.to_string_lossy();
        let text = output(&mut runtime.command(&["run", "--bundle", &bundle, &id]))?;
        for (least, word) in least.iter_mut().zip(text.split_ascii_whitespace()) {
            *least = least.min(word.parse().context("read what calls cost")?);
        }
    }
    Ok(least)
}
