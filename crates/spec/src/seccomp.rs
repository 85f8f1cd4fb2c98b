//! The `linux.seccomp` part of `config.json` (config-linux.md, "Seccomp").

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a filter does (config-linux.md, "Seccomp").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompAction {
    /// Kill the thread (alias of KillThread).
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    /// Kill the process.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// Kill the thread.
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// Send SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// Fail with an errno.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// Tell a tracer.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// Let it pass.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// Let it pass and log it.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// Ask the listener.
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

impl SeccompAction {
    /// Every value, in the specification's order.
    pub const ALL: &[Self] = &[
        Self::Kill,
        Self::KillProcess,
        Self::KillThread,
        Self::Trap,
        Self::Errno,
        Self::Trace,
        Self::Allow,
        Self::Log,
        Self::Notify,
    ];

    /// The word in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "SCMP_ACT_KILL",
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno => "SCMP_ACT_ERRNO",
            Self::Trace => "SCMP_ACT_TRACE",
            Self::Allow => "SCMP_ACT_ALLOW",
            Self::Log => "SCMP_ACT_LOG",
            Self::Notify => "SCMP_ACT_NOTIFY",
        }
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompOperator {
    /// Not equal.
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    /// Less.
    #[serde(rename = "SCMP_CMP_LT")]
    LessThan,
    /// Less or equal.
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    /// Equal.
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    /// Greater or equal.
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    /// Greater.
    #[serde(rename = "SCMP_CMP_GT")]
    GreaterThan,
    /// Masked with `value`, equal to `valueTwo`.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

impl SeccompOperator {
    /// Every value, in the specification's order.
    pub const ALL: &[Self] = &[
        Self::NotEqual,
        Self::LessThan,
        Self::LessOrEqual,
        Self::Equal,
        Self::GreaterOrEqual,
        Self::GreaterThan,
        Self::MaskedEqual,
    ];

    /// The word in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotEqual => "SCMP_CMP_NE",
            Self::LessThan => "SCMP_CMP_LT",
            Self::LessOrEqual => "SCMP_CMP_LE",
            Self::Equal => "SCMP_CMP_EQ",
            Self::GreaterOrEqual => "SCMP_CMP_GE",
            Self::GreaterThan => "SCMP_CMP_GT",
            Self::MaskedEqual => "SCMP_CMP_MASKED_EQ",
        }
    }
}

/// The system call filter (config-linux.md, "Seccomp").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSeccomp {
    /// What happens to a call that no rule matches.
    pub default_action: SeccompAction,
    /// The errno of the default action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures, such as `SCMP_ARCH_X86_64`; the native one is always included.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub architectures: Vec<String>,
    /// Filter flags, such as `SECCOMP_FILTER_FLAG_LOG`.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub flags: Vec<String>,
    /// A unix socket that the notify descriptor is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<PathBuf>,
    /// Opaque data for the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// The rules.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub syscalls: Vec<LinuxSyscall>,
}

/// A rule for some system calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSyscall {
    /// Names of system calls.
    pub names: Vec<String>,
    /// What happens when it matches.
    pub action: SeccompAction,
    /// The errno of the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments, all of which must hold.
    #[serde(
        default,
        deserialize_with = "crate::null_as_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub args: Vec<LinuxSeccompArg>,
}

/// A condition on an argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSeccompArg {
    /// Which argument, from 0 to 5.
    pub index: u32,
    /// The value to compare with (or the mask).
    pub value: u64,
    /// The second value, for masked comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_two: Option<u64>,
    /// The comparison.
    pub op: SeccompOperator,
}
