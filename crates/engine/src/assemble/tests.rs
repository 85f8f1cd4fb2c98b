//! Requests made into configurations.

use std::path::PathBuf;

use berth_image::FileError;
use berth_spec::runtime::LinuxNamespaceType as Kind;

use super::*;
use crate::parse;
use crate::request::{ImageVolumes, RestartPolicy, SecurityOption};

struct Files;

impl RootLookup for Files {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(match path {
            "/etc/passwd" => {
                Some(b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n".to_vec())
            }
            "/etc/group" => Some(b"audio:x:29:\n".to_vec()),
            _ => None,
        })
    }
}

fn image() -> ImageConfig {
    serde_json::from_value(serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Env": ["A=1", "SECRET=x"], "Entrypoint": ["/e"], "Cmd": ["c"], "WorkingDir": "/w",
            "StopSignal": "SIGQUIT", "Volumes": {"/data": {}}, "Labels": {"from": "image"}
        },
        "rootfs": {"type": "layers", "diff_ids": []}
    }))
    .unwrap()
}

fn request() -> ContainerRequest {
    ContainerRequest::new(crate::request::ImageSource::Reference("x".to_owned()))
}

fn make(request: ContainerRequest) -> Result<Assembled, RequestError> {
    let id = "0123456789abcdef".repeat(4);
    let context = Context {
        id: &id,
        run: Path::new("/run/berth/containers/x"),
        volumes: Path::new("/var/lib/berth/volumes"),
        cgroup_manager: CgroupManager::Cgroupfs,
        init: Some(Path::new("/run/berth/init")),
        lookup: &Files,
    };
    assemble(&image(), request, RootSource::Directory("/".into()), &context)
}

fn spec(request: ContainerRequest) -> Spec {
    make(request).unwrap().details.spec
}

fn has_namespace(spec: &Spec, kind: Kind) -> bool {
    spec.linux.as_ref().unwrap().namespaces.iter().any(|namespace| namespace.typ == kind)
}

#[test]
fn the_image_is_the_default_of_everything() {
    let details = make(request()).unwrap().details;
    let process = details.spec.process.clone().unwrap();
    assert_eq!(process.args, ["/e", "c"]);
    assert_eq!(process.cwd, PathBuf::from("/w"));
    assert!(process.env.contains(&"A=1".to_owned()));
    assert!(process.env.contains(&"HOSTNAME=0123456789ab".to_owned()));
    assert_eq!(process.user.umask, Some(0o22));
    assert_eq!(details.stop_signal.to_string(), "SIGQUIT");
    assert_eq!(details.stop_timeout, 10);
    assert!(details.default_seccomp);
    assert_eq!(details.labels["from"], "image");
    let linux = details.spec.linux.unwrap();
    assert!(linux.seccomp.is_none(), "the default filter is not recorded");
    assert!(linux.cgroups_path.unwrap().starts_with("/berth"));
    assert_eq!(linux.resources.unwrap().pids.unwrap().limit, Some(2048));
}

#[test]
fn the_request_outweighs_the_image() {
    let mut wanted = request();
    wanted.command = vec!["d".to_owned()];
    wanted.entrypoint = Some("[\"/x\",\"y\"]".parse().unwrap());
    wanted.env = vec![("A".to_owned(), "2".to_owned())];
    wanted.unset_env.insert("SECRET".to_owned());
    wanted.user = Some("app".to_owned());
    wanted.group_add = vec!["audio".to_owned(), "5".to_owned()];
    wanted.labels.insert("from".to_owned(), "request".to_owned());
    wanted.stop_signal = Some(Signal::INTERRUPT);
    wanted.hostname = Some("web".to_owned());
    wanted.ulimits = vec!["nofile=10:-1".parse().unwrap()];
    let details = make(wanted).unwrap().details;
    let process = details.spec.process.unwrap();
    assert_eq!(process.args, ["/x", "y", "d"]);
    assert!(process.env.contains(&"A=2".to_owned()));
    assert!(!process.env.iter().any(|variable| variable.starts_with("SECRET")));
    assert_eq!((process.user.uid, process.user.gid), (1000, 1000));
    assert!(process.user.additional_gids.ends_with(&[29, 5]));
    assert_eq!(process.rlimits[0].hard, u64::MAX);
    assert!(process.capabilities.unwrap().effective.is_empty());
    assert_eq!(details.spec.hostname.as_deref(), Some("web"));
    assert_eq!(details.labels["from"], "request");
    assert_eq!(details.stop_signal, Signal::INTERRUPT);
}

