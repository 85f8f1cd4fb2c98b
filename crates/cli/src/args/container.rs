//! Commands about containers.

use std::path::PathBuf;
use std::time::Duration;

use berth_engine::request::{RestartPolicy, WaitCondition};
use berth_engine::{Filter, Signal};
use clap::{Args, Subcommand};

use super::create::{Create, ResourceOptions, Run};
use super::{Format, ShortFormat};
use crate::complete;
use crate::parse::detach_keys::DetachKeys;

/// Commands that exist both as `berth VERB` and as `berth container VERB`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Run a command in a new container
    Run(Box<Run>),
    /// Create a container without starting it
    Create(Box<Create>),
    /// Start containers that were created or have stopped
    Start(Start),
    /// Stop containers: their stop signal, then SIGKILL
    Stop(Stop),
    /// Stop and start containers
    Restart(Restart),
    /// Send a signal to containers
    Kill(Kill),
    /// Remove containers
    Rm(Remove),
    /// Print what a container wrote
    Logs(Logs),
    /// Run a command in a running container
    Exec(Exec),
    /// Attach to a running container
    Attach(Attach),
    /// Wait for containers and print their exit codes
    Wait(Wait),
    /// List the processes of a container
    Top(Top),
    /// Freeze all processes of containers
    Pause(Pause),
    /// Let paused containers go on
    Unpause(Unpause),
    /// Copy files between a container and here
    Cp(Copy),
    /// Show what containers use
    Stats(Stats),
    /// Rename a container
    Rename(Rename),
    /// Change limits of containers, running or not
    Update(Box<Update>),
}

/// Commands of `berth container`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Group {
    /// Those that also stand alone.
    #[command(flatten)]
    Verb(Verb),
    /// List containers
    #[command(name = "ls", visible_aliases = ["list", "ps"])]
    List(List),
    /// Show everything about containers as JSON
    Inspect(Inspect),
    /// Remove all stopped containers
    Prune(Prune),
    /// Say by the exit code whether a container exists
    Exists(Exists),
    /// Take down what a stopped container left (its monitor runs this)
    Cleanup(Cleanup),
}

/// Which containers.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Names, IDs, or unique beginnings of IDs
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    pub containers: Vec<String>,
    /// All of them
    #[arg(short, long, conflicts_with = "containers")]
    pub all: bool,
}

/// `--cidfile` of commands on existing containers.
#[derive(Debug, Clone, Args)]
pub struct CidFiles {
    /// Read the container's ID from a file
    #[arg(long = "cidfile", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `--detach-keys`.
#[derive(Debug, Clone, Args)]
pub struct Detaching {
    /// Keys that detach: characters or ctrl-<letter>, separated by commas; empty for none
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: DetachKeys,
}

/// `--sig-proxy`.
#[derive(Debug, Clone, Args)]
pub struct SignalProxy {
    /// Pass received signals on to the process (not with a terminal)
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub sig_proxy: bool,
}

/// Start containers that were created or have stopped
#[derive(Debug, Args)]
pub struct Start {
    /// Names, IDs, or unique beginnings of IDs
    #[arg(value_name = "CONTAINER", required_unless_present = "all", add = complete::containers())]
    pub containers: Vec<String>,
    /// All that were created or have stopped
    #[arg(long, conflicts_with = "containers")]
    pub all: bool,
    /// Attach its output; the exit code is the container's
    #[arg(short = 'a', long)]
    pub attach: bool,
    /// Attach standard input too
    #[arg(short, long)]
    pub interactive: bool,
    /// Detach keys.
    #[command(flatten)]
    pub detaching: Detaching,
    /// Signal proxy.
    #[command(flatten)]
    pub proxy: SignalProxy,
}

/// Stop containers: their stop signal, then SIGKILL
#[derive(Debug, Args)]
pub struct Stop {
    /// Which containers.
    #[command(flatten)]
    pub selection: Selection,
    /// ID files.
    #[command(flatten)]
    pub cid_files: CidFiles,
    /// Seconds until SIGKILL
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    pub time: Option<u32>,
    /// Signal to stop with
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<Signal>,
    /// No error for containers that are not there
    #[arg(short, long)]
    pub ignore: bool,
}

/// Stop and start containers
#[derive(Debug, Args)]
pub struct Restart {
    /// Which containers.
    #[command(flatten)]
    pub selection: Selection,
    /// Only those that are running
    #[arg(long)]
    pub running: bool,
    /// Seconds until SIGKILL
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    pub time: Option<u32>,
}

/// Send a signal to containers
#[derive(Debug, Args)]
pub struct Kill {
    /// Which containers.
    #[command(flatten)]
    pub selection: Selection,
    /// ID files.
    #[command(flatten)]
    pub cid_files: CidFiles,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: Signal,
}

/// Remove containers
#[derive(Debug, Args)]
pub struct Remove {
    /// Which containers.
    #[command(flatten)]
    pub selection: Selection,
    /// ID files.
    #[command(flatten)]
    pub cid_files: CidFiles,
    /// Stop running ones first
    #[arg(short, long)]
    pub force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
    /// Seconds until SIGKILL, with --force
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", requires = "force")]
    pub time: Option<u32>,
    /// No error for containers that are not there
    #[arg(short, long)]
    pub ignore: bool,
}

/// List containers
#[derive(Debug, Clone, Args)]
pub struct List {
    /// All containers, not only running ones
    #[arg(short, long)]
    pub all: bool,
    /// Only what matches: id=, name=, label=, label!=, status=, exited=, ancestor=, before=, since=,
    /// until=, volume=, network=, restart-policy=
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,
    /// Format.
    #[command(flatten)]
    pub format: Format,
    /// The last containers created, whatever their state
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub last: Option<usize>,
    /// The last container created, whatever its state
    #[arg(short, long, conflicts_with = "last")]
    pub latest: bool,
    /// Print long texts in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Print no headings
    #[arg(long, visible_alias = "no-heading")]
    pub noheading: bool,
    /// Print IDs only
    #[arg(short, long, conflicts_with = "size")]
    pub quiet: bool,
    /// Show sizes on disk
    #[arg(short, long)]
    pub size: bool,
    /// Order of the rows: command, created, id, image, names, runningfor, size, status
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "COLUMN",
        default_value = "created"
    )]
    pub sort: Sort,
}

