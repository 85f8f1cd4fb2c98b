//! One container's control group in every hierarchy: made, joined, recorded.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use berth_spec::runtime::LinuxResources;
use rustix::fs::OFlags;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::create::{self, Made};
use crate::directory::{Directory, children};
use crate::error::{
    ApplyError, AttachError, CreateError, FileError, JoinError, OpenError, ProcessesError,
};
use crate::hierarchy::{Hierarchies, HierarchyKind, Layout};
use crate::systemd::unit::Unit;
use crate::systemd::{manager, properties};

/// Who makes the directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// This crate, by mkdir.
    #[default]
    Cgroupfs,
    /// systemd, as a transient scope. The scope starts with its first process: see
    /// [`Cgroup::create`].
    Systemd,
}

/// Whom the group is delegated to: the container's root user, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User on the host.
    pub uid: u32,
    /// Group on the host; `None` leaves it as it is.
    pub gid: Option<u32>,
}

/// How the process that uses a [`Joiner`] gets into the v2 hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnifiedJoin {
    /// It was cloned into [`Cgroup::directory`] already.
    ByClone,
    /// By writing to `cgroup.procs`, which can take some ten milliseconds.
    ByFile,
}

/// What the runtime's state file keeps of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCgroup {
    /// The layout it was made on.
    pub layout: Layout,
    /// Who made it.
    pub driver: Driver,
    /// The systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its directory in each hierarchy.
    pub directories: Vec<SavedDirectory>,
}

/// A directory of a [`SavedCgroup`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDirectory {
    /// The hierarchy.
    pub kind: HierarchyKind,
    /// The directory.
    pub path: PathBuf,
}

/// One container's control group.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) layout: Layout,
    pub(crate) driver: Driver,
    pub(crate) unit: Option<Unit>,
    directories: OnceCell<Vec<Directory>>,
    /// What a systemd scope without a process yet waits with.
    pending: RefCell<Option<Pending>>,
    /// What of it this value has made.
    made: RefCell<Made>,
    /// Made by this value and not limited yet, so that nothing of it need be read first.
    pub(crate) fresh: Cell<bool>,
}

#[derive(Debug)]
struct Pending {
    hierarchies: Hierarchies,
    owner: Option<Owner>,
    resources: Option<LinuxResources>,
}

impl Cgroup {
    /// Works out where the group will be and makes nothing yet: [`Cgroup::saved`] of it can be
    /// kept before there is anything that could be left behind.
    ///
    /// `path` is `linux.cgroupsPath`. With [`Driver::Cgroupfs`] an absolute path is below each
    /// hierarchy's mount point, a relative one below the group of this process (v2: beside it,
    /// since a group of v2 cannot have both processes and limited children). With
    /// [`Driver::Systemd`] it is `SLICE:PREFIX:NAME`; since a scope cannot be without a process,
    /// nothing is made before [`Cgroup::add_process`] is called for the first time, but
    /// [`Cgroup::make`] sees to it that systemd is there and has no such unit. Limits that are
    /// applied before wait for it, and [`Cgroup::directory`] is `None` until then.
    pub fn plan(
        hierarchies: &Hierarchies,
        path: &Path,
        driver: Driver,
        owner: Option<Owner>,
    ) -> Result<Self, CreateError> {
        let directories = OnceCell::new();
        let mut unit = None;
        let mut pending = None;
        match driver {
            Driver::Cgroupfs => {
                // The cell is new.
                let _ = directories.set(create::plan(hierarchies, path)?);
            }
            Driver::Systemd => {
                unit = Some(Unit::parse(path)?);
                pending =
                    Some(Pending { hierarchies: hierarchies.clone(), owner, resources: None });
            }
        }
        Ok(Self {
            layout: hierarchies.layout(),
            driver,
            unit,
            directories,
            pending: RefCell::new(pending),
            made: RefCell::default(),
            fresh: Cell::new(driver == Driver::Systemd),
        })
    }

