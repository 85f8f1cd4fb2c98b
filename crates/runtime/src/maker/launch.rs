//! Cloning the new process, directly or by a helper that joins namespaces first.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::child;
use crate::options::InitParent;
use crate::plan::Plan;
use crate::sys::{self, CloneArguments, Cloned, Intermediate, SharedNote};

/// A process on its way.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Its id.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// Where a process is born, and where that is noted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Birthplace<'a> {
    /// A v2 cgroup directory.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What the kernel notes its id in.
    pub note: Option<&'a SharedNote>,
}

impl<'a> Birthplace<'a> {
    fn with(self, flags: u64) -> CloneArguments<'a> {
        CloneArguments { flags, cgroup: self.cgroup, note: self.note }
    }
}

/// Clones the process that carries `plan` out; it talks over `socket`.
pub(crate) fn launch(
    plan: &mut Plan,
    socket: &OwnedFd,
    parent: InitParent,
    place: Birthplace<'_>,
) -> Result<Launched, Errno> {
    let flags = plan.namespaces.clone;
    if plan.namespaces.join_user.is_some() {
        return by_helper(plan, socket, place);
    }
    let flags = match parent {
        InitParent::Caller => flags,
        InitParent::CallersParent => flags | libc::CLONE_PARENT as u64,
    };
    let Some(join) = &plan.namespaces.join_pid else {
        return clone(plan, socket, place.with(flags));
    };
    // Only children are born into the other PID namespace, and only this one.
    let own =
        rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    sys::setns(&join.file, join.flags)?;
    let launched = clone(plan, socket, place.with(flags));
    sys::setns(&own, libc::CLONE_NEWPID as u64)?;
    launched
}

fn clone(
    plan: &mut Plan,
    socket: &OwnedFd,
    arguments: CloneArguments<'_>,
) -> Result<Launched, Errno> {
    match sys::clone3(arguments)? {
        Cloned::Child => child::run(plan, socket.as_fd()),
        Cloned::Parent { pid, pidfd } => Ok(Launched { pid, pidfd }),
    }
}

/// Joins the user namespace, and the PID namespace, which its members may join, and makes the
/// process as this process' child.
struct Helper<'a> {
    plan: &'a mut Plan,
    socket: &'a OwnedFd,
    place: Birthplace<'a>,
    result: Result<Launched, Errno>,
}

impl Helper<'_> {
    fn join_and_clone(&mut self) -> Result<Launched, Errno> {
        let namespaces = &self.plan.namespaces;
        for join in namespaces.join_user.iter().chain(&namespaces.join_pid) {
            sys::setns(&join.file, join.flags)?;
        }
        let flags = namespaces.clone | libc::CLONE_PARENT as u64;
        clone(self.plan, self.socket, self.place.with(flags))
    }
}

impl Intermediate for Helper<'_> {
    fn run(&mut self) -> bool {
        self.result = self.join_and_clone();
        self.result.is_ok()
    }
}

fn by_helper(plan: &mut Plan, socket: &OwnedFd, place: Birthplace<'_>) -> Result<Launched, Errno> {
    let dumpable = sys::dumpable();
    let mut helper = Helper { plan, socket, place, result: Err(Errno::CHILD) };
    let ran = sys::run_intermediate(&mut helper);
    let result = helper.result;
    if dumpable {
        // The helper's change of credentials took that from the memory it shared.
        sys::set_dumpable(true)?;
    }
    ran?;
    result
}
