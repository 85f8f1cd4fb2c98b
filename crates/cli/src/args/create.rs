//! Options of `run` and `create`, in podman's words, and the engine's request they make.

use std::net::IpAddr;
use std::path::PathBuf;

use berth_engine::Signal;
use berth_engine::parse;
use berth_engine::request::{
    DeviceRate, DeviceRequest, DeviceRule, Entrypoint, HostEntry, ImageVolumes, LogDriver,
    NamespaceMode, NetworkMode, Resources, RestartPolicy, SecurityOption, Ulimit,
};
use berth_spec::image::Platform;
use clap::{ArgAction, Args, ValueEnum};

use super::container::{Detaching, Environment, SignalProxy};
use crate::complete;

/// Create a container without starting it
#[derive(Debug, Args)]
#[command(
    override_usage = "berth create [OPTIONS] IMAGE [COMMAND [ARG...]]",
    disable_help_flag = true
)]
pub struct Create {
    /// What the container is.
    #[command(flatten)]
    pub container: ContainerOptions,
}

/// Run a command in a new container
#[derive(Debug, Args)]
#[command(
    override_usage = "berth run [OPTIONS] IMAGE [COMMAND [ARG...]]",
    disable_help_flag = true
)]
pub struct Run {
    /// Run in the background and print the container's ID
    #[arg(short, long)]
    pub detach: bool,
    /// Attach only these streams: stdin, stdout, stderr
    #[arg(
        short,
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "STREAM",
        value_delimiter = ',',
        ignore_case = true,
        conflicts_with = "detach"
    )]
    pub attach: Vec<StreamName>,
    /// Detach keys.
    #[command(flatten)]
    pub detaching: Detaching,
    /// Signal proxy.
    #[command(flatten)]
    pub proxy: SignalProxy,
    /// What the container is.
    #[command(flatten)]
    pub container: ContainerOptions,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StreamName {
    /// Standard input
    Stdin,
    /// Standard output
    Stdout,
    /// Standard error
    Stderr,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// When it is not in the store
    Missing,
    /// Never
    Never,
}

/// What a container is.
#[derive(Debug, Args)]
pub struct ContainerOptions {
    /// The image, then program and arguments
    #[arg(
        value_name = "IMAGE",
        num_args = 1..,
        required = true,
        trailing_var_arg = true,
        add = complete::images()
    )]
    pub words: Vec<String>,
    /// Name, mode and lifetime.
    #[command(flatten)]
    pub general: GeneralOptions,
    /// The process.
    #[command(flatten)]
    pub process: ProcessOptions,
    /// Files.
    #[command(flatten)]
    pub files: FileOptions,
    /// Limits.
    #[command(flatten)]
    pub resources: ResourceOptions,
    /// Rights.
    #[command(flatten)]
    pub security: SecurityOptions,
    /// Namespaces.
    #[command(flatten)]
    pub namespaces: NamespaceOptions,
}

/// Name, mode and lifetime.
#[derive(Debug, Args)]
pub struct GeneralOptions {
    /// Print help (-h is --hostname here)
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Name; generated when absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Remove a container of that name first
    #[arg(long, requires = "name")]
    pub replace: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Restart policy: no, on-failure[:MAX], always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub restart: RestartPolicy,
    /// Write the container's ID to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Write the process ID to a file
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Metadata: KEY=VALUE
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub label: Vec<(String, String)>,
    /// Read such lines from a file
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Annotation in the runtime's configuration: KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::annotation)]
    pub annotation: Vec<(String, String)>,
    /// When to pull the image: missing or never (it must be in the store: berth pulls nothing yet)
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "POLICY",
        default_value = "missing"
    )]
    pub pull: PullPolicy,
    /// Platform of the image, OS/ARCHITECTURE[/VARIANT]: one that this machine runs
    #[arg(long, value_name = "PLATFORM", value_parser = super::image::native_platform)]
    pub platform: Option<Platform>,
    /// Where output is logged: k8s-file or none
    #[arg(long, value_name = "DRIVER", default_value = "k8s-file")]
    pub log_driver: LogDriver,
    /// max-size=SIZE, max-file=COUNT
    #[arg(long, value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,
    /// Signal that stops the container; the image's, or TERM, when absent
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<Signal>,
    /// Seconds between it and SIGKILL [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub stop_timeout: Option<u32>,
}

