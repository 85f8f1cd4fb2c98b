//! A container without a runtime: namespaces, cgroups, mounts, command.

use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Read as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::marks::Marks;
use crate::{cgroups, mounts, sys};

const NAMESPACES: i32 = libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNS;

/// Runs a command in a container whose root is `bundle/rootfs` and whose cgroups are called `name`.
pub fn run(
    bundle: &Path,
    name: &str,
    command: &[OsString],
    marks: &mut Marks,
) -> anyhow::Result<ExitCode> {
    let cgroups = cgroups::create(name)?;
    marks.mark("parent: cgroups and their device rules");
    let code = in_container(bundle, &cgroups, command, marks)?;
    cgroups::remove(&cgroups)?;
    marks.mark("parent: the cgroups removed");
    Ok(code)
}

/// The same without cgroups.
pub fn run_without_cgroups(
    bundle: &Path,
    command: &[OsString],
    marks: &mut Marks,
) -> anyhow::Result<ExitCode> {
    in_container(bundle, &[], command, marks)
}

fn in_container(
    bundle: &Path,
    cgroups: &[cgroups::Cgroup],
    command: &[OsString],
    marks: &mut Marks,
) -> anyhow::Result<ExitCode> {
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let (of_child, to_parent) = marks.pipe()?.unzip();
    let Some(child) = sys::clone_into(NAMESPACES).context("make the namespaces")? else {
        drop(writer);
        drop(of_child);
        let root = bundle.join("rootfs");
        let marks = (marks.again(), to_parent);
        return Err(become_container(&root, cgroups, reader, marks, command));
    };
    marks.mark("parent: clone with five namespaces");
    drop(reader);
    drop(to_parent);
    cgroups::add_process(cgroups, child)?;
    marks.mark("parent: the child joins its cgroups");
    drop(writer);
    if let Some(of_child) = of_child {
        marks.receive(of_child)?;
        marks.mark("parent: waiting for the child's setup");
    }
    let code = sys::wait(child).context("wait for the container")?;
    marks.mark("parent: exec, the command, and its end");
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// What the child does. Returns only an error.
fn become_container(
    root: &Path,
    cgroups: &[cgroups::Cgroup],
    mut parent: PipeReader,
    (mut marks, to_parent): (Marks, Option<PipeWriter>),
    command: &[OsString],
) -> anyhow::Error {
    let mut prepare = || -> anyhow::Result<()> {
        sys::loopback_up().context("set up the loopback device")?;
        marks.mark("child: loopback device");
        mounts::set_up(root, cgroups, &mut marks)?;
        rustix::process::setsid().context("make a session")?;
        rustix::system::sethostname(b"floor").context("set the hostname")?;
        marks.mark("child: session and host name");
        // The end of the file says that this process is in its cgroups.
        parent.read_to_end(&mut Vec::new()).context("wait for the cgroups")?;
        marks.mark("child: waiting for its cgroups");
        sys::drop_privileges().context("drop privileges")?;
        marks.mark("child: privileges");
        Ok(())
    };
    match prepare().and_then(|()| to_parent.map_or(Ok(()), |to| marks.send(to))) {
        Ok(()) => sys::execute(command),
        Err(error) => error,
    }
}
