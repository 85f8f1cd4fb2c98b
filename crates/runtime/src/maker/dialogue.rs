//! What the maker says to the new process, hears of it, and does for it meanwhile.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use berth_cgroup::{Cgroup, HierarchyKind};
use berth_spec::runtime::{Hooks, Linux, LinuxSeccomp};
use berth_spec::state::State;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use rustix::process::Pid;

use super::reports::{self, step_error};
use crate::child::channel::{self, Received, Report, Word};
use crate::child::identity::resource;
use crate::error::SetupError;
use crate::hooks;
use crate::options::CreateUntil;
use crate::plan::process::rlimit_name;
use crate::plan::validate;
use crate::procfs::Procfs;
use crate::sys;

/// What the filter's listener is told (config-linux.md, "The Container Process State").
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    metadata: &'a str,
    state: &'a State,
}

/// A conversation with a new process.
pub(crate) struct Dialogue<'a> {
    /// The maker's end.
    pub socket: &'a OwnedFd,
    /// The process.
    pub pid: i32,
    /// The configuration's hooks.
    pub hooks: Option<&'a Hooks>,
    /// What hooks are told.
    pub state: State,
    /// Where the listener of the filter goes.
    pub listener: Option<UnixStream>,
    /// The filter's profile.
    pub seccomp: Option<&'a LinuxSeccomp>,
    /// Whether hooks have been started.
    pub hooks_ran: bool,
}

impl Dialogue<'_> {
    /// Lets the process go on, up to the point that `until` says.
    pub(crate) fn run(
        &mut self,
        waits_for_hooks: bool,
        until: CreateUntil,
        command: &str,
        path: &str,
    ) -> Result<(), SetupError> {
        if !waits_for_hooks {
            say(self.socket, Word::Go, b"")?;
        }
        let mut ready = false;
        loop {
            let received =
                channel::receive(self.socket).map_err(reports::at("hear of the new process"))?;
            match received {
                Received::Report(Report::Mounted) => {
                    self.run_hooks()?;
                    say(self.socket, Word::Hooks, b"")?;
                    say(self.socket, Word::Go, b"")?;
                }
                Received::Report(Report::Ready) if until == CreateUntil::Created => return Ok(()),
                Received::Report(Report::Ready) => {
                    // startContainer hooks run now.
                    self.hooks_ran = true;
                    ready = true;
                }
                Received::Report(failed @ Report::Failed { .. }) => {
                    return Err(reports::explain(failed, command, path));
                }
                Received::Listener(listener) => self.hand_over(&listener)?,
                Received::End if ready => return Ok(()),
                Received::End => {
                    return Err(SetupError::Died { how: String::new(), out_of_memory: false });
                }
            }
        }
    }

    fn run_hooks(&mut self) -> Result<(), SetupError> {
        let Some(hooks) = self.hooks else { return Ok(()) };
        self.hooks_ran = true;
        hooks::run_all("prestart", &hooks.prestart, &self.state)?;
        hooks::run_all("createRuntime", &hooks.create_runtime, &self.state)?;
        Ok(())
    }

    /// Sends the filter's listener to who asked for it (config-linux.md, "The Container Process
    /// State").
    fn hand_over(&mut self, listener: &OwnedFd) -> Result<(), SetupError> {
        let Some(socket) = self.listener.take() else { return Ok(()) };
        let metadata = self.seccomp.and_then(|profile| profile.listener_metadata.as_deref());
        let state = ContainerProcessState {
            oci_version: &self.state.oci_version,
            fds: ["seccompFd"],
            pid: self.pid,
            metadata: metadata.unwrap_or_default(),
            state: &self.state,
        };
        let state = serde_json::to_vec(&state).unwrap_or_default();
        // In one message as far as it fits, since there are listeners that read no more than one.
        let sent = channel::send_descriptor(socket.as_fd(), listener.as_fd(), &state)
            .map_err(reports::at("send the listener of linux.seccomp"))?;
        let rest = state.get(sent..).unwrap_or_default();
        (&socket).write_all(rest).map_err(|source| SetupError::Step {
            action: "send the container process state of linux.seccomp".to_owned(),
            source,
        })
    }
}

/// Says a word; a process that is gone is told of by what is heard next.
pub(crate) fn say(socket: &OwnedFd, word: Word, payload: &[u8]) -> Result<(), SetupError> {
    match channel::say(socket.as_fd(), word, payload) {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(reports::at("speak to the new process")(errno)),
    }
}