/// Orders of `berth ps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// By command
    Command,
    /// Newest first
    Created,
    /// By ID
    Id,
    /// By image
    Image,
    /// By name
    Names,
    /// Newest first
    Runningfor,
    /// By size on disk
    Size,
    /// By state
    Status,
}

/// Print what a container wrote
#[derive(Debug, Args)]
pub struct Logs {
    /// Name or ID
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    pub container: String,
    /// Go on until the container stops
    #[arg(short, long)]
    pub follow: bool,
    /// From a time, or a duration ago, on
    #[arg(long, value_name = "TIME", value_parser = crate::parse::moment)]
    pub since: Option<jiff::Timestamp>,
    /// Up to a time, or a duration ago
    #[arg(long, value_name = "TIME", value_parser = crate::parse::moment)]
    pub until: Option<jiff::Timestamp>,
    /// Only the last lines
    #[arg(
        short = 'n',
        long,
        value_name = "LINES",
        default_value = "all",
        allow_hyphen_values = true
    )]
    pub tail: Tail,
    /// Print the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Print the container's name before each line
    #[arg(long)]
    pub names: bool,
}

/// How many lines `berth logs --tail` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub Option<u64>);

impl std::str::FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" | "-1" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|lines| Self(Some(lines)))
                .map_err(|_| "a number of lines or `all` is expected".to_owned()),
        }
    }
}

/// Run a command in a running container
#[derive(Debug, Args)]
#[command(override_usage = "berth exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub struct Exec {
    /// The container, then program and arguments
    #[arg(
        value_name = "CONTAINER",
        num_args = 1..,
        required = true,
        trailing_var_arg = true,
        add = complete::containers()
    )]
    pub words: Vec<String>,
    /// Leave it running in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Detach keys.
    #[command(flatten)]
    pub detaching: Detaching,
    /// Environment.
    #[command(flatten)]
    pub environment: Environment,
    /// Pass standard input on
    #[arg(short, long)]
    pub interactive: bool,
    /// All capabilities, no seccomp filter
    #[arg(long)]
    pub privileged: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIRECTORY")]
    pub workdir: Option<PathBuf>,
}

/// `--env` and `--env-file`.
#[derive(Debug, Clone, Default, Args)]
pub struct Environment {
    /// NAME=VALUE, or NAME to take it from here (NAME* for all that begin so)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Read such lines from a file
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub env_file: Vec<PathBuf>,
}

