//! `restore`: from CRIU's images to a container, in the cgroup, state directory and namespaces that
//! the configuration says.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use berth_cgroup::{Cgroup, Hierarchies};
use berth_spec::runtime::{Hooks, Linux, Spec};
use berth_spec::state::{ContainerState, State};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::dump::{DESCRIPTORS, Directories, configuration};
use super::error::{CriuError, RestoreError};
use super::mounts::{self, Place};
use super::namespaces;
use super::options::{Direction, RestoreOptions};
use super::request::{self, Kind, Response, option, pair};
use super::wire::{Message, Value};
use super::worker::{Criu, Worker};
use crate::child::{channel, mount};
use crate::error::CreateError;
use crate::hooks;
use crate::maker::create::{Bundle, Creation, Creator, cgroup_sources};
use crate::maker::{Launched, dialogue};
use crate::options::{Console, CreateOptions, Created};
use crate::plan::MountKind;
use crate::plan::MountPlan;
use crate::plan::mounts::MountContext;
use crate::plan::rootfs::root_path;
use crate::state::{Directory, Record, start_time};
use crate::sys::{self, Reach};

const LOG: &str = "restore.log";
/// Where the container's root is for CRIU, in the container's directory: CRIU wants a mount whose
/// parent is not covered.
const ROOT: &str = "criu-root";

/// Brings a container back. A failure leaves nothing behind.
pub(crate) fn restore(
    creator: &Creator<'_>,
    options: RestoreOptions,
) -> Result<Created, RestoreError> {
    let criu = Criu::find()?;
    let profile = options.lsm_profile.is_some() || options.lsm_mount_context.is_some();
    if profile {
        criu.at_least(31_600, "3.16", "--lsm-profile and --lsm-mount-context")?;
    }
    let id = options.id.clone();
    let mut create = CreateOptions::new(id.clone(), &options.bundle);
    create.console = options.console;
    let (bundle, namespaces) = Bundle::read(&create, creator.root)?;
    let console = create.console;
    let options = RestoreOptions { console: Console::None, ..options };
    namespaces::check(&bundle.spec)
        .and_then(|()| mounts::check(&bundle.spec))
        .map_err(|source| bundle.failed(source))?;
    let mut directories = Directories::open(&options.criu)?;
    let streams = read_streams(&options.criu.image_path)?;
    let joined = namespaces::open(&bundle.spec)?;
    let console = Terminal::connect(console)?;

    let in_state = |source| CreateError::State { id: id.clone(), source };
    let directory = Directory::create(creator.root, &id)
        .map_err(in_state)?
        .ok_or_else(|| CreateError::Exists(id.clone()))?;
    let mut creation = Creation::new(creator.root, &id, directory);
    let mut warnings = Vec::new();
    let planned = creator.plan_cgroup(&bundle.spec, &namespaces, &mut creation)?;
    let (hierarchies, owner) = planned.unzip();
    let mut record = bundle.record(&creation, namespaces.all())?;
    creation.directory.write_record(&record).map_err(in_state)?;
    if let Some(hierarchies) = &hierarchies {
        let none = Linux::default();
        let linux = bundle.spec.linux.as_ref().unwrap_or(&none);
        let place = (hierarchies, owner.flatten());
        creator.make_cgroup(linux, place, &mut creation, &mut warnings)?;
    }
    creation.directory.write_config(&bundle.text).map_err(in_state)?;

    let restoration = Restoration {
        criu: &criu,
        options: &options,
        spec: &bundle.spec,
        bundle: &bundle.path,
        log: directories.log(LOG),
        state: record.state(&id, ContainerState::Creating),
    };
    let kept = joined.iter().map(|(file, _)| file.as_raw_fd()).collect();
    let command = restoration.command(&creation.directory, &record)?;
    let (worker, opened) = Worker::start(command, kept, Directories::paths(&options.criu)?)?;
    directories.replace(opened);
    join_cgroup(&creation, worker.pid())
        .map_err(|source| CreateError::Cgroup { id: id.clone(), source: source.into() })?;
    let mut message = restoration.message(&creation.directory, &directories);
    namespaces::join(&mut message, &joined, &bundle.spec);
    restoration.name_mounts(&mut message, &creation, hierarchies.as_ref())?;
    name_streams(&mut message, &streams);
    cgroup_roots(&mut message, worker.pid(), &creation)?;
    worker.say(&request::with_options(Kind::Restore, &message))?;
    let terminal = restoration.converse(worker, console, &mut creation)?;
    remove_root(&creation.directory);

    let pid = creation.pid();
    record.pid = pid;
    record.start_time = start_time(pid).unwrap_or_default();
    record.cgroup = creation.cgroup.as_ref().map(Cgroup::saved);
    creation.directory.write_record(&record).map_err(in_state)?;
    if let Some(path) = &options.pid_file {
        dialogue::write_pid_file(path, pid)
            .map_err(|source| CreateError::PidFile { path: path.clone(), source })?;
    }
    let pidfd =
        creation.finish().map_err(|source| CreateError::Setup { id: id.clone(), source })?;
    Ok(Created { pid, pidfd, terminal, notify: None, warnings })
}

