//! Random profiles through the distribution's libseccomp, if it is installed, and through this
//! crate: both programs answer alike. It is loaded at run time; nothing here is linked to it.

mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};

use berth_seccomp::{Architecture, Instruction, compile_for, default_profile};
use berth_spec::runtime::{LinuxSeccomp, LinuxSyscall, SeccompAction, SeccompOperator};
use common::{ALLOW, Call, KILL_PROCESS, errno, interpret, profile, rule, when};
use proptest::prelude::*;

type Init = unsafe extern "C" fn(u32) -> *mut c_void;
type Release = unsafe extern "C" fn(*mut c_void);
type AddArchitecture = unsafe extern "C" fn(*mut c_void, u32) -> c_int;
type SetAttribute = unsafe extern "C" fn(*mut c_void, c_int, u32) -> c_int;
type Resolve = unsafe extern "C" fn(*const c_char) -> c_int;
type AddRule = unsafe extern "C" fn(*mut c_void, u32, c_int, u32, *const Comparison) -> c_int;
type Export = unsafe extern "C" fn(*const c_void, c_int) -> c_int;

/// The attribute that says what happens to calls of other architectures.
const BAD_ARCHITECTURE: c_int = 2;

/// The library's `struct scmp_arg_cmp`.
#[repr(C)]
struct Comparison {
    argument: u32,
    operator: c_int,
    first: u64,
    second: u64,
}

struct Library {
    init: Init,
    release: Release,
    add_architecture: AddArchitecture,
    set_attribute: SetAttribute,
    resolve: Resolve,
    add_rule: AddRule,
    export: Export,
}

