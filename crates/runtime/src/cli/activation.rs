//! Socket activation (sd_listen_fds(3)): the sockets that this process was started with.

use std::env;

use berth_runtime::ListenFds;

use super::log::Fault;

/// The most sockets there can be.
const MOST: u32 = 10_000;

/// The sockets to hand on. `LISTEN_PID` names the process that they are meant for: this one, or, as
/// callers write it who go through others, the container's first; without it they are for whoever
/// finds them.
pub(crate) fn sockets() -> Result<ListenFds, Fault> {
    let Some(count) = env::var("LISTEN_FDS").ok().filter(|count| !count.is_empty()) else {
        return Ok(ListenFds::default());
    };
    let own = std::process::id().to_string();
    match env::var("LISTEN_PID").ok().filter(|pid| !pid.is_empty()) {
        Some(pid) if pid != "1" && pid != own => return Ok(ListenFds::default()),
        _ => {}
    }
    match count.parse() {
        Ok(count) if count <= MOST => {
            Ok(ListenFds { count, names: env::var("LISTEN_FDNAMES").ok() })
        }
        _ => Err(Fault::new(format!("LISTEN_FDS is {count:?} and not a number up to {MOST}"))),
    }
}
