//! `exec`: another process in a container that is there already.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Component, Path};

use berth_cgroup::{Cgroup, HierarchyKind, SavedCgroup, UnifiedJoin};
use berth_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};
use berth_spec::state::ContainerState;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::dialogue::{self, Dialogue};
use super::{Birthplace, Launched, additions, launch, reports, terminal};
use crate::child::channel;
use crate::config::{self, ConfigError};
use crate::error::{CgroupSetupError, ExecError, LookupError, SetupError};
use crate::id::ContainerId;
use crate::lifecycle::Container;
use crate::options::{
    CreateUntil, ExecOptions, ExecPaused, Executed, InitParent, OwnBinary, ProcessSource, SubCgroup,
};
use crate::plan::namespaces::{Join, flag};
use crate::plan::process::{CpuMask, ProcessContext, search_path};
use crate::plan::{
    CgroupPlan, ChildHooks, Gate, NamespacePlan, Plan, ProcessPlan, RootPlan, validate,
};
use crate::protect;
use crate::state::Record;
use crate::sys;

/// Starts a process in a container.
// tidy: long function: the order of an exec, told once from its first step to its last
pub(crate) fn exec(root: &Path, options: ExecOptions) -> Result<Executed, ExecError> {
    if options.own_binary == OwnBinary::Check
        && let Ok(Some(path)) = protect::writable_executable()
    {
        return Err(ExecError::OwnBinary { path });
    }
    let id = options.id.clone();
    let in_config = |source| ExecError::Config { id: id.clone(), source };
    let in_setup = |source| ExecError::Setup { id: id.clone(), source };
    let (container, record) = Container::recorded(root, &id)?;
    let status = container.status();
    let allowed = match status {
        ContainerState::Running | ContainerState::Created => true,
        ContainerState::Paused => options.paused == ExecPaused::Allow,
        ContainerState::Creating | ContainerState::Stopped => false,
    };
    let stopped = |status| ExecError::NotRunning { id: id.clone(), status };
    if !allowed {
        return Err(stopped(status));
    }
    let init = Container::pidfd(&record).ok_or_else(|| stopped(ContainerState::Stopped))?;
    // The configuration as it was when the container was created.
    let spec = config::load_file(&container.directory.config_path()).map_err(in_config)?.spec;
    let mut process = match options.process {
        ProcessSource::File(path) => config::load_process(&path).map_err(in_config)?,
        ProcessSource::Spec(process) => *process,
    };
    let preserved = additions::listen(&mut process, &options.listen, options.preserve_fds);
    validate::check_process(&process).map_err(in_config)?;
    terminal::check(&process, &options.console)
        .map_err(|(terminal, problem)| ExecError::Terminal { terminal, problem })?;
    dialogue::check_preserved(preserved).map_err(in_setup)?;

    let mut warnings = Vec::new();
    let cgroup = cgroup_of(&record, &options.cgroups, &id)?;
    let namespaces = namespaces(&record, &init).map_err(in_setup)?;
    let joiner = match &cgroup {
        Some(cgroup) => Some(
            cgroup
                .joiner(UnifiedJoin::ByClone)
                .map_err(|error| ExecError::Cgroup { id: id.clone(), source: error.into() })?,
        ),
        None => None,
    };
    let mut process_plan =
        process_plan(&spec, &process, &namespaces, preserved, &mut warnings).map_err(in_config)?;
    process_plan.needs_listen_pid = options.listen.count > 0;
    let initial =
        process.exec_cpu_affinity.as_ref().and_then(|affinity| affinity.initial.as_deref());
    let initial = initial
        .filter(|list| !list.is_empty())
        .map(|list| CpuMask::parse(list, "process.execCPUAffinity.initial"))
        .transpose()
        .map_err(in_config)?;
    let listener = dialogue::connect_listener(spec.linux.as_ref().unwrap_or(&Linux::default()))
        .map_err(in_setup)?;
    let (ours, theirs) =
        channel::pair().map_err(reports::at("make a socket pair")).map_err(in_setup)?;
    let (terminal, arrival) = terminal::connect(&process, options.console).map_err(in_setup)?;
    let mut plan = Plan {
        close: vec![ours.as_raw_fd(), container.directory.descriptor().as_raw_fd()],
        root: root_plan(&record).map_err(in_setup)?,
        namespaces,
        cgroup: CgroupPlan { joiner, ..CgroupPlan::default() },
        keyring: std::ffi::CString::new(format!("_ses.{id}")).ok(),
        hostname: None,
        domainname: None,
        sysctls: Vec::new(),
        terminal,
        process: process_plan,
        hooks: ChildHooks::default(),
        gate: Gate::Maker,
    };
    let launched = with_affinity(initial.as_ref(), || {
        launch_into(&mut plan, &theirs, options.parent, cgroup.as_ref(), &record)
    })
    .map_err(reports::at("clone the new process"))
    .map_err(in_setup)?;
    drop(theirs);
    let guard = Guard { launched: Some(launched) };
    let pid = guard.pid();
    if let Some(score) = process.oom_score_adj {
        dialogue::set_oom_score(pid, score).map_err(in_setup)?;
    }
    if let Some(groups) = &record.resctrl {
        groups.add(pid).map_err(in_setup)?;
    }
    if plan.namespaces.in_user_namespace() {
        dialogue::raise_limits(pid, &plan.process.rlimits).map_err(in_setup)?;
    }
    let mut dialogue = Dialogue {
        socket: &ours,
        pid,
        hooks: None,
        state: record.state(&id, ContainerState::Running),
        listener,
        seccomp: spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()),
        hooks_ran: false,
    };
    let command = process.args.first().map_or("", String::as_str);
    let outcome = dialogue.run(false, CreateUntil::Running, command, search_path(&process.env));
    outcome.map_err(|error| in_setup(guard.died(error)))?;
    let terminal = terminal::receive(arrival).map_err(in_setup)?;
    if let Some(path) = &options.pid_file {
        dialogue::write_pid_file(path, pid)
            .map_err(|source| ExecError::PidFile { path: path.clone(), source })?;
    }
    let Some(launched) = guard.disarm() else {
        return Err(in_setup(reports::step_error("keep the pidfd", libc::EBADF)));
    };
    Ok(Executed { pid, pidfd: launched.pidfd, terminal, warnings })
}

