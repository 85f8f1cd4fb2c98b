//! From a profile (config-linux.md, "Seccomp") to a program.
//!
//! A program first asks for the architecture, then searches the call's number among ranges of
//! numbers that are treated alike, and where arguments matter compares them. What the
//! specification leaves open is answered as runc and libseccomp do:
//!
//! - Names that no architecture knows are passed over.
//! - A rule that asks for the default is passed over, so that it cannot hide another one.
//! - Rules for one call are alternatives: a rule without conditions goes before all with conditions,
//!   and else the first that holds decides. All conditions of a rule must hold, unless two of them
//!   look at the same argument: then each one stands alone. A comparison of no bits is none.
//! - Calls beyond the last one that the profile names fail with `ENOSYS` rather than with the
//!   default, unless the default lets calls pass: programs then fall back to what they did before
//!   the call existed.
//! - Architectures that are not named, nor native, kill the process.
//!
//! On x86 the calls for sockets and for System V objects also exist as cases of `socketcall` and
//! `ipc`, whose arguments lie in memory, where no filter can look. A rule for such a call therefore
//! also covers its case; a rule with conditions only does if it refuses.

use berth_spec::runtime::{LinuxSeccomp, SeccompAction};

use crate::architecture::{Architecture, Named};
use crate::assembler::{Assembler, Position, Test};
use crate::condition::Condition;
use crate::filter::{Filter, Flags, MAX_INSTRUCTIONS};
use crate::ranges::{Outcome, Range, ranges};
use crate::rules::Rules;
use crate::verdict::Verdict;

/// A profile that cannot become a filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// An architecture that the specification does not name.
    #[error("seccomp: `architectures[{index}]` is {name:?}, which is no architecture")]
    UnknownArchitecture {
        /// Where it stands.
        index: usize,
        /// What stands there.
        name: String,
    },
    /// A flag that the specification does not name.
    #[error("seccomp: `flags[{index}]` is {name:?}, which is no filter flag")]
    UnknownFlag {
        /// Where it stands.
        index: usize,
        /// What stands there.
        name: String,
    },
    /// An errno for an action that takes none.
    #[error("seccomp: `{field}` is set, but {} takes no errno", .action.as_str())]
    ErrnoWithoutUse {
        /// The field.
        field: String,
        /// The action.
        action: SeccompAction,
    },
    /// An errno that the kernel would cut.
    #[error("seccomp: `{field}` is {errno}, beyond the largest possible value {limit}")]
    ErrnoTooLarge {
        /// The field.
        field: String,
        /// What stands there.
        errno: u32,
        /// The largest value.
        limit: u32,
    },
    /// A condition on an argument that calls do not have.
    #[error("seccomp: `{field}` is {index}, but arguments count from 0 to 5")]
    NoSuchArgument {
        /// The field.
        field: String,
        /// What stands there.
        index: u32,
    },
    /// Every call would go to the listener, which could then never be told.
    #[error("seccomp: `defaultAction` is SCMP_ACT_NOTIFY, which only rules can have")]
    NotifyByDefault,
    /// The runtime makes such a call after the filter is in place, to hand the listener over.
    #[error("seccomp: `{field}` sends `{call}` to the listener, which a runtime itself needs")]
    NotifyOfOwn {
        /// The field.
        field: String,
        /// The call.
        call: String,
    },
    /// The kernel takes no longer program.
    #[error("seccomp: the profile becomes {length} instructions, more than the kernel's {limit}")]
    TooLong {
        /// The program's length.
        length: usize,
        /// The kernel's limit.
        limit: usize,
    },
}

impl CompileError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownArchitecture { .. } => {
                Some("architectures are spelled as in SCMP_ARCH_X86_64")
            }
            Self::UnknownFlag { .. } => Some("flags are spelled as in SECCOMP_FILTER_FLAG_LOG"),
            Self::ErrnoWithoutUse { .. } => {
                Some("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take an errno")
            }
            Self::NotifyByDefault | Self::NotifyOfOwn { .. } => Some(
                "name the calls that the listener is to decide on, without `write` and `sendmsg`",
            ),
            Self::TooLong { .. } => {
                Some("use fewer conditions on arguments or fewer architectures")
            }
            Self::ErrnoTooLarge { .. } | Self::NoSuchArgument { .. } => None,
        }
    }
}

/// Compiles a profile for the architecture that this program was built for.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter, CompileError> {
    compile_for(profile, Architecture::NATIVE)
}

