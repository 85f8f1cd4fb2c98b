//! The new process, from its birth to the program (runtime.md, "Lifecycle").
//!
//! Everything here runs between clone and exec: it makes system calls, allocates nothing, takes no
//! lock, and tells its maker over a socket which step failed. What it does was worked out before
//! (`plan`); this module knows no configuration.

pub(crate) mod channel;
mod copy_up;
mod descriptors;
mod devices;
mod home;
mod hook;
pub(crate) mod identity;
pub(crate) mod legacy;
pub(crate) mod mount;
mod namespaces;
pub(crate) mod resolve;
mod rootfs;
pub(crate) mod step;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::plan::{Gate, Plan, RootPlan};
use crate::procfs::Procfs;
use crate::sys;
use channel::Word;
use hook::Stage;
use step::{At as _, Failure, Step};

/// The exit code of a process that did not become the program.
const FAILED: i32 = 1;

/// Becomes the container's process. Never returns.
pub(crate) fn run(plan: &mut Plan, socket: BorrowedFd<'_>) -> ! {
    for &descriptor in &plan.close {
        sys::close_number(descriptor);
    }
    // What the maker ignores or blocks is no business of the program's.
    sys::default_signals();
    sys::unblock_signals();
    rustix::process::umask(Mode::empty());
    let (mut home, mut listen_pid) = ([0u8; 1024], [0u8; 32]);
    let mut environment = std::mem::take(&mut plan.process.environment);
    let program =
        Program { environment: &mut environment, home: &mut home, listen_pid: &mut listen_pid };
    if let Err(failure) = set_up(plan, socket, program) {
        channel::report_failure(socket, &failure);
    }
    sys::exit_now(FAILED)
}

/// What is still added to the program's environment.
struct Program<'a> {
    environment: &'a mut sys::Pointers,
    home: &'a mut home::Buffer,
    listen_pid: &'a mut [u8; 32],
}

/// The process is no use without its maker, until that has let it go.
fn orphaned() -> ! {
    sys::exit_now(FAILED)
}

fn set_up<'p>(
    plan: &'p Plan,
    socket: BorrowedFd<'_>,
    program: Program<'_>,
) -> Result<(), Failure<'p>> {
    let mut buffer = [0u8; channel::LIMIT];
    if plan.namespaces.map_ids && channel::hear(socket, Word::Mapped, &mut buffer).is_none() {
        orphaned();
    }
    namespaces::become_root(plan)?;
    sys::set_dumpable(false).at(Step::BecomeRoot, b"")?;
    let mut told = 0;
    if plan.cgroup.wait {
        match channel::hear(socket, Word::Cgroup, &mut buffer) {
            Some(payload) => told = payload.len(),
            None => orphaned(),
        }
    } else if let Some(joiner) = &plan.cgroup.joiner {
        joiner.join().map_err(|error| Failure::new(Step::Cgroup, b"", error.errno))?;
    }
    // The payload of a word begins after its number.
    let cgroups = buffer.get(1..1 + told).unwrap_or_default();
    namespaces::join(&plan.namespaces)?;
    namespaces::make_first(&plan.namespaces)?;
    let mut joining = Joining { plan, socket, joined: false };
    if plan.cgroup.late.is_none() || !matches!(plan.root, RootPlan::Make(_)) {
        joining.join()?;
    }
    sys::new_session().at(Step::Session, b"")?;
    if let Some(name) = &plan.keyring {
        match sys::join_session_keyring(name) {
            // Keyrings are an option of the kernel, and some sandboxes forbid them.
            Ok(()) | Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(Failure::new(Step::Keyring, name.to_bytes(), errno)),
        }
    }
    let mut procfs = None;
    let slave = match &plan.root {
        RootPlan::Make(root_plan) => {
            let root = rootfs::assemble(root_plan, cgroups, || joining.join())?;
            create_hooks(plan, socket)?;
            let slave = terminal(plan, root.as_fd())?;
            if let Some(slave) = &slave {
                devices::bind_console(slave, root.as_fd())?;
            }
            names(plan)?;
            if !plan.sysctls.is_empty() || !plan.process.labels.is_empty() {
                procfs = Some(open_procfs(root.as_fd())?);
            }
            sysctls(plan, procfs.as_ref())?;
            rootfs::make_directory(root_plan, &plan.process.cwd, root.as_fd());
            rootfs::protect(root_plan, root.as_fd())?;
            rootfs::change_root(root_plan, root.as_fd())?;
            slave
        }
        other => {
            if let RootPlan::Chroot { directory } = other {
                rustix::process::fchdir(directory)
                    .and_then(|()| rustix::process::chroot(c"."))
                    .and_then(|()| rustix::process::chdir(c"/"))
                    .at(Step::ChangeRoot, b"")?;
            }
            create_hooks(plan, socket)?;
            names(plan)?;
            let root = open_root()?;
            if !plan.sysctls.is_empty() || !plan.process.labels.is_empty() {
                procfs = Some(open_procfs(root.as_fd())?);
            }
            sysctls(plan, procfs.as_ref())?;
            terminal(plan, root.as_fd())?
        }
    };
    take_terminal(slave)?;
    close_host(plan, socket, procfs.as_ref())?;
    if plan.process.needs_home {
        // There is room for it and the next; see `ProcessPlan`.
        program.environment.push(home::variable(plan.process.uid, program.home));
    }
    if plan.process.needs_listen_pid {
        program.environment.push(listen_pid(program.listen_pid));
    }
    let image = Image { environment: program.environment, procfs: procfs.as_ref() };
    finish(plan, socket, &image)
}

