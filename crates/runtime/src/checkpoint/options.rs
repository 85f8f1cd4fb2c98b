//! What a caller of `checkpoint` and `restore` may ask for.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::id::ContainerId;
use crate::options::Console;

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From processes to files.
    Checkpoint,
    /// From files to processes.
    Restore,
}

/// Something that is on or off, and CRIU's alone.
#[derive(Debug)]
pub(super) struct Switch {
    /// Its option, without dashes.
    pub name: &'static str,
    /// Its field in `criu_opts`.
    pub field: u32,
    of_restore: bool,
}

impl Switch {
    /// Whether the direction has it. Checkpoints have all.
    pub(super) fn has(&self, direction: Direction) -> bool {
        self.of_restore || direction == Direction::Checkpoint
    }
}

pub(super) const LEAVE_RUNNING: &str = "leave-running";
pub(super) const LAZY_PAGES: &str = "lazy-pages";

pub(super) static SWITCHES: &[Switch] = &[
    Switch { name: LEAVE_RUNNING, field: 3, of_restore: false },
    Switch { name: "ext-unix-sk", field: 4, of_restore: true },
    Switch { name: "tcp-established", field: 5, of_restore: true },
    Switch { name: "shell-job", field: 7, of_restore: true },
    Switch { name: "file-locks", field: 8, of_restore: true },
    Switch { name: "auto-dedup", field: 16, of_restore: true },
    Switch { name: "link-remap", field: 18, of_restore: false },
    Switch { name: "tcp-skip-in-flight", field: 46, of_restore: false },
    Switch { name: LAZY_PAGES, field: 48, of_restore: true },
];

/// Which switches are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches(u32);

impl Switches {
    /// Turns the switch of this option (without dashes) on; false when the direction has none of
    /// that name.
    pub fn set(&mut self, name: &str, direction: Direction) -> bool {
        let found = SWITCHES.iter().position(|s| s.name == name && s.has(direction));
        self.0 |= found.map_or(0, |at| 1 << at);
        found.is_some()
    }

    /// Whether it is on.
    pub(super) fn has(self, name: &str) -> bool {
        SWITCHES.iter().position(|s| s.name == name).is_some_and(|at| self.0 & 1 << at != 0)
    }
}

/// What becomes of cgroups that are not the container's own top one (`criu_cg_mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum ManageCgroups {
    /// They are neither kept nor made.
    Ignore = 0,
    /// Those that exist at the restore keep their settings.
    Soft = 3,
    /// All get the settings that they had.
    Full = 4,
    /// None may exist at the restore.
    Strict = 5,
    /// What CRIU holds best.
    #[default]
    Default = 6,
}

/// How the network is kept quiet during a checkpoint (`criu_network_lock_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum NetworkLock {
    /// By iptables' rules.
    Iptables = 1,
    /// By nftables' rules.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// What both directions have.
#[derive(Debug)]
pub struct CriuOptions {
    /// The directory of the images.
    pub image_path: PathBuf,
    /// The directory of CRIU's log and statistics, if not the images'.
    pub work_path: Option<PathBuf>,
    /// What is on.
    pub switches: Switches,
    /// What becomes of cgroups.
    pub manage_cgroups: ManageCgroups,
    /// Whether the network namespace is made anew and left empty.
    pub empty_network: bool,
}

impl CriuOptions {
    /// Options with every default.
    pub fn new(image_path: impl Into<PathBuf>) -> Self {
        Self {
            image_path: image_path.into(),
            work_path: None,
            switches: Switches::default(),
            manage_cgroups: ManageCgroups::default(),
            empty_network: false,
        }
    }
}

/// Options of [`crate::Runtime::checkpoint`].
#[derive(Debug)]
pub struct CheckpointOptions {
    /// The container.
    pub id: ContainerId,
    /// CRIU's part.
    pub criu: CriuOptions,
    /// The images of the checkpoint before, relative to these images.
    pub parent_path: Option<PathBuf>,
    /// Where memory goes instead of into a file: an address and a port.
    pub page_server: Option<(String, u16)>,
    /// Gets a zero byte when lazy pages can be asked for.
    pub status: Option<OwnedFd>,
    /// How the network is kept quiet.
    pub network_lock: Option<NetworkLock>,
    /// Whether only memory is written, and the container goes on: the first of several steps.
    pub pre_dump: bool,
}

/// Options of [`crate::Runtime::restore`].
///
/// Descriptors 0, 1 and 2 of the calling process take the place of the container's that led to
/// pipes, or to files outside of it.
#[derive(Debug)]
pub struct RestoreOptions {
    /// The new container's id.
    pub id: ContainerId,
    /// CRIU's part.
    pub criu: CriuOptions,
    /// The directory that holds `config.json`.
    pub bundle: PathBuf,
    /// A detached mount to use as root instead of the directory `root.path` names.
    pub rootfs: Option<OwnedFd>,
    /// Where the terminal goes.
    pub console: Console,
    /// A file to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// The profile to restore under, as TYPE:NAME.
    pub lsm_profile: Option<String>,
    /// The mount context to restore with.
    pub lsm_mount_context: Option<String>,
}