/// Where the terminal's master goes when it arrives.
struct Terminal {
    socket: Option<OwnedFd>,
    wanted: bool,
}

impl Terminal {
    fn connect(console: Console) -> Result<Self, CriuError> {
        let socket = match console {
            Console::None => return Ok(Self { socket: None, wanted: false }),
            Console::Return => None,
            Console::Connected(socket) => Some(socket),
            Console::Socket(path) => Some(
                UnixStream::connect(&path)
                    .map_err(|source| {
                        let path = path.display();
                        CriuError::io(format!("connect to the console socket {path}"), source)
                    })?
                    .into(),
            ),
        };
        Ok(Self { socket, wanted: true })
    }

    /// Sends it on, or gives it to the caller. A master that nobody asked for is let go of.
    fn give(&self, master: OwnedFd) -> Result<Option<OwnedFd>, CriuError> {
        let Some(socket) = &self.socket else { return Ok(Some(master).filter(|_| self.wanted)) };
        channel::send_descriptor(socket.as_fd(), master.as_fd(), b"/dev/ptmx")
            .map_err(|errno| CriuError::io("send the container's terminal", errno))?;
        Ok(None)
    }
}

/// A container on its way back.
struct Restoration<'a> {
    criu: &'a Criu,
    options: &'a RestoreOptions,
    spec: &'a Spec,
    bundle: &'a Path,
    log: std::path::PathBuf,
    state: State,
}

impl Restoration<'_> {
    /// The program, in a mount namespace of its own: nothing that is mounted for it is ever seen on
    /// the host, whatever becomes of it.
    fn command(&self, directory: &Directory, record: &Record) -> Result<Command, CriuError> {
        let path = directory.file(ROOT);
        let at = |action: &str, path: &Path| format!("{action} {}", path.display());
        fs::create_dir(&path).map_err(|source| CriuError::io(at("make", &path), source))?;
        let tree = match &self.options.rootfs {
            Some(mount) => mount.try_clone(),
            None => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_RECURSIVE;
                rustix::mount::open_tree(CWD, &record.rootfs, flags).map_err(io::Error::from)
            }
        };
        let tree = tree.map_err(|source| CriuError::io(at("open", &record.rootfs), source))?;
        let target = CString::new(path.as_os_str().as_bytes())
            .map_err(|error| CriuError::io(at("open", &path), io::Error::from(error)))?;
        let places = mounts::places(self.spec, self.bundle)?;
        let mut command = self.criu.command();
        sys::before_exec(&mut command, move || Ok(prepare_root(&tree, &target, &places)?));
        Ok(command)
    }

    /// The options, but for what has to be read from somewhere.
    fn message(&self, directory: &Directory, directories: &Directories) -> Message {
        let mut message = request::common(
            &self.options.criu,
            Direction::Restore,
            LOG,
            configuration(self.spec.annotations.get("org.criu.config")),
        );
        directories.tell(&mut message);
        message.bytes(option::ROOT, directory.file(ROOT).as_os_str().as_bytes());
        message.number(option::RESTORE_SIBLING, 1);
        message.number(option::EVASIVE_DEVICES, 1);
        let texts = [
            (option::LSM_PROFILE, &self.options.lsm_profile),
            (option::LSM_MOUNT_CONTEXT, &self.options.lsm_mount_context),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                message.bytes(field, text.as_bytes());
            }
        }
        message
    }

    /// Says what the names of external mounts stand for.
    fn name_mounts(
        &self,
        message: &mut Message,
        creation: &Creation<'_>,
        hierarchies: Option<&Hierarchies>,
    ) -> Result<(), RestoreError> {
        let mut named = mounts::sources(self.spec, self.bundle)?;
        let none = Linux::default();
        let in_config = |source| CreateError::Config { bundle: self.bundle.to_owned(), source };
        let root = root_path(self.spec, self.bundle).map_err(in_config)?;
        let context = MountContext {
            bundle: self.bundle,
            linux: self.spec.linux.as_ref().unwrap_or(&none),
            open_sources: false,
            root: &root,
            user_namespace: None,
            cgroups: hierarchies.map(|found| (found, cgroup_sources(creation, found))),
        };
        for (index, entry) in self.spec.mounts.iter().enumerate() {
            if !matches!(entry.typ.as_deref(), Some("cgroup" | "cgroup2")) {
                continue;
            }
            let plan = MountPlan::new(entry, index, &context).map_err(in_config)?;
            if let MountKind::Cgroup(cgroup) = &plan.kind {
                named.extend(mounts::cgroup_sources(&mounts::destination(entry), cgroup));
            }
        }
        for (name, source) in named {
            let source = Value::Bytes(source.as_os_str().as_bytes());
            pair(message, option::EXTERNAL_MOUNT, name.as_os_str().as_bytes(), source);
        }
        Ok(())
    }

    /// Sees CRIU through; gives the terminal's master if it is the caller's.
    fn converse(
        &self,
        worker: Worker,
        console: Terminal,
        creation: &mut Creation<'_>,
    ) -> Result<Option<OwnedFd>, RestoreError> {
        let mut terminal = None;
        loop {
            let Some((response, descriptor)) = worker.hear()? else {
                return Err(self.failure(None));
            };
            if !response.success {
                drop(worker);
                return Err(self.failure(Some(&response)));
            }
            let Some(name) = &response.notification else {
                if response.kind != Kind::Restore as u64 {
                    return Err(self.failure(Some(&response)));
                }
                if creation.process.is_none() {
                    creation.process = Some(adopt(response.restored)?);
                }
                break;
            };
            let outcome = match (name.as_str(), descriptor) {
                ("setup-namespaces", _) => self.run_hooks(response.notification_pid),
                ("post-restore", _) => {
                    creation.process = Some(adopt(response.notification_pid)?);
                    Ok(())
                }
                ("orphan-pts-master", Some(master)) => {
                    terminal = console.give(master)?.or(terminal);
                    Ok(())
                }
                _ => Ok(()),
            };
            worker.say(&request::notified(outcome.is_ok()))?;
            outcome?;
        }
        if worker.finish()?.success() { Ok(terminal) } else { Err(self.failure(None)) }
    }

    /// The namespaces are there, and empty: what a creation does at this point.
    fn run_hooks(&self, pid: i32) -> Result<(), RestoreError> {
        let none = Hooks::default();
        let configured = self.spec.hooks.as_ref().unwrap_or(&none);
        let state = State { pid: Some(pid), ..self.state.clone() };
        hooks::run_all("prestart", &configured.prestart, &state)?;
        hooks::run_all("createRuntime", &configured.create_runtime, &state)?;
        Ok(())
    }

    fn failure(&self, response: Option<&Response>) -> RestoreError {
        self.criu.failure("restore", response, &self.log).into()
    }
}

