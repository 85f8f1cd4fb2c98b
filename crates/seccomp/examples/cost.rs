//! What a filter costs: reading the profile, compiling it, encoding and decoding it, installing it.
//!
//! `cargo run --release -p berth-seccomp --example cost [ROUNDS]` prints medians in microseconds, of
//! the default profile. Installing is measured in a thread each, so that filters do not pile up.
#![expect(clippy::print_stdout, reason = "it is a program for a person")]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Instant;

use berth_seccomp::{Filter, compile, default_profile};
use berth_spec::runtime::LinuxSeccomp;

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1000);
    let text = serde_json::to_string(&default_profile(&BTreeSet::new()))?;
    let profile: LinuxSeccomp = serde_json::from_str(&text)?;
    let filter = compile(&profile)?;
    let bytes = filter.to_bytes();
    println!("{} bytes of text, {} instructions", text.len(), filter.instructions().len());
    median("read", rounds, || serde_json::from_str::<LinuxSeccomp>(&text).is_ok());
    median("compile", rounds, || compile(&profile).is_ok());
    median("encode", rounds, || filter.to_bytes().len() == bytes.len());
    median("decode", rounds, || Filter::from_bytes(&bytes).is_ok());
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let filter = filter.clone();
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            filter.install().map(|_| start.elapsed().as_secs_f64() * 1e6)
        });
        times.push(thread.join().map_err(|_| "a thread panicked")??);
    }
    print("install", &mut times);
    Ok(())
}

fn median(name: &str, rounds: usize, mut step: impl FnMut() -> bool) {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        assert!(std::hint::black_box(step()), "{name}");
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    print(name, &mut times);
}

fn print(name: &str, times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    if let (Some(least), Some(middle)) = (times.first(), times.get(times.len() / 2)) {
        println!("{name:8} {middle:7.1} µs, least {least:.1}");
    }
}
