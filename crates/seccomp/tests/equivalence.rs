//! Random profiles against random calls: the program's answer is the one that a plain reading of
//! the profile gives.

mod common;

use berth_seccomp::{Architecture, CompileError, Filter, compile_for};
use berth_spec::runtime::{
    LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, SeccompAction, SeccompOperator,
};
use common::{ALLOW, Call, KILL_PROCESS, KILL_THREAD, LOG, TRAP, errno, interpret};
use proptest::prelude::*;

/// Some calls with their numbers on x86_64, x86, aarch64 and arm, from the kernel's headers.
const CALLS: &[(&str, [Option<u32>; 4])] = &[
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
fn number(name: &str, architecture: Architecture) -> Option<u32> {
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

fn verdict(action: SeccompAction, errno_ret: Option<u32>) -> u32 {
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
fn evaluate(profile: &LinuxSeccomp, native: Architecture, call: &Call) -> u32 {
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

/// Values at which 64-bit comparisons in halves go wrong, if they do.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..4_u64,
        2 => (0..3_u64, 0..3_u64).prop_map(|(high, low)| high << 32 | low),
        1 => Just(0xffff_ffff),
        1 => Just(0xffff_ffff_0000_0000),
        1 => Just(u64::MAX),
        1 => Just(0x8000_0000),
        1 => any::<u64>(),
    ]
}

fn condition() -> impl Strategy<Value = LinuxSeccompArg> {
    let operator = proptest::sample::select(SeccompOperator::ALL);
    (0..6_u32, value(), proptest::option::of(value()), operator)
        .prop_map(|(index, value, value_two, op)| LinuxSeccompArg { index, value, value_two, op })
}

fn action() -> impl Strategy<Value = (SeccompAction, Option<u32>)> {
    (proptest::sample::select(SeccompAction::ALL), proptest::option::of(0..4096_u32)).prop_map(
        |(action, errno)| match action {
            SeccompAction::Errno | SeccompAction::Trace => (action, errno),
            _ => (action, None),
        },
    )
}

fn rule() -> impl Strategy<Value = LinuxSyscall> {
    let names = CALLS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    let names = proptest::sample::subsequence(names, 1..4);
    (names, action(), proptest::collection::vec(condition(), 0..4))
        .prop_map(|(names, (action, errno_ret), args)| LinuxSyscall {
            names,
            action,
            errno_ret,
            args,
        })
        .prop_filter("a runtime needs write", |rule| {
            rule.action != SeccompAction::Notify || rule.names.iter().all(|name| name != "write")
        })
}

fn profile(rules: std::ops::Range<usize>) -> impl Strategy<Value = LinuxSeccomp> {
    let architectures = Architecture::ALL
        .iter()
        .filter(|one| **one != Architecture::Riscv64)
        .map(|one| one.as_str().to_owned())
        .chain(["SCMP_ARCH_S390X".to_owned()])
        .collect::<Vec<_>>();
    let default = action()
        .prop_filter("never asks by default", |(action, _)| *action != SeccompAction::Notify);
    let architectures = proptest::sample::subsequence(architectures, 0..=6);
    (default, architectures, proptest::collection::vec(rule(), rules)).prop_map(
        |((default_action, default_errno_ret), architectures, syscalls)| LinuxSeccomp {
            default_action,
            default_errno_ret,
            architectures,
            flags: Vec::new(),
            listener_path: None,
            listener_metadata: None,
            syscalls,
        },
    )
}

fn native() -> impl Strategy<Value = Architecture> {
    prop_oneof![Just(Architecture::X86_64), Just(Architecture::Aarch64)]
}

/// A seed for a call: which architecture, which number near which known call, and the arguments.
type Seed = (usize, usize, i32, [u64; 6]);

fn seed() -> impl Strategy<Value = Seed> {
    let nearness = prop_oneof![6 => Just(0), 2 => -1..=1_i32, 1 => any::<i32>()];
    let arguments = proptest::array::uniform6(value());
    (0..5_usize, 0..CALLS.len(), nearness, arguments)
}

/// Makes a call from a seed, with arguments that the profile's conditions speak of.
fn call(profile: &LinuxSeccomp, (architecture, name, offset, mut arguments): Seed) -> Call {
    let architecture = Architecture::ALL[architecture];
    let near = number(CALLS[name].0, architecture).unwrap_or(u32::MAX);
    // Every other time the arguments of one rule of the profile are met or just missed.
    let rules = profile.syscalls.iter().filter(|rule| !rule.args.is_empty());
    let rules: Vec<&LinuxSyscall> =
        rules.filter(|rule| rule.names.iter().any(|named| named == CALLS[name].0)).collect();
    if let Some(rule) = rules.get(arguments[5] as usize % (rules.len() * 2).max(1)) {
        for condition in &rule.args {
            let aim = match condition.op {
                SeccompOperator::MaskedEqual => condition.value_two.unwrap_or(0),
                _ => condition.value,
            };
            let place = condition.index as usize;
            arguments[place] = aim.wrapping_add(arguments[place] % 3).wrapping_sub(1);
        }
    }
    Call::new(architecture, near.wrapping_add_signed(offset), arguments)
}

fn check(profile: &LinuxSeccomp, native: Architecture, filter: &Filter, seeds: Vec<Seed>) {
    for seed in seeds {
        let call = call(profile, seed);
        let answer = interpret(filter.instructions(), &call);
        let expected = evaluate(profile, native, &call);
        assert_eq!(answer, expected, "{answer:#x} is not {expected:#x} for {call:x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_answers_as_its_profile_reads(
        profile in profile(0..8),
        native in native(),
        seeds in proptest::collection::vec(seed(), 200),
    ) {
        let filter = compile_for(&profile, native).expect("a small profile");
        check(&profile, native, &filter, seeds);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_with_far_jumps_answers_as_its_profile_reads(
        profile in profile(60..120),
        native in native(),
        seeds in proptest::collection::vec(seed(), 400),
    ) {
        match compile_for(&profile, native) {
            Ok(filter) => check(&profile, native, &filter, seeds),
            Err(CompileError::TooLong { length, limit }) => prop_assert!(length > limit),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn a_filter_survives_being_kept_as_bytes(profile in profile(0..20)) {
        let filter = compile_for(&profile, Architecture::NATIVE).expect("a small profile");
        let bytes = filter.to_bytes();
        prop_assert_eq!(Filter::from_bytes(&bytes).expect("its own bytes"), filter);
        prop_assert!(Filter::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn foreign_bytes_are_no_filter(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(Filter::from_bytes(&bytes).is_err());
    }
}