/// The variable by which a process knows that its sockets are meant for it (sd_listen_fds(3)).
fn listen_pid(buffer: &mut [u8; 32]) -> &CStr {
    const NAME: &[u8] = b"LISTEN_PID=";
    let mut rest = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    let mut digits = [0u8; 10];
    let mut length = 0;
    while let (true, Some(digit)) = (rest > 0, digits.get_mut(length)) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        length += 1;
    }
    let digits = digits.iter().take(length).rev();
    for (slot, byte) in buffer.iter_mut().zip(NAME.iter().chain(digits)) {
        *slot = *byte;
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"LISTEN_PID=1")
}

/// Getting into the cgroup, and what follows from that.
struct Joining<'p, 's> {
    plan: &'p Plan,
    socket: BorrowedFd<'s>,
    joined: bool,
}

impl<'p> Joining<'p, '_> {
    /// Waits for the cgroup, if it is still to be joined, and makes the namespaces that are rooted
    /// in it. Only the first call does something.
    fn join(&mut self) -> Result<(), Failure<'p>> {
        if std::mem::replace(&mut self.joined, true) {
            return Ok(());
        }
        if let Some(joiner) = &self.plan.cgroup.late {
            let mut buffer = [0u8; channel::LIMIT];
            if channel::hear(self.socket, Word::Cgroup, &mut buffer).is_none() {
                orphaned();
            }
            joiner.join().map_err(|error| Failure::new(Step::Cgroup, b"", error.errno))?;
        }
        namespaces::make(&self.plan.namespaces)
    }
}

/// Lets the hooks of the runtime's side run, and runs those of the container's side.
fn create_hooks<'p>(plan: &'p Plan, socket: BorrowedFd<'_>) -> Result<(), Failure<'p>> {
    if !plan.hooks.runtime && plan.hooks.create_container.is_empty() {
        return Ok(());
    }
    let mut buffer = [0u8; channel::LIMIT];
    channel::report_mounted(socket);
    if channel::hear(socket, Word::Hooks, &mut buffer).is_none() {
        orphaned();
    }
    hook::run_all(&plan.hooks.create_container, Stage::CreateContainer, None)
}

fn names(plan: &Plan) -> Result<(), Failure<'_>> {
    namespaces::set_up_loopback(&plan.namespaces)?;
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name).at(Step::Hostname, name)?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name).at(Step::Domainname, name)?;
    }
    Ok(())
}

fn open_root() -> Result<OwnedFd, Failure<'static>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(c"/", flags, Mode::empty()).at(Step::OpenRoot, b"/")
}

/// A procfs that nothing is mounted over: an instance of our own, or the container's, proven to
/// be one.
fn open_procfs(root: BorrowedFd<'_>) -> Result<Procfs, Failure<'static>> {
    if let Ok(own) = mount::new_file_system(c"proc", &[(c"source", c"proc")], 0) {
        return Procfs::verified(own).at(Step::Procfs, b"/proc");
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let found = resolve::open_without_links(root, c"/proc", flags).at(Step::Procfs, b"/proc")?;
    Procfs::verified(found).at(Step::Procfs, b"/proc")
}

/// Closes all that the container's paths could lead out through, before one of them is looked up: a
/// directory of the host that is open is found at /proc/self/fd, and its `..` ends at the host's
/// root. What stays are the talk with the maker, the gate, a procfs, and what is to be preserved.
fn close_host(
    plan: &Plan,
    socket: BorrowedFd<'_>,
    procfs: Option<&Procfs>,
) -> Result<(), Failure<'static>> {
    let gate = match &plan.gate {
        Gate::Maker => [-1; 2],
        Gate::Fifo { fifo, errors } => [fifo.as_raw_fd(), errors.as_raw_fd()],
    };
    let kept = [socket.as_raw_fd(), gate[0], gate[1], procfs.map_or(-1, Procfs::number)];
    descriptors::close_all_but(3 + plan.process.preserve_fds, kept).at(Step::Descriptors, b"")
}

fn sysctls<'p>(plan: &'p Plan, procfs: Option<&Procfs>) -> Result<(), Failure<'p>> {
    let Some(procfs) = procfs else { return Ok(()) };
    for sysctl in &plan.sysctls {
        let name = sysctl.path.to_bytes();
        procfs.write(&sysctl.path, &sysctl.value).at(Step::Sysctl, name)?;
    }
    Ok(())
}

