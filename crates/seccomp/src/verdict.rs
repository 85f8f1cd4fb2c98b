//! What a filter answers: the kernel's `SECCOMP_RET_*` values, and how the specification's actions
//! become them.

use berth_spec::runtime::SeccompAction;

use crate::compile::CompileError;

/// The largest errno that the kernel hands on unchanged (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;
/// What a tracer's message can hold (`SECCOMP_RET_DATA`).
const MAX_DATA: u32 = 0xffff;
/// `EPERM`, what a refused call fails with unless the profile says otherwise.
const EPERM: u32 = 1;
/// `ENOSYS`, "there is no such call".
const ENOSYS: u32 = 38;

/// An answer of a filter, as the kernel encodes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Verdict(pub(crate) u32);

impl Verdict {
    /// Kill the whole process.
    pub(crate) const KILL_PROCESS: Self = Self(0x8000_0000);
    /// Kill the thread.
    pub(crate) const KILL_THREAD: Self = Self(0);
    /// Send `SIGSYS`.
    pub(crate) const TRAP: Self = Self(0x0003_0000);
    /// Ask the listener.
    pub(crate) const NOTIFY: Self = Self(0x7fc0_0000);
    /// Let it pass and log it.
    pub(crate) const LOG: Self = Self(0x7ffc_0000);
    /// Let it pass.
    pub(crate) const ALLOW: Self = Self(0x7fff_0000);
    /// Fail as a kernel does that has never heard of the call.
    pub(crate) const NO_SUCH_CALL: Self = Self(ERRNO | ENOSYS);

    /// The verdict of an action with its `errnoRet`; `field` says where they stand.
    pub(crate) fn new(
        action: SeccompAction,
        errno: Option<u32>,
        field: &dyn Fn() -> String,
    ) -> Result<Self, CompileError> {
        let with_data = |base: u32, limit: u32| match errno.unwrap_or(EPERM) {
            data if data <= limit => Ok(Self(base | data)),
            errno => Err(CompileError::ErrnoTooLarge { field: field(), errno, limit }),
        };
        let plain = match action {
            SeccompAction::Errno => return with_data(ERRNO, MAX_ERRNO),
            SeccompAction::Trace => return with_data(TRACE, MAX_DATA),
            SeccompAction::Kill | SeccompAction::KillThread => Self::KILL_THREAD,
            SeccompAction::KillProcess => Self::KILL_PROCESS,
            SeccompAction::Trap => Self::TRAP,
            SeccompAction::Allow => Self::ALLOW,
            SeccompAction::Log => Self::LOG,
            SeccompAction::Notify => Self::NOTIFY,
        };
        match errno {
            None => Ok(plain),
            Some(_) => Err(CompileError::ErrnoWithoutUse { field: field(), action }),
        }
    }

    /// Whether the call passes, asking nobody.
    pub(crate) const fn lets_pass(self) -> bool {
        self.0 == Self::ALLOW.0 || self.0 == Self::LOG.0
    }

    /// Whether the call passes or a tracer decides: then a new call is left to what comes after.
    pub(crate) const fn is_permissive(self) -> bool {
        self.lets_pass() || self.0 & ACTION == TRACE
    }
}

const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const ACTION: u32 = 0xffff_0000;