    /// Makes what [`Cgroup::plan`] planned, on the same hierarchies. A group that is there already
    /// is taken over if nobody is in it. On failure nothing that was made stays.
    pub fn make(&self, hierarchies: &Hierarchies, owner: Option<Owner>) -> Result<(), CreateError> {
        if let Some(unit) = &self.unit {
            unit.reserve()?;
        }
        self.make_some(hierarchies, owner, |_| true).inspect_err(|_| self.unmake())
    }

    /// The first half of [`Cgroup::make`]: the v2 directory, in which a process may be born before
    /// the rest is made. After a failure of either half [`Cgroup::unmake`] takes back what was made.
    pub fn make_unified(
        &self,
        hierarchies: &Hierarchies,
        owner: Option<Owner>,
    ) -> Result<(), CreateError> {
        self.make_some(hierarchies, owner, |kind| *kind == HierarchyKind::Unified)
    }

    /// The second half: all other hierarchies.
    pub fn make_others(
        &self,
        hierarchies: &Hierarchies,
        owner: Option<Owner>,
    ) -> Result<(), CreateError> {
        self.make_some(hierarchies, owner, |kind| *kind != HierarchyKind::Unified)
    }

    fn make_some(
        &self,
        hierarchies: &Hierarchies,
        owner: Option<Owner>,
        wanted: impl Fn(&HierarchyKind) -> bool,
    ) -> Result<(), CreateError> {
        if self.driver == Driver::Cgroupfs {
            let mut made = self.made.borrow_mut();
            create::make(hierarchies, self.directories(), owner, wanted, &mut made)?;
            self.fresh.set(self.directories().iter().all(|d| made.has(&d.path)));
        }
        Ok(())
    }

    /// Removes the directories that this value has made, as far as nobody is in them.
    pub fn unmake(&self) {
        self.made.borrow_mut().undo();
    }

    /// Plans the group and makes it.
    pub fn create(
        hierarchies: &Hierarchies,
        path: &Path,
        driver: Driver,
        owner: Option<Owner>,
    ) -> Result<Self, CreateError> {
        let cgroup = Self::plan(hierarchies, path, driver, owner)?;
        cgroup.make(hierarchies, owner)?;
        Ok(cgroup)
    }

    /// The group that [`Cgroup::saved`] described. Its directories need not exist any more.
    pub fn open(saved: &SavedCgroup) -> Result<Self, OpenError> {
        if saved.directories.is_empty() && saved.unit.is_none() {
            return Err(OpenError::Empty);
        }
        let directories: Vec<Directory> = saved
            .directories
            .iter()
            .map(|d| Directory::new(d.kind.clone(), d.path.clone()))
            .collect();
        Ok(Self {
            layout: saved.layout,
            driver: saved.driver,
            unit: saved.unit.as_deref().map(Unit::named),
            directories: OnceCell::from(directories),
            pending: RefCell::new(None),
            made: RefCell::default(),
            fresh: Cell::new(false),
        })
    }

    /// What [`Cgroup::open`] needs. With systemd it is complete once a process was added.
    pub fn saved(&self) -> SavedCgroup {
        SavedCgroup {
            layout: self.layout,
            driver: self.driver,
            unit: self.unit.as_ref().map(|u| u.name.clone()),
            directories: self
                .directories()
                .iter()
                .map(|d| SavedDirectory { kind: d.kind.clone(), path: d.path.clone() })
                .collect(),
        }
    }

    /// Adds a process, with all its threads, in every hierarchy.
    pub fn add_process(&self, pid: Pid) -> Result<(), AttachError> {
        if let Some(pending) = self.pending.take() {
            return self.start_unit(pid, pending);
        }
        let raw = pid.as_raw_nonzero().get();
        let text = raw.to_string();
        for directory in self.directories() {
            match directory.write("cgroup.procs", &text) {
                Ok(()) => continue,
                Err(e) if e.errno() == Some(libc::EBUSY) => add_below(directory, &text, e),
                Err(e) => Err(e),
            }
            .map_err(|source| AttachError::File { pid: raw, source })?;
        }
        Ok(())
    }