#[test]
fn namespaces_are_the_hosts_where_asked() {
    let all = spec(request());
    for kind in [Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts, Kind::Cgroup, Kind::Mount] {
        assert!(has_namespace(&all, kind), "{kind:?}");
    }
    assert!(!has_namespace(&all, Kind::User));
    let mut wanted = request();
    wanted.pid = NamespaceMode::Host;
    wanted.ipc = NamespaceMode::Host;
    wanted.uts = NamespaceMode::Host;
    wanted.network = Some(NetworkMode::Host);
    let host = spec(wanted);
    for kind in [Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts] {
        assert!(!has_namespace(&host, kind), "{kind:?}");
    }
    assert_eq!(host.hostname, None);
    let shm = host.mounts.iter().find(|m| m.destination == Path::new("/dev/shm")).unwrap();
    assert_eq!(shm.typ.as_deref(), Some("bind"));
}

#[test]
fn another_containers_namespaces_are_joined_by_its_process() {
    let mut wanted = request();
    wanted.network = Some("container:db".parse().unwrap());
    let details = make(wanted).unwrap().details;
    assert!(!has_namespace(&details.spec, Kind::Network));
    let mut joined = details.spec.clone();
    join(&mut joined, &details.request, |name| {
        assert_eq!(name, "db");
        Ok::<i32, ()>(42)
    })
    .unwrap();
    let namespaces = joined.linux.unwrap().namespaces;
    let network = namespaces.iter().find(|namespace| namespace.typ == Kind::Network).unwrap();
    assert_eq!(network.path.as_deref(), Some(Path::new("/proc/42/ns/net")));
}

#[test]
fn limits_are_converted_and_checked() {
    let mut wanted = request();
    wanted.resources.memory = Some(64 << 20);
    wanted.resources.nano_cpus = Some(parse::cpus("1.5").unwrap());
    wanted.resources.pids_limit = Some(0);
    let resources = spec(wanted).linux.unwrap().resources.unwrap();
    assert_eq!(resources.memory.unwrap().limit, Some(64 << 20));
    let cpu = resources.cpu.unwrap();
    assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    assert_eq!(resources.pids.unwrap().limit, Some(-1));
    let refused = |change: &dyn Fn(&mut ContainerRequest)| {
        let mut wanted = request();
        change(&mut wanted);
        make(wanted).unwrap_err().to_string()
    };
    assert!(refused(&|r| r.resources.memory = Some(1 << 20)).contains("--memory"));
    assert!(refused(&|r| r.resources.memory_swap = Some(1 << 30)).contains("--memory-swap"));
    let cpus = refused(&|r| {
        r.resources.nano_cpus = Some(1_000_000_000);
        r.resources.cpu_quota = Some(5000);
    });
    assert!(cpus.contains("--cpus"));
}

#[test]
fn mounts_are_ordered_and_take_the_place_of_defaults() {
    let mut wanted = request();
    let here = Path::new("/");
    wanted.mounts = vec![
        parse::volume("/usr:/mnt/a/b:ro", here).unwrap(),
        parse::volume("named:/mnt", here).unwrap(),
        parse::tmpfs("/dev/shm:size=1m").unwrap(),
        parse::volume("/etc/hostname:/etc/hosts", here).unwrap(),
    ];
    let details = make(wanted).unwrap().details;
    let place = |target: &str| {
        let mounts = &details.spec.mounts;
        let all: Vec<usize> = mounts
            .iter()
            .enumerate()
            .filter(|(_, mount)| mount.destination == Path::new(target))
            .map(|(index, _)| index)
            .collect();
        assert_eq!(all.len(), 1, "{target} is mounted once");
        (all[0], mounts[all[0]].clone())
    };
    assert!(place("/mnt").0 < place("/mnt/a/b").0);
    assert!(place("/dev").0 < place("/dev/shm").0);
    assert_eq!(place("/etc/hosts").1.source.as_deref(), Some(Path::new("/etc/hostname")));
    assert!(place("/mnt/a/b").1.options.contains(&"ro".to_owned()));
    let named = PathBuf::from("/var/lib/berth/volumes/named/_data");
    assert_eq!(place("/mnt").1.source, Some(named));
    // The image's own volume is anonymous.
    let anonymous = details.mounts.iter().find(|mount| mount.anonymous).unwrap();
    assert_eq!(anonymous.target, Path::new("/data"));
    assert_eq!(volumes_of(&details.mounts).len(), 2);
}

