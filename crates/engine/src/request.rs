//! What a caller asks for: the options of `run`, `create` and `exec` in podman's terms.
//!
//! Front ends fill these structures and nothing else; every type that a person writes on a command
//! line has a [`FromStr`](std::str::FromStr) in [`crate::parse`] with podman's syntax, so that the
//! command line, the Docker API and tests read the same words in the same way. The structures are
//! saved with the container's record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::signal::Signal;

/// Everything that `create` and `run` can be asked. [`ContainerRequest::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRequest {
    /// What the container is made of.
    pub image: ImageSource,
    /// `--name`; generated when absent.
    pub name: Option<String>,
    /// `--replace`: a container of that name is removed first (stopped and all).
    pub replace: bool,
    /// The arguments after the image.
    pub command: Vec<String>,
    /// `--entrypoint`: `Some` of an empty list clears the image's (and its command with it).
    pub entrypoint: Option<Entrypoint>,
    /// `--env`, `--env-file`, `--env-host`, resolved by [`crate::parse::environment`] in the front
    /// end, which alone knows the caller's environment; later ones win.
    pub env: Vec<(String, String)>,
    /// `--unsetenv`: names to take out of the image's environment.
    pub unset_env: BTreeSet<String>,
    /// `--unsetenv-all`: nothing of the image's environment is taken.
    pub unset_env_all: bool,
    /// `--user NAME|UID[:GROUP|GID]`.
    pub user: Option<String>,
    /// `--group-add NAME|GID`.
    pub group_add: Vec<String>,
    /// `--umask`; 0022 when absent.
    pub umask: Option<u32>,
    /// `--workdir`; created when the image has no such directory, as podman and docker do.
    pub workdir: Option<PathBuf>,
    /// `--tty`.
    pub tty: bool,
    /// `--interactive`, in three shades.
    pub stdin: StdinMode,
    /// `--rm`.
    pub remove: bool,
    /// `--volume`, `--mount`, `--tmpfs`: see [`crate::parse`] for the three syntaxes.
    pub mounts: Vec<MountRequest>,
    /// `--volumes-from CONTAINER[:ro|rw|z]`.
    pub volumes_from: Vec<String>,
    /// `--image-volume`.
    pub image_volumes: ImageVolumes,
    /// `--read-only`.
    pub read_only: bool,
    /// `--read-only-tmpfs`, default true: with `read_only`, writable tmpfs on /run, /tmp, /var/tmp.
    pub read_only_tmpfs: bool,
    /// `--shm-size` in bytes; 65,536,000 (64000 KiB) when absent, as podman has it.
    pub shm_size: Option<u64>,
    /// Limits.
    pub resources: Resources,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--cap-add`: with or without `CAP_`, any case, `all`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`: the same.
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--security-opt`.
    pub security: Vec<SecurityOption>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--hostname`; the first 12 digits of the id when absent.
    pub hostname: Option<String>,
    /// `--add-host`.
    pub add_hosts: Vec<HostEntry>,
    /// `--no-hosts`: /etc/hosts is the image's.
    pub no_hosts: bool,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`; a lone `.` clears it.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--label`, `--label-file`.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--device`.
    pub devices: Vec<DeviceRequest>,
    /// `--device-cgroup-rule`, such as `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<DeviceRule>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--init`: a small init is PID 1, forwards signals and reaps.
    pub init: bool,
    /// `--init-path`: another init program than the engine's.
    pub init_path: Option<PathBuf>,
    /// `--pid`.
    pub pid: NamespaceMode,
    /// `--ipc`.
    pub ipc: NamespaceMode,
    /// `--uts`.
    pub uts: NamespaceMode,
    /// `--cgroupns`.
    pub cgroupns: NamespaceMode,
    /// `--userns`; private as root means host, as in podman, until a mapping is asked for.
    pub userns: NamespaceMode,
    /// `--network`; absent means `none`, the only private network there is so far.
    pub network: Option<NetworkMode>,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--stop-signal`; the image's or SIGTERM when absent.
    pub stop_signal: Option<Signal>,
    /// `--stop-timeout` in seconds; 10 when absent.
    pub stop_timeout: Option<u32>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<PathBuf>,
    /// `--runtime`: `builtin`, a name of [`crate::EngineConfig::runtimes`] or of a program in the
    /// usual places, or a path; the engine's own choice when absent.
    pub runtime: Option<String>,
    /// `--log-driver`, `--log-opt`.
    pub log: LogRequest,
}