/// Runs `work` on these CPUs, so that what it clones begins there (config.md, "execCPUAffinity").
fn with_affinity<T>(
    mask: Option<&CpuMask>,
    work: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let Some(mask) = mask else { return work() };
    let before = rustix::thread::sched_getaffinity(None)?;
    sys::set_affinity(&mask.words)?;
    let result = work();
    rustix::thread::sched_setaffinity(None, &before)?;
    result
}

/// Kills the process unless all went well.
struct Guard {
    launched: Option<Launched>,
}

impl Guard {
    fn pid(&self) -> i32 {
        self.launched.as_ref().map_or(0, |launched| launched.pid)
    }

    fn disarm(mut self) -> Option<Launched> {
        self.launched.take()
    }

    fn died(&self, error: SetupError) -> SetupError {
        match (error, &self.launched) {
            (SetupError::Died { out_of_memory, .. }, Some(launched)) => {
                let how = reports::wait_for_end(launched.pidfd.as_fd(), Some(1)).describe();
                SetupError::Died { how, out_of_memory }
            }
            (error, _) => error,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(launched) = &self.launched {
            reports::kill_and_wait(launched.pidfd.as_fd());
        }
    }
}

/// The container's cgroup, or one below it.
fn cgroup_of(
    record: &Record,
    below: &[SubCgroup],
    id: &ContainerId,
) -> Result<Option<Cgroup>, ExecError> {
    let invalid = |problem: &str| {
        let source = ConfigError::invalid("--cgroup", problem);
        ExecError::Config { id: id.clone(), source }
    };
    let Some(saved) = &record.cgroup else {
        return if below.is_empty() {
            Ok(None)
        } else {
            Err(invalid("the container has no cgroup of its own"))
        };
    };
    let mut saved: SavedCgroup = saved.clone();
    for sub in below {
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::RootDir);
        if !sub.path.components().all(plain) {
            return Err(invalid(
                "bad sub cgroup path: it has to lead below the container's cgroup",
            ));
        }
        let path = sub.path.strip_prefix("/").unwrap_or(&sub.path);
        let mut found = false;
        for directory in &mut saved.directories {
            let meant = |name: &String| match &directory.kind {
                HierarchyKind::Unified => name.is_empty() || name == "unified",
                HierarchyKind::Named(known) => name.strip_prefix("name=").unwrap_or(name) == known,
                HierarchyKind::Controllers(list) => list.contains(name),
            };
            if sub.controllers.is_empty() || sub.controllers.iter().any(meant) {
                directory.path.push(path);
                found = true;
            }
        }
        if !found {
            return Err(invalid("unknown controller of a sub cgroup"));
        }
    }
    let failed = |source: CgroupSetupError| ExecError::Cgroup { id: id.clone(), source };
    Cgroup::open(&saved).map(Some).map_err(|error| failed(error.into()))
}

