//! A container without a runtime: namespaces, cgroups, mounts, command.

use std::ffi::OsString;
use std::io::{PipeReader, Read as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::{cgroups, mounts, sys};

const NAMESPACES: i32 = libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNS;

/// Runs a command in a container whose root is `bundle/rootfs` and whose cgroups are called `name`.
pub fn run(bundle: &Path, name: &str, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let cgroups = cgroups::create(name)?;
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let Some(child) = sys::clone_into(NAMESPACES).context("make the namespaces")? else {
        drop(writer);
        return Err(become_container(&bundle.join("rootfs"), &cgroups, reader, command));
    };
    drop(reader);
    cgroups::add_process(&cgroups, child)?;
    drop(writer);
    let code = sys::wait(child).context("wait for the container")?;
    cgroups::remove(&cgroups)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// What the child does. Returns only an error.
fn become_container(
    root: &Path,
    cgroups: &[cgroups::Cgroup],
    mut parent: PipeReader,
    command: &[OsString],
) -> anyhow::Error {
    let mut prepare = || -> anyhow::Result<()> {
        mounts::set_up(root, cgroups)?;
        rustix::process::setsid().context("make a session")?;
        rustix::system::sethostname(b"floor").context("set the hostname")?;
        // The end of the file says that this process is in its cgroups.
        parent.read_to_end(&mut Vec::new()).context("wait for the cgroups")?;
        sys::drop_privileges().context("drop privileges")
    };
    match prepare() {
        Ok(()) => sys::execute(command),
        Err(error) => error,
    }
}