/// What CRIU has made is this process' child.
fn adopt(pid: i32) -> Result<Launched, CriuError> {
    let opened = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    match opened {
        Some(Ok(pidfd)) => Ok(Launched { pid, pidfd }),
        Some(Err(errno)) => Err(CriuError::io(format!("open the restored process {pid}"), errno)),
        None => Err(CriuError::io("open the restored process", rustix::io::Errno::SRCH)),
    }
}

/// Runs in CRIU's process before it is CRIU: system calls on what was prepared, and nothing else.
fn prepare_root(tree: &OwnedFd, target: &CString, places: &[Place]) -> rustix::io::Result<()> {
    sys::unshare(libc::CLONE_NEWNS as u64)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::open(c"/", flags, Mode::empty())?;
    mount::propagate(&host, Reach::Tree, libc::MS_SLAVE)?;
    let target = rustix::fs::open(target.as_c_str(), flags, Mode::empty())?;
    mount::attach(tree, &target)?;
    mounts::make_places(tree, places)
}

/// Puts CRIU, and with it all that it makes, into the container's cgroup.
fn join_cgroup(creation: &Creation<'_>, pid: u32) -> Result<(), berth_cgroup::AttachError> {
    match (&creation.cgroup, Pid::from_raw(pid as i32)) {
        (Some(cgroup), Some(pid)) => cgroup.add_process(pid),
        _ => Ok(()),
    }
}

/// Tells where the container's cgroups are now, whatever they were called at the checkpoint.
fn cgroup_roots(message: &mut Message, pid: u32, creation: &Creation<'_>) -> Result<(), CriuError> {
    if creation.cgroup.is_none() {
        return Ok(());
    }
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path)
        .map_err(|source| CriuError::io(format!("read {path}"), source))?;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            for controller in controllers.split(',') {
                let path = Value::Bytes(path.as_bytes());
                pair(message, option::CGROUP_ROOT, controller.as_bytes(), path);
            }
        }
    }
    Ok(())
}

/// Where descriptors 0, 1 and 2 led to at the checkpoint.
fn read_streams(images: &Path) -> Result<Vec<String>, CriuError> {
    let path = images.join(DESCRIPTORS);
    let failed = |source: io::Error| CriuError::io(format!("read {}", path.display()), source);
    let text = fs::read(&path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| failed(error.into()))
}

/// Those that led out of the container are this process' own now.
fn name_streams(message: &mut Message, streams: &[String]) {
    for (number, stream) in streams.iter().enumerate().take(3) {
        // One that two descriptors led to is named once.
        let known = streams.iter().take(number).any(|other| other == stream);
        if mounts::is_outside(stream) && !known {
            pair(message, option::INHERIT_FD, stream.as_bytes(), Value::Number(number as u64));
        }
    }
}

/// The mount on it went with CRIU's mount namespace.
fn remove_root(directory: &Directory) {
    // What cannot be removed now is removed with the container's directory.
    let _ = fs::remove_dir(directory.file(ROOT));
}
