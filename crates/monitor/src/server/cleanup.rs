//! Running the cleanup command.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::server::worker::restore_oom_score;
use crate::sys;

/// Starts the command for a container. Gives its process, `None` when there is no command.
pub(super) fn start(
    command: &[OsString],
    id: &str,
    oom_score: Option<&str>,
) -> std::io::Result<Option<i32>> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    match sys::fork()? {
        sys::Fork::Parent(pid) => Ok(Some(pid)),
        sys::Fork::Child => {
            sys::close_all_but(3, 2);
            sys::default_signals();
            restore_oom_score(oom_score);
            let error = Command::new(program).args(arguments).arg(id).exec();
            sys::exit_now(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
        }
    }
}
