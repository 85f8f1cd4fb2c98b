//! Commands about berth as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Format, ShortFormat};
use crate::complete;

/// Commands of `berth system`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Group {
    /// Mend what killed processes left, and remove what nothing uses
    Prune(Prune),
    /// Show what takes room on disk
    Df(DiskUse),
    /// Show what berth runs on
    Info(Info),
    /// Let the monitors of running containers execute the installed berth-monitor
    Migrate(Migrate),
}

/// Let the monitors of running containers execute the installed berth-monitor
///
/// For after an update: containers, their logs and whoever is attached to them notice nothing. The
/// names of the containers whose monitors were of another program are printed.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Names, IDs, or unique beginnings of IDs; all that run when absent
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    pub containers: Vec<String>,
}

/// Mend what killed processes left, and remove what nothing uses
#[derive(Debug, Args)]
pub struct Prune {
    /// All images that no container uses, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Volumes that no container uses too
    #[arg(long)]
    pub volumes: bool,
    /// Only what matches: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<berth_engine::Filter>,
}

/// Show what takes room on disk
#[derive(Debug, Args)]
pub struct DiskUse {
    /// Every image, container and volume by itself
    #[arg(short, long, conflicts_with = "format")]
    pub verbose: bool,
    /// Format.
    #[command(flatten)]
    pub format: Format,
}

/// Show what berth runs on
#[derive(Debug, Args)]
pub struct Info {
    /// Format.
    #[command(flatten)]
    pub format: ShortFormat,
}

/// Show the version
#[derive(Debug, Args)]
pub struct Version {
    /// Format.
    #[command(flatten)]
    pub format: ShortFormat,
}

/// Show everything about containers, images or volumes as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Names or IDs
    #[arg(value_name = "NAME", required = true, add = complete::everything())]
    pub names: Vec<String>,
    /// What the names are of: container, image, volume or all
    #[arg(
        long = "type",
        value_enum,
        hide_possible_values = true,
        value_name = "TYPE",
        default_value = "all"
    )]
    pub kind: InspectKind,
    /// Format.
    #[command(flatten)]
    pub format: ShortFormat,
    /// Measure sizes on disk
    #[arg(short, long)]
    pub size: bool,
}

/// What `berth inspect` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InspectKind {
    /// A container, else an image, else a volume
    All,
    /// A container
    Container,
    /// An image
    Image,
    /// A volume
    Volume,
}

/// Show what happened to containers, images and volumes
#[derive(Debug, Args)]
pub struct Events {
    /// Only what matches: container=NAME, event=KIND, image=NAME, label=KEY[=VALUE]
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = super::filter)]
    pub filters: Vec<(String, String)>,
    /// Format.
    #[command(flatten)]
    pub format: Format,
    /// From a time, or a duration ago, on
    #[arg(long, value_name = "TIME", value_parser = crate::parse::moment)]
    pub since: Option<jiff::Timestamp>,
    /// Up to a time, or a duration ago
    #[arg(long, value_name = "TIME", value_parser = crate::parse::moment)]
    pub until: Option<jiff::Timestamp>,
    /// Go on with new events
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
    pub stream: bool,
    /// Print IDs in full
    #[arg(long)]
    pub no_trunc: bool,
}

/// Print the completion script of a shell
#[derive(Debug, Args)]
pub struct Completion {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true, value_name = "SHELL")]
    pub shell: Shell,
}

/// Shells that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Elvish
    Elvish,
    /// Fish
    Fish,
    /// PowerShell
    Powershell,
    /// Z shell
    Zsh,
}

/// Write the manual pages
#[derive(Debug, Args)]
pub struct Man {
    /// Directory that the pages are written to; the first page is printed when absent
    #[arg(value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}