impl ContainerRequest {
    /// A request with podman's defaults for an image, or for a root file system.
    pub fn new(image: ImageSource) -> Self {
        Self {
            image,
            name: None,
            replace: false,
            command: Vec::new(),
            entrypoint: None,
            env: Vec::new(),
            unset_env: BTreeSet::new(),
            unset_env_all: false,
            user: None,
            group_add: Vec::new(),
            umask: None,
            workdir: None,
            tty: false,
            stdin: StdinMode::Null,
            remove: false,
            mounts: Vec::new(),
            volumes_from: Vec::new(),
            image_volumes: ImageVolumes::Anonymous,
            read_only: false,
            read_only_tmpfs: true,
            shm_size: None,
            resources: Resources::default(),
            oom_score_adj: None,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            security: Vec::new(),
            ulimits: Vec::new(),
            hostname: None,
            add_hosts: Vec::new(),
            no_hosts: false,
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            devices: Vec::new(),
            device_cgroup_rules: Vec::new(),
            sysctls: BTreeMap::new(),
            init: false,
            init_path: None,
            pid: NamespaceMode::Private,
            ipc: NamespaceMode::Private,
            uts: NamespaceMode::Private,
            cgroupns: NamespaceMode::Private,
            userns: NamespaceMode::Private,
            network: None,
            restart: RestartPolicy::No,
            stop_signal: None,
            stop_timeout: None,
            cgroup_parent: None,
            runtime: None,
            log: LogRequest::default(),
        }
    }
}

/// What a container is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// An image: name, name@digest, id or unique id prefix.
    Reference(String),
    /// `--rootfs`: a directory that is the root as it is (changes are written to it).
    Rootfs(PathBuf),
}

/// `--entrypoint`: one program, or a JSON array of program and arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Entrypoint(pub Vec<String>);

/// What the container's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StdinMode {
    /// /dev/null: no `--interactive`.
    #[default]
    Null,
    /// Open until the first attached client leaves: `run -i`, `create -i`.
    Once,
    /// Open for ever, clients or not: `run -d -i`.
    Open,
}

/// A mount that was asked for, by `--volume`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// What is mounted.
    pub source: MountSource,
    /// Where, absolute inside the container.
    pub target: PathBuf,
    /// Options in the runtime's words: `ro`, `rw`, `nosuid`, `rbind`, `rprivate`, `size=…`, …
    pub options: Vec<String>,
    /// Whether a missing host directory is created (podman refuses with `--mount` and `--volume`;
    /// docker creates with `--volume`): [`MissingSource::Refuse`] by the command line's syntaxes.
    pub missing: MissingSource,
    /// Whether an empty named or anonymous volume gets the image's content (`nocopy` says no).
    pub copy_up: CopyUp,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A path on the host, absolute.
    Bind(PathBuf),
    /// A named volume, created when it isn't there.
    Volume(String),
    /// A volume of this container's own, removed with it by `--rm` and `rm --volumes`.
    Anonymous,
    /// A tmpfs.
    Tmpfs,
    /// A new instance of devpts.
    Devpts,
    /// A ramfs.
    Ramfs,
}

/// What to do about a host path that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingSource {
    /// Fail (podman).
    #[default]
    Refuse,
    /// Create a directory (docker's `--volume`).
    Create,
}

/// Whether a new volume starts with the image's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyUp {
    /// It does.
    #[default]
    Yes,
    /// It starts empty.
    No,
}

/// What becomes of the volumes that the image declares (`--image-volume`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageVolumes {
    /// An anonymous volume each (`anonymous`, `bind`).
    #[default]
    Anonymous,
    /// A tmpfs each.
    Tmpfs,
    /// Nothing.
    Ignore,
}

