//! `create` (runtime.md, "Create"): from a bundle to a process that waits, or to one that runs.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use berth_cgroup::{
    AttachError, Cgroup, Driver, Hierarchies, HierarchyKind, Layout, Owner, UnifiedJoin,
};
use berth_spec::runtime::{Hook, Hooks, Linux, LinuxNamespaceType, Process, Spec};
use berth_spec::state::{ContainerState, State};

use super::dialogue::{self, Dialogue};
use super::network::{self, Moved};
use super::ownership::owner;
use super::terminal;
use super::{Birthplace, Launched, additions, launch, reports};
use crate::birth::{Birth, Born};
use crate::child::channel;
use crate::config::{self, ConfigError};
use crate::error::{CgroupSetupError, CreateError, ErrorKind, SetupError};
use crate::hooks;
use crate::id::ContainerId;
use crate::options::{CreateOptions, CreateUntil, Created, InitParent, Keyring, Notify, OwnBinary};
use crate::plan::namespaces::flag;
use crate::plan::process::{Affinity, ProcessContext, search_path};
use crate::plan::rootfs::{RootContext, root_path};
use crate::plan::{
    CgroupPlan, ChildHooks, Gate, HookPlan, NamespacePlan, Plan, ProcessPlan, RootPlan, mounts,
    sysctl, validate,
};
use crate::protect;
use crate::removal;
use crate::resctrl::{self, Groups};
use crate::state::{Directory, Record, START_ERROR, StateFileError, now, start_time};
use crate::sys;

/// What `create` works with.
pub(crate) struct Creator<'a> {
    /// The directory of states.
    pub root: &'a Path,
    /// Who makes cgroups, if anybody does.
    pub driver: Option<Driver>,
    /// Whether a container may be without a cgroup of its own.
    pub rootless: bool,
}

/// A container on its way; dropped before it is done, it leaves nothing behind.
pub(crate) struct Creation<'a> {
    root: &'a Path,
    id: ContainerId,
    /// Its directory, locked.
    pub directory: Directory,
    /// Its cgroup.
    pub cgroup: Option<Cgroup>,
    /// Whether the cgroup is the container's: one that is only planned may be somebody else's.
    owns_cgroup: bool,
    resctrl: Option<Groups>,
    devices: Option<Moved>,
    /// Its first process.
    pub process: Option<Launched>,
    /// What to bury the container with when hooks ran before the failure, so that others have to.
    after_hooks: Option<Record>,
    done: bool,
}

impl<'a> Creation<'a> {
    /// One that has nothing but its directory.
    pub(crate) fn new(root: &'a Path, id: &ContainerId, directory: Directory) -> Self {
        Self {
            root,
            id: id.clone(),
            directory,
            cgroup: None,
            owns_cgroup: false,
            resctrl: None,
            devices: None,
            process: None,
            after_hooks: None,
            done: false,
        }
    }

    /// The process, or 0.
    pub(crate) fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }

    /// Leaves the container to itself.
    pub(crate) fn finish(&mut self) -> Result<OwnedFd, SetupError> {
        let process = self.process.take();
        let process = process.ok_or_else(|| reports::step_error("keep the pidfd", libc::EBADF))?;
        self.done = true;
        self.directory.unlock();
        Ok(process.pidfd)
    }

    /// Kills and removes all there is.
    fn undo(&mut self) {
        if let Some(devices) = self.devices.take() {
            devices.undo();
        }
        if let Some(process) = self.process.take() {
            reports::kill_and_wait(process.pidfd.as_fd());
        }
        // What cannot be removed cannot be helped here; `delete --force` finds what is left, since
        // the record goes last.
        let mut clean = true;
        if let Some(cgroup) = &self.cgroup {
            if self.owns_cgroup {
                let _ = cgroup.kill_all(rustix::process::Signal::KILL);
                clean = cgroup.remove().is_ok();
            } else {
                cgroup.unmake();
            }
        }
        if let Some(groups) = &self.resctrl {
            clean &= groups.remove().is_empty();
        }
        if clean {
            let _ = match &self.after_hooks {
                Some(record) => {
                    removal::bury(self.root, &self.id, &self.directory, record).map(drop)
                }
                None => self.directory.remove(),
            };
        }
        self.directory.unlock();
    }
}

