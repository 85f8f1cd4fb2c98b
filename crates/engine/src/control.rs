//! Stopping, signalling, freezing, renaming, changing and removing.

use std::time::{Duration, Instant};

use berth_monitor::client::{self, Connection};
use berth_monitor::protocol::{Reply, Request, SlowClient, Streams as WireStreams, Target};

use crate::assemble;
use crate::core::Core;
use crate::error::{
    FindError, HealError, MonitorError, RemoveError, RuntimeError, SignalError, StateError,
    StopError, UpdateError,
};
use crate::heal::AnonymousVolumes;
use crate::lock::ContainerLock;
use crate::records::ContainerRecord;
use crate::request::{RemoveOptions, Resources, RestartPolicy, StopOptions};
use crate::signal::Signal;
use crate::state::{Observed, Remedy};
use crate::view::{ContainerStatus, Stopped};

/// How long a process may take to end after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(20);

impl Core {
    /// A container, mended if it had to be.
    pub(crate) fn settled<E>(&self, word: &str) -> Result<(ContainerRecord, Observed), E>
    where
        E: From<FindError> + From<crate::error::RecordError> + From<HealError>,
    {
        let record: ContainerRecord = self.find::<E>(word)?;
        let gone = || FindError::NotFound(word.to_owned());
        Ok(self.settle(record)?.ok_or_else(gone)?)
    }

    /// The monitor of a running container.
    pub(crate) fn monitor(&self, id: &str) -> Result<Connection, MonitorError> {
        client::connect(&self.paths.run(id))
            .map_err(|source| MonitorError::Connect { id: id.to_owned(), source })
    }

    /// Stops a container.
    pub(crate) fn stop(&self, word: &str, options: StopOptions) -> Result<Stopped, StopError> {
        let (record, observed) = self.settled::<StopError>(word)?;
        let status = observed.state.status;
        if !status.is_active() && status != ContainerStatus::Restarting {
            // A start that is under way elsewhere is not waited for.
            return Ok(Stopped::Already);
        }
        let id = record.id.as_str();
        let mut monitor = match self.monitor(id) {
            Ok(monitor) => monitor,
            // It has ended between the two looks.
            Err(MonitorError::Connect {
                source: client::ConnectError::NotRunning { .. }, ..
            }) => return Ok(Stopped::Already),
            Err(error) => return Err(error.into()),
        };
        let attached = monitor.attach(id, WireStreams::NONE, SlowClient::Wait);
        if attached.is_err() {
            return Ok(Stopped::Already);
        }
        monitor
            .request(&Request::NoRestart { id: id.to_owned() })
            .map_err(MonitorError::request("stop", id))?;
        if status == ContainerStatus::Paused {
            monitor
                .request(&Request::Resume { id: id.to_owned() })
                .map_err(MonitorError::request("resume", id))?;
        }
        let signal = options.signal.unwrap_or(record.details.stop_signal);
        let seconds = options.timeout.unwrap_or(record.details.stop_timeout);
        let patience = Duration::from_secs(u64::from(seconds));
        // One that waits to be started again has ended with `NoRestart`; one whose restart is under
        // way is ended by its monitor as soon as it runs.
        let ended = (seconds > 0 || signal == Signal::KILL)
            && signal_and_wait(&mut monitor, id, signal, patience)?;
        if !ended && !signal_and_wait(&mut monitor, id, Signal::KILL, KILL_PATIENCE)? {
            return Err(MonitorError::Slow { action: "stop", id: id.to_owned() }.into());
        }
        drop(monitor);
        self.clean_up_now(id)?;
        let in_vain = !ended && seconds > 0;
        Ok(if in_vain { Stopped::Killed { signal, seconds } } else { Stopped::Now })
    }

