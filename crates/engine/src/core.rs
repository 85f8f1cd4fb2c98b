//! What every operation stands on: configuration, paths, records, images. Synchronous; the engine
//! calls it from its blocking pool.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use berth_image::Store;
use jiff::Timestamp;

use crate::config::EngineConfig;
use crate::error::{
    EnvironmentError, FileError, FindError, ImageError, MonitorError, OpenError, RecordError,
};
use crate::lock::{ContainerLock, Wait};
use crate::paths::Paths;
use crate::process;
use crate::records::{ContainerRecord, Launch, Records};

/// The engine's inside.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    pub(crate) paths: Paths,
    records: Mutex<Records>,
    pub(crate) images: Store,
    pub(crate) boot_id: String,
    monitor: OnceLock<PathBuf>,
}

impl Core {
    pub(crate) fn open(config: EngineConfig) -> Result<Self, OpenError> {
        check_privileges()?;
        let paths = Paths { root: config.root.clone(), runroot: config.runroot.clone() };
        paths.make()?;
        let records = Records::open(&paths.database())?;
        let images =
            Store::open(&paths.root).map_err(ImageError::new(&paths.root.to_string_lossy()))?;
        let core = Self {
            config,
            paths,
            records: Mutex::new(records),
            images,
            boot_id: process::boot_id(),
            monitor: OnceLock::new(),
        };
        core.settle_reboot()?;
        Ok(core)
    }

    /// The records. Held for a statement or a few, never across a wait; never the head of a `for`,
    /// `match` or `if let`, which would hold them to its end.
    pub(crate) fn records(&self) -> MutexGuard<'_, Records> {
        // A panic in another thread leaves the database as sound as a killed process would.
        self.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The container that a word stands for.
    pub(crate) fn find<E>(&self, word: &str) -> Result<ContainerRecord, E>
    where
        E: From<FindError> + From<RecordError>,
    {
        let records = self.records();
        let mut ids = records.matches(word)?;
        let not_found = || FindError::NotFound(word.to_owned());
        match ids.len() {
            0 => Err(not_found().into()),
            1 => {
                let id = ids.remove(0);
                Ok(records.container(&id)?.ok_or_else(not_found)?)
            }
            _ => Err(FindError::Ambiguous { prefix: word.to_owned(), ids }.into()),
        }
    }

    /// The lock of a container, waiting for it.
    pub(crate) fn lock(&self, id: &str) -> Result<ContainerLock, FileError> {
        loop {
            if let Some(lock) = ContainerLock::take(&self.paths.locks(), id, Wait::Yes)? {
                return Ok(lock);
            }
        }
    }

    /// The lock of a container, if nobody has it.
    pub(crate) fn try_lock(&self, id: &str) -> Result<Option<ContainerLock>, FileError> {
        ContainerLock::take(&self.paths.locks(), id, Wait::No)
    }

    /// This process setting out to start a container, now.
    pub(crate) fn launch_now(&self) -> Launch {
        let pid = std::process::id() as i32;
        Launch {
            boot_id: self.boot_id.clone(),
            pid,
            pid_start_time: process::start_time(pid).unwrap_or_default(),
            at: Timestamp::now(),
        }
    }

    /// The monitor program.
    pub(crate) fn monitor_program(&self) -> Result<&PathBuf, MonitorError> {
        if let Some(found) = self.monitor.get() {
            return Ok(found);
        }
        let found = match &self.config.monitor {
            Some(path) => path.clone(),
            None => find_beside("berth-monitor").ok_or(MonitorError::Missing)?,
        };
        Ok(self.monitor.get_or_init(|| found))
    }

    /// The command with which a monitor has its containers cleaned up, all but the id.
    pub(crate) fn cleanup_command(&self) -> Vec<std::ffi::OsString> {
        let program = self.config.cleanup_program.clone();
        let program = program.or_else(|| std::env::current_exe().ok());
        let Some(program) = program else { return Vec::new() };
        let mut command: Vec<std::ffi::OsString> = vec![
            program.into(),
            "--root".into(),
            self.paths.root.clone().into(),
            "--runroot".into(),
            self.paths.runroot.clone().into(),
        ];
        if let Some(file) = &self.config.file {
            command.extend(["--config".into(), file.clone().into()]);
        }
        command.extend(["container".into(), "cleanup".into()]);
        command
    }
}

/// A program of ours: beside the running one, in the usual places of helpers, or in `PATH`.
fn find_beside(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(std::path::Path::parent).map(|parent| parent.join(name));
    let helpers = ["/usr/local/libexec/berth", "/usr/libexec/berth", "/usr/lib/berth"];
    let helpers = helpers.iter().map(|directory| PathBuf::from(directory).join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> =
        std::env::split_paths(&path).map(|directory| directory.join(name)).collect();
    beside.into_iter().chain(helpers).chain(in_path).find(|candidate| candidate.is_file())
}

/// Root, with the capability that mounts and namespaces take.
fn check_privileges() -> Result<(), EnvironmentError> {
    if !rustix::process::geteuid().is_root() {
        return Err(EnvironmentError::NotRoot);
    }
    let sets = rustix::thread::capabilities(None);
    let has_admin =
        sets.is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN));
    if has_admin { Ok(()) } else { Err(EnvironmentError::Capability("CAP_SYS_ADMIN")) }
}
