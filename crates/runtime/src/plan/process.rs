//! The container's process: who it is, what it may do, and what it executes (config.md, "Process").

use std::ffi::CString;
use std::path::Path;

use berth_seccomp::Filter;
use berth_spec::runtime::{
    IoPriority, LinuxCapabilities, LinuxMemoryPolicy, LinuxPersonality, Process, Rlimit, Scheduler,
    User,
};

use super::capabilities::{self, CapabilityPlan};
use super::{c_path, c_string};
use crate::config::ConfigError;
use crate::sys::{Pointers, SchedulingAttributes};

/// The process to become.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    /// The program's name and where it may be: every path to try, in order.
    pub candidates: Vec<CString>,
    /// Its arguments.
    pub arguments: Pointers,
    /// Its environment, with room for two more variables.
    pub environment: Pointers,
    /// Whether HOME has to be looked up.
    pub needs_home: bool,
    /// Whether LISTEN_PID has to be set.
    pub needs_listen_pid: bool,
    /// The working directory.
    pub cwd: CString,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The file mode creation mask.
    pub umask: u32,
    /// Capabilities.
    pub capabilities: CapabilityPlan,
    /// Resource limits: number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Whether privileges can be gained by exec no more.
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: Option<Filter>,
    /// Scheduling.
    pub scheduler: Option<SchedulingAttributes>,
    /// I/O priority.
    pub io_priority: Option<u32>,
    /// Execution domain.
    pub personality: Option<u32>,
    /// NUMA memory policy: mode and nodes.
    pub memory_policy: Option<(i32, Vec<u64>)>,
    /// CPUs to run on once it is in its cgroup.
    pub affinity: Affinity,
    /// What is written to a file below /proc/self/attr before exec.
    pub labels: Vec<(CString, Vec<u8>)>,
    /// How many descriptors from 3 on are kept.
    pub preserve_fds: u32,
    /// Keep what the pointers point to.
    _strings: (Vec<CString>, Vec<CString>),
}

/// The parts of the configuration that belong to the process but stand elsewhere.
#[derive(Debug, Default)]
pub(crate) struct ProcessContext<'a> {
    /// `linux.personality`.
    pub personality: Option<&'a LinuxPersonality>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<&'a LinuxMemoryPolicy>,
    /// The compiled filter.
    pub seccomp: Option<Filter>,
    /// Whether it gets sockets to listen at.
    pub listens: bool,
    /// How many descriptors from 3 on are kept.
    pub preserve_fds: u32,
}

impl ProcessPlan {
    /// Prepares the process; `warnings` gets what the specification wants to be only warned of.
    pub(crate) fn new(
        process: &Process,
        context: ProcessContext<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let arguments = strings(&process.args, "process.args")?;
        let (environment, needs_home) = environment(&process.env)?;
        let command =
            process.args.first().filter(|command| !command.is_empty()).ok_or_else(|| {
                ConfigError::invalid("process.args", "the program's name is missing")
            })?;
        if !process.cwd.is_absolute() {
            return Err(ConfigError::invalid("process.cwd", "must be absolute"));
        }
        let user = &process.user;
        check_ids(user)?;
        let none = LinuxCapabilities::default();
        let capabilities = process.capabilities.as_ref().unwrap_or(&none);
        let scheduler = process.scheduler.as_ref().map(scheduling).transpose()?;
        let io_priority = process.io_priority.as_ref().map(io_priority).transpose()?;
        let affinity = match process.exec_cpu_affinity.as_ref() {
            None => Affinity::Any,
            Some(given) => match given.final_.as_deref().unwrap_or_default() {
                "" => Affinity::Unchanged,
                list => Affinity::These(CpuMask::parse(list, "process.execCPUAffinity.final")?),
            },
        };
        Ok(Self {
            candidates: candidates(command, search_path(&process.env))?,
            arguments: Pointers::new(&arguments, 0),
            environment: Pointers::new(&environment, 2),
            needs_home,
            needs_listen_pid: context.listens,
            cwd: c_path(&process.cwd, "process.cwd")?,
            uid: user.uid,
            gid: user.gid,
            groups: user.additional_gids.clone(),
            umask: user.umask.unwrap_or(0o022) & 0o777,
            capabilities: capabilities::prepare(capabilities, warnings),
            rlimits: rlimits(&process.rlimits)?,
            no_new_privileges: process.no_new_privileges,
            seccomp: context.seccomp,
            scheduler,
            io_priority,
            personality: context.personality.map(personality).transpose()?,
            memory_policy: context.memory_policy.map(memory_policy).transpose()?,
            affinity,
            labels: labels(process)?,
            preserve_fds: context.preserve_fds,
            _strings: (arguments, environment),
        })
    }
}