impl Drop for Creation<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.undo();
        }
    }
}

/// A bundle that was read and found to be in order.
pub(crate) struct Bundle {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its configuration's text.
    pub text: Vec<u8>,
    /// The same, understood.
    pub spec: Spec,
}

impl Bundle {
    /// Reads the bundle of a container and checks what can be checked at once.
    pub(crate) fn read(
        options: &CreateOptions,
        root: &Path,
    ) -> Result<(Self, NamespacePlan), CreateError> {
        let path = fs::canonicalize(&options.bundle).map_err(|source| CreateError::Config {
            bundle: options.bundle.clone(),
            source: ConfigError::Read { path: options.bundle.clone(), source },
        })?;
        let failed = |source| CreateError::Config { bundle: path.clone(), source };
        let config::Loaded { mut spec, text } = match &options.config {
            Some(file) => config::load_file(file),
            None => config::load(&path),
        }
        .map_err(failed)?;
        let none = Linux::default();
        let namespaces =
            NamespacePlan::new(spec.linux.as_ref().unwrap_or(&none)).map_err(failed)?;
        validate::spec(&spec, &namespaces).map_err(failed)?;
        if options.notify == Notify::Socket {
            additions::notify(&mut spec, root.join(&options.id));
        }
        if let Some(process) = &mut spec.process {
            additions::listen(process, &options.listen, 0);
            terminal::check(process, &options.console)
                .map_err(|(terminal, problem)| CreateError::Terminal { terminal, problem })?;
        }
        Ok((Self { path, text, spec }, namespaces))
    }

    /// What is wrong with it.
    pub(crate) fn failed(&self, source: ConfigError) -> CreateError {
        CreateError::Config { bundle: self.path.clone(), source }
    }

    /// What is kept of the container, as far as it is known before there is a process.
    pub(crate) fn record(
        &self,
        creation: &Creation<'_>,
        namespaces: u64,
    ) -> Result<Record, CreateError> {
        let spec = &self.spec;
        let hooks = |pick: fn(&Hooks) -> &Vec<Hook>| {
            spec.hooks.as_ref().map_or_else(Vec::new, |hooks| pick(hooks).clone())
        };
        Ok(Record {
            oci_version: spec.oci_version.clone(),
            pid: 0,
            start_time: 0,
            rootfs: root_path(spec, &self.path).map_err(|error| self.failed(error))?,
            bundle: self.path.clone(),
            created: now(),
            owner: rustix::process::getuid().as_raw(),
            annotations: spec.annotations.clone(),
            born: Born::No,
            cgroup: creation.cgroup.as_ref().map(Cgroup::saved),
            resources: None,
            resctrl: creation.resctrl.clone(),
            namespaces,
            poststart: hooks(|hooks| &hooks.poststart),
            poststop: hooks(|hooks| &hooks.poststop),
        })
    }
}

