//! The steps of a new process, as they are named when one fails.

use rustix::io::Errno;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// Joining a namespace.
    JoinNamespace = 1,
    /// Making namespaces.
    MakeNamespaces,
    /// Becoming root of a user namespace.
    BecomeRoot,
    /// Setting the clocks' offsets.
    TimeOffsets,
    /// Joining the cgroup.
    Cgroup,
    /// Making a session keyring.
    Keyring,
    /// Changing propagation.
    Propagation,
    /// Opening the root file system.
    OpenRoot,
    /// Attaching the root file system.
    AttachRoot,
    /// Making the place for a mount.
    MountPoint,
    /// A mount on a symbolic link where a directory has to be.
    NotOrdinary,
    /// Opening what is bound.
    BindSource,
    /// Taking a mount option.
    MountOption,
    /// Mounting.
    Mount,
    /// Setting a mount's attributes.
    MountAttributes,
    /// Mapping a mount's ids.
    MountIds,
    /// Copying up.
    CopyUp,
    /// Providing a device.
    Device,
    /// Something else in a device's place.
    DeviceMismatch,
    /// Making a symbolic link.
    Link,
    /// Opening a terminal.
    Terminal,
    /// Sending the terminal.
    SendTerminal,
    /// Making a path read-only.
    ReadonlyPath,
    /// Masking a path.
    MaskedPath,
    /// Making the root read-only.
    ReadonlyRoot,
    /// Changing the root.
    ChangeRoot,
    /// Setting the host name.
    Hostname,
    /// Setting up the loopback device.
    Loopback,
    /// Setting the domain name.
    Domainname,
    /// Opening a procfs of the container's.
    Procfs,
    /// Setting a kernel parameter.
    Sysctl,
    /// Starting a session.
    Session,
    /// Attaching the standard streams.
    StandardStreams,
    /// Setting a resource limit.
    Rlimit,
    /// Setting the scheduling.
    Scheduler,
    /// Setting the I/O priority.
    IoPriority,
    /// Setting the execution domain.
    Personality,
    /// Setting the memory policy.
    MemoryPolicy,
    /// Setting the CPU affinity.
    Affinity,
    /// Setting capabilities.
    Capabilities,
    /// Setting groups.
    Groups,
    /// Setting the group.
    Gid,
    /// Setting the user.
    Uid,
    /// Giving up privileges by exec.
    NoNewPrivileges,
    /// Changing into the working directory.
    Cwd,
    /// A working directory outside of the root.
    CwdOutside,
    /// Installing the system call filter.
    Seccomp,
    /// Handing the filter's listener over.
    SeccompListener,
    /// Setting a security label.
    Label,
    /// Marking descriptors.
    Descriptors,
    /// Keeping a descriptor that is not open.
    PreserveDescriptor,
    /// The program is not there.
    CommandNotFound,
    /// The program cannot be executed.
    CommandNotExecutable,
    /// Executing the program.
    Execute,
    /// Starting a createContainer hook.
    CreateContainerStart,
    /// A createContainer hook failed.
    CreateContainerFailed,
    /// A createContainer hook took too long.
    CreateContainerTimeout,
    /// Starting a startContainer hook.
    StartContainerStart,
    /// A startContainer hook failed.
    StartContainerFailed,
    /// A startContainer hook took too long.
    StartContainerTimeout,
    /// Waiting to be started.
    Wait,
    /// Taking a mount away.
    Unmount,
}

