//! What a control group costs: create, limit, join, remove, as a container's start and end do it.
//!
//! `cargo run --release -p berth-cgroup --example cost [ROUNDS]` prints medians in microseconds.
//! It needs root, and makes and removes groups named `berth-test-PID-cost`.
#![expect(clippy::print_stdout, reason = "it is a program for a person")]
#![expect(clippy::print_stderr, reason = "it is a program for a person")]

use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Instant;

use berth_cgroup::{Cgroup, Driver, Hierarchies, Joiner, UnifiedJoin};
use berth_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources};

const STEPS: [&str; 7] = ["detect", "create", "apply", "joiner", "clone", "join", "remove"];

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    if !rustix::process::geteuid().is_root() {
        eprintln!("needs root");
        return Ok(());
    }
    let resources = typical();
    let parent = PathBuf::from(format!("/berth-test-{}-cost", std::process::id()));
    // The usual shape: all containers below one group, which stays.
    let path = parent.join("container");
    let mut times: [Vec<f64>; STEPS.len()] = Default::default();
    for _ in 0..rounds {
        for (step, time) in times.iter_mut().zip(round(&path, &resources)?) {
            step.push(time);
        }
    }
    for mount in Hierarchies::detect()?.mounts() {
        std::fs::remove_dir(mount.mount_point.join(parent.strip_prefix("/")?))?;
    }
    let mut sum = 0.0;
    for (name, step) in STEPS.iter().zip(&mut times) {
        step.sort_by(f64::total_cmp);
        let median = step.get(step.len() / 2).copied().unwrap_or(0.0);
        sum += median;
        println!("{name:8} {median:8.1} µs");
    }
    println!("{:8} {sum:8.1} µs", "all");
    Ok(())
}

/// The limits that an engine gives every container.
fn typical() -> LinuxResources {
    let deny = LinuxDeviceCgroup { access: Some("rwm".to_owned()), ..LinuxDeviceCgroup::default() };
    LinuxResources {
        devices: vec![deny],
        memory: Some(LinuxMemory { limit: Some(1 << 28), ..LinuxMemory::default() }),
        cpu: Some(LinuxCpu { shares: Some(512), ..LinuxCpu::default() }),
        pids: Some(LinuxPids { limit: Some(2048) }),
        ..LinuxResources::default()
    }
}

fn round(
    path: &std::path::Path,
    resources: &LinuxResources,
) -> Result<[f64; STEPS.len()], Box<dyn Error>> {
    let mut clock = Instant::now();
    let mut lap = || {
        let time = clock.elapsed().as_secs_f64() * 1e6;
        clock = Instant::now();
        time
    };
    let hierarchies = Hierarchies::detect()?;
    let detect = lap();
    let cgroup = Cgroup::create(&hierarchies, path, Driver::Cgroupfs, None)?;
    let create = lap();
    cgroup.apply(resources)?;
    let apply = lap();
    let joiner = cgroup.joiner(UnifiedJoin::ByClone)?;
    let open = lap();
    let (clone, join) = child(&cgroup, &joiner)?;
    lap();
    cgroup.remove()?;
    Ok([detect, create, apply, open, clone, join, lap()])
}

/// A child that joins and tells how long its parent took to clone it, and it to join.
fn child(cgroup: &Cgroup, joiner: &Joiner) -> Result<(f64, f64), Box<dyn Error>> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let (mut reader, mut writer) = std::io::pipe()?;
    let mut arguments = [0_u64; 11];
    if let ([flags, ..], Some(directory)) = (&mut arguments[..], cgroup.directory()) {
        *flags = INTO_CGROUP;
        arguments[10] = directory.as_raw_fd() as u64;
    }
    arguments[4] = libc::SIGCHLD as u64;
    let begin = Instant::now();
    // SAFETY: without CLONE_VM this is fork(2) in a process of one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), 88_usize) };
    if pid == 0 {
        let clone = begin.elapsed().as_secs_f64() * 1e6;
        let begin = Instant::now();
        let joined = joiner.join();
        let join = begin.elapsed().as_secs_f64() * 1e6;
        if let Err(error) = joined {
            eprintln!("{}", joiner.explain(error));
        }
        let _ = writer.write_all(&[clone.to_le_bytes(), join.to_le_bytes()].concat());
        // SAFETY: ends the child without running what the parent has yet to run.
        unsafe { libc::_exit(0) };
    }
    if pid < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    drop(writer);
    let mut bytes = [0_u8; 16];
    reader.read_exact(&mut bytes)?;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), 0) };
    let (a, b) = bytes.split_at(8);
    Ok((f64::from_le_bytes(a.try_into()?), f64::from_le_bytes(b.try_into()?)))
}
