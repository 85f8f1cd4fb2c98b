//! What there is: versions, paths, the machine.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::CgroupManager;
use crate::core::Core;
use crate::error::{ImageError, QueryError};
use crate::filter::ListFilter;
use crate::view::Info;

impl Core {
    pub(crate) fn info(&self) -> Result<Info, QueryError> {
        let list = self.list(&ListFilter { all: true, ..ListFilter::default() })?;
        let mut containers = BTreeMap::new();
        for container in &list {
            *containers.entry(container.state.status.as_str().to_owned()).or_insert(0) += 1;
        }
        let images = self.images.images().map_err(ImageError::new("*"))?.len() as u64;
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let layout = berth_cgroup::Hierarchies::detect().map_or("none", |hierarchies| {
            match hierarchies.layout() {
                berth_cgroup::Layout::V1 => "v1",
                berth_cgroup::Layout::V2 => "v2",
                berth_cgroup::Layout::Hybrid => "hybrid",
            }
        });
        let mut security = vec!["seccomp".to_owned()];
        if Path::new("/sys/module/apparmor").exists() {
            security.push("apparmor".to_owned());
        }
        if Path::new("/sys/fs/selinux/enforce").exists() {
            security.push("selinux".to_owned());
        }
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            root: self.paths.root.clone(),
            runroot: self.paths.runroot.clone(),
            containers,
            images,
            kernel: text(system.release()),
            architecture: text(system.machine()),
            operating_system: operating_system(),
            hostname: text(system.nodename()),
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            memory: crate::stats::host_memory(),
            cgroup_layout: layout.to_owned(),
            cgroup_manager: match self.config.cgroup_manager {
                CgroupManager::Cgroupfs => "cgroupfs",
                CgroupManager::Systemd => "systemd",
            }
            .to_owned(),
            snapshot_driver: "overlay".to_owned(),
            runtime: self.config.runtime.clone(),
            runtimes: self.runtimes(),
            monitor: self.monitor_program().ok().cloned(),
            security,
            rootless: false,
        })
    }
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}
