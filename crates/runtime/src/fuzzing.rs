//! What is done with foreign bytes in search of a crash or a broken promise: by the fuzz targets
//! (`fuzz/`), and on a small scale by the property tests below.

use std::path::Path;

use berth_spec::runtime::{Process, Spec};

use crate::child::channel;
use crate::config;
use crate::id::{ContainerId, Signal};
use crate::plan::devices::{self, DeviceMode};
use crate::plan::process::{CpuMask, NO_ID, ProcessContext};
use crate::plan::{NamespacePlan, Node, ProcessPlan, options, sysctl, validate};

/// A `config.json`: what can be read is written and read as the same again, and what can be planned
/// keeps to what a container may ask for.
pub fn config(data: &[u8]) {
    let Ok(spec) = config::parse::<Spec>(Path::new("config.json"), data) else { return };
    let text = serde_json::to_vec(&spec).expect("what was read can be written");
    let again: Spec = config::parse(Path::new("again"), &text).expect("what was written is read");
    assert_eq!(again, spec);
    let mut linux = spec.linux.clone().unwrap_or_default();
    // Nothing of the host is opened here.
    linux.namespaces.iter_mut().for_each(|namespace| namespace.path = None);
    if let Ok(namespaces) = NamespacePlan::new(&linux) {
        let _ = validate::spec(&spec, &namespaces);
        for plan in
            sysctl::prepare(&linux, spec.domainname.as_deref(), &namespaces).into_iter().flatten()
        {
            let path = plan.path.to_str().expect("it was a string");
            let rest = path.strip_prefix("sys/").expect("below sys");
            assert!(rest.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path}");
        }
    }
    for plan in devices::prepare(&linux, DeviceMode::Make, true).into_iter().flatten() {
        assert!(plan.path.to_bytes().starts_with(b"/"));
        if let Node::Make { mode, owner, .. } = plan.node {
            assert_eq!(mode & !0o7777, 0);
            assert!(owner.is_none_or(|(uid, gid)| uid != NO_ID && gid != NO_ID));
        }
    }
    for mount in &spec.mounts {
        let _ = options::parse(mount);
    }
    if let Some(process) = &spec.process {
        plan_process(process);
    }
    if let Some(profile) = &linux.seccomp {
        let _ = berth_seccomp::compile(profile);
    }
}

/// A process as `exec --process` takes it.
pub fn process(data: &[u8]) {
    if let Ok(process) = config::parse::<Process>(Path::new("process.json"), data) {
        plan_process(&process);
    }
}

fn plan_process(process: &Process) {
    let context = ProcessContext::default();
    let Ok(plan) = ProcessPlan::new(process, context, &mut Vec::new()) else { return };
    assert!(plan.uid != NO_ID && plan.gid != NO_ID && !plan.groups.contains(&NO_ID));
    assert!(plan.cwd.to_bytes().starts_with(b"/"));
    assert_eq!(plan.umask & !0o777, 0);
    assert!(plan.rlimits.iter().all(|(_, soft, hard)| soft <= hard));
}

/// Words of a command line, and what the new process reports.
pub fn words(data: &[u8]) {
    let _ = channel::decode(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = ContainerId::new(text) {
        let path = Path::new("/root").join(&id);
        assert_eq!(path.parent(), Some(Path::new("/root")));
        assert_eq!(path.file_name(), Some(std::ffi::OsStr::new(text)));
    }
    if let Ok(signal) = text.parse::<Signal>() {
        assert!((1..=64).contains(&signal.number()));
    }
    let _ = CpuMask::parse(text, "cpus");
    let _ = options::propagation(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_testkit::damaged;
    use proptest::prelude::*;

    const DEFAULT: &str = include_str!("cli/spec.json");
    const PROCESS: &str = r#"{"terminal":true,"user":{"uid":1,"gid":2,"additionalGids":[3]},
        "args":["sh"],"env":["A=b"],"cwd":"/","rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":2}]}"#;

    #[test]
    fn the_undamaged_ones_are_planned() {
        let spec: Spec = config::parse(Path::new("config.json"), DEFAULT.as_bytes()).unwrap();
        let namespaces = NamespacePlan::new(spec.linux.as_ref().unwrap()).unwrap();
        validate::spec(&spec, &namespaces).unwrap();
        for process in [spec.process.unwrap(), serde_json::from_str(PROCESS).unwrap()] {
            ProcessPlan::new(&process, ProcessContext::default(), &mut Vec::new()).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_configuration_is_read_or_refused(data in damaged(DEFAULT.as_bytes())) {
            config(&data);
        }

        #[test]
        fn any_process_is_read_or_refused(data in damaged(PROCESS.as_bytes())) {
            process(&data);
        }

        #[test]
        fn any_words_are_read_or_refused(data in damaged(b"SIGRTMIN+3,0-3,8")) {
            words(&data);
        }
    }
}