fn terminal<'p>(plan: &'p Plan, root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Failure<'p>> {
    let Some(terminal) = &plan.terminal else { return Ok(None) };
    let owner = (plan.process.uid, plan.process.gid);
    devices::open_terminal(terminal, root, owner).map(Some)
}

/// What the program is started with.
struct Image<'a> {
    environment: &'a sys::Pointers,
    procfs: Option<&'a Procfs>,
}

fn take_terminal(slave: Option<OwnedFd>) -> Result<(), Failure<'static>> {
    let Some(slave) = slave else { return Ok(()) };
    rustix::process::ioctl_tiocsctty(&slave).at(Step::StandardStreams, b"")?;
    for stream in 0..3 {
        sys::duplicate_onto(&slave, stream).at(Step::StandardStreams, b"")?;
    }
    Ok(())
}

/// The way from a process with a root to one that executes the program.
fn finish<'p>(
    plan: &'p Plan,
    socket: BorrowedFd<'_>,
    image: &Image<'_>,
) -> Result<(), Failure<'p>> {
    let process = &plan.process;
    let entered = identity::enter_directory(process, matches!(plan.root, RootPlan::Make(_)))?;
    identity::limits(process)?;
    identity::give_streams(process);
    let extra = identity::extra_capabilities(process);
    identity::become_user(process, plan.namespaces.in_user_namespace(), extra)?;
    identity::check_directory(process, entered)?;
    let program = identity::find_program(process)?;
    descriptors::close_on_exec(3 + process.preserve_fds).at(Step::Descriptors, b"")?;
    for descriptor in 3..3 + process.preserve_fds {
        sys::keep_on_exec(descriptor as i32).at(Step::PreserveDescriptor, b"")?;
    }
    let mut filtered = false;
    if process.seccomp.as_ref().is_some_and(berth_seccomp::Filter::notifies) {
        // The maker has to hand the listener over, so this cannot wait for the start.
        filtered = true;
        if let Some(listener) = identity::install_filter(process)? {
            channel::send_listener(socket, listener.as_fd()).at(Step::SeccompListener, b"")?;
        }
    }
    let mut buffer = [0u8; channel::LIMIT];
    if channel::hear(socket, Word::Go, &mut buffer).is_none() {
        orphaned();
    }
    // From here on the socket's end means that the program is executed.
    channel::report_ready(socket);
    match &plan.gate {
        Gate::Maker => start(plan, program, image, filtered),
        Gate::Fifo { fifo, errors } => {
            let started = wait(fifo, filtered).and_then(|()| start(plan, program, image, filtered));
            if let Err(failure) = started {
                let mut buffer = [0u8; 1024];
                let _ = rustix::io::write(errors, channel::encode(&failure, &mut buffer));
            }
            sys::exit_now(FAILED)
        }
    }
}

/// What ends a process that waits. As the first of a PID namespace it would never get them.
const ENDINGS: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

fn wait(fifo: &OwnedFd, filtered: bool) -> Result<(), Failure<'static>> {
    // A filter that is there already need not allow what this takes.
    if !filtered && let Ok(signals) = sys::signal_descriptor(&ENDINGS) {
        let mut polled = [PollFd::new(fifo, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut polled, None));
        if ready.is_ok() && polled[0].revents().is_empty() {
            sys::exit_now(FAILED);
        }
        sys::unblock_signals();
    }
    let mut byte = [0u8; 1];
    rustix::io::retry_on_intr(|| rustix::io::read(fifo, &mut byte)).at(Step::Wait, b"").map(drop)
}

fn start<'p>(
    plan: &'p Plan,
    program: &CStr,
    image: &Image<'_>,
    filtered: bool,
) -> Result<(), Failure<'p>> {
    let process = &plan.process;
    if let Some(procfs) = image.procfs {
        for (file, label) in &process.labels {
            procfs.write(file, label).at(Step::Label, label)?;
        }
    }
    if !filtered {
        identity::install_filter(process)?;
    }
    // What runs in the container's place is confined like its program.
    hook::run_all(&plan.hooks.start_container, Stage::StartContainer, Some(image.environment))?;
    let errno = sys::execve(program, &process.arguments, image.environment);
    let step = match errno {
        // Its interpreter is missing.
        Errno::NOENT => Step::CommandNotFound,
        _ => Step::CommandNotExecutable,
    };
    Err(Failure::new(step, process.candidates.first().map_or(b"", |c| c.to_bytes()), errno))
}