/// Attach to a running container
#[derive(Debug, Args)]
pub struct Attach {
    /// Name or ID
    #[arg(value_name = "CONTAINER", add = complete::running_containers())]
    pub container: String,
    /// Detach keys.
    #[command(flatten)]
    pub detaching: Detaching,
    /// Do not pass standard input on
    #[arg(long)]
    pub no_stdin: bool,
    /// Signal proxy.
    #[command(flatten)]
    pub proxy: SignalProxy,
}

/// Wait for containers and print their exit codes
#[derive(Debug, Args)]
pub struct Wait {
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    pub containers: Vec<String>,
    /// What to wait for: created, running, paused, stopped (exited), removed, next-exit
    #[arg(long, value_name = "STATE", default_value = "stopped")]
    pub condition: WaitCondition,
    /// Print -1 for containers that are not there
    #[arg(long)]
    pub ignore: bool,
}

/// List the processes of a container
#[derive(Debug, Args)]
#[command(override_usage = "berth top CONTAINER [COLUMN...]")]
pub struct Top {
    /// The container, then columns: user, pid, ppid, pcpu, etime, tty, time, args, comm, …
    #[arg(
        value_name = "CONTAINER",
        num_args = 1..,
        required = true,
        trailing_var_arg = true,
        add = complete::running_containers()
    )]
    pub words: Vec<String>,
}

/// Freeze all processes of containers
#[derive(Debug, Args)]
pub struct Pause {
    /// Which containers.
    #[command(flatten)]
    pub selection: Selection,
}

/// Let paused containers go on
#[derive(Debug, Args)]
pub struct Unpause {
    /// Which containers.
    #[command(flatten)]
    pub selection: Selection,
}

/// Copy files between a container and here
#[derive(Debug, Args)]
#[command(override_usage = "berth cp [OPTIONS] CONTAINER:PATH PATH|-\n       \
                            berth cp [OPTIONS] PATH|- CONTAINER:PATH")]
pub struct Copy {
    /// From where: CONTAINER:PATH, PATH, or - for a tar stream on standard input
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// To where: CONTAINER:PATH, PATH, or - for a tar stream on standard output
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
    /// Keep owners
    #[arg(short, long)]
    pub archive: bool,
    /// Let a directory replace a file, and a file a directory
    #[arg(long)]
    pub overwrite: bool,
}

/// Show what containers use
#[derive(Debug, Args)]
pub struct Stats {
    /// Names or IDs; all running containers when absent
    #[arg(value_name = "CONTAINER", add = complete::running_containers())]
    pub containers: Vec<String>,
    /// All containers, not only running ones
    #[arg(short, long, conflicts_with = "containers")]
    pub all: bool,
    /// Format.
    #[command(flatten)]
    pub format: Format,
    /// Print once and return
    #[arg(long)]
    pub no_stream: bool,
    /// Print below each other instead of over each other
    #[arg(long)]
    pub no_reset: bool,
    /// Print IDs in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Seconds between two readings
    #[arg(short, long, value_name = "SECONDS", default_value = "2", value_parser = interval)]
    pub interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    text.parse::<u32>()
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.into()))
        .ok_or_else(|| "a positive number of seconds is expected".to_owned())
}

/// Rename a container
#[derive(Debug, Args)]
pub struct Rename {
    /// Name or ID
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    pub container: String,
    /// The new name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Change limits of containers, running or not
#[derive(Debug, Args)]
pub struct Update {
    /// Name or ID
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    pub container: String,
    /// Limits.
    #[command(flatten)]
    pub resources: ResourceOptions,
    /// Restart policy: no, on-failure[:MAX], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<RestartPolicy>,
}

/// Show everything about containers as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    pub containers: Vec<String>,
    /// Format.
    #[command(flatten)]
    pub format: ShortFormat,
    /// Measure sizes on disk
    #[arg(short, long)]
    pub size: bool,
}

/// Remove all stopped containers
#[derive(Debug, Args)]
pub struct Prune {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only what matches: label=KEY[=VALUE], until=TIME
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,
}

/// Say by the exit code whether a container exists
#[derive(Debug, Args)]
pub struct Exists {
    /// Name or ID
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    pub container: String,
}

/// Take down what a stopped container left (its monitor runs this)
#[derive(Debug, Args)]
pub struct Cleanup {
    /// Which containers.
    #[command(flatten)]
    pub selection: Selection,
}