/// Limits; whatever is absent is unlimited (but `pids_limit`: 2048).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `--memory` in bytes.
    pub memory: Option<i64>,
    /// `--memory-swap` in bytes, memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation` in bytes.
    pub memory_reservation: Option<i64>,
    /// `--memory-swappiness`, 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--cpus` in billionths of a CPU ([`crate::parse::cpus`]); excludes quota and period.
    pub nano_cpus: Option<i64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-period` in microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota` in microseconds.
    pub cpu_quota: Option<i64>,
    /// `--cpu-rt-period` in microseconds.
    pub cpu_rt_period: Option<u64>,
    /// `--cpu-rt-runtime` in microseconds.
    pub cpu_rt_runtime: Option<i64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; -1 is unlimited, absent is 2048 as in podman.
    pub pids_limit: Option<i64>,
    /// `--blkio-weight`, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// `--blkio-weight-device PATH:WEIGHT`.
    pub blkio_weight_device: Vec<DeviceRate>,
    /// `--device-read-bps PATH:RATE`.
    pub device_read_bps: Vec<DeviceRate>,
    /// `--device-write-bps PATH:RATE`.
    pub device_write_bps: Vec<DeviceRate>,
    /// `--device-read-iops PATH:RATE`.
    pub device_read_iops: Vec<DeviceRate>,
    /// `--device-write-iops PATH:RATE`.
    pub device_write_iops: Vec<DeviceRate>,
    /// `--cgroup-conf KEY=VALUE` (cgroup v2 files).
    pub unified: BTreeMap<String, String>,
}

/// A device and its rate or weight: `PATH:NUMBER[unit]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// The device node on the host.
    pub path: PathBuf,
    /// Bytes or operations a second, or a weight.
    pub rate: u64,
}

/// `--security-opt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityOption {
    /// `no-new-privileges[=true|false]`.
    NoNewPrivileges(bool),
    /// `seccomp=unconfined`.
    SeccompUnconfined,
    /// `seccomp=FILE`: a profile in Docker's or the runtime specification's form.
    SeccompProfile(PathBuf),
    /// `mask=PATH[:PATH…]`.
    Mask(Vec<String>),
    /// `unmask=ALL`.
    UnmaskAll,
    /// `unmask=PATH[:PATH…]`.
    Unmask(Vec<String>),
    /// `apparmor=PROFILE`: refused where the kernel has no AppArmor (but `unconfined`).
    Apparmor(String),
    /// `label=disable`, `label=type:…`: refused where the kernel has no SELinux (but `disable`).
    Label(String),
    /// `proc-opts=OPTION[,OPTION…]` for the mount on /proc.
    ProcOptions(Vec<String>),
}

/// `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited. `--ulimit host` has the name `host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The lower-case name, such as `nofile`.
    pub name: String,
    /// What is enforced.
    pub soft: i64,
    /// The ceiling for `soft`.
    pub hard: i64,
}

/// `--add-host NAME[;NAME…]:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The names.
    pub names: Vec<String>,
    /// The address.
    pub address: HostAddress,
}

/// The address of a [`HostEntry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAddress {
    /// An address.
    Address(IpAddr),
    /// `host-gateway`: the host as the container reaches it.
    HostGateway,
}

/// `--device HOST[:CONTAINER][:rwm]`; a directory stands for all devices below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// On the host.
    pub host: PathBuf,
    /// In the container.
    pub container: PathBuf,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// `--device-cgroup-rule 'TYPE MAJOR:MINOR PERMISSIONS'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `a`, `b` or `c`.
    pub kind: char,
    /// `None` is `*`.
    pub major: Option<i64>,
    /// `None` is `*`.
    pub minor: Option<i64>,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// `--pid`, `--ipc`, `--uts`, `--cgroupns`, `--userns`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceMode {
    /// A namespace of its own (`private`, `shareable` for ipc).
    #[default]
    Private,
    /// The host's.
    Host,
    /// `container:NAME`: that running container's.
    Container(String),
    /// `ns:PATH`: the one at a path.
    Path(PathBuf),
}