/// Checks that a profile can be compiled.
pub fn validate(profile: &LinuxSeccomp) -> Result<(), CompileError> {
    compile(profile).map(|_| ())
}

/// Compiles a profile for the kernel of another architecture.
pub fn compile_for(profile: &LinuxSeccomp, native: Architecture) -> Result<Filter, CompileError> {
    let flags = Flags::parse(&profile.flags)?;
    let rules = Rules::parse(profile)?;
    let architectures = architectures(&profile.architectures, native)?;
    let mut assembler = Assembler::new();
    emit_program(&mut assembler, &rules, &architectures);
    let length = assembler.len();
    if length > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong { length, limit: MAX_INSTRUCTIONS });
    }
    Ok(Filter::new(assembler.finish(), flags))
}

/// The profile's architectures with tables, the native one first.
fn architectures(
    names: &[String],
    native: Architecture,
) -> Result<Vec<Architecture>, CompileError> {
    let mut found = vec![native];
    for (index, name) in names.iter().enumerate() {
        match Named::parse(name) {
            Some(Named::Known(architecture)) if !found.contains(&architecture) => {
                found.push(architecture);
            }
            Some(Named::Known(_) | Named::Foreign) => {}
            None => {
                return Err(CompileError::UnknownArchitecture { index, name: name.clone() });
            }
        }
    }
    Ok(found)
}

/// Where the kernel's `struct seccomp_data` holds the call's number.
const NUMBER: u32 = 0;
/// Where it holds the architecture.
const ARCHITECTURE: u32 = 4;

fn emit_program(assembler: &mut Assembler, rules: &Rules, architectures: &[Architecture]) {
    let mut next = assembler.answer(Verdict::KILL_PROCESS);
    let mut codes: Vec<u32> = Vec::with_capacity(architectures.len());
    for architecture in architectures {
        if !codes.contains(&architecture.audit_code()) {
            codes.push(architecture.audit_code());
        }
    }
    // Backwards, so that the native architecture comes to stand first.
    for &code in codes.iter().rev() {
        let members: Vec<Architecture> = architectures
            .iter()
            .copied()
            .filter(|architecture| architecture.audit_code() == code)
            .collect();
        let ranges = ranges(rules, &members);
        let tree = Search { rules, tried: Vec::new() }.emit(assembler, &ranges);
        let search = assembler.load(NUMBER, tree);
        next = assembler.jump(Test::Equal, code, search, next);
    }
    assembler.load(ARCHITECTURE, next);
}

/// The search for a call's number among one architecture's ranges.
struct Search<'a> {
    rules: &'a Rules,
    /// Comparisons of arguments that are written already.
    tried: Vec<(&'a Outcome, Position)>,
}

impl<'a> Search<'a> {
    /// Halves the ranges until one is left.
    fn emit(&mut self, assembler: &mut Assembler, ranges: &'a [Range]) -> Position {
        let (below, above) = ranges.split_at(ranges.len() / 2);
        match (below, above) {
            ([], [only]) => self.emit_outcome(assembler, &only.outcome),
            (_, [first, ..]) => {
                let above_position = self.emit(assembler, above);
                let below_position = self.emit(assembler, below);
                let (then, otherwise) = (above_position, below_position);
                assembler.jump(Test::GreaterOrEqual, first.first, then, otherwise)
            }
            (_, []) => assembler.answer(Verdict::KILL_PROCESS),
        }
    }

    fn emit_outcome(&mut self, assembler: &mut Assembler, outcome: &'a Outcome) -> Position {
        let (width, attempts) = match outcome {
            Outcome::Answer(verdict) => return assembler.answer(*verdict),
            Outcome::Try { width, attempts } => (*width, attempts),
        };
        if let Some(&(_, position)) = self.tried.iter().find(|(known, _)| *known == outcome) {
            return position;
        }
        let mut next = assembler.answer(self.rules.default);
        for attempt in attempts.iter().rev() {
            let Some(rule) = self.rules.list.get(attempt.rule) else { continue };
            if let Some(case) = attempt.case {
                let then = assembler.answer(rule.verdict);
                next = Condition::selects(case).emit(assembler, width, then, next);
                continue;
            }
            for conditions in rule.alternatives.iter().rev() {
                let otherwise = next;
                next = assembler.answer(rule.verdict);
                for condition in conditions.iter().rev() {
                    next = condition.emit(assembler, width, next, otherwise);
                }
            }
        }
        self.tried.push((outcome, next));
        next
    }
}
