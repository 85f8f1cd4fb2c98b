//! A `criu swrk` process and the conversation with it: a packet each way, over a socket pair.

use std::ffi::CString;
use std::fs;
use std::io::{self, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg,
};

use super::error::CriuError;
use super::request::{self, Feature, Kind, Response};
use super::wire::Message;
use crate::child::channel;
use crate::sys;

/// The oldest CRIU that does all that is asked of every one: external PID namespaces, the freezer
/// of cgroup v2, and the notification that lazy pages are ready.
const OLDEST: u64 = 31_500;
/// The longest packet; CRIU's own are far shorter.
const PACKET: usize = 64 << 10;
/// How many of the errors in a log are quoted.
const QUOTED: usize = 3;

/// The program, and what it is.
#[derive(Debug)]
pub(super) struct Criu {
    program: PathBuf,
    version: u64,
}

impl Criu {
    /// Finds the program and asks for its version.
    pub(super) fn find() -> Result<Self, CriuError> {
        const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| DEFAULT.into());
        let program = std::env::split_paths(&path)
            .map(|directory| directory.join("criu"))
            .find(|file| {
                rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
            })
            .ok_or_else(|| CriuError::NotInstalled(path.to_string_lossy().into_owned()))?;
        let mut criu = Self { program, version: 0 };
        criu.version = criu.ask(&request::plain(Kind::Version))?.version;
        criu.at_least(OLDEST, "3.15", "checkpoints")?;
        Ok(criu)
    }

    /// Refuses an older one.
    pub(super) fn at_least(
        &self,
        version: u64,
        needed: &'static str,
        purpose: &'static str,
    ) -> Result<(), CriuError> {
        if self.version >= version {
            return Ok(());
        }
        let (major, minor) = (self.version / 10_000, self.version / 100 % 100);
        let found = format!("{major}.{minor}.{}", self.version % 100);
        Err(CriuError::TooOld { found, needed, purpose })
    }

    /// Refuses one that cannot do something, or whose kernel cannot.
    pub(super) fn require(&self, feature: Feature) -> Result<(), CriuError> {
        let response = self.ask(&request::features(&[feature]))?;
        if !response.success {
            return Err(self.useless());
        }
        if response.has(feature) { Ok(()) } else { Err(CriuError::Missing(feature.describe())) }
    }

    /// Asks one question of a worker of its own.
    fn ask(&self, question: &Message) -> Result<Response, CriuError> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (worker, _) = Worker::start(command, Vec::new(), Vec::new())?;
        worker.say(question)?;
        let (response, _) = worker.hear()?.ok_or_else(|| self.useless())?;
        worker.finish()?;
        Ok(response)
    }

    /// The command, without arguments.
    pub(super) fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Why it cannot work here, in its own words.
    #[cold]
    fn useless(&self) -> CriuError {
        let output = self.command().arg("check").stdin(Stdio::null()).output();
        CriuError::Useless(match output {
            Ok(output) => match errors([&output.stdout[..], &output.stderr].concat()) {
                errors if errors.is_empty() => format!("criu check: {}", output.status),
                errors => errors,
            },
            Err(error) => format!("{}: {error}", self.program.display()),
        })
    }

    /// Why something failed: what it answered, and the errors of its log.
    #[cold]
    pub(super) fn failure(
        &self,
        operation: &'static str,
        response: Option<&Response>,
        log: &Path,
    ) -> CriuError {
        let mut text = Vec::new();
        // A log that was not even begun says nothing.
        let _ = fs::File::open(log).and_then(|mut file| file.read_to_end(&mut text));
        let mut reason = errors(text);
        if reason.is_empty() {
            // It ends before it writes a log where it does not know the kernel.
            let check = self.command().arg("check").stdin(Stdio::null()).output();
            if check.is_ok_and(|output| !output.status.success()) {
                return self.useless();
            }
        }
        if let Some(response) = response.filter(|response| response.errno != 0) {
            let errno = io::Error::from_raw_os_error(response.errno);
            let separator = if reason.is_empty() { "" } else { "; " };
            reason = format!("{errno}{separator}{reason}");
        }
        CriuError::Failed { operation, reason, log: log.to_owned() }
    }
}

