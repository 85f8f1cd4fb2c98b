//! `checkpoint`: from a container's processes to CRIU's images.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;

use berth_cgroup::{HierarchyKind, Layout};
use berth_spec::runtime::Spec;
use berth_spec::state::ContainerState;
use rustix::fs::{Mode, OFlags};

use super::error::{CheckpointError, CriuError};
use super::options::{CheckpointOptions, CriuOptions, Direction, LAZY_PAGES, LEAVE_RUNNING};
use super::request::{self, Feature, Kind, option, pair};
use super::wire::{Message, Value};
use super::worker::{Criu, Worker};
use super::{mounts, namespaces};
use crate::error::LookupError;
use crate::lifecycle::{Container, open_cgroup};
use crate::maker::reports::{self, Ended};
use crate::options::DeleteMode;
use crate::removal;
use crate::state::Record;

/// The file beside the images that says where descriptors 0, 1 and 2 led to.
pub(super) const DESCRIPTORS: &str = "descriptors.json";
const LOG: &str = "dump.log";

/// Keeps a container in files and, unless it is to go on, removes it.
pub(crate) fn checkpoint(
    root: &Path,
    options: CheckpointOptions,
) -> Result<Vec<String>, CheckpointError> {
    let id = options.id.clone();
    let goes_on = options.pre_dump || options.criu.switches.has(LEAVE_RUNNING);
    let (container, record) = Container::recorded(root, &id)?;
    let in_record = |source| LookupError::Record { id: id.clone(), source };
    container.directory.lock().map_err(in_record)?;
    if !container.directory.is_current() {
        return Err(LookupError::NotFound(id).into());
    }
    let status = container.status();
    if !matches!(status, ContainerState::Running | ContainerState::Paused) {
        return Err(CheckpointError::State { id, status });
    }
    let in_config = |source| CheckpointError::Config { id: id.clone(), source };
    let loaded = crate::config::load_file(&container.directory.config_path());
    let spec = loaded.map_err(in_config)?.spec;
    namespaces::check(&spec).and_then(|()| mounts::check(&spec)).map_err(in_config)?;

    let pidfd = Container::pidfd(&record);
    dump(options, &record, &spec)?;
    container.directory.unlock();
    drop(container);
    if goes_on {
        return Ok(Vec::new());
    }
    // CRIU has killed it, but it may not have died yet.
    if let Some(pidfd) = pidfd
        && matches!(reports::wait_for_end(pidfd.as_fd(), Some(10)), Ended::NotYet)
    {
        return Err(CheckpointError::Delete(crate::error::DeleteError::StillAlive(id)));
    }
    Ok(removal::delete(root, &id, DeleteMode::Force)?)
}

fn dump(
    mut options: CheckpointOptions,
    record: &Record,
    spec: &Spec,
) -> Result<(), CheckpointError> {
    let criu = Criu::find()?;
    let directories = Directories::make(&options.criu)?;
    if let Some(parent) = &options.parent_path {
        check_parent(&options.criu.image_path, parent)?;
    }
    if options.pre_dump {
        criu.require(Feature::MemoryTracking)?;
    }
    if options.criu.switches.has(LAZY_PAGES) {
        criu.require(Feature::LazyPages)?;
    }
    let mut message = request::common(
        &options.criu,
        Direction::Checkpoint,
        LOG,
        configuration(record.annotations.get("org.criu.config")),
    );
    directories.tell(&mut message);
    describe(&mut message, &options, record);
    namespaces::leave_out(&mut message, spec, record.pid);
    if !options.pre_dump {
        let table = mounts::Table::of(record.pid)?;
        let container_root = mounts::root_of(record.pid)?;
        for (place, name) in table.external(&container_root, spec)? {
            let name = Value::Bytes(name.as_os_str().as_bytes());
            pair(&mut message, option::EXTERNAL_MOUNT, place.as_os_str().as_bytes(), name);
        }
        let streams = write_streams(&options.criu.image_path, record.pid, &table)?;
        for stream in streams.iter().filter(|stream| stream.starts_with("file[")) {
            message.bytes(option::EXTERNAL, stream.as_bytes());
        }
    }
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    let mut command = criu.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (worker, _) = Worker::start(command, Vec::new(), Vec::new())?;
    worker.say(&request::with_options(kind, &message))?;
    converse(&criu, worker, kind, options.status.take(), &directories.log(LOG))?;
    Ok(())
}

/// What is the checkpoint's alone.
fn describe(message: &mut Message, options: &CheckpointOptions, record: &Record) {
    message.number(option::PID, record.pid as u64);
    message.bytes(option::ROOT, record.rootfs.as_os_str().as_bytes());
    if let Some(path) = freezer(record) {
        message.bytes(option::FREEZE_CGROUP, path.as_os_str().as_bytes());
    }
    if let Some((address, port)) = &options.page_server {
        let port = Value::Number(u64::from(*port));
        pair(message, option::PAGE_SERVER, address.as_bytes(), port);
    }
    if let Some(parent) = &options.parent_path {
        message.bytes(option::PARENT_IMAGES, parent.as_os_str().as_bytes());
    }
    if options.parent_path.is_some() || options.pre_dump {
        message.number(option::TRACK_MEMORY, 1);
    }
    if let Some(method) = options.network_lock {
        message.number(option::NETWORK_LOCK, method as u64);
    }
}

