//! Everything about a container, in the form that podman's and docker's users know.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::error::{FindError, QueryError};
use crate::list::{network_name, restart_name};
use crate::plan::{MountKind, RootSource};
use crate::records::ContainerRecord;
use crate::request::{
    LogDriver, NamespaceMode, NetworkMode, RestartPolicy, SecurityOption, StdinMode,
};
use crate::state::Observed;
use crate::view::ContainerStatus;

/// A time that never was, as docker writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Core {
    /// Everything about a container.
    pub(crate) fn inspect(&self, word: &str, with_size: bool) -> Result<Value, QueryError> {
        let record: ContainerRecord = self.find::<QueryError>(word)?;
        let gone = || FindError::NotFound(word.to_owned());
        let (record, observed) = self.settle(record)?.ok_or_else(gone)?;
        let run = self.paths.run(&record.id);
        let details = &record.details;
        let path = |name: &str| run.join(name).to_string_lossy().into_owned();
        let process = details.spec.process.clone().unwrap_or_default();
        let mut arguments = process.args.iter();
        let program = arguments.next().cloned().unwrap_or_default();
        let runtime =
            details.request.runtime.clone().unwrap_or_else(|| self.config.runtime.clone());
        let mut value = json!({
            "Id": record.id,
            "Created": record.created.to_string(),
            "Path": program,
            "Args": arguments.collect::<Vec<_>>(),
            "State": state(&observed),
            "Image": if record.image_id.is_empty() {
                String::new()
            } else {
                format!("sha256:{}", record.image_id)
            },
            "ImageName": record.image,
            "ImageDigest": details.image_digest,
            "Name": record.name,
            "RestartCount": observed.state.restarts,
            "Driver": match &details.root {
                RootSource::Layers { driver, .. } => driver.as_str(),
                RootSource::Directory(_) => "rootfs",
            },
            "Platform": "linux",
            "OCIRuntime": runtime,
            "OCIConfigPath": path("bundle/config.json"),
            "ResolvConfPath": path("resolv.conf"),
            "HostnamePath": path("hostname"),
            "HostsPath": path("hosts"),
            "StaticDir": self.paths.container(&record.id),
            "RunDir": run,
            "LogPath": log_path(self, &record),
            "BoundingCaps": process.capabilities.as_ref().map(|c| c.bounding.clone()),
            "EffectiveCaps": process.capabilities.as_ref().map(|c| c.effective.clone()),
            "GraphDriver": graph_driver(self, &record),
            "Mounts": mounts(&record),
            "Config": config(&record),
            "HostConfig": host_config(self, &record),
            "NetworkSettings": network(&record, &observed),
            "ExecIDs": [],
        });
        if with_size && let Some(object) = value.as_object_mut() {
            let size = self.size(&record);
            object.insert("SizeRw".to_owned(), json!(size.writable));
            object.insert("SizeRootFs".to_owned(), json!(size.total));
        }
        Ok(value)
    }
}