    /// Cleans up after a container that has ended, or sees that somebody else does.
    ///
    /// It must not wait for the lock: whoever holds it may wait for the monitor to end, and the
    /// monitor for this.
    pub(crate) fn clean_up_now(&self, id: &str) -> Result<(), HealError> {
        let mut launch = None;
        let mut pause = Duration::from_micros(200);
        loop {
            let Some(record) = self.records().container(id)? else { return Ok(()) };
            let is_done = record.launch.is_none() && !record.removing;
            if is_done || launch.as_ref().is_some_and(|known| *known != record.launch) {
                return Ok(());
            }
            launch.get_or_insert(record.launch);
            if let Some(lock) = self.try_lock(id)? {
                return self.clean_up_locked(id, lock);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn clean_up_locked(&self, id: &str, lock: ContainerLock) -> Result<(), HealError> {
        let record = self.records().container(id)?;
        let Some(record) = record else {
            lock.discard();
            return Ok(());
        };
        let observed = self.observe(&record)?;
        let ended = record.launch.is_some()
            && matches!(observed.state.status, ContainerStatus::Exited | ContainerStatus::Removing);
        match observed.remedy {
            Remedy::None if ended => self.clean_up(&record, &observed.state)?,
            Remedy::None => {}
            _ => {
                self.heal(id)?;
            }
        }
        if record.remove && self.records().container(id)?.is_none() {
            lock.discard();
        }
        Ok(())
    }

    /// Sends a signal to the first process.
    pub(crate) fn kill(&self, word: &str, signal: Signal) -> Result<(), SignalError> {
        let (record, observed) = self.settled::<SignalError>(word)?;
        must_be_active(&record, &observed, "signal")?;
        let id = record.id.as_str();
        let mut monitor = self.monitor(id)?;
        let target = Target::container(id);
        if signal == Signal::KILL {
            // Whoever kills it does not want it back.
            monitor
                .request(&Request::NoRestart { id: id.to_owned() })
                .map_err(MonitorError::request("signal", id))?;
        }
        monitor
            .request(&Request::Signal { target, signal: signal.number() })
            .map_err(MonitorError::request("signal", id))?;
        Ok(())
    }

    /// Freezes a container.
    pub(crate) fn pause(&self, word: &str) -> Result<(), SignalError> {
        let (record, observed) = self.settled::<SignalError>(word)?;
        if observed.state.status != ContainerStatus::Running {
            return Err(state_error("pause", &record, &observed).into());
        }
        let id = record.id.as_str();
        self.monitor(id)?
            .request(&Request::Pause { id: id.to_owned() })
            .map_err(MonitorError::request("pause", id))?;
        Ok(())
    }

    /// Thaws a container.
    pub(crate) fn unpause(&self, word: &str) -> Result<(), SignalError> {
        let (record, observed) = self.settled::<SignalError>(word)?;
        if observed.state.status != ContainerStatus::Paused {
            return Err(state_error("resume", &record, &observed).into());
        }
        let id = record.id.as_str();
        self.monitor(id)?
            .request(&Request::Resume { id: id.to_owned() })
            .map_err(MonitorError::request("resume", id))?;
        Ok(())
    }

    /// Removes a container; gives its id.
    pub(crate) fn remove(&self, word: &str, options: RemoveOptions) -> Result<String, RemoveError> {
        let record: ContainerRecord = self.find::<RemoveError>(word)?;
        let id = record.id;
        if options.force {
            let stop = StopOptions { timeout: options.timeout, signal: None };
            match self.stop(&id, stop) {
                Ok(_) | Err(StopError::Find(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let lock = self.lock(&id).map_err(HealError::from)?;
        let Some((record, observed)) = self.heal(&id)? else {
            lock.discard();
            return Ok(id);
        };
        let is_idle = matches!(
            observed.state.status,
            ContainerStatus::Created | ContainerStatus::Exited | ContainerStatus::Removing
        );
        if !is_idle {
            return Err(state_error("remove", &record, &observed).into());
        }
        let volumes = if options.volumes || record.remove {
            AnonymousVolumes::Remove
        } else {
            AnonymousVolumes::Keep
        };
        self.take_away(&record, volumes)?;
        lock.discard();
        Ok(id)
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, word: &str, name: &str) -> Result<(), UpdateError> {
        if !crate::identity::is_name(name) {
            return Err(assemble::RequestError::Value {
                option: "name",
                value: name.to_owned(),
                expected: "letters, digits, '_', '.' and '-', the first a letter or digit"
                    .to_owned(),
            }
            .into());
        }
        let record: ContainerRecord = self.find::<UpdateError>(word)?;
        self.records().rename(&record.id, name)?;
        let renamed = ContainerRecord { name: name.to_owned(), ..record };
        crate::events::append(&self.paths.events(), &renamed, "rename", &[]);
        Ok(())
    }

    /// Changes limits and restart policy.
    pub(crate) fn update(
        &self,
        word: &str,
        resources: &Resources,
        restart: Option<RestartPolicy>,
    ) -> Result<(), UpdateError> {
        let (record, _) = self.settled::<UpdateError>(word)?;
        let lock = self.lock(&record.id).map_err(HealError::from)?;
        let gone = || FindError::NotFound(word.to_owned());
        let (mut record, observed) = self.heal(&record.id)?.ok_or_else(gone)?;
        let spec_resources =
            record.details.spec.linux.get_or_insert_default().resources.get_or_insert_default();
        assemble::resources_of(resources, spec_resources)?;
        let mut changed = berth_spec::runtime::LinuxResources::default();
        assemble::resources_of(resources, &mut changed)?;
        if observed.state.status.is_active() {
            let id = record.id.as_str();
            let failed = || "change the limits of";
            let pid = observed.state.pid.unwrap_or_default();
            let cgroup = crate::stats::cgroup_of(pid).map_err(|source| RuntimeError::Builtin {
                action: failed(),
                id: id.to_owned(),
                hint: None,
                source,
            })?;
            cgroup.apply(&changed).map_err(|error| {
                let hint = error.hint();
                RuntimeError::builtin(failed(), id)(error).with_hint(hint)
            })?;
        }
        if let Some(restart) = restart {
            if observed.state.status.is_active() {
                return Err(assemble::RequestError::Unsupported {
                    what: "changing the restart policy of a running container".to_owned(),
                    reason: "its monitor keeps the one it was started with: stop it first",
                }
                .into());
            }
            record.details.request.restart = restart;
        }
        merge(&mut record.details.request.resources, resources);
        self.records().set_details(&record.id, &record.details)?;
        drop(lock);
        Ok(())
    }
}

/// Takes over what is set.
fn merge(into: &mut Resources, from: &Resources) {
    let old = into.clone();
    let new = from.clone();
    *into = Resources {
        memory: new.memory.or(old.memory),
        memory_swap: new.memory_swap.or(old.memory_swap),
        memory_reservation: new.memory_reservation.or(old.memory_reservation),
        memory_swappiness: new.memory_swappiness.or(old.memory_swappiness),
        oom_kill_disable: new.oom_kill_disable || old.oom_kill_disable,
        nano_cpus: new.nano_cpus.or(old.nano_cpus),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpu_period: new.cpu_period.or(old.cpu_period),
        cpu_quota: new.cpu_quota.or(old.cpu_quota),
        cpu_rt_period: new.cpu_rt_period.or(old.cpu_rt_period),
        cpu_rt_runtime: new.cpu_rt_runtime.or(old.cpu_rt_runtime),
        cpuset_cpus: new.cpuset_cpus.or(old.cpuset_cpus),
        cpuset_mems: new.cpuset_mems.or(old.cpuset_mems),
        pids_limit: new.pids_limit.or(old.pids_limit),
        blkio_weight: new.blkio_weight.or(old.blkio_weight),
        ..old
    };
}

pub(crate) fn must_be_active(
    record: &ContainerRecord,
    observed: &Observed,
    action: &'static str,
) -> Result<(), StateError> {
    if observed.state.status.is_active() {
        return Ok(());
    }
    Err(state_error(action, record, observed))
}

pub(crate) fn state_error(
    action: &'static str,
    record: &ContainerRecord,
    observed: &Observed,
) -> StateError {
    StateError { action, name: record.name.clone(), status: observed.state.status }
}

/// Sends a signal and waits for the end of the container; `false` when it does not come in time.
fn signal_and_wait(
    monitor: &mut Connection,
    id: &str,
    signal: Signal,
    patience: Duration,
) -> Result<bool, MonitorError> {
    let target = Target::container(id);
    let sent = monitor.request(&Request::Signal { target, signal: signal.number() });
    match sent {
        // Refused means that there is no process any more.
        Ok(_) | Err(client::RequestError::Refused { .. }) => {}
        Err(client::RequestError::Gone) => return Ok(true),
        Err(error) => return Err(MonitorError::request("signal", id)(error)),
    }
    let deadline = Instant::now() + patience;
    loop {
        match monitor.try_receive().map_err(MonitorError::lost("stop", id))? {
            client::Received::Reply(Reply::Exited { target, exit }) if target.exec.is_none() => {
                if !exit.restarting {
                    return Ok(true);
                }
            }
            client::Received::Reply(_) => {}
            client::Received::Closed => return Ok(true),
            client::Received::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(false);
                }
                wait_readable(monitor, left);
            }
        }
    }
}

/// Waits until the connection has something, or the time is over.
fn wait_readable(monitor: &Connection, limit: Duration) {
    let mut descriptors = [rustix::event::PollFd::new(monitor, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    // An interrupted wait is a short one; the caller looks at the clock.
    let _ = rustix::event::poll(&mut descriptors, Some(&limit));
}
