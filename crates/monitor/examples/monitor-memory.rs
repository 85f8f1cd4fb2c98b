//! Measures what monitors cost: `monitor-memory BINARY [COUNT]` starts COUNT containers, each with
//! a monitor of its own, and prints the monitors' memory in KiB. Needs root and busybox-static.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::path::Path;

use berth_monitor::client::{self, Connection, LaunchOptions, Lifetime};
use berth_monitor::protocol::{
    CgroupDriver, CleanupBy, CreateRequest, LogConfig, Request, RestartPolicy, RuntimeChoice,
    SlowClient, StdinMode, Target,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().ok_or("usage: monitor-memory BINARY [COUNT]")?;
    let count = arguments.next().map_or(Ok(50), |text| text.parse())?;
    let scratch = tempfile::Builder::new().prefix("berth-memory-").tempdir_in("/dev/shm")?;
    let rootfs = scratch.path().join("rootfs");
    for part in ["bin", "proc"] {
        std::fs::create_dir_all(rootfs.join(part))?;
    }
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
    let mut running = Vec::new();
    for number in 0..count {
        running.push(start(scratch.path(), Path::new(&binary), number)?);
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (mut pss, mut dirty, mut rss) = (0, 0, 0);
    for (connection, ..) in &running {
        let pid = connection.monitor_pid().unwrap_or_default();
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        pss += field(&text, "Pss:");
        dirty += field(&text, "Private_Dirty:");
        rss += field(&text, "Rss:");
    }
    let count = running.len() as u64;
    println!("monitors {count}");
    println!("mean Pss {} KiB", pss / count);
    println!("mean Private_Dirty {} KiB", dirty / count);
    println!("mean Rss {} KiB", rss / count);
    for (mut connection, id, directory) in running {
        connection.request(&Request::Signal { target: Target::container(id), signal: 9 })?;
        client::wait_until_gone(&directory, std::time::Duration::from_secs(10));
    }
    for number in 0..count {
        let runtime = berth_runtime::Runtime::new(scratch.path().join("runtime"));
        let id = berth_runtime::ContainerId::new(name(number))?;
        runtime.delete(&id, berth_runtime::DeleteMode::Force)?;
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("memory-{}-{number}", std::process::id())
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

type Running = (Connection, String, std::path::PathBuf);

fn start(scratch: &Path, binary: &Path, number: u64) -> Result<Running, Box<dyn Error>> {
    let id = name(number);
    let directory = scratch.join(&id);
    let bundle = directory.join("bundle");
    std::fs::create_dir_all(&bundle)?;
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "sleep", "1000"],
            "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": scratch.join("rootfs"), "readonly": true},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"cgroupsPath": format!("/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    });
    std::fs::write(bundle.join("config.json"), config.to_string())?;
    let mut connection = client::launch(&LaunchOptions {
        directory: directory.clone(),
        monitor: binary.to_owned(),
        cleanup_command: ["/bin/true", "container", "cleanup"].map(Into::into).to_vec(),
        runtime_root: scratch.join("runtime"),
        scope: None,
        lifetime: Lifetime::Containers,
    })?;
    connection.create(CreateRequest {
        id: id.clone(),
        bundle,
        runtime: RuntimeChoice::Builtin,
        cgroup_driver: CgroupDriver::Cgroupfs,
        log: LogConfig::Path { path: directory.join("log"), max_size: 0, max_files: 1 },
        terminal: false,
        stdin: StdinMode::Null,
        attach: None,
        slow: SlowClient::Wait,
        start: true,
        restart: RestartPolicy::No,
        cleanup: CleanupBy::Monitor,
        console_size: None,
        directory: directory.clone(),
    })?;
    Ok((connection, id, directory))
}