impl Creator<'_> {
    /// Creates a container.
    // tidy: long function: the order of a creation, told once from its first step to its last
    pub(crate) fn create(&self, options: CreateOptions) -> Result<Created, CreateError> {
        if options.own_binary == OwnBinary::Check
            && let Ok(Some(path)) = protect::writable_executable()
        {
            return Err(CreateError::OwnBinary { path });
        }
        let (bundle, mut namespaces) = Bundle::read(&options, self.root)?;
        let id = options.id.clone();
        let in_setup = |source| CreateError::Setup { id: id.clone(), source };
        let preserved = options.listen.count.saturating_add(options.preserve_fds);
        dialogue::check_preserved(preserved).map_err(in_setup)?;
        let none = (Linux::default(), Process::default());
        let linux = bundle.spec.linux.as_ref().unwrap_or(&none.0);
        // That there is one was checked.
        let process = bundle.spec.process.as_ref().unwrap_or(&none.1);
        if self.driver.is_none() && limits_anything(linux) {
            let reason = "cgroups are disabled";
            return Err(bundle.failed(ConfigError::unsupported("linux.resources", reason)));
        }

        let in_state = |source| CreateError::State { id: id.clone(), source };
        let directory = Directory::create(self.root, &id)
            .map_err(in_state)?
            .ok_or_else(|| CreateError::Exists(id.clone()))?;
        let mut creation = Creation::new(self.root, &id, directory);
        let mut warnings = Vec::new();
        let notify = make_notify(&creation.directory, &options).map_err(in_state)?;
        let planned = self.plan_cgroup(&bundle.spec, &namespaces, &mut creation)?;
        let (hierarchies, owner) = planned.unzip();
        let resource_groups = plan_resource_groups(&bundle, &mut creation)?;
        // Before anything is made, so that whatever happens somebody knows what there may be.
        let mut record = bundle.record(&creation, namespaces.all())?;
        creation.directory.write_record(&record).map_err(in_state)?;
        let order = self.order(hierarchies.as_ref(), &namespaces, linux);
        if let (Some(rdt), Some(root)) = (&linux.intel_rdt, resource_groups) {
            creation.resctrl = Some(Groups::create(&root, rdt, id.as_str()).map_err(in_setup)?);
        }
        match (&hierarchies, order) {
            (None, _) => {}
            (Some(hierarchies), Order::CgroupFirst) => {
                let owner = owner.flatten();
                self.make_cgroup(linux, (hierarchies, owner), &mut creation, &mut warnings)?;
            }
            (Some(hierarchies), Order::Together) => {
                namespaces.leave_to_process();
                make_unified(hierarchies, &creation)?;
            }
        }

        let prepared = Prepared {
            bundle: &bundle,
            linux,
            process,
            hierarchies: hierarchies.as_ref(),
            order,
            state: record.state(&id, ContainerState::Creating),
        };
        let Planned { mut plan, until, parent, pid_file, arrival } =
            prepared.plan(options, namespaces, &creation, &mut warnings)?;
        let listener = dialogue::connect_listener(linux).map_err(in_setup)?;
        let birth = Birth::expect(&creation.directory).map_err(in_state)?;
        let ours = start_process(&mut plan, parent, &birth, &mut creation).map_err(in_setup)?;
        let pid = creation.pid();
        creation.directory.write_config(&bundle.text).map_err(in_state)?;
        if let (Order::Together, Some(hierarchies)) = (order, &hierarchies) {
            make_others(linux, hierarchies, &mut creation)?;
        }
        Self::accompany(&ours, pid, linux, process, &plan, &mut creation).map_err(|error| {
            match error {
                Accompany::Setup(source) => in_setup(source),
                Accompany::Cgroup(source) => CreateError::Cgroup { id: id.clone(), source },
                Accompany::Config(source) => bundle.failed(source),
            }
        })?;
        record.pid = pid;
        record.start_time = start_time(pid).unwrap_or_default();
        if self.driver == Some(Driver::Systemd)
            || creation.cgroup.is_none() != record.cgroup.is_none()
        {
            // Only now it is known where systemd put it, or that there is none.
            record.cgroup = creation.cgroup.as_ref().map(Cgroup::saved);
            creation.directory.write_record(&record).map_err(in_state)?;
        }
        birth.confirm(record.start_time);

        let dialogue = Dialogue {
            socket: &ours,
            pid,
            hooks: bundle.spec.hooks.as_ref(),
            state: State { pid: Some(pid), ..prepared.state.clone() },
            listener,
            seccomp: linux.seccomp.as_ref(),
            hooks_ran: false,
        };
        converse(dialogue, &plan, until, process, &record, &mut creation).map_err(in_setup)?;
        // The new process' end of its terminal's socket is open here, too.
        drop(plan);
        let terminal = terminal::receive(arrival).map_err(in_setup)?;
        if let Some(path) = &pid_file {
            dialogue::write_pid_file(path, pid)
                .map_err(|source| CreateError::PidFile { path: path.to_owned(), source })?;
        }
        match until {
            CreateUntil::Created => creation.directory.publish_fifo().map_err(in_state)?,
            CreateUntil::Running => {
                let state = record.state(&id, ContainerState::Running);
                hooks::run_all("poststart", &record.poststart, &state)
                    .map_err(|error| in_setup(error.into()))?;
            }
        }
        let pidfd = creation.finish().map_err(in_setup)?;
        Ok(Created { pid, pidfd, terminal, notify, warnings })
    }

    /// Works out what cgroup there will be. Without hierarchies and limits there is none.
    pub(crate) fn plan_cgroup(
        &self,
        spec: &Spec,
        namespaces: &NamespacePlan,
        creation: &mut Creation<'_>,
    ) -> Result<Option<(Hierarchies, Option<Owner>)>, CreateError> {
        let none = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let id = creation.id.clone();
        let failed = |source: CgroupSetupError| CreateError::Cgroup { id: id.clone(), source };
        let hierarchies = match Hierarchies::detect() {
            Ok(hierarchies) => hierarchies,
            Err(berth_cgroup::DetectError::NoneMounted) if !limits_anything(linux) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error.into())),
        };
        let Some(driver) = self.driver else {
            return Ok(Some((hierarchies, None)));
        };
        let default = default_cgroup(&id, driver);
        let path = linux.cgroups_path.as_deref().filter(|path| !path.as_os_str().is_empty());
        let owner = owner(spec, namespaces, &hierarchies);
        let cgroup = Cgroup::plan(&hierarchies, path.unwrap_or(&default), driver, owner)
            .map_err(|error| failed(error.into()))?;
        creation.cgroup = Some(cgroup);
        Ok(Some((hierarchies, owner)))
    }

    /// Whether the process may begin before its cgroup is whole. On v1 that takes about as long as
    /// all that the process does meanwhile. It finds the hierarchies by their paths, and must be
    /// allowed to join them.
    fn order(
        &self,
        hierarchies: Option<&Hierarchies>,
        namespaces: &NamespacePlan,
        linux: &Linux,
    ) -> Order {
        let mount = flag(LinuxNamespaceType::Mount);
        let together = self.driver == Some(Driver::Cgroupfs)
            && hierarchies.is_some_and(|found| found.layout() != Layout::V2)
            && rustix::process::geteuid().is_root()
            && !namespaces.in_user_namespace()
            && namespaces.clone & mount != 0
            // They are moved by the maker, into a namespace that must be there.
            && linux.net_devices.is_empty();
        if together { Order::Together } else { Order::CgroupFirst }
    }

    /// Makes the cgroup that was planned and limits it. Without privileges there may be none.
    pub(crate) fn make_cgroup(
        &self,
        linux: &Linux,
        (hierarchies, owner): (&Hierarchies, Option<Owner>),
        creation: &mut Creation<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), CreateError> {
        let Some(cgroup) = &creation.cgroup else { return Ok(()) };
        let path = linux.cgroups_path.as_deref().filter(|path| !path.as_os_str().is_empty());
        match cgroup.make(hierarchies, owner).map_err(CgroupSetupError::from) {
            Ok(()) => limit(linux, creation),
            Err(error)
                if error.kind() == ErrorKind::Permission
                    && self.rootless
                    && path.is_none()
                    && !limits_anything(linux) =>
            {
                creation.cgroup = None;
                warnings.push(
                    "the container has no cgroup of its own: this user may not make one".to_owned(),
                );
                Ok(())
            }
            Err(error) => Err(in_cgroup(&creation.id, error)),
        }
    }

    /// What the maker does for the new process while that sets itself up.
    fn accompany(
        socket: &OwnedFd,
        pid: i32,
        linux: &Linux,
        process: &Process,
        plan: &Plan,
        creation: &mut Creation<'_>,
    ) -> Result<(), Accompany> {
        if let Some(score) = process.oom_score_adj {
            dialogue::set_oom_score(pid, score).map_err(Accompany::Setup)?;
        }
        if plan.namespaces.in_user_namespace() {
            dialogue::raise_limits(pid, &plan.process.rlimits).map_err(Accompany::Setup)?;
        }
        if plan.namespaces.map_ids {
            crate::idmap::write_mappings(pid, &linux.uid_mappings, &linux.gid_mappings).map_err(
                |source| {
                    Accompany::Config(ConfigError::IdMap {
                        field: "linux.uidMappings".to_owned(),
                        source,
                    })
                },
            )?;
            dialogue::say(socket, channel::Word::Mapped, b"").map_err(Accompany::Setup)?;
        }
        if plan.cgroup.wait
            && let Some(cgroup) = &creation.cgroup
            && let Some(raw) = rustix::process::Pid::from_raw(pid)
        {
            cgroup.add_process(raw).map_err(|error| Accompany::Cgroup(error.into()))?;
            let paths = dialogue::cgroup_paths(cgroup);
            dialogue::say(socket, channel::Word::Cgroup, &paths).map_err(Accompany::Setup)?;
        }
        if let Some(groups) = &creation.resctrl {
            groups.add(pid).map_err(Accompany::Setup)?;
        }
        if plan.cgroup.late.is_some() {
            dialogue::say(socket, channel::Word::Cgroup, b"").map_err(Accompany::Setup)?;
        }
        let moved = &mut creation.devices;
        network::move_devices(&linux.net_devices, &plan.namespaces, pid, moved)
            .map_err(Accompany::Setup)
    }
}

