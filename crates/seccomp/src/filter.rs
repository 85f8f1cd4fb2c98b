//! A compiled filter, and giving it to the kernel.

use std::io;
use std::os::fd::OwnedFd;

use crate::compile::CompileError;
use crate::sys;
use crate::verdict::Verdict;

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction of the kernel's classic BPF machine (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a jump skips when its test holds.
    pub jump_true: u8,
    /// How many instructions a jump skips when its test does not hold.
    pub jump_false: u8,
    /// The constant.
    pub constant: u32,
}

impl Instruction {
    /// Load the word at the constant's offset of the call's data.
    pub const LOAD: u16 = 0x20;
    /// Keep the bits that the constant has.
    pub const AND: u16 = 0x54;
    /// Skip as many instructions as the constant says.
    pub const JUMP_ALWAYS: u16 = 0x05;
    /// Jump by whether the accumulator equals the constant.
    pub const JUMP_EQUAL: u16 = 0x15;
    /// Jump by whether the accumulator is greater than the constant.
    pub const JUMP_GREATER: u16 = 0x25;
    /// Jump by whether the accumulator is not less than the constant.
    pub const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
    /// Answer with the constant.
    pub const RETURN: u16 = 0x06;

    pub(crate) const fn new(code: u16, constant: u32) -> Self {
        Self { code, jump_true: 0, jump_false: 0, constant }
    }
}

/// The kernel's filter flags (`SECCOMP_FILTER_FLAG_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u32);

impl Flags {
    pub(crate) const TSYNC: Self = Self(1 << 0);
    pub(crate) const LOG: Self = Self(1 << 1);
    pub(crate) const SPEC_ALLOW: Self = Self(1 << 2);
    pub(crate) const NEW_LISTENER: Self = Self(1 << 3);
    pub(crate) const TSYNC_ESRCH: Self = Self(1 << 4);
    pub(crate) const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// Those that a profile can ask for, with the specification's words.
    pub(crate) const KNOWN: &[(&'static str, Self)] = &[
        ("SECCOMP_FILTER_FLAG_TSYNC", Self::TSYNC),
        ("SECCOMP_FILTER_FLAG_LOG", Self::LOG),
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", Self::SPEC_ALLOW),
        ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", Self::WAIT_KILLABLE_RECV),
    ];

    /// Understands a profile's flags.
    pub(crate) fn parse(names: &[String]) -> Result<Self, CompileError> {
        let mut flags = Self::default();
        for (index, name) in names.iter().enumerate() {
            match Self::KNOWN.iter().find(|(known, _)| known == name) {
                Some((_, flag)) => flags = flags.with(*flag),
                None => return Err(CompileError::UnknownFlag { index, name: name.clone() }),
            }
        }
        Ok(flags)
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A compiled profile: a program and how it is to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    instructions: Vec<Instruction>,
    flags: Flags,
}

/// A filter that the kernel did not take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Neither `CAP_SYS_ADMIN` nor `no_new_privs`.
    #[error("may not install a seccomp filter")]
    Denied,
    /// The kernel does not know a flag, or was built without seccomp.
    #[error("this kernel does not take the seccomp filter (flags {flags:#x})")]
    Unsupported {
        /// The flags that were asked for.
        flags: u32,
    },
    /// The process has a filter with a listener, and a process has at most one.
    #[error("another seccomp filter of this process already has a listener")]
    SecondListener,
    /// Anything else.
    #[error("installing a seccomp filter failed")]
    Kernel(#[source] io::Error),
}

impl InstallError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Denied => Some("set `process.noNewPrivileges`, or start as root"),
            Self::Unsupported { .. } => {
                Some("remove `linux.seccomp.flags` that the kernel is too old for")
            }
            Self::SecondListener | Self::Kernel(_) => None,
        }
    }

    fn from_errno(errno: i32, flags: Flags) -> Self {
        match errno {
            libc::EACCES => Self::Denied,
            libc::EINVAL | libc::ENOSYS => Self::Unsupported { flags: flags.0 },
            libc::EBUSY => Self::SecondListener,
            errno => Self::Kernel(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Filter {
    /// Puts a filter together. `flags` are those that the profile asks for; without any, the kernel
    /// is asked not to slow the process down for the sake of its own speculation.
    pub(crate) fn new(instructions: Vec<Instruction>, flags: Flags) -> Self {
        let mut filter = Self { instructions, flags };
        if flags == Flags::default() {
            filter.flags = Flags::SPEC_ALLOW;
        }
        if filter.notifies() {
            filter.flags = filter.flags.with(Flags::NEW_LISTENER);
            // With a listener the descriptor takes the place of the thread's id as the result.
            if filter.flags.contains(Flags::TSYNC) {
                filter.flags = filter.flags.with(Flags::TSYNC_ESRCH);
            }
        } else {
            // Only says how a call waits for its listener, and is refused where there is none.
            filter.flags = filter.flags.without(Flags::WAIT_KILLABLE_RECV);
        }
        filter
    }

    /// Puts a decoded filter together.
    pub(crate) fn from_parts(instructions: Vec<Instruction>, flags: u32) -> Self {
        Self { instructions, flags: Flags(flags) }
    }

    /// The program.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The kernel's flags (`SECCOMP_FILTER_FLAG_*`) that it is installed with.
    pub fn flags(&self) -> u32 {
        self.flags.0
    }

    /// Whether a rule asks a listener: then [`Self::install`] returns its descriptor.
    pub fn notifies(&self) -> bool {
        self.instructions.iter().any(|instruction| {
            instruction.code == Instruction::RETURN && instruction.constant == Verdict::NOTIFY.0
        })
    }

    /// Puts the calling thread (with `TSYNC` the whole process) under the filter, for good.
    ///
    /// Needs `CAP_SYS_ADMIN` or `no_new_privs`. Returns the listener's descriptor if a rule asks
    /// for one; it is close-on-exec. Allocates nothing, and so may run between clone and exec.
    pub fn install(&self) -> Result<Option<OwnedFd>, InstallError> {
        let mut flags = self.flags;
        let mut result = sys::install(&self.instructions, flags.0);
        // Kernels before 4.17 know no SPEC_ALLOW and do what it asks for anyway.
        if result.as_ref().is_err_and(|&errno| errno == libc::EINVAL)
            && flags.contains(Flags::SPEC_ALLOW)
        {
            flags = flags.without(Flags::SPEC_ALLOW);
            result = sys::install(&self.instructions, flags.0);
        }
        result.map_err(|errno| InstallError::from_errno(errno, flags))
    }
}