impl Library {
    fn load() -> Option<Self> {
        // SAFETY: the name is a C string; the library's initialisers have no conditions.
        let handle = unsafe { libc::dlopen(c"libseccomp.so.2".as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return None;
        }
        let symbol = |name: &CStr| {
            // SAFETY: the handle is open and never closed, the name a C string.
            let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
            assert!(!address.is_null(), "libseccomp has no {}", name.to_string_lossy());
            address
        };
        Some(Self {
            // SAFETY: the type is that of seccomp.h.
            init: unsafe { std::mem::transmute::<*mut c_void, Init>(symbol(c"seccomp_init")) },
            // SAFETY: the type is that of seccomp.h.
            release: unsafe {
                std::mem::transmute::<*mut c_void, Release>(symbol(c"seccomp_release"))
            },
            // SAFETY: the type is that of seccomp.h.
            add_architecture: unsafe {
                std::mem::transmute::<*mut c_void, AddArchitecture>(symbol(c"seccomp_arch_add"))
            },
            // SAFETY: the type is that of seccomp.h.
            set_attribute: unsafe {
                std::mem::transmute::<*mut c_void, SetAttribute>(symbol(c"seccomp_attr_set"))
            },
            // SAFETY: the type is that of seccomp.h.
            resolve: unsafe {
                std::mem::transmute::<*mut c_void, Resolve>(symbol(c"seccomp_syscall_resolve_name"))
            },
            // SAFETY: the type is that of seccomp.h.
            add_rule: unsafe {
                std::mem::transmute::<*mut c_void, AddRule>(symbol(c"seccomp_rule_add_array"))
            },
            // SAFETY: the type is that of seccomp.h.
            export: unsafe {
                std::mem::transmute::<*mut c_void, Export>(symbol(c"seccomp_export_bpf"))
            },
        })
    }

    /// What a runtime that uses the library makes of a profile.
    fn compile(&self, profile: &LinuxSeccomp) -> Vec<Instruction> {
        let default = verdict(profile.default_action, profile.default_errno_ret);
        // SAFETY: any action may be the default one.
        let context = unsafe { (self.init)(default) };
        assert!(!context.is_null());
        // SAFETY: the context is live.
        let set = unsafe { (self.set_attribute)(context, BAD_ARCHITECTURE, KILL_PROCESS) };
        assert_eq!(set, 0);
        for architecture in &profile.architectures {
            let token = match architecture.as_str() {
                "SCMP_ARCH_X86" => 0x4000_0003,
                "SCMP_ARCH_X32" => 0x4000_003e,
                _ => 0xc000_003e,
            };
            // SAFETY: the context is live. The native architecture is in it already: an error.
            unsafe { (self.add_architecture)(context, token) };
        }
        for rule in &profile.syscalls {
            let action = verdict(rule.action, rule.errno_ret);
            if action == default {
                continue;
            }
            let comparisons: Vec<Comparison> = rule.args.iter().map(comparison).collect();
            for name in &rule.names {
                let name = CString::new(name.as_str()).expect("no zero byte");
                // SAFETY: the name is a C string.
                let number = unsafe { (self.resolve)(name.as_ptr()) };
                if number == -1 {
                    continue;
                }
                let count = comparisons.len() as u32;
                // SAFETY: the context is live, and there are `count` comparisons.
                unsafe { (self.add_rule)(context, action, number, count, comparisons.as_ptr()) };
            }
        }
        let program = self.export(context);
        // SAFETY: the context is live and not used again.
        unsafe { (self.release)(context) };
        program
    }

    fn export(&self, context: *mut c_void) -> Vec<Instruction> {
        // SAFETY: the name is a C string; the flags are plain.
        let descriptor = unsafe { libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(descriptor >= 0);
        // SAFETY: the descriptor is new and nobody else's.
        let mut file = unsafe { File::from_raw_fd(descriptor) };
        // SAFETY: the context and the descriptor are live.
        let exported = unsafe { (self.export)(context, file.as_raw_fd()) };
        assert_eq!(exported, 0);
        file.rewind().expect("a file in memory");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("a file in memory");
        let (chunks, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty());
        chunks
            .iter()
            .map(|&[c0, c1, jump_true, jump_false, k0, k1, k2, k3]| Instruction {
                code: u16::from_le_bytes([c0, c1]),
                jump_true,
                jump_false,
                constant: u32::from_le_bytes([k0, k1, k2, k3]),
            })
            .collect()
    }
}

fn comparison(condition: &berth_spec::runtime::LinuxSeccompArg) -> Comparison {
    let operator = match condition.op {
        SeccompOperator::NotEqual => 1,
        SeccompOperator::LessThan => 2,
        SeccompOperator::LessOrEqual => 3,
        SeccompOperator::Equal => 4,
        SeccompOperator::GreaterOrEqual => 5,
        SeccompOperator::GreaterThan => 6,
        SeccompOperator::MaskedEqual => 7,
    };
    let second = condition.value_two.unwrap_or(0);
    Comparison { argument: condition.index, operator, first: condition.value, second }
}

fn verdict(action: SeccompAction, errno_ret: Option<u32>) -> u32 {
    match action {
        SeccompAction::Errno => errno(errno_ret.unwrap_or(1)),
        SeccompAction::KillProcess => KILL_PROCESS,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Allow => ALLOW,
        SeccompAction::Trace => 0x7ff0_0000 | errno_ret.unwrap_or(1),
        SeccompAction::Kill | SeccompAction::KillThread => 0,
        SeccompAction::Notify => 0x7fc0_0000,
    }
}

/// Numbers of calls, on x86_64 and x86, that profiles below speak of.
const CALLS: &[(&str, u32, u32)] = &[
    ("read", 0, 3),
    ("open", 2, 5),
    ("clone", 56, 120),
    ("personality", 135, 136),
    ("prctl", 157, 172),
    ("openat", 257, 295),
];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..4_u64,
        2 => (0..3_u64, 0..3_u64).prop_map(|(high, low)| high << 32 | low),
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ]
}

/// Every action, with and without a number of its own.
fn action() -> impl Strategy<Value = (SeccompAction, Option<u32>)> {
    (proptest::sample::select(SeccompAction::ALL), proptest::option::of(1..200_u32)).prop_map(
        |(action, number)| match action {
            SeccompAction::Errno | SeccompAction::Trace => (action, number),
            _ => (action, None),
        },
    )
}

/// What happens to all other calls: nobody can be asked about everything.
fn default_action() -> impl Strategy<Value = (SeccompAction, Option<u32>)> {
    prop_oneof![
        2 => Just((SeccompAction::Allow, None)),
        1 => action().prop_filter("never asks by default", |(action, _)| {
            *action != SeccompAction::Notify
        }),
    ]
}

/// Some of the flags, which change how a program is installed and nothing in it.
fn flags() -> impl Strategy<Value = Vec<String>> {
    let known = ["TSYNC", "LOG", "SPEC_ALLOW"].map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    proptest::sample::subsequence(known.to_vec(), 0..=3)
}

