//! `start`.

use berth_runtime::{ContainerId, Runtime, StartError};

use super::log::{Fault, Log};
use super::notify::{self, Proxy};

/// `start`; with NOTIFY_SOCKET it lasts until the container says that it is ready.
pub(crate) fn start(runtime: &Runtime, id: &ContainerId, log: &Log) -> Result<(), Fault> {
    if notify::wanted() == berth_runtime::Notify::None {
        return let_go(runtime, id, log);
    }
    let pidfd = runtime.pidfd(id)?;
    let proxy = Proxy::new(runtime.bind_notify(id)?)?;
    let_go(runtime, id, log)?;
    match (proxy, pidfd) {
        (Some(proxy), Some((pid, pidfd))) => proxy.wait(pid, &pidfd, log),
        _ => Ok(()),
    }
}

fn let_go(runtime: &Runtime, id: &ContainerId, log: &Log) -> Result<(), Fault> {
    runtime.start(id).map_err(|error| {
        if let StartError::Hook { warnings, .. } = &error {
            for warning in warnings {
                log.warn(warning);
            }
        }
        error.into()
    })
}
