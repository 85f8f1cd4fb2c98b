//! What the tests share: an interpreter of the kernel's machine, and profiles written briefly.

#![expect(dead_code, reason = "each test program uses its own part")]

pub mod naive;

use berth_seccomp::{Architecture, Instruction};
use berth_spec::runtime::{
    LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, SeccompAction, SeccompOperator,
};

pub const KILL_PROCESS: u32 = 0x8000_0000;
pub const KILL_THREAD: u32 = 0;
pub const ALLOW: u32 = 0x7fff_0000;
pub const LOG: u32 = 0x7ffc_0000;
pub const TRAP: u32 = 0x0003_0000;

/// The answer "fail with this errno".
pub const fn errno(errno: u32) -> u32 {
    0x0005_0000 | errno
}

/// A call as the kernel describes it to a filter (`struct seccomp_data`).
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    pub arguments: [u64; 6],
}

impl Call {
    pub fn new(architecture: Architecture, number: u32, arguments: [u64; 6]) -> Self {
        Self { number, architecture: architecture.audit_code(), arguments }
    }

    fn word(&self, offset: u32) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 64, "the kernel refuses a load at {offset}");
        match offset {
            0 => self.number,
            4 => self.architecture,
            8 | 12 => 0xdead_beef,
            _ => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        }
    }
}

/// Runs a program as the kernel does; panics at what the kernel's check would refuse.
pub fn interpret(program: &[Instruction], call: &Call) -> u32 {
    let mut accumulator = 0;
    let mut counter = 0;
    loop {
        let instruction = program[counter];
        counter += 1;
        let constant = instruction.constant;
        let test = match instruction.code {
            Instruction::LOAD => {
                accumulator = call.word(constant);
                continue;
            }
            Instruction::AND => {
                accumulator &= constant;
                continue;
            }
            Instruction::JUMP_ALWAYS => {
                counter += constant as usize;
                continue;
            }
            Instruction::RETURN => return constant,
            Instruction::JUMP_EQUAL => accumulator == constant,
            Instruction::JUMP_GREATER => accumulator > constant,
            Instruction::JUMP_GREATER_OR_EQUAL => accumulator >= constant,
            code => unreachable!("unknown instruction {code:#x}"),
        };
        let skip = if test { instruction.jump_true } else { instruction.jump_false };
        counter += usize::from(skip);
    }
}

/// A profile with a default and rules, and nothing else.
pub fn profile(default_action: SeccompAction, syscalls: Vec<LinuxSyscall>) -> LinuxSeccomp {
    LinuxSeccomp {
        default_action,
        default_errno_ret: None,
        architectures: Vec::new(),
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        syscalls,
    }
}

/// A rule without conditions.
pub fn rule(name: &str, action: SeccompAction, errno_ret: Option<u32>) -> LinuxSyscall {
    LinuxSyscall { names: vec![name.to_owned()], action, errno_ret, args: Vec::new() }
}

/// A condition.
pub fn when(index: u32, op: SeccompOperator, value: u64, value_two: u64) -> LinuxSeccompArg {
    LinuxSeccompArg { index, value, value_two: Some(value_two), op }
}