/// Makes what the socket for sd_notify(3) needs, and the socket itself if the program runs at once.
fn make_notify(
    directory: &Directory,
    options: &CreateOptions,
) -> Result<Option<UnixDatagram>, StateFileError> {
    if options.notify == Notify::None {
        return Ok(None);
    }
    directory.make_notify()?;
    match options.until {
        CreateUntil::Created => Ok(None),
        CreateUntil::Running => directory.bind_notify(),
    }
}

/// What is done first: the cgroup, or both it and the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    CgroupFirst,
    Together,
}

fn in_cgroup(id: &ContainerId, error: impl Into<CgroupSetupError>) -> CreateError {
    CreateError::Cgroup { id: id.clone(), source: error.into() }
}

/// Works out the resource groups; gives where their file system is mounted.
fn plan_resource_groups(
    bundle: &Bundle,
    creation: &mut Creation<'_>,
) -> Result<Option<PathBuf>, CreateError> {
    let Some(rdt) = bundle.spec.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref()) else {
        return Ok(None);
    };
    let root = resctrl::mounted().map_err(|source| bundle.failed(source))?;
    creation.resctrl = Some(Groups::plan(&root, rdt, creation.id.as_str()));
    Ok(Some(root))
}

/// Makes what of the cgroup the process is born in.
fn make_unified(hierarchies: &Hierarchies, creation: &Creation<'_>) -> Result<(), CreateError> {
    let made = creation.cgroup.as_ref().map(|cgroup| cgroup.make_unified(hierarchies, None));
    made.unwrap_or(Ok(())).map_err(|error| in_cgroup(&creation.id, error))
}

