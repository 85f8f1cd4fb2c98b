//! init: the smallest PID 1 that a container needs.
//!
//! It starts one command, hands every signal on to it (with -g, to its process group), reaps
//! whatever is re-parented to it, and ends with the command's status. All signals are blocked and
//! taken one by one, so there is no handler and no race.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::options::Options;
use crate::outcome::{Failure, Outcome, plain};
use crate::process::exec_status;
use crate::sys::{self, Fork, Wait};

/// `init [-g] [--] COMMAND [ARGUMENT...]`; with -g signals go to the command's whole group.
pub fn run(arguments: &[OsString]) -> Outcome {
    let options = Options::parse_leading(arguments, "g")?;
    let Some((program, rest)) = options.operands.split_first() else {
        return Err(Failure::usage("missing operand: COMMAND"));
    };
    sys::block_signals();
    io::stdout().flush()?;
    let child = match sys::fork_process()? {
        Fork::Parent(child) => child,
        Fork::Child => {
            // With a terminal the command must stay in the foreground group.
            if !io::stdin().is_terminal() && options.has('g') {
                // Can't fail in a child that leads no session.
                let _ = sys::own_process_group();
            }
            sys::unblock_signals();
            let error = Command::new(program).args(rest).exec();
            let status = exec_status(&error);
            let failure = Failure::new(status, format!("{}: {}", program.display(), plain(&error)));
            crate::report("init", &failure);
            sys::exit_now(status)
        }
    };
    let target = if options.has('g') && !io::stdin().is_terminal() { -child } else { child };
    loop {
        match sys::next_signal() {
            sys::SIGCHLD => {
                if let Some(status) = reap(child)? {
                    return Ok(status);
                }
            }
            signal => {
                // The command may be gone already; its end is on its way as SIGCHLD.
                let _ = sys::send_signal(target, signal);
            }
        }
    }
}

/// Reaps all that ended; gives the command's status once it is among them.
fn reap(child: i32) -> io::Result<Option<u8>> {
    let mut status = None;
    loop {
        match sys::wait_child(None, Wait::Poll) {
            Ok(Some(ended)) if ended.pid == child => status = Some(ended.status),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(status),
            // No children are left.
            Err(_) if status.is_some() => return Ok(status),
            Err(error) => return Err(error),
        }
    }
}
