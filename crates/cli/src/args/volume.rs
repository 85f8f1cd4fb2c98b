//! Commands about volumes.

use clap::{Args, Subcommand};

use super::{Format, ShortFormat};
use crate::complete;

/// Commands of `berth volume`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Group {
    /// Create a volume
    Create(Create),
    /// List volumes
    #[command(name = "ls", visible_alias = "list")]
    List(List),
    /// Show everything about volumes as JSON
    Inspect(Inspect),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Remove volumes that no container uses
    Prune(Prune),
    /// Say by the exit code whether a volume exists
    Exists(Exists),
}

/// Create a volume
#[derive(Debug, Args)]
pub struct Create {
    /// Name; generated when absent
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Metadata: KEY=VALUE
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = berth_engine::parse::key_value)]
    pub label: Vec<(String, String)>,
    /// No error when it is there
    #[arg(long)]
    pub ignore: bool,
}

/// List volumes
#[derive(Debug, Args)]
pub struct List {
    /// Only what matches: name=PART, label=KEY[=VALUE], dangling=true|false
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = super::filter)]
    pub filters: Vec<(String, String)>,
    /// Format.
    #[command(flatten)]
    pub format: Format,
    /// Print no headings
    #[arg(short = 'n', long, visible_alias = "no-heading")]
    pub noheading: bool,
    /// Print names only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Show everything about volumes as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Names
    #[arg(value_name = "VOLUME", required_unless_present = "all", add = complete::volumes())]
    pub volumes: Vec<String>,
    /// All volumes
    #[arg(short, long, conflicts_with = "volumes")]
    pub all: bool,
    /// Format.
    #[command(flatten)]
    pub format: ShortFormat,
}

/// Remove volumes
#[derive(Debug, Args)]
pub struct Remove {
    /// Names
    #[arg(value_name = "VOLUME", required_unless_present = "all", add = complete::volumes())]
    pub volumes: Vec<String>,
    /// All volumes
    #[arg(short, long, conflicts_with = "volumes")]
    pub all: bool,
    /// Remove the containers that use them too
    #[arg(short, long)]
    pub force: bool,
}

/// Remove volumes that no container uses
#[derive(Debug, Args)]
pub struct Prune {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// Say by the exit code whether a volume exists
#[derive(Debug, Args)]
pub struct Exists {
    /// Name
    #[arg(value_name = "VOLUME", add = complete::volumes())]
    pub volume: String,
}
