//! A comparison of one argument, and the instructions that make it.
//!
//! An argument has 64 bits and the machine 32, so a comparison looks at the high half and, where
//! that does not decide, at the low half. On a 32-bit architecture only the low halves count, of
//! the argument as of the profile's values: so a negative number may be written with either width.

use berth_spec::runtime::{LinuxSeccompArg, SeccompOperator};

use crate::architecture::Width;
use crate::assembler::{Assembler, Position, Test};
use crate::compile::CompileError;
use crate::multiplexed::Case;

/// Where the arguments begin in the kernel's `struct seccomp_data`.
const ARGUMENTS: u32 = 16;
/// How many arguments a call has.
const ARGUMENT_COUNT: u32 = 6;

/// A comparison of one argument with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Condition {
    argument: u32,
    operator: SeccompOperator,
    value: Halves,
    mask: Halves,
}

/// A 64-bit number as the machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Halves {
    high: u32,
    low: u32,
}

impl From<u64> for Halves {
    fn from(value: u64) -> Self {
        Self { high: (value >> 32) as u32, low: value as u32 }
    }
}

impl Condition {
    /// Understands a condition of a profile; `field` says where it stands.
    pub(crate) fn new(
        argument: &LinuxSeccompArg,
        field: &dyn Fn() -> String,
    ) -> Result<Self, CompileError> {
        if argument.index >= ARGUMENT_COUNT {
            return Err(CompileError::NoSuchArgument { field: field(), index: argument.index });
        }
        // For the masked comparison `value` is the mask and `valueTwo` what is left after it.
        let (mask, value) = match argument.op {
            SeccompOperator::MaskedEqual => {
                (argument.value, argument.value_two.unwrap_or_default() & argument.value)
            }
            _ => (u64::MAX, argument.value),
        };
        Ok(Self {
            argument: argument.index,
            operator: argument.op,
            value: value.into(),
            mask: mask.into(),
        })
    }

    /// That the first argument names `case`.
    pub(crate) fn selects(case: Case) -> Self {
        Self {
            argument: 0,
            operator: SeccompOperator::MaskedEqual,
            value: u64::from(case.value).into(),
            mask: u64::from(case.mask).into(),
        }
    }

    /// Whether no bit of the argument is looked at, so that this is no condition.
    pub(crate) fn always_holds(&self) -> bool {
        self.mask.high == 0 && self.mask.low == 0
    }

    /// Writes the comparison: on to `then` where it holds, to `otherwise` where not.
    pub(crate) fn emit(
        &self,
        assembler: &mut Assembler,
        width: Width,
        then: Position,
        otherwise: Position,
    ) -> Position {
        // Each operator is one of three, perhaps with its outcomes exchanged.
        let (test, then, otherwise) = match self.operator {
            SeccompOperator::Equal | SeccompOperator::MaskedEqual => (Test::Equal, then, otherwise),
            SeccompOperator::NotEqual => (Test::Equal, otherwise, then),
            SeccompOperator::GreaterThan => (Test::Greater, then, otherwise),
            SeccompOperator::LessOrEqual => (Test::Greater, otherwise, then),
            SeccompOperator::GreaterOrEqual => (Test::GreaterOrEqual, then, otherwise),
            SeccompOperator::LessThan => (Test::GreaterOrEqual, otherwise, then),
        };
        let low = ARGUMENTS + 8 * self.argument;
        let high = low + 4;

        let decided_by_low = assembler.jump(test, self.value.low, then, otherwise);
        let low_half = emit_load(assembler, low, self.mask.low, decided_by_low);
        if width == Width::Bits32 || self.mask.high == 0 {
            return low_half;
        }
        let mut by_high = assembler.jump(Test::Equal, self.value.high, low_half, otherwise);
        if test != Test::Equal {
            by_high = assembler.jump(Test::Greater, self.value.high, then, by_high);
        }
        emit_load(assembler, high, self.mask.high, by_high)
    }
}

/// Writes the load of a word and the masking of it.
fn emit_load(assembler: &mut Assembler, offset: u32, mask: u32, next: Position) -> Position {
    let next = if mask == u32::MAX { next } else { assembler.and(mask, next) };
    assembler.load(offset, next)
}
