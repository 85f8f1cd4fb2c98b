//! What a process gets beyond its configuration: sockets to listen at (sd_listen_fds(3)), and a
//! socket to tell of its state (sd_notify(3)).

use std::path::{Path, PathBuf};

use berth_spec::runtime::{Mount, Process, Spec};

use crate::options::ListenFds;
use crate::state::{NOTIFY, NOTIFY_SOCKET};

/// Tells the process of its sockets; gives how many descriptors are kept in all. `LISTEN_PID` is
/// left to the process itself, which alone knows it.
pub(crate) fn listen(process: &mut Process, listen: &ListenFds, preserve_fds: u32) -> u32 {
    if listen.count == 0 {
        return preserve_fds;
    }
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        process.env.retain(|variable| variable.split('=').next() != Some(name));
    }
    process.env.push(format!("LISTEN_FDS={}", listen.count));
    if let Some(names) = &listen.names {
        process.env.push(format!("LISTEN_FDNAMES={names}"));
    }
    listen.count.saturating_add(preserve_fds)
}

/// Mounts the directory of the socket, which is to be in the container's state, and says where it
/// is.
pub(crate) fn notify(spec: &mut Spec, state: PathBuf) {
    let destination = Path::new("/run").join(NOTIFY);
    if let Some(process) = &mut spec.process {
        process.env.retain(|variable| !variable.starts_with("NOTIFY_SOCKET="));
        let socket = destination.join(NOTIFY_SOCKET);
        process.env.push(format!("NOTIFY_SOCKET={}", socket.display()));
    }
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned);
    spec.mounts.push(Mount {
        destination,
        source: Some(state.join(NOTIFY)),
        options: options.to_vec(),
        ..Mount::default()
    });
}