const ALL: &[(Step, &str)] = &[
    (Step::JoinNamespace, "join the namespace"),
    (Step::MakeNamespaces, "make new namespaces"),
    (Step::BecomeRoot, "become root in the user namespace"),
    (Step::TimeOffsets, "set linux.timeOffsets"),
    (Step::Cgroup, "join the cgroup"),
    (Step::Keyring, "make the session keyring"),
    (Step::Propagation, "set the propagation of"),
    (Step::OpenRoot, "open the root file system"),
    (Step::AttachRoot, "attach the root file system over"),
    (Step::MountPoint, "make the mount point"),
    (Step::NotOrdinary, "mount what must be mounted on ordinary directory, not on a link:"),
    (Step::BindSource, "open the bind mount's source"),
    (Step::MountOption, "take a mount option for"),
    (Step::Mount, "mount"),
    (Step::MountAttributes, "set the mount options of"),
    (Step::MountIds, "map the ids of"),
    (Step::CopyUp, "copy up the content of"),
    (Step::Device, "provide the device"),
    (Step::DeviceMismatch, "use what is in the place of the device"),
    (Step::Link, "make the symbolic link"),
    (Step::Terminal, "open a terminal in the container's /dev/pts"),
    (Step::SendTerminal, "send the terminal over the console socket"),
    (Step::ReadonlyPath, "make the path read-only:"),
    (Step::MaskedPath, "mask the path"),
    (Step::ReadonlyRoot, "make the root file system read-only"),
    (Step::ChangeRoot, "change the root to"),
    (Step::Hostname, "set the host name"),
    (Step::Loopback, "set up the loopback device"),
    (Step::Domainname, "set the domain name"),
    (Step::Procfs, "open a procfs of the container's own"),
    (Step::Sysctl, "set linux.sysctl"),
    (Step::Session, "start a session"),
    (Step::StandardStreams, "attach the standard streams"),
    (Step::Rlimit, "set"),
    (Step::Scheduler, "set process.scheduler"),
    (Step::IoPriority, "set process.ioPriority"),
    (Step::Personality, "set linux.personality"),
    (Step::MemoryPolicy, "set linux.memoryPolicy"),
    (Step::Affinity, "set process.execCPUAffinity"),
    (Step::Capabilities, "set process.capabilities"),
    (Step::Groups, "set process.user.additionalGids"),
    (Step::Gid, "set process.user.gid"),
    (Step::Uid, "set process.user.uid"),
    (Step::NoNewPrivileges, "set process.noNewPrivileges"),
    (Step::Cwd, "change to process.cwd"),
    (Step::CwdOutside, "use a process.cwd outside of the container's root:"),
    (Step::Seccomp, "install the filter of linux.seccomp"),
    (Step::SeccompListener, "send the listener of linux.seccomp"),
    (Step::Label, "set the security label"),
    (Step::Descriptors, "mark descriptors to be closed"),
    (Step::PreserveDescriptor, "keep a descriptor of --preserve-fds"),
    (Step::CommandNotFound, "find the program"),
    (Step::CommandNotExecutable, "execute the program"),
    (Step::Execute, "execute the program"),
    (Step::CreateContainerStart, "start the createContainer hook"),
    (Step::CreateContainerFailed, "run the createContainer hook"),
    (Step::CreateContainerTimeout, "wait for the createContainer hook"),
    (Step::StartContainerStart, "start the startContainer hook"),
    (Step::StartContainerFailed, "run the startContainer hook"),
    (Step::StartContainerTimeout, "wait for the startContainer hook"),
    (Step::Wait, "wait to be started"),
    (Step::Unmount, "unmount"),
];

impl Step {
    /// The step of a number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        ALL.iter().map(|(step, _)| *step).find(|step| *step as u8 == number)
    }

    /// What it does, for the words after "cannot".
    pub(crate) fn action(self) -> &'static str {
        ALL.iter().find(|(step, _)| *step == self).map_or("go on", |(_, action)| action)
    }
}

/// A few words more, such as the kernel's own on a mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Detail {
    length: u8,
    bytes: [u8; 71],
}

impl Detail {
    /// Nothing more.
    pub(crate) const NONE: Self = Self { length: 0, bytes: [0; 71] };

    /// As many of the words as fit.
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut detail = Self::NONE;
        for (to, from) in detail.bytes.iter_mut().zip(text) {
            *to = *from;
        }
        detail.length = text.len().min(detail.bytes.len()) as u8;
        detail
    }

    /// The words.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// A step that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'p> {
    /// Which.
    pub step: Step,
    /// The error number; for a hook its exit code, or 256 and the signal that killed it.
    pub code: i32,
    /// What it was about.
    pub subject: &'p [u8],
    /// What else there is to say.
    pub detail: Detail,
}

impl<'p> Failure<'p> {
    /// A failed system call.
    pub(crate) fn new(step: Step, subject: &'p [u8], errno: Errno) -> Self {
        Self { step, code: errno.raw_os_error(), subject, detail: Detail::NONE }
    }
}

/// Turns the error of a system call into a failure.
pub(crate) trait At<T> {
    /// At a step that is about `subject`.
    fn at(self, step: Step, subject: &[u8]) -> Result<T, Failure<'_>>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step, subject: &[u8]) -> Result<T, Failure<'_>> {
        self.map_err(|errno| Failure::new(step, subject, errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_words_and_comes_back_from_its_number() {
        for number in 1..=Step::Wait as u8 {
            let step = Step::from_number(number).unwrap();
            assert_eq!(step as u8, number);
            assert_ne!(step.action(), "go on");
        }
        assert!(Step::from_number(0).is_none());
        assert!(Step::from_number(Step::Unmount as u8 + 1).is_none());
        assert!(size_of::<Failure<'_>>() <= 112);
    }
}