/// `--network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A namespace with a loopback interface only.
    None,
    /// The host's.
    Host,
    /// `container:NAME`: that running container's.
    Container(String),
    /// `ns:PATH`: the one at a path.
    Path(PathBuf),
}

/// `--restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// `no`, `never`.
    #[default]
    No,
    /// `on-failure[:MAX]`; without a maximum for ever.
    OnFailure {
        /// The most restarts there may be.
        max: Option<u32>,
    },
    /// `always`.
    Always,
    /// `unless-stopped`.
    UnlessStopped,
}

/// `--log-driver`, `--log-opt`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRequest {
    /// `--log-driver`.
    pub driver: LogDriver,
    /// `--log-opt max-size=…` in bytes; absent never rotates.
    pub max_size: Option<u64>,
    /// `--log-opt max-file=…`: files kept, the current one included; 1 when absent.
    pub max_files: Option<u32>,
}

/// Where a container's output is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// A file in the CRI's line format (`k8s-file`, `json-file` is taken as an alias by podman).
    #[default]
    K8sFile,
    /// Nowhere.
    None,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// It will send standard input.
    pub stdin: bool,
    /// It wants standard output.
    pub stdout: bool,
    /// It wants standard error.
    pub stderr: bool,
}

impl Streams {
    /// All three.
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };
    /// Output only.
    pub const OUTPUT: Self = Self { stdin: false, stdout: true, stderr: true };
}

/// Whether `start` and `run` attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attach {
    /// They return once the container runs.
    #[default]
    None,
    /// They return an [`Attachment`](crate::Attachment) that misses no byte.
    Streams(Streams),
}

/// Options of `start` and `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StartOptions {
    /// Whether to attach.
    pub attach: Attach,
    /// The terminal's size at first, with `tty`.
    pub size: Option<TerminalSize>,
}

/// What `exec` can be asked. [`ExecRequest::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `--env`; see [`crate::parse::environment`].
    pub env: Vec<(String, String)>,
    /// `--user`; the container's own when absent.
    pub user: Option<String>,
    /// `--workdir`; the container's own when absent.
    pub workdir: Option<PathBuf>,
    /// `--tty`.
    pub tty: bool,
    /// The streams the client wants; `stdin` is `--interactive`. `None` is `--detach`.
    pub attach: Option<Streams>,
    /// `--privileged`.
    pub privileged: bool,
    /// The terminal's size at first, with `tty`.
    pub size: Option<TerminalSize>,
}

impl ExecRequest {
    /// A request for a command, attached for output.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            env: Vec::new(),
            user: None,
            workdir: None,
            tty: false,
            attach: Some(Streams::OUTPUT),
            privileged: false,
            size: None,
        }
    }
}

/// Options of `stop` and `restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopOptions {
    /// `--time`: seconds until SIGKILL; the container's own (10) when absent.
    pub timeout: Option<u32>,
    /// `--signal`; the container's own when absent.
    pub signal: Option<Signal>,
}

/// Options of `rm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoveOptions {
    /// `--force`: stop it first if it runs.
    pub force: bool,
    /// `--volumes`: its anonymous volumes too.
    pub volumes: bool,
    /// `--time`: seconds until SIGKILL with `force`; podman's is the container's own.
    pub timeout: Option<u32>,
}

/// Options of `logs`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogsOptions {
    /// `--follow`: until the container stops.
    pub follow: bool,
    /// `--since` ([`crate::parse::moment`]).
    pub since: Option<jiff::Timestamp>,
    /// `--until` ([`crate::parse::moment`]).
    pub until: Option<jiff::Timestamp>,
    /// `--tail`: the last lines only; absent for all.
    pub tail: Option<u64>,
    /// Lines of standard output only, of standard error only, or of both.
    pub streams: LogStreams,
}

/// Whose lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogStreams {
    /// Both.
    #[default]
    Both,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What `wait` waits for (`--condition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// Not running: `stopped`, `exited`; at once for a container that never ran.
    #[default]
    Stopped,
    /// The next exit, even if it is not running now (docker's `next-exit`).
    NextExit,
    /// Running.
    Running,
    /// Created.
    Created,
    /// Paused.
    Paused,
    /// Gone.
    Removed,
}
