//! A plain reading of a profile, which a program's answers are compared with; and profiles and calls
//! out of any bytes, for a fuzzer.

use berth_seccomp::{Architecture, CompileError, compile_for};
use berth_spec::runtime::{
    LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, SeccompAction, SeccompOperator,
};

use super::{ALLOW, Call, KILL_PROCESS, KILL_THREAD, LOG, TRAP, errno, interpret};

/// Some calls with their numbers on x86_64, x86, aarch64 and arm, from the kernel's headers.
pub const CALLS: &[(&str, [Option<u32>; 4])] = &[
    ("read", [Some(0), Some(3), Some(63), Some(3)]),
    ("write", [Some(1), Some(4), Some(64), Some(4)]),
    ("open", [Some(2), Some(5), None, Some(5)]),
    ("close", [Some(3), Some(6), Some(57), Some(6)]),
    ("fstat", [Some(5), Some(108), Some(80), Some(108)]),
    ("mmap2", [None, Some(192), None, Some(192)]),
    ("clone", [Some(56), Some(120), Some(220), Some(120)]),
    ("personality", [Some(135), Some(136), Some(92), Some(136)]),
    ("prctl", [Some(157), Some(172), Some(167), Some(172)]),
    ("futex", [Some(202), Some(240), Some(98), Some(240)]),
    ("openat", [Some(257), Some(295), Some(56), Some(322)]),
    ("clone3", [Some(435), Some(435), Some(435), Some(435)]),
    ("no_such_call", [None, None, None, None]),
];

const X32_BIT: u32 = 0x4000_0000;

/// The number of a call. The calls above have x86_64's numbers on x32, with a bit added.
pub fn number(name: &str, architecture: Architecture) -> Option<u32> {
    let (_, numbers) = CALLS.iter().find(|(known, _)| *known == name).expect("a known call");
    match architecture {
        Architecture::X86_64 => numbers[0],
        Architecture::X86 => numbers[1],
        Architecture::X32 => numbers[0].map(|number| number | X32_BIT),
        Architecture::Aarch64 => numbers[2],
        Architecture::Arm => numbers[3],
        Architecture::Riscv64 => None,
    }
}

pub fn verdict(action: SeccompAction, errno_ret: Option<u32>) -> u32 {
    match action {
        SeccompAction::Kill | SeccompAction::KillThread => KILL_THREAD,
        SeccompAction::KillProcess => KILL_PROCESS,
        SeccompAction::Trap => TRAP,
        SeccompAction::Errno => errno(errno_ret.unwrap_or(1)),
        SeccompAction::Trace => 0x7ff0_0000 | errno_ret.unwrap_or(1),
        SeccompAction::Allow => ALLOW,
        SeccompAction::Log => LOG,
        SeccompAction::Notify => 0x7fc0_0000,
    }
}

fn holds(condition: &LinuxSeccompArg, call: &Call, architecture: Architecture) -> bool {
    let cut = |value: u64| match architecture {
        Architecture::X86 | Architecture::X32 | Architecture::Arm => value & 0xffff_ffff,
        _ => value,
    };
    let argument = cut(call.arguments[condition.index as usize]);
    let value = cut(condition.value);
    match condition.op {
        SeccompOperator::NotEqual => argument != value,
        SeccompOperator::LessThan => argument < value,
        SeccompOperator::LessOrEqual => argument <= value,
        SeccompOperator::Equal => argument == value,
        SeccompOperator::GreaterOrEqual => argument >= value,
        SeccompOperator::GreaterThan => argument > value,
        SeccompOperator::MaskedEqual => {
            argument & value == cut(condition.value_two.unwrap_or(0)) & value
        }
    }
}

/// Whether a rule has no condition, but for those that look at no bit of an argument.
fn is_unconditional(rule: &LinuxSyscall) -> bool {
    let idle = |condition: &LinuxSeccompArg| {
        condition.op == SeccompOperator::MaskedEqual && condition.value == 0
    };
    rule.args.iter().all(idle) || (any_suffices(rule) && rule.args.iter().any(idle))
}

/// Whether two conditions look at the same argument.
fn any_suffices(rule: &LinuxSyscall) -> bool {
    rule.args.iter().enumerate().any(|(place, condition)| {
        rule.args[..place].iter().any(|earlier| earlier.index == condition.index)
    })
}

/// All conditions must hold, but any will do when two look at the same argument.
fn matches(rule: &LinuxSyscall, call: &Call, architecture: Architecture) -> bool {
    let mut holding = rule.args.iter().map(|condition| holds(condition, call, architecture));
    if any_suffices(rule) { holding.any(|holds| holds) } else { holding.all(|holds| holds) }
}