/// To the kernel this number means to change nothing: the process would stay root.
pub(crate) const NO_ID: u32 = u32::MAX;

fn check_ids(user: &User) -> Result<(), ConfigError> {
    let invalid = |field: &str| Err(ConfigError::invalid(field, "is -1, which is no id"));
    if user.uid == NO_ID {
        return invalid("process.user.uid");
    }
    if user.gid == NO_ID {
        return invalid("process.user.gid");
    }
    if user.additional_gids.contains(&NO_ID) {
        return invalid("process.user.additionalGids");
    }
    Ok(())
}

/// The environment with each variable once, as it is given last, and whether HOME is missing from
/// it; an empty one is none.
fn environment(variables: &[String]) -> Result<(Vec<CString>, bool), ConfigError> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().len();
    let mut kept = Vec::with_capacity(variables.len());
    let mut needs_home = true;
    for (index, variable) in variables.iter().enumerate() {
        let string = c_string(variable, &format!("process.env[{index}]"))?;
        let own = variable.get(..name(variable));
        let later = variables.get(index + 1..).unwrap_or_default();
        let again = later.iter().any(|later| later.get(..name(later)) == own);
        if !again && variable != "HOME=" {
            needs_home &= own != Some("HOME");
            kept.push(string);
        }
    }
    Ok((kept, needs_home))
}

fn strings(texts: &[String], field: &str) -> Result<Vec<CString>, ConfigError> {
    let each = texts.iter().enumerate();
    each.map(|(index, text)| c_string(text, &format!("{field}[{index}]"))).collect()
}

/// The PATH that the program is looked for in.
pub(crate) fn search_path(environment: &[String]) -> &str {
    environment.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default()
}

fn candidates(command: &str, path: &str) -> Result<Vec<CString>, ConfigError> {
    if command.contains('/') {
        return Ok(vec![c_string(command, "process.args[0]")?]);
    }
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split(':')
        .map(|directory| {
            let directory = if directory.is_empty() { "." } else { directory };
            c_path(&Path::new(directory).join(command), "process.args[0]")
        })
        .collect()
}

const RLIMITS: &[(&str, u32)] = &[
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
];

/// The name of a limit, for errors.
pub(crate) fn rlimit_name(number: u32) -> &'static str {
    RLIMITS.iter().find(|(_, known)| *known == number).map_or("a resource limit", |(name, _)| name)
}

fn rlimits(limits: &[Rlimit]) -> Result<Vec<(u32, u64, u64)>, ConfigError> {
    let mut parsed: Vec<(u32, u64, u64)> = Vec::with_capacity(limits.len());
    for (index, limit) in limits.iter().enumerate() {
        let field = format!("process.rlimits[{index}]");
        let Some(&(_, number)) = RLIMITS.iter().find(|(name, _)| *name == limit.typ) else {
            return Err(ConfigError::invalid(
                format!("{field}.type"),
                format!("{:?} is not the name of a resource limit", limit.typ),
            ));
        };
        if parsed.iter().any(|(known, ..)| *known == number) {
            return Err(ConfigError::invalid(field, format!("{} is given twice", limit.typ)));
        }
        if limit.soft > limit.hard {
            return Err(ConfigError::invalid(field, "the soft limit is above the hard one"));
        }
        parsed.push((number, limit.soft, limit.hard));
    }
    Ok(parsed)
}