/// The directory by which all processes of the container are frozen.
fn freezer(record: &Record) -> Option<PathBuf> {
    let cgroup = open_cgroup(record).ok()?;
    let freezes = |kind: &HierarchyKind| match cgroup.layout() {
        Layout::V2 => *kind == HierarchyKind::Unified,
        _ => kind.has("freezer"),
    };
    cgroup.paths().find(|(kind, _)| freezes(kind)).map(|(_, path)| path.to_owned())
}

/// CRIU's own configuration file: as with runc, an annotation may name another, or none.
pub(super) fn configuration(annotation: Option<&String>) -> Option<&str> {
    match annotation {
        None => Some("/etc/criu/runc.conf"),
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path),
    }
}

/// The directories that CRIU works in.
pub(super) struct Directories {
    images: OwnedFd,
    work: Option<OwnedFd>,
    log: PathBuf,
}

impl Directories {
    /// Makes those that are missing.
    fn make(options: &CriuOptions) -> Result<Self, CriuError> {
        make_directory(&options.image_path)?;
        Self::open(options)
    }

    /// Opens them; the images have to be there.
    pub(super) fn open(options: &CriuOptions) -> Result<Self, CriuError> {
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|errno| CriuError::io(format!("open {}", path.display()), errno))
        };
        let images = open(&options.image_path)?;
        let work = match &options.work_path {
            Some(path) => {
                make_directory(path)?;
                Some(open(path)?)
            }
            None => None,
        };
        let log = options.work_path.as_ref().unwrap_or(&options.image_path).clone();
        Ok(Self { images, work, log })
    }

    /// Their paths, for somebody else to open.
    pub(super) fn paths(options: &CriuOptions) -> Result<Vec<CString>, CriuError> {
        let paths = [Some(&options.image_path), options.work_path.as_ref()];
        let c_path = |path: &PathBuf| {
            CString::new(path.as_os_str().as_bytes()).map_err(|error| {
                CriuError::io(format!("open {}", path.display()), io::Error::from(error))
            })
        };
        paths.into_iter().flatten().map(c_path).collect()
    }

    /// Takes what somebody else opened in their place.
    pub(super) fn replace(&mut self, opened: Vec<OwnedFd>) {
        let mut opened = opened.into_iter();
        if let Some(images) = opened.next() {
            self.images = images;
            self.work = opened.next();
        }
    }

    /// Tells CRIU, which opens them through this process.
    pub(super) fn tell(&self, message: &mut Message) {
        message.number(option::IMAGES_DIRECTORY, self.images.as_raw_fd() as u64);
        if let Some(work) = &self.work {
            message.number(option::WORK_DIRECTORY, work.as_raw_fd() as u64);
        }
    }

    /// Where a log is.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.log.join(name)
    }
}

fn make_directory(path: &Path) -> Result<(), CriuError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| CriuError::io(format!("make {}", path.display()), source))
}

/// The images before are found from these ones, also when both are moved.
fn check_parent(images: &Path, parent: &Path) -> Result<(), CheckpointError> {
    let refuse = |problem: String| CheckpointError::Parent { path: parent.to_owned(), problem };
    if parent.components().next() == Some(Component::RootDir) {
        return Err(refuse("must be relative".to_owned()));
    }
    match fs::metadata(images.join(parent)) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(refuse("is no directory".to_owned())),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// Keeps where the container's descriptors lead to, for those that a restore replaces.
fn write_streams(images: &Path, pid: i32, table: &mounts::Table) -> Result<Vec<String>, CriuError> {
    let streams: Vec<String> =
        (0..3).map(|number| mounts::stream(pid, number, table).unwrap_or_default()).collect();
    let path = images.join(DESCRIPTORS);
    let failed = |source: io::Error| CriuError::io(format!("write {}", path.display()), source);
    let text = serde_json::to_vec(&streams).map_err(|error| failed(error.into()))?;
    fs::write(&path, text).map_err(failed)?;
    Ok(streams)
}

/// Sees CRIU through.
fn converse(
    criu: &Criu,
    worker: Worker,
    kind: Kind,
    mut status: Option<OwnedFd>,
    log: &Path,
) -> Result<(), CriuError> {
    let operation = if kind == Kind::PreDump { "pre-dump" } else { "checkpoint" };
    loop {
        let Some((response, _)) = worker.hear()? else {
            return Err(criu.failure(operation, None, log));
        };
        if !response.success {
            drop(worker);
            return Err(criu.failure(operation, Some(&response), log));
        }
        match &response.notification {
            Some(name) => {
                if name == "status-ready"
                    && let Some(status) = status.take()
                {
                    // Who asked to be told and hung up need not be told.
                    let _ = rustix::io::write(&status, &[0]);
                }
                worker.say(&request::notified(true))?;
            }
            None if response.kind == kind as u64 => break,
            None => return Err(criu.failure(operation, Some(&response), log)),
        }
    }
    // After a pre-dump it would wait for more, and calls it a failure that there is none.
    let ended = worker.finish()?;
    if ended.success() || kind == Kind::PreDump {
        return Ok(());
    }
    Err(criu.failure(operation, None, log))
}
