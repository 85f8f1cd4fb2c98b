//! `start`.

use berth_runtime::{ContainerId, Runtime};

use super::log::{Fault, Log};
use super::notify::{self, Proxy};

/// `start`; with NOTIFY_SOCKET it lasts until the container says that it is ready.
pub(crate) fn start(runtime: &Runtime, id: &ContainerId, log: &Log) -> Result<(), Fault> {
    if notify::wanted() == berth_runtime::Notify::None {
        return Ok(runtime.start(id)?);
    }
    let pidfd = runtime.pidfd(id)?;
    let proxy = Proxy::new(runtime.bind_notify(id)?)?;
    runtime.start(id)?;
    match (proxy, pidfd) {
        (Some(proxy), Some((pid, pidfd))) => proxy.wait(pid, &pidfd, log),
        _ => Ok(()),
    }
}