fn scheduling(scheduler: &Scheduler) -> Result<SchedulingAttributes, ConfigError> {
    const POLICIES: &[(&str, u32)] = &[
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    const FLAGS: &[(&str, u64)] = &[
        ("SCHED_FLAG_RESET_ON_FORK", 0x01),
        ("SCHED_FLAG_RECLAIM", 0x02),
        ("SCHED_FLAG_DL_OVERRUN", 0x04),
        ("SCHED_FLAG_KEEP_POLICY", 0x08),
        ("SCHED_FLAG_KEEP_PARAMS", 0x10),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ];
    let unknown = |field: &str, word: &str| {
        ConfigError::invalid(format!("process.scheduler.{field}"), format!("{word:?} is not known"))
    };
    let policy = POLICIES.iter().find(|(name, _)| *name == scheduler.policy);
    let (_, policy) = policy.ok_or_else(|| unknown("policy", &scheduler.policy))?;
    let mut flags = 0;
    for word in &scheduler.flags {
        let flag = FLAGS.iter().find(|(name, _)| name == word);
        flags |= flag.ok_or_else(|| unknown("flags", word))?.1;
    }
    let invalid =
        |field: &str, problem| ConfigError::invalid(format!("process.scheduler.{field}"), problem);
    // What the kernel would change or pass over without a word.
    let nice = scheduler.nice.unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(invalid("nice", "expected -20 to 19"));
    }
    let times = [scheduler.runtime, scheduler.deadline, scheduler.period];
    if scheduler.policy != "SCHED_DEADLINE" && times.iter().flatten().any(|&time| time != 0) {
        return Err(invalid("runtime", "runtime, deadline and period are for SCHED_DEADLINE"));
    }
    Ok(SchedulingAttributes {
        size: size_of::<SchedulingAttributes>() as u32,
        policy: *policy,
        flags,
        nice,
        priority: u32::try_from(scheduler.priority.unwrap_or(0))
            .map_err(|_| ConfigError::invalid("process.scheduler.priority", "is negative"))?,
        runtime: scheduler.runtime.unwrap_or(0),
        deadline: scheduler.deadline.unwrap_or(0),
        period: scheduler.period.unwrap_or(0),
    })
}

fn io_priority(priority: &IoPriority) -> Result<u32, ConfigError> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            return Err(ConfigError::invalid(
                "process.ioPriority.class",
                format!("{other:?} is not known; expected IOPRIO_CLASS_RT, _BE or _IDLE"),
            ));
        }
    };
    match u32::try_from(priority.priority) {
        Ok(level @ 0..=7) => Ok(class << 13 | level),
        _ => Err(ConfigError::invalid("process.ioPriority.priority", "expected 0 to 7")),
    }
}

fn personality(personality: &LinuxPersonality) -> Result<u32, ConfigError> {
    if !personality.flags.is_empty() {
        return Err(ConfigError::unsupported(
            "linux.personality.flags",
            "the specification defines none",
        ));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(ConfigError::invalid(
            "linux.personality.domain",
            format!("is {other:?}; expected LINUX or LINUX32"),
        )),
    }
}

/// The modes of NUMA memory policy, for `features` too.
pub(crate) const MEMORY_MODES: &[(&str, i32)] = &[
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// The flags of NUMA memory policy, for `features` too.
pub(crate) const MEMORY_FLAGS: &[(&str, i32)] = &[
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

fn memory_policy(policy: &LinuxMemoryPolicy) -> Result<(i32, Vec<u64>), ConfigError> {
    let find = |table: &[(&str, i32)], word: &str, field: &str| {
        table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value).ok_or_else(|| {
            ConfigError::invalid(
                format!("linux.memoryPolicy.{field}"),
                format!("{word:?} is not known"),
            )
        })
    };
    let mut mode = find(MEMORY_MODES, &policy.mode, "mode")?;
    for flag in &policy.flags {
        mode |= find(MEMORY_FLAGS, flag, "flags")?;
    }
    let nodes = if policy.nodes.is_empty() {
        Vec::new()
    } else {
        CpuMask::parse(&policy.nodes, "linux.memoryPolicy.nodes")?.words
    };
    Ok((mode, nodes))
}

/// The CPUs that a process runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// All that its cgroup allows, whatever the runtime itself was confined to.
    Any,
    /// As the kernel leaves it when the process comes into its cgroup.
    Unchanged,
    /// These.
    These(CpuMask),
}