/// Makes the rest of it and limits it, while the process sets itself up.
fn make_others(
    linux: &Linux,
    hierarchies: &Hierarchies,
    creation: &mut Creation<'_>,
) -> Result<(), CreateError> {
    let made = creation.cgroup.as_ref().map(|cgroup| cgroup.make_others(hierarchies, None));
    made.unwrap_or(Ok(())).map_err(|error| in_cgroup(&creation.id, error))?;
    limit(linux, creation)
}

/// Limits the cgroup, which is the container's from here on.
fn limit(linux: &Linux, creation: &mut Creation<'_>) -> Result<(), CreateError> {
    creation.owns_cgroup = true;
    match (&creation.cgroup, &linux.resources) {
        (Some(cgroup), Some(resources)) => {
            cgroup.apply(resources).map_err(|error| in_cgroup(&creation.id, error))
        }
        _ => Ok(()),
    }
}

enum Accompany {
    Setup(SetupError),
    Cgroup(CgroupSetupError),
    Config(ConfigError),
}

fn default_cgroup(id: &ContainerId, driver: Driver) -> PathBuf {
    match driver {
        Driver::Cgroupfs => PathBuf::from(id.as_str()),
        Driver::Systemd => PathBuf::from(format!(":berth:{id}")),
    }
}