#[test]
fn image_volumes_can_be_ignored_or_be_tmpfs() {
    for (mode, kind) in [(ImageVolumes::Ignore, None), (ImageVolumes::Tmpfs, Some("tmpfs"))] {
        let mut wanted = request();
        wanted.image_volumes = mode;
        let spec = spec(wanted);
        let mount = spec.mounts.iter().find(|mount| mount.destination == Path::new("/data"));
        assert_eq!(mount.and_then(|mount| mount.typ.as_deref()), kind);
    }
}

#[test]
fn a_read_only_container_keeps_writable_places() {
    let mut wanted = request();
    wanted.read_only = true;
    let with = spec(wanted.clone());
    assert!(with.root.as_ref().unwrap().readonly);
    let is_tmpfs = |spec: &Spec, path: &str| {
        spec.mounts.iter().any(|mount| {
            mount.destination == Path::new(path) && mount.typ.as_deref() == Some("tmpfs")
        })
    };
    assert!(is_tmpfs(&with, "/tmp") && is_tmpfs(&with, "/run") && is_tmpfs(&with, "/var/tmp"));
    wanted.read_only_tmpfs = false;
    assert!(!is_tmpfs(&spec(wanted), "/tmp"));
}

#[test]
fn a_privileged_container_is_not_masked_or_filtered() {
    let mut wanted = request();
    wanted.privileged = true;
    let details = make(wanted).unwrap().details;
    assert!(!details.default_seccomp);
    let linux = details.spec.linux.unwrap();
    assert!(linux.seccomp.is_none() && linux.masked_paths.is_empty());
    assert!(linux.readonly_paths.is_empty());
    assert!(linux.resources.unwrap().devices[0].allow);
    let sys = details.spec.mounts.iter().find(|m| m.destination == Path::new("/sys")).unwrap();
    assert!(!sys.options.contains(&"ro".to_owned()));
}

#[test]
fn security_options_change_what_they_name() {
    let mut wanted = request();
    wanted.security =
        ["no-new-privileges", "unmask=/proc/kcore", "mask=/secret", "seccomp=unconfined"]
            .map(|text| text.parse().unwrap())
            .to_vec();
    let details = make(wanted).unwrap().details;
    assert!(details.spec.process.unwrap().no_new_privileges);
    assert!(!details.default_seccomp);
    let linux = details.spec.linux.unwrap();
    assert!(!linux.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert!(linux.masked_paths.contains(&"/secret".to_owned()));
    let mut wanted = request();
    wanted.security = vec![SecurityOption::Label("type:x".to_owned())];
    let error = make(wanted).unwrap_err();
    assert!(matches!(error, RequestError::Unsupported { .. }), "{error}");
}

#[test]
fn an_init_comes_first() {
    let mut wanted = request();
    wanted.init = true;
    let spec = spec(wanted);
    assert_eq!(spec.process.unwrap().args, [INIT_PATH, "--", "/e", "c"]);
    assert!(spec.mounts.iter().any(|mount| mount.destination == Path::new(INIT_PATH)));
}

#[test]
fn options_that_exclude_each_other_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut ContainerRequest)| {
        let mut wanted = request();
        change(&mut wanted);
        make(wanted).unwrap_err().to_string()
    };
    let restart = refused(&|r| {
        r.remove = true;
        r.restart = RestartPolicy::Always;
    });
    assert!(restart.contains("--rm") && restart.contains("--restart"));
    assert!(refused(&|r| r.name = Some("a b".to_owned())).contains("--name"));
    assert!(refused(&|r| r.replace = true).contains("--replace"));
    let sysctl = refused(&|r| {
        r.network = Some(NetworkMode::Host);
        r.sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    });
    assert!(sysctl.contains("--network host"));
    let sysctl = refused(&|r| {
        r.sysctls.insert("vm.swappiness".to_owned(), "1".to_owned());
    });
    assert!(sysctl.contains("vm.swappiness"));
    let there =
        refused(&|r| r.mounts = vec![parse::volume("/none/there:/x", Path::new("/")).unwrap()]);
    assert!(there.contains("/none/there"));
}
