//! The device filter of cgroup v2: rules to eBPF (cgroup-v2.rst, "Device controller";
//! BPF_PROG_TYPE_CGROUP_DEVICE).
//!
//! The program walks the rules from the last to the first, since later ones win. The accesses
//! that still need a rule are kept in a register: an allow rule takes its own off and allows when
//! none is left, a deny rule denies when it has one of them. What no rule speaks of is denied.

use super::devices::{ALL, NodeType, Rule};

/// An instruction, laid out as the kernel's `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Operation codes: class | operation | source or size (linux/bpf_common.h, linux/bpf.h).
const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const MOVE_REGISTER: u8 = 0xbc; // ALU | MOV | X (32 bits)
const MOVE: u8 = 0xb4; // ALU | MOV | K
const AND: u8 = 0x54; // ALU | AND | K
const SHIFT_RIGHT: u8 = 0x74; // ALU | RSH | K
const JUMP: u8 = 0x05; // JMP | JA
const JUMP_UNLESS_EQUAL: u8 = 0x55; // JMP | JNE | K
const JUMP_IF_ANY: u8 = 0x45; // JMP | JSET | K
const EXIT: u8 = 0x95; // JMP | EXIT

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const NEEDED: u8 = 2;
const TYPE: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const TYPE_BLOCK: i32 = 1;
const TYPE_CHARACTER: i32 = 2;

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | (source << 4), offset, immediate }
}

/// Compiles the rules; the last one wins.
pub(super) fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, NEEDED, CONTEXT, 0, 0),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        op(MOVE_REGISTER, TYPE, NEEDED, 0, 0),
        op(AND, TYPE, 0, 0, 0xffff),
        op(SHIFT_RIGHT, NEEDED, 0, 0, 16),
    ];
    for rule in rules.iter().rev() {
        program.extend(one(rule));
        // The verifier refuses what cannot be reached.
        if rule.is_total() {
            return program;
        }
    }
    program.extend(answer(0));
    program
}

fn answer(value: i32) -> [Instruction; 2] {
    [op(MOVE, RESULT, 0, 0, value), op(EXIT, 0, 0, 0, 0)]
}

fn one(rule: &Rule) -> Vec<Instruction> {
    let access = i32::from(rule.access);
    let mut verdict = Vec::with_capacity(4);
    match (rule.allow, rule.access == ALL) {
        (_, true) => {}
        (true, false) => {
            verdict.push(op(AND, NEEDED, 0, 0, i32::from(ALL & !rule.access)));
            verdict.push(op(JUMP_UNLESS_EQUAL, NEEDED, 0, 2, 0));
        }
        (false, false) => {
            verdict.push(op(JUMP_IF_ANY, NEEDED, 0, 1, access));
            verdict.push(op(JUMP, 0, 0, 2, 0));
        }
    }
    verdict.extend(answer(i32::from(rule.allow)));
    let typ = rule.typ.map(|t| match t {
        NodeType::Block => TYPE_BLOCK,
        NodeType::Character => TYPE_CHARACTER,
    });
    let conditions = [
        (TYPE, typ),
        (MAJOR, rule.major.map(u32::cast_signed)),
        (MINOR, rule.minor.map(u32::cast_signed)),
    ];
    let mut code = verdict;
    for (register, value) in conditions.into_iter().rev() {
        if let Some(value) = value {
            // To just behind this rule.
            code.insert(0, op(JUMP_UNLESS_EQUAL, register, 0, code.len() as i16, value));
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::super::devices::{MKNOD, READ, WRITE};
    use super::*;

    /// Runs a program as the kernel would, for the few instructions that occur.
    fn run(program: &[Instruction], typ: i32, access: u8, major: u32, minor: u32) -> bool {
        let context = [(u32::from(access) << 16) | typ as u32, major, minor];
        let mut registers = [0_u32; 11];
        let mut at = 0_usize;
        loop {
            let i = program[at];
            let (d, s) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let k = i.immediate as u32;
            let mut jump = 0;
            match i.code {
                LOAD_WORD => registers[d] = context[i.offset as usize / 4],
                MOVE_REGISTER => registers[d] = registers[s],
                MOVE => registers[d] = k,
                AND => registers[d] &= k,
                SHIFT_RIGHT => registers[d] >>= k,
                JUMP => jump = i.offset,
                JUMP_UNLESS_EQUAL if registers[d] != k => jump = i.offset,
                JUMP_IF_ANY if registers[d] & k != 0 => jump = i.offset,
                JUMP_UNLESS_EQUAL | JUMP_IF_ANY => {}
                EXIT => return registers[0] != 0,
                code => panic!("code {code:#x}"),
            }
            at = (at as i64 + 1 + i64::from(jump)) as usize;
        }
    }

    /// The meaning, straight from the specification: each access by the last rule that has it.
    fn expected(rules: &[Rule], typ: NodeType, access: u8, major: u32, minor: u32) -> bool {
        [MKNOD, READ, WRITE].iter().filter(|b| access & **b != 0).all(|bit| {
            rules
                .iter()
                .rev()
                .find(|r| {
                    r.access & bit != 0
                        && r.typ.is_none_or(|t| t == typ)
                        && r.major.is_none_or(|m| m == major)
                        && r.minor.is_none_or(|m| m == minor)
                })
                .is_some_and(|r| r.allow)
        })
    }

    fn rule(allow: bool, typ: Option<NodeType>, major: i64, minor: i64, access: u8) -> Rule {
        Rule {
            allow,
            typ,
            major: u32::try_from(major).ok(),
            minor: u32::try_from(minor).ok(),
            access,
        }
    }

    #[test]
    fn the_program_answers_as_the_list_means_for_every_small_case() {
        use NodeType::{Block, Character};
        let lists = [
            vec![],
            vec![rule(true, None, -1, -1, ALL)],
            vec![rule(false, None, -1, -1, ALL), rule(true, Some(Character), 1, 3, ALL)],
            vec![
                rule(true, Some(Character), 1, -1, READ),
                rule(true, Some(Character), 1, 3, WRITE),
                rule(true, None, -1, -1, MKNOD),
            ],
            vec![
                rule(true, None, -1, -1, ALL),
                rule(false, Some(Block), 1, -1, WRITE | MKNOD),
                rule(true, Some(Block), 1, 2, WRITE),
                rule(false, None, 3, 3, ALL),
            ],
        ];
        for rules in &lists {
            let program = compile(rules);
            for (typ, number) in [(Block, TYPE_BLOCK), (Character, TYPE_CHARACTER)] {
                for access in 1..=ALL {
                    for (major, minor) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))) {
                        assert_eq!(
                            run(&program, number, access, major, minor),
                            expected(rules, typ, access, major, minor),
                            "{rules:?} {typ:?} {access} {major}:{minor}"
                        );
                    }
                }
            }
        }
    }
}