/// The process.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessOptions {
    /// Environment.
    #[command(flatten)]
    pub environment: Environment,
    /// Take the whole environment from here
    #[arg(long)]
    pub env_host: bool,
    /// Variables of the image to leave out
    #[arg(long, value_name = "NAME")]
    pub unsetenv: Vec<String>,
    /// Leave out all variables of the image
    #[arg(long)]
    pub unsetenv_all: bool,
    /// Program instead of the image's: a word, or a JSON array; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<Entrypoint>,
    /// NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Additional groups
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub group_add: Vec<String>,
    /// File mode creation mask [default: 0022]
    #[arg(long, value_name = "MASK", value_parser = parse::umask)]
    pub umask: Option<u32>,
    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    pub workdir: Option<PathBuf>,
    /// Run a small init as PID 1 that forwards signals and reaps
    #[arg(long)]
    pub init: bool,
    /// Program to use as that init
    #[arg(long, value_name = "FILE", requires = "init")]
    pub init_path: Option<PathBuf>,
    /// Limit of the process: NAME=SOFT[:HARD], or host
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<Ulimit>,
    /// Preference for being killed when memory is short, -1000 to 1000
    #[arg(
        long,
        value_name = "SCORE",
        allow_hyphen_values = true,
        value_parser = clap::value_parser!(i32).range(-1000..=1000)
    )]
    pub oom_score_adj: Option<i32>,
}

/// Files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub struct FileOptions {
    /// The first word is a directory to run in, not an image
    #[arg(long)]
    pub rootfs: bool,
    /// Mount a host directory or a volume: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Mount: type=bind|volume|tmpfs|devpts|ramfs,source=…,target=…[,OPTION…]
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Mount a tmpfs: TARGET[:OPTIONS]
    #[arg(long, value_name = "TMPFS")]
    pub tmpfs: Vec<String>,
    /// Mount what another container mounts: CONTAINER[:OPTIONS]
    #[arg(long, value_name = "CONTAINER", add = complete::containers())]
    pub volumes_from: Vec<String>,
    /// What the image's volumes become: anonymous, tmpfs, ignore
    #[arg(long, value_name = "KIND", default_value = "anonymous")]
    pub image_volume: ImageVolumes,
    /// Make the root read-only
    #[arg(long)]
    pub read_only: bool,
    /// With --read-only, a tmpfs on /run, /tmp and /var/tmp
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub read_only_tmpfs: bool,
    /// Size of /dev/shm [default: 64000k]
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes)]
    pub shm_size: Option<u64>,
    /// Device: HOST[:CONTAINER][:rwm]
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<DeviceRequest>,
    /// Rule for devices: "TYPE MAJOR:MINOR rwm"
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<DeviceRule>,
}

/// Limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct ResourceOptions {
    /// Memory: a number with b, k, m or g
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<i64>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true,
          value_parser = parse::bytes_or_unlimited)]
    pub memory_swap: Option<i64>,
    /// Memory that the kernel tries to leave it
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory_reservation: Option<i64>,
    /// How willingly it is swapped, 0 to 100
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    pub memory_swappiness: Option<u64>,
    /// Let it wait instead of being killed when memory is short (cgroup v1)
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Number of CPUs, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = parse::cpus,
          conflicts_with_all = ["cpu_period", "cpu_quota"])]
    pub cpus: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "SHARES")]
    pub cpu_shares: Option<u64>,
    /// CPU period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// CPU time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Real-time CPU period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    /// Real-time CPU time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs to run on, such as 0-2,4
    #[arg(long, value_name = "CPUS")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0,1
    #[arg(long, value_name = "NODES")]
    pub cpuset_mems: Option<String>,
    /// Number of processes; -1 for unlimited [default: 2048]
    #[arg(
        long,
        value_name = "NUMBER",
        allow_hyphen_values = true,
        value_parser = parse::pids_limit
    )]
    pub pids_limit: Option<i64>,
    /// Share of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT", value_parser = clap::value_parser!(u16).range(10..=1000))]
    pub blkio_weight: Option<u16>,
    /// Share of one device's I/O: DEVICE:WEIGHT
    #[arg(long, value_name = "DEVICE:WEIGHT", value_parser = parse::device_rate)]
    pub blkio_weight_device: Vec<DeviceRate>,
    /// Bytes read a second: DEVICE:SIZE
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = parse::device_rate)]
    pub device_read_bps: Vec<DeviceRate>,
    /// Bytes written a second: DEVICE:SIZE
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = parse::device_rate)]
    pub device_write_bps: Vec<DeviceRate>,
    /// Reads a second: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = parse::device_rate)]
    pub device_read_iops: Vec<DeviceRate>,
    /// Writes a second: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = parse::device_rate)]
    pub device_write_iops: Vec<DeviceRate>,
    /// File of the cgroup and its content (cgroup v2): KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub cgroup_conf: Vec<(String, String)>,
}

impl ResourceOptions {
    /// The limits that the engine is asked for.
    pub fn into_resources(self) -> Resources {
        Resources {
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable,
            nano_cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_rt_period: self.cpu_rt_period,
            cpu_rt_runtime: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight,
            blkio_weight_device: self.blkio_weight_device,
            device_read_bps: self.device_read_bps,
            device_write_bps: self.device_write_bps,
            device_read_iops: self.device_read_iops,
            device_write_iops: self.device_write_iops,
            unified: self.cgroup_conf.into_iter().collect(),
        }
    }
}

/// Rights.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct SecurityOptions {
    /// Capabilities to add, or all
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// Capabilities to drop, or all
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_drop: Vec<String>,
    /// All capabilities and devices, nothing masked, no seccomp filter
    #[arg(long)]
    pub privileged: bool,
    /// no-new-privileges, seccomp=unconfined|FILE, mask=PATHS, unmask=ALL|PATHS, proc-opts=…
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<SecurityOption>,
    /// Kernel parameter: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::key_value)]
    pub sysctl: Vec<(String, String)>,
}

/// Namespaces.
#[derive(Debug, Args)]
#[command(next_help_heading = "Namespaces and network")]
pub struct NamespaceOptions {
    /// none (the default), host, container:NAME or ns:PATH
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub network: Option<NetworkMode>,
    /// Host name; the ID's beginning when absent
    #[arg(long, short = 'h', value_name = "NAME")]
    pub hostname: Option<String>,
    /// Line for /etc/hosts: NAME[;NAME…]:ADDRESS
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub add_host: Vec<HostEntry>,
    /// Leave /etc/hosts as the image has it
    #[arg(long, conflicts_with = "add_host")]
    pub no_hosts: bool,
    /// Name server
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub dns: Vec<IpAddr>,
    /// Search domain; a dot for none
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    pub dns_search: Vec<String>,
    /// Option for resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", value_delimiter = ',')]
    pub dns_option: Vec<String>,
    /// PID namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub pid: NamespaceMode,
    /// IPC namespace: private, shareable, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub ipc: NamespaceMode,
    /// UTS namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub uts: NamespaceMode,
    /// Cgroup namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub cgroupns: NamespaceMode,
    /// User namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub userns: NamespaceMode,
    /// Cgroup to put the container's below
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<PathBuf>,
}

/// A size as the engine's limits have it.
fn size(text: &str) -> Result<i64, berth_engine::error::ParseError> {
    let refuse =
        |_| berth_engine::error::ParseError::new("size", text, "less than eight exbibytes");
    parse::bytes(text).and_then(|bytes| i64::try_from(bytes).map_err(refuse))
}
