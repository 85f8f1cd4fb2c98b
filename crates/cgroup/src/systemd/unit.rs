//! A container's transient scope: named from `linux.cgroupsPath`, started with its first process,
//! found again in every hierarchy.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use berth_spec::runtime::LinuxResources;

use super::bus::Endpoint;
use super::manager::{Manager, endpoints};
use super::properties::Context;
use super::wire::{Property, Value};
use super::{SystemdError, properties};
use crate::cgroup::Owner;
use crate::create;
use crate::directory::Directory;
use crate::error::{ApplyError, CreateError};
use crate::hierarchy::{Hierarchies, HierarchyKind};

/// How long one pause may last in waiting for a unit of the same name to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// A scope unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// With `.scope`.
    pub(crate) name: String,
    /// Empty for the manager's default.
    slice: String,
}

impl Unit {
    /// From `SLICE:PREFIX:NAME`. `PREFIX-NAME.scope` is the unit; without a prefix, `NAME.scope`.
    pub(crate) fn parse(path: &Path) -> Result<Self, CreateError> {
        let refuse = |reason| CreateError::InvalidPath { path: path.to_owned(), reason };
        let form = "is not of the form SLICE:PREFIX:NAME";
        let text = path.to_str().ok_or_else(|| refuse(form))?;
        let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(refuse(form));
        };
        let plain =
            |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
        if name.is_empty() || !plain(name) || !plain(prefix) || !plain(slice) {
            return Err(refuse("names no valid systemd unit"));
        }
        if !slice.is_empty() && slice.strip_suffix(".slice").is_none_or(str::is_empty) {
            return Err(refuse("does not begin with the name of a slice"));
        }
        let separator = if prefix.is_empty() { "" } else { "-" };
        Ok(Self { name: format!("{prefix}{separator}{name}.scope"), slice: slice.to_owned() })
    }

    /// One that exists already.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), slice: String::new() }
    }

    /// Starts the scope with its first process, and finds its directories.
    pub(crate) fn start(
        &self,
        hierarchies: &Hierarchies,
        context: Context<'_>,
        pid: i32,
        owner: Option<Owner>,
        resources: Option<&LinuxResources>,
    ) -> Result<Vec<Directory>, CreateError> {
        // They were found to be in order when they were given.
        let limits = resources.and_then(|r| properties::of(context, r).ok()).unwrap_or_default();
        let group = endpoints()
            .and_then(|e| self.start_at(&e, pid, limits))
            .map_err(|source| CreateError::Systemd { unit: self.name.clone(), source });
        let started = group.and_then(|g| create::below_unit(hierarchies, &g, pid, owner));
        match &started {
            // Refused outright: a unit of that name is somebody else's.
            Ok(_) | Err(CreateError::Systemd { source: SystemdError::Method { .. }, .. }) => {}
            // The process ends with the container that is not to be.
            Err(_) => drop(self.stop()),
        }
        started
    }

    /// Sees to it that systemd is there, and that the name is free.
    pub(crate) fn reserve(&self) -> Result<(), CreateError> {
        endpoints()
            .and_then(|e| Manager::connect(&e))
            .map_err(CreateError::NoSystemd)
            .and_then(|mut manager| self.reserve_at(&mut manager))
    }

    /// A unit that failed is forgotten, and one that is about to go is waited for.
    fn reserve_at(&self, manager: &mut Manager) -> Result<(), CreateError> {
        let mut pause = Duration::from_millis(1);
        loop {
            let state = manager
                .state(&self.name)
                .map_err(|source| CreateError::Systemd { unit: self.name.clone(), source })?;
            let Some(state) = state else { return Ok(()) };
            match state.as_str() {
                "failed" if pause < PATIENCE => drop(manager.forget_failure(&self.name)),
                "inactive" | "deactivating" if pause < PATIENCE => {}
                _ => return Err(CreateError::UnitExists { unit: self.name.clone(), state }),
            }
            sleep(pause);
            pause *= 2;
        }
    }

    fn start_at(
        &self,
        endpoints: &[Endpoint],
        pid: i32,
        limits: Vec<Property>,
    ) -> Result<String, SystemdError> {
        let mut manager = Manager::connect(endpoints)?;
        let mut all = scope(&format!("berth container {}", self.name), pid);
        if !self.slice.is_empty() {
            all.push(("Slice", Value::Text(self.slice.clone())));
        }
        all.extend(limits);
        manager.start_transient(&self.name, &all)?;
        manager.control_group(&self.name)
    }

    /// Tells systemd of new limits.
    pub(crate) fn limit(&self, context: Context<'_>, r: &LinuxResources) -> Result<(), ApplyError> {
        let mut limits = properties::of(context, r)?;
        limits.retain(|(name, _)| *name != properties::OOM_POLICY);
        if limits.is_empty() {
            return Ok(());
        }
        endpoints()
            .and_then(|e| Manager::connect(&e)?.set_properties(&self.name, &limits))
            .map_err(|source| ApplyError::Systemd { unit: self.name.clone(), source })
    }

    /// Stops the scope unless there is a process in it, which may be somebody else's. Ours go with
    /// their last process, but for one whose first process ended before systemd had put it there.
    pub(crate) fn stop_unused(&self) -> Result<(), SystemdError> {
        let mut manager = Manager::connect(&endpoints()?)?;
        if manager.state(&self.name)?.is_none() {
            return Ok(());
        }
        // None is named before the scope's job is run.
        let group = manager.control_group(&self.name)?;
        if !group.is_empty() && is_used(Path::new(&group)) {
            return Ok(());
        }
        manager.stop(&self.name)
    }

    /// Stops the scope, if it is still there.
    pub(crate) fn stop(&self) -> Result<(), SystemdError> {
        Manager::connect(&endpoints()?)?.stop(&self.name)
    }
}

/// Whether there are processes in a control group of systemd's, or below it. One that cannot be
/// looked at is taken for used.
fn is_used(group: &Path) -> bool {
    let Ok(hierarchies) = Hierarchies::detect() else { return true };
    hierarchies.mounts().iter().filter(|mount| is_systemds(&mount.kind)).any(|mount| {
        let below = create::below_root(mount, group);
        let directory = Directory::new(mount.kind.clone(), mount.mount_point.join(below));
        directory.path.exists() && directory.processes().map_or(true, |found| !found.is_empty())
    })
}

/// The properties that any scope of ours has.
fn scope(description: &str, pid: i32) -> Vec<Property> {
    vec![
        ("Description", Value::Text(description.to_owned())),
        ("PIDs", Value::U32s(vec![pid.cast_unsigned()])),
        ("Delegate", Value::Bool(true)),
        ("DefaultDependencies", Value::Bool(false)),
        ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        ("IOAccounting", Value::Bool(true)),
    ]
}

/// Puts one process into a scope that nothing limits, for a supervisor.
pub(crate) fn start_plain_scope(unit: &str, pid: i32) -> Result<(), SystemdError> {
    let properties: Vec<Property> = scope("berth container monitor", pid)
        .into_iter()
        .filter(|(name, _)| !name.ends_with("Accounting"))
        .collect();
    Manager::connect(&endpoints()?)?.start_transient(unit, &properties)
}

/// Whether systemd itself makes the directory of a hierarchy.
pub(crate) fn is_systemds(kind: &HierarchyKind) -> bool {
    match kind {
        HierarchyKind::Unified => true,
        HierarchyKind::Named(name) => name == "systemd",
        HierarchyKind::Controllers(_) => false,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