    /// The v2 directory that a process of the container is in, this one or one below, for
    /// `CLONE_INTO_CGROUP` when [`Cgroup::directory`] answers EBUSY: a container that manages
    /// groups of its own keeps its processes below.
    pub fn directory_with(&self, process: Pid) -> Option<OwnedFd> {
        let path = find(&self.unified()?.path, process.as_raw_nonzero().get())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()
    }

    /// The first process of a systemd scope: it starts the unit, and the limits that waited follow.
    /// When that fails, the group waits on.
    fn start_unit(&self, pid: Pid, pending: Pending) -> Result<(), AttachError> {
        let raw = pid.as_raw_nonzero().get();
        let Some(unit) = &self.unit else { return Ok(()) };
        let Pending { hierarchies, owner, resources } = &pending;
        let context =
            properties::Context { layout: self.layout, users: manager::is_users(), group: None };
        match unit.start(hierarchies, context, raw, *owner, resources.as_ref()) {
            Ok(directories) => {
                // The cell is empty as long as `pending` was there.
                let _ = self.directories.set(directories);
            }
            Err(source) => {
                self.pending.replace(Some(pending));
                return Err(AttachError::Start { pid: raw, source });
            }
        }
        match &pending.resources {
            Some(resources) => self
                .apply_to_files(resources)
                .map_err(|source| AttachError::Limit { pid: raw, source }),
            None => Ok(()),
        }
    }

    /// Keeps limits for a scope that has no process yet; `false` when it is there already. What
    /// systemd could not be told is refused now.
    pub(crate) fn postpone(&self, resources: &LinuxResources) -> Result<bool, ApplyError> {
        let mut pending = self.pending.borrow_mut();
        let Some(pending) = pending.as_mut() else { return Ok(false) };
        properties::of(self.context(), resources)?;
        pending.resources = Some(resources.clone());
        Ok(true)
    }

    /// What the properties of its unit depend on.
    pub(crate) fn context(&self) -> properties::Context<'_> {
        let users = manager::is_users();
        properties::Context { layout: self.layout, users, group: self.unified() }
    }

    /// Whether there is a unit that is this group's: not before its first process.
    pub(crate) fn is_started(&self) -> bool {
        self.pending.borrow().is_none()
    }

    /// Opens what a new process needs to join by itself, see the crate's documentation.
    pub fn joiner(&self, unified: UnifiedJoin) -> Result<Joiner, AttachError> {
        if let (true, Some(unit)) = (self.pending.borrow().is_some(), &self.unit) {
            return Err(AttachError::Pending { unit: unit.name.clone() });
        }
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let mut files = Vec::with_capacity(self.directories().len());
        for directory in self.directories() {
            let name = match (&directory.kind, unified) {
                (HierarchyKind::Unified, UnifiedJoin::ByClone) => continue,
                (HierarchyKind::Unified, UnifiedJoin::ByFile) => "cgroup.procs",
                _ => "tasks",
            };
            let file = directory
                .open(name, OFlags::WRONLY)
                .map_err(|source| AttachError::File { pid, source })?;
            files.push((file, directory.file(name)));
        }
        Ok(Joiner { files })
    }

    /// What a new process needs to join by itself once the group is made, in a mount namespace in
    /// which the host's hierarchies are where they are here.
    pub fn late_joiner(&self) -> LateJoiner {
        let v1 = self.directories().iter().filter(|d| d.kind != HierarchyKind::Unified);
        let file = |d: &Directory| CString::new(d.file("tasks").into_os_string().into_vec()).ok();
        // A path of the host's with a NUL in it cannot be.
        LateJoiner { files: v1.filter_map(file).collect() }
    }

    /// The v2 directory, for `CLONE_INTO_CGROUP`; `None` without a v2 hierarchy, or before the
    /// first process of a systemd scope.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.of_kind(|k| *k == HierarchyKind::Unified).and_then(|d| d.fd().ok())
    }

    /// The directory in each hierarchy.
    pub fn paths(&self) -> impl Iterator<Item = (&HierarchyKind, &Path)> {
        self.directories().iter().map(|d| (&d.kind, d.path.as_path()))
    }

    /// The layout it was made on.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Every process in it and below, in any hierarchy that can tell. A group that is gone has none.
    pub fn processes(&self) -> Result<Vec<i32>, ProcessesError> {
        match self.process_directory() {
            Some(directory) => directory.processes().map_err(ProcessesError),
            None => Ok(Vec::new()),
        }
    }

    /// The hierarchy whose list of processes counts: the one that can freeze them, so that nothing
    /// is listed that cannot be stopped.
    pub(crate) fn process_directory(&self) -> Option<&Directory> {
        let v1 = |name: &'static str| self.of_kind(move |k| k.has(name));
        match self.layout {
            Layout::V2 => self.unified(),
            _ => v1("freezer")
                .or_else(|| v1("pids"))
                .or_else(|| v1("memory"))
                .or_else(|| self.unified())
                .or_else(|| self.directories().first()),
        }
    }

    pub(crate) fn directories(&self) -> &[Directory] {
        self.directories.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn of_kind(&self, wanted: impl Fn(&HierarchyKind) -> bool) -> Option<&Directory> {
        self.directories().iter().find(|d| wanted(&d.kind))
    }

    pub(crate) fn unified(&self) -> Option<&Directory> {
        self.of_kind(|k| *k == HierarchyKind::Unified)
    }

    /// The v1 directory of a controller.
    pub(crate) fn controller(&self, name: &str) -> Option<&Directory> {
        self.of_kind(|k| k.has(name))
    }
}