/// The last errors of a log, in one line.
fn errors(text: Vec<u8>) -> String {
    let text = String::from_utf8_lossy(&text).replace('\0', "");
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.find("Error (").and_then(|at| line.get(at..)))
        .collect();
    let from = lines.len().saturating_sub(QUOTED);
    lines.get(from..).unwrap_or_default().join("; ")
}

/// What comes in one go, and a descriptor that comes with it.
type Packet = (Vec<u8>, Option<OwnedFd>);

/// A process that serves one request.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    socket: Option<OwnedFd>,
}

impl Worker {
    /// Starts it. `kept` are descriptors that it finds under their numbers. `directories` are opened
    /// by it, and come back in their order: CRIU opens its directories through this process, but
    /// works in them in its own mount namespace.
    pub(super) fn start(
        mut command: Command,
        kept: Vec<RawFd>,
        directories: Vec<CString>,
    ) -> Result<(Self, Vec<OwnedFd>), CriuError> {
        const SOCKETS: &str = "make a socket pair for criu";
        let failed = |errno| CriuError::io(SOCKETS, errno);
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed)?;
        let number = theirs.as_raw_fd();
        let sender = theirs.try_clone().map_err(|error| CriuError::io(SOCKETS, error))?;
        let count = directories.len();
        command.arg("swrk").arg(number.to_string());
        sys::before_exec(&mut command, move || {
            for directory in &directories {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::open(directory, flags, Mode::empty())?;
                channel::send_descriptor(sender.as_fd(), opened.as_fd(), b"d")?;
            }
            let all = kept.iter().chain([&number]);
            all.copied().try_for_each(|fd| Ok(sys::keep_on_exec(fd)?))
        });
        let child = command.spawn();
        // Only the worker may hold its end, so that its death is seen.
        drop((theirs, command));
        let child = child.map_err(|source| CriuError::io("start criu", source))?;
        let worker = Self { child, socket: Some(ours) };
        let mut opened = Vec::with_capacity(count);
        while opened.len() < count {
            match worker.receive()? {
                Some((_, Some(descriptor))) => opened.push(descriptor),
                _ => return Err(CriuError::io("open criu's directories", Errno::BADF)),
            }
        }
        Ok((worker, opened))
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request.
    pub(super) fn say(&self, message: &Message) -> Result<(), CriuError> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let send = || rustix::net::send(socket, message.as_bytes(), SendFlags::NOSIGNAL);
        match rustix::io::retry_on_intr(send) {
            // What it has said before it ended is heard next.
            Ok(_) | Err(Errno::PIPE) => Ok(()),
            Err(errno) => Err(CriuError::io("tell criu what to do", errno)),
        }
    }

    /// Waits for what it says, and takes a descriptor that comes with it; `None` when it ended.
    pub(super) fn hear(&self) -> Result<Option<(Response, Option<OwnedFd>)>, CriuError> {
        let Some((packet, descriptor)) = self.receive()? else { return Ok(None) };
        let response = Response::read(&packet)
            .map_err(|_| CriuError::io("understand criu", io::ErrorKind::InvalidData))?;
        Ok(Some((response, descriptor)))
    }

    fn receive(&self) -> Result<Option<Packet>, CriuError> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let mut buffer = vec![0u8; PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut data = [IoSliceMut::new(&mut buffer)];
            match recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(CriuError::io("hear of criu", errno)),
            }
        };
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        buffer.truncate(length);
        Ok((length > 0).then_some((buffer, descriptor)))
    }

    /// Hangs up and waits for its end.
    pub(super) fn finish(mut self) -> Result<ExitStatus, CriuError> {
        self.socket = None;
        self.child.wait().map_err(|source| CriuError::io("wait for criu", source))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It is not killed: half-way through it would leave the container frozen. Without somebody
        // to talk to it undoes what it did, and ends.
        self.socket = None;
        let _ = self.child.wait();
    }
}