/// A list such as `0-3,8` as a mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuMask {
    /// 64 bits each.
    pub words: Vec<u64>,
}

impl CpuMask {
    /// The most that the kernel numbers.
    const LIMIT: usize = 1024;

    /// Understands a list.
    pub(crate) fn parse(list: &str, field: &str) -> Result<Self, ConfigError> {
        let invalid =
            || ConfigError::invalid(field, format!("{list:?} is not a list such as 0-3,8"));
        let mut words = vec![0u64; Self::LIMIT / 64];
        for part in list.split(',') {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let first: usize = first.parse().map_err(|_| invalid())?;
            let last: usize = last.parse().map_err(|_| invalid())?;
            if first > last || last >= Self::LIMIT {
                return Err(invalid());
            }
            for number in first..=last {
                if let Some(word) = words.get_mut(number / 64) {
                    *word |= 1 << (number % 64);
                }
            }
        }
        Ok(Self { words })
    }
}

fn labels(process: &Process) -> Result<Labels, ConfigError> {
    let mut labels = Vec::new();
    if let Some(profile) = process.apparmor_profile.as_deref().filter(|p| !p.is_empty()) {
        let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
        if !enabled.is_ok_and(|text| text.starts_with(b"Y")) {
            // Where nothing is confined that is so already.
            if profile == "unconfined" {
                return selinux(process, labels);
            }
            return Err(ConfigError::unsupported(
                "process.apparmorProfile",
                "this kernel has no AppArmor, or it is off",
            ));
        }
        let own = Path::new("/proc/self/attr/apparmor/exec").exists();
        let file = if own { c"self/attr/apparmor/exec" } else { c"self/attr/exec" };
        labels.push((file.to_owned(), format!("exec {profile}").into_bytes()));
    }
    selinux(process, labels)
}

type Labels = Vec<(CString, Vec<u8>)>;

fn selinux(process: &Process, mut labels: Labels) -> Result<Labels, ConfigError> {
    if let Some(label) = process.selinux_label.as_deref().filter(|l| !l.is_empty()) {
        if !has_selinux() {
            return Err(ConfigError::unsupported(
                "process.selinuxLabel",
                "this kernel has no SELinux, or it is off",
            ));
        }
        labels.push((c"self/attr/exec".to_owned(), label.as_bytes().to_vec()));
    }
    Ok(labels)
}

