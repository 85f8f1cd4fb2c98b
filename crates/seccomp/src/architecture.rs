//! The architectures that a filter can speak of, and the names and codes that others give them.
//!
//! The names are the runtime-spec's (config-linux.md, "Seccomp", `architectures`); the codes are
//! the kernel's `AUDIT_ARCH_*`, which it reports with each call.

/// An architecture (more exactly: a system call convention) with a table of call numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers: reported as [`Self::X86_64`], with a bit set in the number.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm with the embedded binary interface.
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
}

/// How wide an architecture's system call arguments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    /// Only the low half of an argument says anything.
    Bits32,
    /// Both halves count.
    Bits64,
}

/// Architectures that the specification names and that no kernel which this crate is built for can
/// report: naming them in a profile asks for nothing.
pub(crate) const FOREIGN: &[&str] = &[
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

/// What a name in a profile's `architectures` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// One with a table.
    Known(Architecture),
    /// One that the specification names and that cannot occur here.
    Foreign,
}

impl Architecture {
    /// Every one of them.
    pub const ALL: &[Self] =
        &[Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm, Self::Riscv64];

    /// The one that this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The one that this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;
    /// The one that this program was built for.
    #[cfg(target_arch = "riscv64")]
    pub const NATIVE: Self = Self::Riscv64;

    /// The specification's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
        }
    }

    /// The code that the kernel reports with each call (`AUDIT_ARCH_*`); x32 shares x86_64's.
    pub const fn audit_code(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xc000_00f3,
        }
    }

    /// How wide arguments are. (Of x32's, libseccomp looks at the low half only, and so do we.)
    pub(crate) const fn width(self) -> Width {
        match self {
            Self::X86 | Self::X32 | Self::Arm => Width::Bits32,
            Self::X86_64 | Self::Aarch64 | Self::Riscv64 => Width::Bits64,
        }
    }

    /// Those that a kernel of this architecture runs as well, which a default profile includes.
    pub(crate) const fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::X86 | Self::X32 | Self::Arm | Self::Riscv64 => &[],
        }
    }
}

impl Named {
    /// Understands a name of the specification.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if let Some(&known) = Architecture::ALL.iter().find(|known| known.as_str() == name) {
            return Some(Self::Known(known));
        }
        FOREIGN.contains(&name).then_some(Self::Foreign)
    }
}