/// The plain reading.
pub fn evaluate(profile: &LinuxSeccomp, native: Architecture, call: &Call) -> u32 {
    let mut known: Vec<Architecture> = Architecture::ALL
        .iter()
        .copied()
        .filter(|one| profile.architectures.iter().any(|name| name == one.as_str()))
        .collect();
    known.push(native);
    let default = verdict(profile.default_action, profile.default_errno_ret);
    let x86_64 = Architecture::X86_64.audit_code();
    let x32_call = call.architecture == x86_64 && call.number >= X32_BIT;
    let architecture = known.into_iter().find(|one| {
        one.audit_code() == call.architecture
            && (x32_call == (*one == Architecture::X32) || call.number == u32::MAX)
    });
    let Some(architecture) = architecture else { return KILL_PROCESS };

    let of_call: Vec<&LinuxSyscall> = profile
        .syscalls
        .iter()
        .filter(|rule| {
            rule.names.iter().any(|name| number(name, architecture) == Some(call.number))
        })
        .collect();
    let mut deciding =
        of_call.iter().filter(|rule| verdict(rule.action, rule.errno_ret) != default);
    let unconditional = deciding.clone().find(|rule| is_unconditional(rule));
    let deciding =
        unconditional.or_else(|| deciding.find(|rule| matches(rule, call, architecture)));
    if let Some(rule) = deciding {
        return verdict(rule.action, rule.errno_ret);
    }
    let last = profile
        .syscalls
        .iter()
        .flat_map(|rule| &rule.names)
        .filter_map(|name| number(name, architecture))
        .max();
    let permissive = matches!(
        profile.default_action,
        SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace
    );
    // arm's private calls, far above all others, are old.
    let private = architecture == Architecture::Arm && (0xf_0000..u32::MAX).contains(&call.number);
    if !permissive && !private && last.is_some_and(|last| call.number > last) {
        return errno(38);
    }
    default
}

/// Numbers out of bytes; zeros when there are no more.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// Small, or with either half at an end of what it can be, or anything.
    fn value(&mut self) -> u64 {
        let kind = self.byte();
        let half = |bits: u8, low: u8| match bits & 3 {
            0 => 0,
            1 => u64::from(low),
            2 => 0xffff_ffff,
            _ => 0x8000_0000 + u64::from(low),
        };
        let low = half(kind, self.byte());
        half(kind >> 2, kind >> 4) << 32 | low
    }

    fn action(&mut self) -> (SeccompAction, Option<u32>) {
        let action = SeccompAction::ALL[self.below(SeccompAction::ALL.len())];
        let number = self.byte();
        match action {
            SeccompAction::Errno | SeccompAction::Trace if number & 1 == 1 => {
                (action, Some(u32::from(number)))
            }
            _ => (action, None),
        }
    }

    fn rule(&mut self) -> LinuxSyscall {
        let names = (0..=self.below(3)).map(|_| CALLS[self.below(CALLS.len())].0.to_owned());
        let names = names.collect();
        let (action, errno_ret) = self.action();
        let args = (0..self.below(4)).map(|_| LinuxSeccompArg {
            index: self.below(6) as u32,
            value: self.value(),
            value_two: (self.byte() & 1 == 1).then(|| self.value()),
            op: SeccompOperator::ALL[self.below(SeccompOperator::ALL.len())],
        });
        let args = args.collect();
        LinuxSyscall { names, action, errno_ret, args }
    }

    fn profile(&mut self) -> LinuxSeccomp {
        let (default_action, default_errno_ret) = self.action();
        let known = self.byte();
        let architectures = Architecture::ALL.iter().enumerate();
        let architectures = architectures
            .filter(|(place, _)| known >> place & 1 == 1)
            .map(|(_, one)| one.as_str().to_owned())
            .collect();
        let syscalls = (0..self.below(24)).map(|_| self.rule()).collect();
        LinuxSeccomp {
            default_errno_ret,
            architectures,
            ..super::profile(default_action, syscalls)
        }
    }

    fn call(&mut self) -> Call {
        let architecture = Architecture::ALL[self.below(5)];
        let near = number(CALLS[self.below(CALLS.len())].0, architecture).unwrap_or(u32::MAX);
        let offset = i32::from(self.byte() as i8 / 64);
        let arguments = std::array::from_fn(|_| self.value());
        Call::new(architecture, near.wrapping_add_signed(offset), arguments)
    }
}

/// Makes a profile and calls of the bytes, and compares the program's answers with the reading.
pub fn check_bytes(data: &[u8]) {
    let mut bytes = Bytes(data);
    let native = [Architecture::X86_64, Architecture::Aarch64][bytes.below(2)];
    let profile = bytes.profile();
    match compile_for(&profile, native) {
        Ok(filter) => {
            for _ in 0..32 {
                let call = bytes.call();
                let answer = interpret(filter.instructions(), &call);
                let expected = evaluate(&profile, native, &call);
                assert_eq!(answer, expected, "{answer:#x} is not {expected:#x} for {call:x?}");
            }
        }
        // Asking a listener about everything, or about what a runtime needs itself, is refused.
        Err(CompileError::TooLong { .. }) => {}
        Err(error) => {
            let asks = |rule: &LinuxSyscall| rule.action == SeccompAction::Notify;
            let asks = profile.default_action == SeccompAction::Notify
                || profile.syscalls.iter().any(asks);
            assert!(asks, "{error}");
        }
    }
}