/// The namespaces of the container's first process.
fn namespaces(record: &Record, init: &OwnedFd) -> Result<NamespacePlan, SetupError> {
    let join = |kind, flags| -> Result<Join, SetupError> {
        let file = init.try_clone().map_err(|source| SetupError::Step {
            action: "keep the pidfd of the container".to_owned(),
            source,
        })?;
        Ok(Join { kind, file, flags })
    };
    let mut plan = NamespacePlan::default();
    let (user, pid) = (flag(LinuxNamespaceType::User), flag(LinuxNamespaceType::Pid));
    if record.namespaces & user != 0 {
        plan.join_user = Some(join(LinuxNamespaceType::User, user)?);
        plan.become_root = true;
    }
    if record.namespaces & pid != 0 {
        plan.join_pid = Some(join(LinuxNamespaceType::Pid, pid)?);
    }
    let rest = record.namespaces & !user & !pid;
    if rest != 0 {
        // All at once; the kind is only for an error message.
        plan.join.push(join(LinuxNamespaceType::Mount, rest)?);
    }
    Ok(plan)
}

/// A container without a mount namespace of its own has its root by chroot.
fn root_plan(record: &Record) -> Result<RootPlan, SetupError> {
    if record.namespaces & flag(LinuxNamespaceType::Mount) != 0 {
        return Ok(RootPlan::Joined);
    }
    let path = format!("/proc/{}/root", record.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())
        .map_err(reports::at("open the root of the container"))?;
    Ok(RootPlan::Chroot { directory })
}

fn process_plan(
    spec: &Spec,
    process: &Process,
    namespaces: &NamespacePlan,
    preserve_fds: u32,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan, ConfigError> {
    let linux = spec.linux.as_ref();
    let seccomp = linux
        .and_then(|linux| linux.seccomp.as_ref())
        .map(berth_seccomp::compile)
        .transpose()
        .map_err(ConfigError::Seccomp)?;
    let context = ProcessContext {
        personality: linux.and_then(|linux| linux.personality.as_ref()),
        memory_policy: linux.and_then(|linux| linux.memory_policy.as_ref()),
        seccomp,
        listens: false,
        preserve_fds,
    };
    let mut plan = ProcessPlan::new(process, context, warnings)?;
    if !namespaces.in_user_namespace() {
        plan.capabilities.limit_to_own(warnings);
    }
    Ok(plan)
}

/// Clones into the container's cgroup. Where that has children that processes must be in instead,
/// as below a systemd in the container, it is the first process' own.
fn launch_into(
    plan: &mut Plan,
    socket: &OwnedFd,
    parent: InitParent,
    cgroup: Option<&Cgroup>,
    record: &Record,
) -> Result<Launched, Errno> {
    let place = Birthplace { cgroup: cgroup.and_then(Cgroup::directory), note: None };
    match launch(plan, socket, parent, place) {
        Err(Errno::BUSY | Errno::OPNOTSUPP | Errno::NOENT) if place.cgroup.is_some() => {
            let init = Pid::from_raw(record.pid).ok_or(Errno::SRCH)?;
            let directory = cgroup.and_then(|cgroup| cgroup.directory_with(init));
            let directory = directory.ok_or(Errno::BUSY)?;
            let place = Birthplace { cgroup: Some(directory.as_fd()), note: None };
            launch(plan, socket, parent, place)
        }
        result => result,
    }
}

/// The configuration that a container was created with.
pub(crate) fn configuration(root: &Path, id: &ContainerId) -> Result<Spec, ExecError> {
    let container = Container::open(root, id).map_err(ExecError::Lookup)?;
    if container.record.is_none() {
        return Err(LookupError::NotFound(id.clone()).into());
    }
    config::load_file(&container.directory.config_path())
        .map(|loaded| loaded.spec)
        .map_err(|source| ExecError::Config { id: id.clone(), source })
}