/// At most one rule with conditions for a call, and perhaps one without: which of several goes
/// first is the library's secret, and some lists of them keep it busy for ever.
fn rules() -> impl Strategy<Value = Vec<LinuxSyscall>> {
    let operators = proptest::sample::select(SeccompOperator::ALL);
    let condition = (operators, value(), value());
    let conditions = proptest::collection::vec(proptest::option::of(condition), 3);
    let shape = (proptest::bool::weighted(0.2), conditions, action());
    proptest::collection::vec(shape, CALLS.len()).prop_map(|shapes| {
        let mut rules = Vec::new();
        for ((name, _, _), (unconditional, conditions, action)) in CALLS.iter().zip(shapes) {
            let args: Vec<_> = conditions
                .into_iter()
                .zip(0..)
                .filter_map(|(condition, index)| {
                    condition.map(|(op, value, second)| when(index, op, value, second))
                })
                // Of a mask of high bits only the library leaves nothing to 32-bit calls.
                .filter(|condition| {
                    condition.op != SeccompOperator::MaskedEqual || condition.value as u32 != 0
                })
                .collect();
            let (action, errno_ret) = action;
            rules.push(LinuxSyscall { args, ..rule(name, action, errno_ret) });
            if unconditional {
                rules.push(rule(name, SeccompAction::Errno, Some(70)));
            }
        }
        rules
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        // The same profiles each time: the library is not what is tested here.
        rng_seed: proptest::test_runner::RngSeed::Fixed(20),
        ..ProptestConfig::default()
    })]

    #[test]
    fn libseccomp_answers_alike(
        rules in rules(),
        x86 in any::<bool>(),
        x32 in any::<bool>(),
        (default_action, default_errno_ret) in default_action(),
        flags in flags(),
        calls in proptest::collection::vec(
            (0..CALLS.len(), 0..3_usize, proptest::array::uniform6(value())), 24),
    ) {
        let Some(library) = Library::load() else {
            eprintln!("SKIPPED: libseccomp.so.2 is not installed");
            return Ok(());
        };
        let mut profile = profile(default_action, rules);
        profile.default_errno_ret = default_errno_ret;
        profile.architectures.extend(x86.then(|| "SCMP_ARCH_X86".to_owned()));
        profile.architectures.extend(x32.then(|| "SCMP_ARCH_X32".to_owned()));
        let theirs = library.compile(&profile);
        let plain = compile_for(&profile, Architecture::X86_64).expect("a small profile");
        profile.flags = flags;
        let ours = compile_for(&profile, Architecture::X86_64).expect("a small profile");
        prop_assert_eq!(ours.instructions(), plain.instructions());
        for (call, kind, mut arguments) in calls {
            let (name, x86_64_number, x86_number) = CALLS[call];
            let mut aims = profile.syscalls.iter().filter(|rule| rule.names == [name]);
            if let Some(rule) = aims.nth(arguments[5] as usize % 3) {
                for condition in &rule.args {
                    let aim = match condition.op {
                        SeccompOperator::MaskedEqual => condition.value_two.unwrap_or(0),
                        _ => condition.value,
                    };
                    let place = condition.index as usize;
                    arguments[place] = aim.wrapping_add(arguments[place] % 3).wrapping_sub(1);
                }
            }
            let call = match kind {
                0 => Call::new(Architecture::X86_64, x86_64_number, arguments),
                1 => Call::new(Architecture::X86, x86_number, arguments),
                _ => Call::new(Architecture::X86_64, x86_64_number | 0x4000_0000, arguments),
            };
            let expected = interpret(&theirs, &call);
            let answer = interpret(ours.instructions(), &call);
            prop_assert_eq!(answer, expected, "{:x?}", call);
        }
    }
}

#[test]
fn libseccomp_answers_alike_to_the_default_profile() {
    let Some(library) = Library::load() else {
        eprintln!("SKIPPED: libseccomp.so.2 is not installed");
        return;
    };
    if Architecture::NATIVE != Architecture::X86_64 {
        eprintln!("SKIPPED: the numbers here are those of x86_64");
        return;
    }
    // The distribution's library is older than some calls, and adds no ENOSYS of its own.
    let newest_known = 446;
    let uretprobe = 335;
    let profile = default_profile(&std::collections::BTreeSet::new());
    let theirs = library.compile(&profile);
    let ours = compile_for(&profile, Architecture::X86_64).expect("the default profile");
    let arguments = [0, 1, 2, 8, 9, 12, 16, 38, 40, 45, 46, 0x2_0000, 0x2_0008, 0xffff_ffff]
        .into_iter()
        .chain((0..64).map(|bit| 1_u64 << bit));
    let mut compared = 0;
    for argument in arguments {
        for architecture in [Architecture::X86_64, Architecture::X86] {
            for number in (0..=newest_known).filter(|&number| number != uretprobe) {
                let call = Call::new(architecture, number, [argument, argument, 0, 0, 0, 0]);
                let answer = interpret(ours.instructions(), &call);
                assert_eq!(answer, interpret(&theirs, &call), "{call:x?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 50_000);
}