/// Connects to the socket that the filter's listener goes to.
pub(crate) fn connect_listener(linux: &Linux) -> Result<Option<UnixStream>, SetupError> {
    // Without a rule that asks, the path means nothing. (That there is one was checked.)
    let asking = linux.seccomp.as_ref().filter(|profile| validate::asks_listener(profile));
    let Some(path) = asking.and_then(|profile| profile.listener_path.as_deref()) else {
        return Ok(None);
    };
    UnixStream::connect(path).map(Some).map_err(|source| SetupError::Step {
        action: format!("connect to linux.seccomp.listenerPath {}", path.display()),
        source,
    })
}

/// Sets how likely the process is to be killed for want of memory.
pub(crate) fn set_oom_score(pid: i32, score: i32) -> Result<(), SetupError> {
    let failed = reports::at(&format!("set process.oomScoreAdj to {score}"));
    let procfs = match Procfs::own() {
        Ok(procfs) => procfs,
        Err(errno) => return Err(failed(errno)),
    };
    let path = CString::new(format!("{pid}/oom_score_adj")).unwrap_or_default();
    let now = || -> Option<i32> {
        let mut text = String::new();
        let file = procfs.open(&path, OFlags::RDONLY).ok()?;
        fs::File::from(file).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    };
    match procfs.write(&path, score.to_string().as_bytes()) {
        // Without privileges it can only be raised; what is there already is no worse.
        Err(Errno::ACCESS)
            if !rustix::process::geteuid().is_root() && now().is_some_and(|now| now >= score) =>
        {
            Ok(())
        }
        result => result.map_err(failed),
    }
}

/// Raises the hard limits of a process that cannot do so itself, in its user namespace.
pub(crate) fn raise_limits(pid: i32, limits: &[(u32, u64, u64)]) -> Result<(), SetupError> {
    use rustix::process::{Rlimit, getrlimit, prlimit};
    for &(number, _, hard) in limits {
        let Some(resource) = resource(number) else { continue };
        let now = getrlimit(resource);
        if now.maximum.is_some_and(|maximum| maximum < hard) {
            let maximum = (hard != u64::MAX).then_some(hard);
            let raised = Rlimit { current: now.current, maximum };
            prlimit(Pid::from_raw(pid), resource, raised)
                .map_err(reports::at(&format!("raise {}", rlimit_name(number))))?;
        }
    }
    Ok(())
}

/// Where the cgroup is in each hierarchy, as the new process wants it told.
pub(crate) fn cgroup_paths(cgroup: &Cgroup) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut text = Vec::new();
    for (kind, path) in cgroup.paths() {
        let name = match kind {
            HierarchyKind::Unified => "unified".to_owned(),
            HierarchyKind::Named(name) => name.clone(),
            HierarchyKind::Controllers(list) => list.join(","),
        };
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(0);
    }
    text
}

/// The descriptors that are to be kept must be there, and the caller's: else one of the runtime's
/// own, such as its log file, could have such a number and be kept in its place.
pub(crate) fn check_preserved(count: u32) -> Result<(), SetupError> {
    let end = count.saturating_add(3);
    match (3..end).find(|&descriptor| !sys::is_inherited(descriptor as i32)) {
        Some(missing) => Err(step_error(
            &format!("keep descriptor {missing} of the {count} that --preserve-fds asks for"),
            libc::EBADF,
        )),
        None => Ok(()),
    }
}

/// Writes a pid file so that a reader finds it whole or not at all, and so that nothing but it is
/// left behind whenever this process is killed.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> io::Result<()> {
    let text = pid.to_string();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    let Ok(file) = rustix::fs::open(directory.unwrap_or(Path::new(".")), flags, mode) else {
        return write_beside(path, text.as_bytes());
    };
    let mut file = fs::File::from(file);
    file.write_all(text.as_bytes())?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = || linkat(CWD, &*source, CWD, path, AtFlags::SYMLINK_FOLLOW);
    match link() {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            fs::remove_file(path)?;
            Ok(link()?)
        }
        Err(_) => write_beside(path, text.as_bytes()),
    }
}

/// The same by another name first, for file systems without nameless files.
fn write_beside(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    // Whoever has put something of this name there is not written to.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        fs::File::create_new(&temporary)?.write_all(text)?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}
