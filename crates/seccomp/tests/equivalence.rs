//! Random profiles against random calls: the program's answer is the one that a plain reading of
//! the profile gives.

mod common;

use berth_seccomp::{Architecture, CompileError, Filter, compile_for};
use berth_spec::runtime::{
    LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, SeccompAction, SeccompOperator,
};
use common::naive::{CALLS, check_bytes, evaluate, number};
use common::{Call, interpret};
use proptest::prelude::*;

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

    #[test]
    fn bytes_of_a_fuzzer_are_profiles_that_read_alike(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        check_bytes(&bytes);
    }
}
