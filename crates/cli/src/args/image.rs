//! Commands about images.

use std::path::PathBuf;

use berth_engine::request::Entrypoint;
use berth_spec::image::Platform;
use clap::{Args, Subcommand};

use super::container::Environment;
use super::{Format, ShortFormat};
use crate::complete;

/// Commands that exist both as `berth VERB` and as `berth image VERB`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Load images from an archive or an OCI layout
    Load(Load),
    /// Make an image of a root file system archive
    Import(Import),
    /// Give an image another name
    Tag(Tag),
    /// Unpack an image into a bundle that any OCI runtime runs
    Bundle(Bundle),
    /// Show how an image came to be
    History(History),
}

/// Commands of `berth image`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Group {
    /// Those that also stand alone.
    #[command(flatten)]
    Verb(Verb),
    /// List images
    #[command(name = "ls", visible_alias = "list")]
    List(List),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Show everything about images as JSON
    Inspect(Inspect),
    /// Remove images that nothing uses
    Prune(Prune),
    /// Say by the exit code whether an image exists
    Exists(Exists),
    /// Compare what is stored of images with every digest that they name
    Verify(Verify),
}

/// Compare what is stored of images with every digest that they name
///
/// Damaged content is taken out of the store, so that loading the image again puts it right.
#[derive(Debug, Args)]
pub struct Verify {
    /// Names or IDs; all images when absent
    #[arg(value_name = "IMAGE", add = complete::images())]
    pub images: Vec<String>,
    /// Do not decompress layers to compare what is in them
    #[arg(short, long)]
    pub quick: bool,
    /// Format.
    #[command(flatten)]
    pub format: Format,
}

/// Load images from an archive or an OCI layout
#[derive(Debug, Args)]
pub struct Load {
    /// OCI layout directory, OCI archive or Docker archive, compressed or not; - for standard input
    #[arg(short, long, value_name = "PATH", conflicts_with = "path")]
    pub input: Option<PathBuf>,
    /// The same without an option
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// Print nothing but the names
    #[arg(short, long)]
    pub quiet: bool,
}

/// Make an image of a root file system archive
#[derive(Debug, Args)]
pub struct Import {
    /// Root file system as a tar archive, compressed or not; - for standard input
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Name of the image
    #[arg(value_name = "REFERENCE")]
    pub reference: Option<String>,
    /// Instruction for the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER,
    /// VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Comment in the history
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Platform of the image: OS/ARCHITECTURE[/VARIANT]; this machine's when absent
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    pub platform: Option<Platform>,
    /// Print nothing but the ID
    #[arg(short, long)]
    pub quiet: bool,
}

/// Give an image another name
#[derive(Debug, Args)]
pub struct Tag {
    /// Name or ID
    #[arg(value_name = "IMAGE", add = complete::images())]
    pub image: String,
    /// Further names
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// Unpack an image into a bundle that any OCI runtime runs
#[derive(Debug, Args)]
#[command(override_usage = "berth bundle [OPTIONS] IMAGE DIRECTORY [COMMAND [ARG...]]")]
pub struct Bundle {
    /// Name or ID of the image, directory to make, then program and arguments
    #[arg(
        value_name = "IMAGE",
        num_args = 1..,
        required = true,
        trailing_var_arg = true,
        add = complete::images()
    )]
    pub words: Vec<String>,
    /// Program instead of the image's: a word, or a JSON array; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<Entrypoint>,
    /// Environment.
    #[command(flatten)]
    pub environment: Environment,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    pub workdir: Option<String>,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Show how an image came to be
#[derive(Debug, Args)]
pub struct History {
    /// Name or ID
    #[arg(value_name = "IMAGE", add = complete::images())]
    pub image: String,
    /// Format.
    #[command(flatten)]
    pub format: Format,
    /// Print long texts in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
}

/// List images
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Only this name
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Images without a name too (they are always listed)
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// Only what matches: dangling=true|false, reference=PATTERN, label=KEY[=VALUE], before=IMAGE,
    /// since=IMAGE
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = super::filter)]
    pub filters: Vec<(String, String)>,
    /// Format.
    #[command(flatten)]
    pub format: Format,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Print IDs in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Print no headings
    #[arg(short = 'n', long, visible_alias = "no-heading")]
    pub noheading: bool,
    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Remove images
#[derive(Debug, Args)]
pub struct Remove {
    /// Names or IDs
    #[arg(value_name = "IMAGE", required_unless_present = "all", add = complete::images())]
    pub images: Vec<String>,
    /// All images
    #[arg(short, long, conflicts_with = "images")]
    pub all: bool,
    /// Remove all names, and the containers that use them
    #[arg(short, long)]
    pub force: bool,
    /// No error for images that are not there
    #[arg(short, long)]
    pub ignore: bool,
}

/// Show everything about images as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Names or IDs
    #[arg(value_name = "IMAGE", required = true, add = complete::images())]
    pub images: Vec<String>,
    /// Format.
    #[command(flatten)]
    pub format: ShortFormat,
}

/// Remove images that nothing uses
#[derive(Debug, Args)]
pub struct Prune {
    /// All images that no container uses, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// Say by the exit code whether an image exists
#[derive(Debug, Args)]
pub struct Exists {
    /// Name or ID
    #[arg(value_name = "IMAGE", add = complete::images())]
    pub image: String,
}

/// `OS/ARCHITECTURE[/VARIANT]`, or one of the first two.
pub fn platform(text: &str) -> Result<Platform, String> {
    let host = berth_image::platform::host();
    let words: Vec<&str> = text.split('/').collect();
    let (os, architecture, variant) = match words.as_slice() {
        ["linux"] => ("linux", host.architecture.as_str(), None),
        [architecture] => ("linux", *architecture, None),
        [os, architecture] => (*os, *architecture, None),
        [os, architecture, variant] => (*os, *architecture, Some(*variant)),
        _ => ("", "", None),
    };
    if os.is_empty() || architecture.is_empty() {
        return Err("OS/ARCHITECTURE[/VARIANT] is expected".to_owned());
    }
    let architecture = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Ok(Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.map(str::to_owned),
        ..Platform::default()
    })
}

/// A platform that runs on this machine.
pub fn native_platform(text: &str) -> Result<Platform, String> {
    let host = berth_image::platform::host();
    let wanted = platform(text)?;
    match berth_image::platform::rank(&host, &wanted) {
        Some(_) => Ok(wanted),
        None => {
            let host = berth_image::platform::display(&host);
            Err(format!("this machine runs images for {host} only"))
        }
    }
}
