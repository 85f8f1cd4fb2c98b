//! Writes a classic BPF program from its end to its beginning.
//!
//! The machine only jumps forwards, so a program written backwards knows every target before the
//! jump to it. A conditional jump reaches 255 instructions; where a target is further away, a step
//! in between is written (a copy of a return, or an unconditional jump, which reaches anything).

use crate::filter::Instruction;
use crate::verdict::Verdict;

/// How far a conditional jump is let go: a little less than it can, because making room for one of
/// its two targets moves the other away.
const REACH: usize = 250;

/// How near a return must be to be used again instead of being written anew.
const NEAR: usize = 200;

/// The place of an instruction: how many instructions follow it in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position(usize);

/// What a conditional jump asks of the accumulator and a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// Equal.
    Equal,
    /// Greater, without sign.
    Greater,
    /// Greater or equal, without sign.
    GreaterOrEqual,
}

/// A program that grows at its beginning.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<Instruction>,
    returns: Vec<(Verdict, Position)>,
}

impl Assembler {
    /// An empty program.
    pub(crate) fn new() -> Self {
        Self { reversed: Vec::with_capacity(512), returns: Vec::with_capacity(8) }
    }

    /// How long the program is by now.
    pub(crate) fn len(&self) -> usize {
        self.reversed.len()
    }

    /// The program, in the order in which it runs.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// Writes "the answer is `verdict`", or finds one near by.
    pub(crate) fn answer(&mut self, verdict: Verdict) -> Position {
        let known = self.returns.iter().position(|(of, _)| *of == verdict);
        if let Some(&(_, position)) = known.and_then(|index| self.returns.get(index))
            && self.reversed.len() - position.0 < NEAR
        {
            return position;
        }
        let position = self.push(Instruction::new(Instruction::RETURN, verdict.0));
        match known.and_then(|index| self.returns.get_mut(index)) {
            Some(entry) => entry.1 = position,
            None => self.returns.push((verdict, position)),
        }
        position
    }

    /// Writes "load the word at `offset` of the call's data, then on to `next`".
    pub(crate) fn load(&mut self, offset: u32, next: Position) -> Position {
        self.run_on_to(next);
        self.push(Instruction::new(Instruction::LOAD, offset))
    }

    /// Writes "keep only the bits of `mask`, then on to `next`".
    pub(crate) fn and(&mut self, mask: u32, next: Position) -> Position {
        self.run_on_to(next);
        self.push(Instruction::new(Instruction::AND, mask))
    }

    /// Writes "on to `then` if the test holds, to `otherwise` if not".
    pub(crate) fn jump(
        &mut self,
        test: Test,
        value: u32,
        then: Position,
        otherwise: Position,
    ) -> Position {
        if then == otherwise {
            return then;
        }
        let then = self.within_reach(then);
        let otherwise = self.within_reach(otherwise);
        let code = match test {
            Test::Equal => Instruction::JUMP_EQUAL,
            Test::Greater => Instruction::JUMP_GREATER,
            Test::GreaterOrEqual => Instruction::JUMP_GREATER_OR_EQUAL,
        };
        let mut instruction = Instruction::new(code, value);
        instruction.jump_true = self.distance(then) as u8;
        instruction.jump_false = self.distance(otherwise) as u8;
        self.push(instruction)
    }

    /// Makes sure that what is written next, when it just runs on, comes to `target`.
    fn run_on_to(&mut self, target: Position) {
        let distance = self.distance(target);
        if distance != 0 {
            self.push(Instruction::new(Instruction::JUMP_ALWAYS, distance as u32));
        }
    }

    /// A position that a conditional jump written next can reach and that leads to `target`.
    fn within_reach(&mut self, target: Position) -> Position {
        let distance = self.distance(target);
        if distance <= REACH {
            return target;
        }
        match self.reversed.get(target.0) {
            Some(&answer) if answer.code == Instruction::RETURN => self.push(answer),
            _ => self.push(Instruction::new(Instruction::JUMP_ALWAYS, distance as u32)),
        }
    }

    /// How many instructions the one written next would skip on its way to `target`.
    fn distance(&self, target: Position) -> usize {
        self.reversed.len() - 1 - target.0
    }

    fn push(&mut self, instruction: Instruction) -> Position {
        self.reversed.push(instruction);
        Position(self.reversed.len() - 1)
    }
}
