//! A control group of a test's own, with its processes, which both go away with the test.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use berth_cgroup::{Cgroup, Driver, Hierarchies, Layout, UnifiedJoin};
use berth_spec::runtime::LinuxResources;
use rustix::process::Signal;

/// A group that goes away with the test, and the processes that the test put into it.
pub struct Group {
    pub cgroup: Cgroup,
    pub children: Vec<Child>,
}

impl Group {
    pub fn new(wanted: Machine, name: &str) -> Option<Self> {
        let h = machine(wanted)?;
        let cgroup = Cgroup::create(&h, &path(name), Driver::Cgroupfs, None).expect("created");
        Some(Self { cgroup, children: Vec::new() })
    }

    /// Starts a shell command inside.
    pub fn run(&mut self, script: &str) -> i32 {
        let joiner = self.cgroup.joiner(UnifiedJoin::ByFile).expect("a joiner");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        // SAFETY: `join` only writes to open files: async-signal-safe.
        unsafe { command.pre_exec(move || joiner.join().map_err(|e| e.errno.into())) };
        let child = command.spawn().expect("spawned");
        let pid = child.id().cast_signed();
        self.children.push(child);
        pid
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.children.pop().expect("a child").wait().expect("waited")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all(Signal::KILL);
        for child in &mut self.children {
            let _ = child.wait();
        }
        let removed = self.cgroup.remove();
        if !std::thread::panicking() {
            removed.expect("removed");
        }
    }
}

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("/berth-test-{}-{name}", std::process::id()))
}

/// Which kind of machine a test is for.
#[derive(Clone, Copy, PartialEq)]
pub enum Machine {
    /// Version 1 controllers, with version 2 beside them or not.
    V1,
    /// Version 2 alone.
    V2,
}

/// Its hierarchies, when this machine is of that kind and the test runs as root.
pub fn machine(wanted: Machine) -> Option<Hierarchies> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return None;
    }
    match Hierarchies::detect() {
        Ok(h) if (h.layout() == Layout::V2) == (wanted == Machine::V2) => Some(h),
        Ok(h) => {
            eprintln!("SKIPPED: the layout of this machine is {:?}", h.layout());
            None
        }
        Err(e) => {
            eprintln!("SKIPPED: {e}");
            None
        }
    }
}

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{what} within ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn resources(value: serde_json::Value) -> LinuxResources {
    serde_json::from_value(value).expect("resources")
}