fn log_path(core: &Core, record: &ContainerRecord) -> String {
    match record.details.request.log.driver {
        LogDriver::None => String::new(),
        LogDriver::K8sFile => core.paths.log(&record.id).to_string_lossy().into_owned(),
    }
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

fn state(observed: &Observed) -> Value {
    let state = &observed.state;
    let paused = state.status == ContainerStatus::Paused;
    json!({
        "OciVersion": berth_spec::RUNTIME_SPEC_VERSION,
        "Status": state.status.as_str(),
        "Running": state.status.is_active(),
        "Paused": paused,
        "Restarting": state.status == ContainerStatus::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == ContainerStatus::Removing,
        "Pid": state.pid.unwrap_or(0),
        "ConmonPid": state.monitor_pid.unwrap_or(0),
        "MonitorPid": state.monitor_pid.unwrap_or(0),
        // -1 where it ended and nobody knows how.
        "ExitCode": match state.status {
            ContainerStatus::Exited => state.exit_code.unwrap_or(-1),
            _ => state.exit_code.unwrap_or(0),
        },
        "Error": state.error.clone().unwrap_or_default(),
        "StartedAt": time(state.started_at),
        "FinishedAt": time(state.finished_at),
    })
}

fn graph_driver(core: &Core, record: &ContainerRecord) -> Value {
    let directory = core.paths.container(&record.id);
    match &record.details.root {
        RootSource::Directory(path) => json!({ "Name": "rootfs", "Data": { "Path": path } }),
        RootSource::Layers { driver, layers } => {
            let lower: Vec<String> =
                layers.iter().map(|layer| layer.to_string_lossy().into_owned()).collect();
            json!({
                "Name": driver,
                "Data": {
                    "LowerDir": lower.join(":"),
                    "UpperDir": directory.join("upper"),
                    "WorkDir": directory.join("work"),
                },
            })
        }
    }
}

fn mounts(record: &ContainerRecord) -> Value {
    let mounts = record.details.mounts.iter().map(|mount| {
        let propagation = mount.options.iter().find(|option| {
            option.contains("private") || option.contains("shared") || option.contains("slave")
        });
        json!({
            "Type": mount.kind.as_str(),
            "Name": mount.name.clone().unwrap_or_default(),
            "Source": mount.source.clone().unwrap_or_default(),
            "Destination": mount.target,
            "Driver": if mount.kind == MountKind::Volume { "local" } else { "" },
            "Mode": "",
            "Options": mount.options,
            "RW": mount.is_writable(),
            "Propagation": propagation.cloned().unwrap_or_default(),
        })
    });
    Value::Array(mounts.collect())
}

fn config(record: &ContainerRecord) -> Value {
    let details = &record.details;
    let request = &details.request;
    let process = details.spec.process.clone().unwrap_or_default();
    let volumes: Map<String, Value> = details
        .mounts
        .iter()
        .filter(|mount| mount.anonymous)
        .map(|mount| (mount.target.to_string_lossy().into_owned(), json!({})))
        .collect();
    json!({
        "Hostname": details.spec.hostname.clone().unwrap_or_default(),
        "Domainname": details.spec.domainname.clone().unwrap_or_default(),
        "User": details.user,
        "AttachStdin": request.stdin == StdinMode::Once,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": request.tty,
        "OpenStdin": request.stdin != StdinMode::Null,
        "StdinOnce": request.stdin == StdinMode::Once,
        "Env": process.env,
        "Cmd": details.command,
        "Entrypoint": details.entrypoint,
        "Image": record.image,
        "Volumes": volumes,
        "WorkingDir": process.cwd,
        "Labels": details.labels,
        "Annotations": details.spec.annotations,
        "StopSignal": details.stop_signal.to_string(),
        "StopTimeout": details.stop_timeout,
        "Umask": process.user.umask.map(|mask| format!("{mask:04o}")),
        "Timezone": "local",
    })
}

fn mode(mode: &NamespaceMode) -> String {
    match mode {
        NamespaceMode::Private => "private".to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(name) => format!("container:{name}"),
        NamespaceMode::Path(path) => format!("ns:{}", path.display()),
    }
}

fn security(option: &SecurityOption) -> String {
    match option {
        SecurityOption::NoNewPrivileges(true) => "no-new-privileges".to_owned(),
        SecurityOption::NoNewPrivileges(false) => "no-new-privileges=false".to_owned(),
        SecurityOption::SeccompUnconfined => "seccomp=unconfined".to_owned(),
        SecurityOption::SeccompProfile(path) => format!("seccomp={}", path.display()),
        SecurityOption::Mask(paths) => format!("mask={}", paths.join(":")),
        SecurityOption::UnmaskAll => "unmask=ALL".to_owned(),
        SecurityOption::Unmask(paths) => format!("unmask={}", paths.join(":")),
        SecurityOption::Apparmor(profile) => format!("apparmor={profile}"),
        SecurityOption::Label(label) => format!("label={label}"),
        SecurityOption::ProcOptions(options) => format!("proc-opts={}", options.join(",")),
    }
}

fn host_config(core: &Core, record: &ContainerRecord) -> Value {
    let details = &record.details;
    let request = &details.request;
    let resources = &request.resources;
    let linux = details.spec.linux.clone().unwrap_or_default();
    let limits = linux.resources.clone().unwrap_or_default();
    let memory = limits.memory.unwrap_or_default();
    let cpu = limits.cpu.unwrap_or_default();
    let binds: Vec<String> = details
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Bind | MountKind::Volume))
        .map(|mount| {
            let source = mount.name.clone().unwrap_or_else(|| {
                mount.source.as_deref().unwrap_or(Path::new("")).to_string_lossy().into_owned()
            });
            format!("{source}:{}:{}", mount.target.display(), mount.options.join(","))
        })
        .collect();
    let tmpfs: Map<String, Value> = details
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Tmpfs)
        .map(|m| (m.target.to_string_lossy().into_owned(), json!(m.options.join(","))))
        .collect();
    let maximum = match request.restart {
        RestartPolicy::OnFailure { max } => max.unwrap_or(0),
        _ => 0,
    };
    let value = json!({
        "Binds": binds,
        "CgroupManager": match core.config.cgroup_manager {
            crate::config::CgroupManager::Cgroupfs => "cgroupfs",
            crate::config::CgroupManager::Systemd => "systemd",
        },
        "CgroupMode": mode(&request.cgroupns),
        "CgroupParent": request.cgroup_parent.clone().unwrap_or_default(),
        "CgroupPath": linux.cgroups_path.clone().unwrap_or_default(),
        "LogConfig": {
            "Type": match request.log.driver {
                LogDriver::K8sFile => "k8s-file",
                LogDriver::None => "none",
            },
            "Path": log_path(core, record),
            "Config": { "max-size": request.log.max_size, "max-file": request.log.max_files },
        },
        "NetworkMode": network_name(record),
        "RestartPolicy": {
            "Name": restart_name(request.restart),
            "MaximumRetryCount": maximum,
        },
        "AutoRemove": record.remove,
        "CapAdd": request.cap_add,
        "CapDrop": request.cap_drop,
        "Dns": request.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "DnsOptions": request.dns_options,
        "DnsSearch": request.dns_search,
        "GroupAdd": request.group_add,
        "Init": request.init,
        "IpcMode": mode(&request.ipc),
        "PidMode": mode(&request.pid),
        "UTSMode": mode(&request.uts),
        "UsernsMode": mode(&request.userns),
        "OomScoreAdj": request.oom_score_adj.unwrap_or(0),
        "Privileged": request.privileged,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": request.security.iter().map(security).collect::<Vec<_>>(),
        "ShmSize": request.shm_size.unwrap_or(65_536_000),
        "Sysctls": request.sysctls,
        "Tmpfs": tmpfs,
        "Ulimits": request.ulimits.iter().map(|limit| json!({
            "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard,
        })).collect::<Vec<_>>(),
        "Devices": request.devices.iter().map(|device| json!({
            "PathOnHost": device.host,
            "PathInContainer": device.container,
            "CgroupPermissions": device.permissions,
        })).collect::<Vec<_>>(),
    });
    let limits = json!({
        "Memory": memory.limit.unwrap_or(0),
        "MemoryReservation": memory.reservation.unwrap_or(0),
        "MemorySwap": memory.swap.unwrap_or(0),
        "MemorySwappiness": memory.swappiness.map_or(-1, |value| value as i64),
        "OomKillDisable": resources.oom_kill_disable,
        "NanoCpus": resources.nano_cpus.unwrap_or(0),
        "CpuShares": cpu.shares.unwrap_or(0),
        "CpuPeriod": cpu.period.unwrap_or(0),
        "CpuQuota": cpu.quota.unwrap_or(0),
        "CpuRealtimePeriod": cpu.realtime_period.unwrap_or(0),
        "CpuRealtimeRuntime": cpu.realtime_runtime.unwrap_or(0),
        "CpusetCpus": cpu.cpus.unwrap_or_default(),
        "CpusetMems": cpu.mems.unwrap_or_default(),
        "PidsLimit": limits.pids.and_then(|pids| pids.limit).unwrap_or(0),
        "BlkioWeight": resources.blkio_weight.unwrap_or(0),
    });
    merge(value, limits)
}

/// One object of two.
fn merge(mut one: Value, two: Value) -> Value {
    if let (Some(into), Value::Object(from)) = (one.as_object_mut(), two) {
        into.extend(from);
    }
    one
}

fn network(record: &ContainerRecord, observed: &Observed) -> Value {
    let key = match &record.details.request.network {
        Some(NetworkMode::Path(path)) => path.to_string_lossy().into_owned(),
        _ => observed.state.pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
    };
    json!({
        "SandboxKey": key,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "Gateway": "",
        "MacAddress": "",
        "Ports": {},
        "Networks": { network_name(record): {
            "IPAddress": "", "Gateway": "", "MacAddress": "", "Aliases": [],
        } },
    })
}