/// Whether SELinux is on.
pub(crate) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(args: &[&str], env: &[&str]) -> Process {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Process { args: own(args), env: own(env), cwd: "/".into(), ..Process::default() }
    }

    fn plan(process: &Process) -> Result<ProcessPlan, ConfigError> {
        ProcessPlan::new(process, ProcessContext::default(), &mut Vec::new())
    }

    #[test]
    fn each_variable_is_set_once_as_it_was_given_last() {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let given = own(&["A=1", "B=2", "HOME=/x", "A=3", "HOME=", "AB=4"]);
        let (kept, needs_home) = environment(&given).unwrap();
        assert_eq!(kept, [c"B=2", c"A=3", c"AB=4"].map(CString::from));
        assert!(needs_home);
        assert!(!environment(&own(&["HOME=/x"])).unwrap().1);
    }

    #[test]
    fn a_command_is_looked_for_along_the_path_of_the_container() {
        let found = plan(&process(&["sh"], &["PATH=/bin::/usr/bin"])).unwrap();
        let candidates: Vec<_> = found.candidates.iter().map(|c| c.to_str().unwrap()).collect();
        assert_eq!(candidates, ["/bin/sh", "./sh", "/usr/bin/sh"]);
        let found = plan(&process(&["./sh"], &["PATH=/bin"])).unwrap();
        assert_eq!(found.candidates, [c"./sh".to_owned()]);
        assert!(plan(&process(&["sh"], &[])).unwrap().candidates.is_empty());
    }

    #[test]
    fn a_process_that_cannot_be_is_refused() {
        assert!(plan(&process(&[], &[])).is_err());
        assert!(plan(&process(&[""], &[])).is_err());
        assert!(plan(&process(&["a\0b"], &[])).is_err());
        let mut relative = process(&["a"], &[]);
        relative.cwd = "tmp".into();
        assert!(plan(&relative).is_err());
        let mut nobody = process(&["a"], &[]);
        nobody.user.uid = u32::MAX;
        assert!(plan(&nobody).is_err());
        nobody.user = User { gid: u32::MAX, ..User::default() };
        assert!(plan(&nobody).is_err());
        nobody.user = User { additional_gids: vec![0, u32::MAX], ..User::default() };
        assert!(plan(&nobody).is_err());
        let mut limits = process(&["a"], &[]);
        limits.rlimits = vec![Rlimit { typ: "RLIMIT_CPU".to_owned(), soft: 2, hard: 1 }];
        assert!(plan(&limits).is_err());
        limits.rlimits = vec![Rlimit { typ: "RLIMIT_FOO".to_owned(), soft: 1, hard: 1 }];
        assert!(plan(&limits).is_err());
    }

    #[test]
    fn lists_of_cpus_become_masks() {
        assert_eq!(CpuMask::parse("0-2,5,64", "f").unwrap().words[..2], [0b10_0111, 1]);
        for bad in ["", "a", "3-1", "1024", "0-99999999999", "-1"] {
            assert!(CpuMask::parse(bad, "f").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_scheduler_says_nothing_that_would_be_passed_over() {
        let of = |policy: &str| Scheduler { policy: policy.to_owned(), ..Scheduler::default() };
        assert!(scheduling(&Scheduler { nice: Some(-20), ..of("SCHED_OTHER") }).is_ok());
        assert!(scheduling(&Scheduler { nice: Some(20), ..of("SCHED_OTHER") }).is_err());
        assert!(scheduling(&Scheduler { runtime: Some(7), ..of("SCHED_OTHER") }).is_err());
        assert!(scheduling(&Scheduler { runtime: Some(7), ..of("SCHED_DEADLINE") }).is_ok());
        assert!(scheduling(&of("SCHED_FAIR")).is_err());
    }

    #[test]
    fn a_missing_or_empty_final_affinity_leaves_it_to_the_kernel() {
        use berth_spec::runtime::ExecCpuAffinity;
        let mut given = process(&["a"], &[]);
        assert_eq!(plan(&given).unwrap().affinity, Affinity::Any);
        given.exec_cpu_affinity = Some(ExecCpuAffinity::default());
        assert_eq!(plan(&given).unwrap().affinity, Affinity::Unchanged);
        let final_ = Some(String::new());
        given.exec_cpu_affinity = Some(ExecCpuAffinity { initial: None, final_ });
        assert_eq!(plan(&given).unwrap().affinity, Affinity::Unchanged);
    }

    #[test]
    fn io_priorities_have_a_class_and_a_level() {
        let of = |class: &str, priority| IoPriority { class: class.to_owned(), priority };
        assert_eq!(io_priority(&of("IOPRIO_CLASS_BE", 4)).unwrap(), 2 << 13 | 4);
        assert!(io_priority(&of("IOPRIO_CLASS_BE", 8)).is_err());
        assert!(io_priority(&of("BE", 1)).is_err());
    }
}