/// Whether the configuration wants anything of the cgroup beyond its being there.
fn limits_anything(linux: &Linux) -> bool {
    linux.resources.as_ref().is_some_and(|resources| {
        resources.memory.is_some()
            || resources.cpu.is_some()
            || resources.pids.as_ref().is_some_and(|pids| pids.limit.unwrap_or(-1) >= 0)
            || resources.block_io.is_some()
            || !resources.hugepage_limits.is_empty()
            || resources.network.is_some()
            || !resources.rdma.is_empty()
            || !resources.unified.is_empty()
    })
}

/// A death during the set-up is explained by the cgroup, if that was the reason.
fn died(error: SetupError, creation: &Creation<'_>) -> SetupError {
    let SetupError::Died { how, .. } = error else { return error };
    let how = match &creation.process {
        Some(process) if how.is_empty() => {
            reports::wait_for_end(process.pidfd.as_fd(), Some(1)).describe()
        }
        _ => how,
    };
    let kills = creation.cgroup.as_ref().and_then(Cgroup::oom_kill_count);
    SetupError::Died { how, out_of_memory: kills.is_some_and(|count| count > 0) }
}

/// Clones the process; gives the maker's end of the socket between them.
fn start_process(
    plan: &mut Plan,
    parent: InitParent,
    birth: &Birth,
    creation: &mut Creation<'_>,
) -> Result<OwnedFd, SetupError> {
    let (ours, theirs) = channel::pair().map_err(reports::at("make a socket pair"))?;
    plan.close = vec![ours.as_raw_fd(), creation.directory.descriptor().as_raw_fd()];
    let cgroup = creation.cgroup.as_ref().and_then(Cgroup::directory);
    let action = match &cgroup {
        Some(_) => "clone the container's process into its cgroup",
        None => "clone the container's process",
    };
    let place = Birthplace { cgroup, note: Some(birth.note()) };
    let process = launch(plan, &theirs, parent, place).map_err(reports::at(action))?;
    creation.process = Some(process);
    Ok(ours)
}

/// Sees the process through its set-up. From the first hook on, a failure has poststop hooks run.
fn converse(
    mut dialogue: Dialogue<'_>,
    plan: &Plan,
    until: CreateUntil,
    process: &Process,
    record: &Record,
    creation: &mut Creation<'_>,
) -> Result<(), SetupError> {
    let waits_for_hooks = plan.hooks.runtime || !plan.hooks.create_container.is_empty();
    let command = process.args.first().map_or("", String::as_str);
    let outcome = dialogue.run(waits_for_hooks, until, command, search_path(&process.env));
    if dialogue.hooks_ran {
        creation.after_hooks = Some(record.clone());
    }
    outcome.map_err(|error| died(error, creation))
}

/// What a plan is made of.
struct Prepared<'a> {
    bundle: &'a Bundle,
    linux: &'a Linux,
    process: &'a Process,
    hierarchies: Option<&'a Hierarchies>,
    order: Order,
    state: State,
}

/// A plan, and what of the options is needed after it.
struct Planned {
    plan: Plan,
    until: CreateUntil,
    parent: InitParent,
    pid_file: Option<PathBuf>,
    arrival: terminal::Arrival,
}