/// A v2 group that has limited children takes no process itself: a container that manages
/// groups of its own. Then a newcomer goes to where its first process is.
fn add_below(group: &Directory, pid: &str, error: FileError) -> Result<(), FileError> {
    let first = group.processes()?.first().copied();
    match first.and_then(|first| find(&group.path, first)) {
        Some(path) => Directory::new(group.kind.clone(), path).write("cgroup.procs", pid),
        None => Err(error),
    }
}

/// The directory that a process is in, here or below.
fn find(path: &Path, pid: i32) -> Option<PathBuf> {
    let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    if text.lines().any(|line| line.parse() == Ok(pid)) {
        return Some(path.to_owned());
    }
    children(path).iter().find_map(|child| find(child, pid))
}

/// Paths of the files through which a single-threaded process that is in the v2 hierarchy already
/// puts itself into the others.
#[derive(Debug)]
pub struct LateJoiner {
    files: Vec<CString>,
}

impl LateJoiner {
    /// Moves the calling thread, which must be its process's only one. Async-signal-safe: between
    /// clone and exec this allocates nothing and takes no lock.
    pub fn join(&self) -> Result<(), JoinError> {
        let join = |path: &CString| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
            rustix::io::retry_on_intr(|| rustix::io::write(&file, b"0")).map(drop)
        };
        for (index, path) in self.files.iter().enumerate() {
            join(path).map_err(|errno| JoinError { index, errno })?;
        }
        Ok(())
    }
}

/// Open files through which a single-threaded process puts itself into a group.
#[derive(Debug)]
pub struct Joiner {
    files: Vec<(OwnedFd, PathBuf)>,
}

impl Joiner {
    /// Moves the calling thread, which must be its process's only one. Async-signal-safe: between
    /// clone and exec this allocates nothing and takes no lock.
    pub fn join(&self) -> Result<(), JoinError> {
        for (index, (file, _)) in self.files.iter().enumerate() {
            rustix::io::retry_on_intr(|| rustix::io::write(file, b"0"))
                .map_err(|errno| JoinError { index, errno })?;
        }
        Ok(())
    }

    /// The file that a [`JoinError`] is about.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(|(_, path)| path.as_path())
    }

    /// The same error with the file's name, once allocating is safe again.
    pub fn explain(&self, error: JoinError) -> AttachError {
        AttachError::File {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            source: FileError::Write {
                path: self.path(error.index).unwrap_or(Path::new("")).to_owned(),
                value: "0".to_owned(),
                source: io::Error::from(error.errno),
            },
        }
    }
}
