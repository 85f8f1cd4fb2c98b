//! The words of the command line, with podman's and docker's names.
//!
//! These structures say what can be written and turn each word into the engine's own type; they
//! know nothing of what is done with it. An option that the engine cannot do is not here, so it
//! is refused by name.
#![expect(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "these comments are the help texts that people read on a terminal"
)]

pub mod container;
pub mod create;
pub mod image;
pub mod system;
pub mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Containers without a daemon
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    propagate_version = false,
    args_override_self = true,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100,
    disable_help_subcommand = false
)]
pub struct Cli {
    /// Where and how, for every command.
    #[command(flatten)]
    pub global: GlobalOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalOptions {
    /// Directory of images, containers and volumes
    #[arg(
        long,
        global = true,
        env = "BERTH_ROOT",
        hide_env_values = true,
        value_name = "DIRECTORY"
    )]
    pub root: Option<PathBuf>,
    /// Directory of what lives until the next boot
    #[arg(
        long,
        global = true,
        env = "BERTH_RUNROOT",
        hide_env_values = true,
        value_name = "DIRECTORY"
    )]
    pub runroot: Option<PathBuf>,
    /// Configuration file, instead of /etc/berth/berth.toml
    #[arg(long, global = true, env = "BERTH_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// OCI runtime: "builtin", a name or a path
    #[arg(
        long,
        global = true,
        env = "BERTH_RUNTIME",
        hide_env_values = true,
        value_name = "RUNTIME"
    )]
    pub runtime: Option<String>,
    /// Who makes cgroups: cgroupfs or systemd
    #[arg(long, global = true, value_enum, hide_possible_values = true, value_name = "MANAGER")]
    pub cgroup_manager: Option<CgroupManager>,
    /// Print messages from this level on: trace, debug, info, warn, error
    #[arg(
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        value_name = "LEVEL",
        default_value = "warn"
    )]
    pub log_level: LogLevel,
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CgroupManager {
    /// Directories made by berth itself
    Cgroupfs,
    /// Scopes made by systemd
    Systemd,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogLevel {
    /// Every step
    Trace,
    /// What is done
    Debug,
    /// What happened
    Info,
    /// What may be wrong
    #[default]
    #[value(alias = "warning")]
    Warn,
    /// What went wrong
    #[value(aliases = ["fatal", "panic"])]
    Error,
}

/// All commands.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Containers, as commands of their own.
    #[command(flatten)]
    Container(container::Verb),
    /// List containers
    #[command(visible_alias = "list", alias = "ls")]
    Ps(container::List),
    /// Images, as commands of their own.
    #[command(flatten)]
    Image(image::Verb),
    /// List images
    Images(image::List),
    /// Remove images
    Rmi(image::Remove),
    /// Show everything about containers, images or volumes as JSON
    Inspect(system::Inspect),
    /// Show what happened to containers, images and volumes
    Events(system::Events),
    /// Show what berth runs on
    Info(system::Info),
    /// Show the version
    Version(system::Version),
    /// Manage containers
    #[command(name = "container", subcommand)]
    Containers(container::Group),
    /// Manage images
    #[command(name = "image", subcommand)]
    ImageGroup(image::Group),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::Group),
    /// Manage berth as a whole
    #[command(subcommand)]
    System(system::Group),
    /// Print the completion script of a shell
    Completion(system::Completion),
    /// Write the manual pages
    Man(system::Man),
}

/// `--format` of a listing.
#[derive(Debug, Clone, Default, Args)]
pub struct Format {
    /// "json", or a template such as "{{.ID}} {{.Names}}" ("table {{…}}" for headings)
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `--format` of what shows one thing, where `-f` is not taken by a filter.
#[derive(Debug, Clone, Default, Args)]
pub struct ShortFormat {
    /// "json", or a template such as "{{.ID}} {{.Names}}"
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Splits a `KEY=VALUE` filter.
pub fn filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("KEY=VALUE is expected".to_owned()),
    }
}