impl Prepared<'_> {
    fn plan(
        &self,
        options: CreateOptions,
        namespaces: NamespacePlan,
        creation: &Creation<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Planned, CreateError> {
        let id = options.id;
        let in_config = |source| self.bundle.failed(source);
        let in_setup = |source| CreateError::Setup { id: id.clone(), source };
        let in_state = |source| CreateError::State { id: id.clone(), source };
        let privileged = sys::capabilities()
            .is_ok_and(|sets| sets.effective & crate::plan::capabilities::SYS_ADMIN != 0);
        let in_user_namespace = namespaces.in_user_namespace();
        let root_directory = root_path(&self.bundle.spec, &self.bundle.path).map_err(in_config)?;
        let context = RootContext {
            mounts: mounts::MountContext {
                bundle: &self.bundle.path,
                linux: self.linux,
                open_sources: in_user_namespace && privileged,
                root: &root_directory,
                user_namespace: namespaces.join_user.as_ref().map(|join| &join.file),
                cgroups: self.hierarchies.map(|found| (found, cgroup_sources(creation, found))),
            },
            namespaces: &namespaces,
            mount: options.rootfs,
            pivot: options.pivot,
            privileged,
        };
        let root = RootPlan::new(&self.bundle.spec, context).map_err(in_config)?;
        let seccomp = self.linux.seccomp.as_ref().map(berth_seccomp::compile).transpose();
        let seccomp = seccomp.map_err(|error| in_config(ConfigError::Seccomp(error)))?;
        let mut process = ProcessPlan::new(
            self.process,
            ProcessContext {
                personality: self.linux.personality.as_ref(),
                memory_policy: self.linux.memory_policy.as_ref(),
                seccomp,
                listens: options.listen.count > 0,
                preserve_fds: options.listen.count.saturating_add(options.preserve_fds),
            },
            warnings,
        )
        .map_err(in_config)?;
        // execCPUAffinity is not for the first process (config.md, "Linux Process").
        process.affinity = Affinity::Any;
        if !in_user_namespace {
            process.capabilities.limit_to_own(warnings);
        }
        let (terminal, arrival) =
            terminal::connect(self.process, options.console).map_err(in_setup)?;
        let keyring = match options.keyring {
            Keyring::New => std::ffi::CString::new(format!("_ses.{id}")).ok(),
            Keyring::Inherit => None,
        };
        let cgroup = self.cgroup_plan(creation)?;
        let gate = match options.until {
            CreateUntil::Running => Gate::Maker,
            CreateUntil::Created => Gate::Fifo {
                fifo: creation.directory.create_fifo().map_err(in_state)?,
                errors: creation.directory.create_file(START_ERROR).map_err(in_state)?.into(),
            },
        };
        let sysctls =
            sysctl::prepare(self.linux, self.bundle.spec.domainname.as_deref(), &namespaces)
                .map_err(in_config)?;
        let name = |name: &Option<String>| {
            name.as_deref().filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec())
        };
        let plan = Plan {
            close: Vec::new(),
            namespaces,
            cgroup,
            keyring,
            root,
            hostname: name(&self.bundle.spec.hostname),
            domainname: name(&self.bundle.spec.domainname),
            sysctls,
            terminal,
            process,
            hooks: self.child_hooks().map_err(in_config)?,
            gate,
        };
        let CreateOptions { until, parent, pid_file, .. } = options;
        Ok(Planned { plan, until, parent, pid_file, arrival })
    }

    fn cgroup_plan(&self, creation: &Creation<'_>) -> Result<CgroupPlan, CreateError> {
        let mut plan = CgroupPlan::default();
        let Some(cgroup) = &creation.cgroup else { return Ok(plan) };
        if self.order == Order::Together {
            plan.late = Some(cgroup.late_joiner());
            return Ok(plan);
        }
        match cgroup.joiner(UnifiedJoin::ByClone) {
            Ok(joiner) => plan.joiner = Some(joiner),
            // A systemd scope begins with its first process.
            Err(AttachError::Pending { .. }) => plan.wait = true,
            Err(error) => return Err(in_cgroup(&creation.id, error)),
        }
        Ok(plan)
    }

    fn child_hooks(&self) -> Result<ChildHooks, ConfigError> {
        let none = Hooks::default();
        let hooks = self.bundle.spec.hooks.as_ref().unwrap_or(&none);
        let created = State { status: ContainerState::Created, ..self.state.clone() };
        Ok(ChildHooks {
            runtime: !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty(),
            create_container: HookPlan::all(&hooks.create_container, &self.state)?,
            start_container: HookPlan::all(&hooks.start_container, &created)?,
        })
    }
}

/// The directory of the host that is the container's cgroup, in each hierarchy; the runtime's own
/// where the container has none.
pub(crate) fn cgroup_sources(
    creation: &Creation<'_>,
    found: &Hierarchies,
) -> Vec<(HierarchyKind, PathBuf)> {
    match &creation.cgroup {
        Some(cgroup) => {
            cgroup.paths().map(|(kind, path)| (kind.clone(), path.to_owned())).collect()
        }
        None => found
            .mounts()
            .iter()
            .map(|mount| {
                let own = found.own_path(mount);
                let below = own.strip_prefix("/").unwrap_or(own);
                (mount.kind.clone(), mount.mount_point.join(below))
            })
            .collect(),
    }
}
