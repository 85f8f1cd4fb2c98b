//! Each option of `run` and `create` reaches the engine's request.

use std::path::{Path, PathBuf};

use berth_engine::parse;
use berth_engine::request::*;
use berth_engine::{ContainerRequest, ImageSource, Signal};

use super::run;
use crate::commands::build_request;

fn request(options: &[&str]) -> ContainerRequest {
    let line = [options, &["demo", "sh", "-c", "true"]].concat();
    build_request(run(&line).container, StdinMode::Null).unwrap()
}

fn refused(options: &[&str]) -> String {
    let line = [options, &["demo"]].concat();
    build_request(run(&line).container, StdinMode::Null).unwrap_err().message().to_owned()
}

/// What an option changes of the defaults, and nothing else.
fn changes(options: &[&str], change: impl Fn(&mut ContainerRequest)) {
    let mut expected = ContainerRequest::new(ImageSource::Reference("demo".into()));
    expected.command = vec!["sh".into(), "-c".into(), "true".into()];
    change(&mut expected);
    assert_eq!(request(options), expected, "{options:?}");
}

#[test]
fn without_options_the_request_has_the_defaults() {
    changes(&[], |_| {});
}

#[test]
fn general_options_reach_the_request() {
    changes(&["--name", "web"], |it| it.name = Some("web".into()));
    changes(&["--name", "web", "--replace"], |it| {
        it.name = Some("web".into());
        it.replace = true;
    });
    changes(&["-t"], |it| it.tty = true);
    changes(&["--rm"], |it| it.remove = true);
    changes(&["--restart", "on-failure:3"], |it| {
        it.restart = RestartPolicy::OnFailure { max: Some(3) };
    });
    changes(&["-l", "a=b", "--label", "c"], |it| {
        it.labels = [("a".into(), "b".into()), ("c".into(), String::new())].into();
    });
    changes(&["--annotation", "a=b,c"], |it| {
        it.annotations = [("a".into(), "b,c".into())].into();
    });
    changes(&["--log-driver", "none"], |it| it.log.driver = LogDriver::None);
    changes(&["--log-opt", "max-size=1m", "--log-opt", "max-file=3"], |it| {
        it.log.max_size = Some(1 << 20);
        it.log.max_files = Some(3);
    });
    changes(&["--stop-signal", "INT", "--stop-timeout", "3"], |it| {
        it.stop_signal = Signal::from_number(2);
        it.stop_timeout = Some(3);
    });
    // What only the command line uses.
    changes(&["-i", "--pull", "never", "--cidfile", "/x", "--pidfile", "/y"], |_| {});
}

#[test]
fn process_options_reach_the_request() {
    changes(&["-e", "A=b", "--env", "C=d=e"], |it| {
        it.env = vec![("A".into(), "b".into()), ("C".into(), "d=e".into())];
    });
    let path = std::env::var("PATH").unwrap();
    changes(&["-e", "PATH", "-e", "NO_SUCH_VARIABLE"], |it| {
        it.env = vec![("PATH".into(), path.clone())];
    });
    assert!(request(&["--env-host"]).env.contains(&("PATH".into(), path.clone())));
    changes(&["--unsetenv", "A", "--unsetenv", "B"], |it| {
        it.unset_env = ["A".into(), "B".into()].into();
    });
    changes(&["--unsetenv-all"], |it| it.unset_env_all = true);
    changes(&["--entrypoint", "/bin/x"], |it| {
        it.entrypoint = Some(Entrypoint(vec!["/bin/x".into()]));
    });
    changes(&["--entrypoint", r#"["a", "b"]"#], |it| {
        it.entrypoint = Some(Entrypoint(vec!["a".into(), "b".into()]));
    });
    changes(&["--entrypoint", ""], |it| it.entrypoint = Some(Entrypoint(vec![])));
    changes(&["-u", "1000:100"], |it| it.user = Some("1000:100".into()));
    changes(&["--group-add", "audio,video", "--group-add", "5"], |it| {
        it.group_add = vec!["audio".into(), "video".into(), "5".into()];
    });
    changes(&["--umask", "077"], |it| it.umask = Some(0o77));
    changes(&["-w", "/srv"], |it| it.workdir = Some("/srv".into()));
    changes(&["--init"], |it| it.init = true);
    changes(&["--init", "--init-path", "/sbin/tini"], |it| {
        it.init = true;
        it.init_path = Some("/sbin/tini".into());
    });
    changes(&["--ulimit", "nofile=10:20"], |it| {
        it.ulimits = vec![Ulimit { name: "nofile".into(), soft: 10, hard: 20 }];
    });
    changes(&["--oom-score-adj", "-5"], |it| it.oom_score_adj = Some(-5));
}

#[test]
fn files_with_variables_and_labels_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("list");
    std::fs::write(&file, "# comment\nA=b\n\nC=d\n").unwrap();
    let file = file.to_str().unwrap();
    changes(&["--env-file", file, "-e", "E=f"], |it| {
        it.env = ["A=b", "C=d", "E=f"].map(|it| parse::key_value(it).unwrap()).to_vec();
    });
    changes(&["--label-file", file, "-l", "A=x"], |it| {
        it.labels = [("A".into(), "x".into()), ("C".into(), "d".into())].into();
    });
    let message = refused(&["--env-file", "/no/such/file"]);
    assert!(message.starts_with("cannot read /no/such/file: No such file"), "{message}");
}

#[test]
fn file_options_reach_the_request() {
    let here = std::env::current_dir().unwrap();
    changes(&["-v", "/a:/b:ro", "--volume", "data:/c", "--mount", "type=tmpfs,target=/d"], |it| {
        it.mounts = vec![
            parse::volume("/a:/b:ro", &here).unwrap(),
            parse::volume("data:/c", &here).unwrap(),
            parse::mount("type=tmpfs,target=/d", &here).unwrap(),
        ];
    });
    changes(&["-v", "./x:/y"], |it| it.mounts = vec![parse::volume("./x:/y", &here).unwrap()]);
    changes(&["--tmpfs", "/t:size=1m"], |it| it.mounts = vec![parse::tmpfs("/t:size=1m").unwrap()]);
    changes(&["--volumes-from", "web"], |it| it.volumes_from = vec!["web".into()]);
    changes(&["--image-volume", "ignore"], |it| it.image_volumes = ImageVolumes::Ignore);
    changes(&["--read-only", "--read-only-tmpfs=false"], |it| {
        it.read_only = true;
        it.read_only_tmpfs = false;
    });
    changes(&["--shm-size", "1m"], |it| it.shm_size = Some(1 << 20));
    changes(&["--device", "/dev/null:/dev/x:r"], |it| {
        it.devices = vec!["/dev/null:/dev/x:r".parse().unwrap()];
    });
    changes(&["--device-cgroup-rule", "c 1:3 rwm"], |it| {
        it.device_cgroup_rules = vec!["c 1:3 rwm".parse().unwrap()];
    });
    let options = run(&["--rootfs", "some/root"]).container;
    let request = build_request(options, StdinMode::Null).unwrap();
    assert_eq!(request.image, ImageSource::Rootfs(here.join("some/root")));
    assert_eq!(
        refused(&["-v", "/a:b"]),
        r#"invalid mount "/a:b": expected an absolute path in the container"#
    );
}

#[test]
fn limits_reach_the_request() {
    fn limit(options: &[&str], change: impl Fn(&mut Resources)) {
        changes(options, |it| change(&mut it.resources));
    }
    limit(&["-m", "64m"], |it| it.memory = Some(64 << 20));
    limit(&["--memory-swap", "-1"], |it| it.memory_swap = Some(-1));
    limit(&["--memory-reservation", "1g"], |it| it.memory_reservation = Some(1 << 30));
    limit(&["--memory-swappiness", "60"], |it| it.memory_swappiness = Some(60));
    limit(&["--oom-kill-disable"], |it| it.oom_kill_disable = true);
    limit(&["--cpus", "1.5"], |it| it.nano_cpus = Some(1_500_000_000));
    limit(&["-c", "512"], |it| it.cpu_shares = Some(512));
    limit(&["--cpu-period", "10000", "--cpu-quota", "-1"], |it| {
        it.cpu_period = Some(10_000);
        it.cpu_quota = Some(-1);
    });
    limit(&["--cpu-rt-period", "1000", "--cpu-rt-runtime", "500"], |it| {
        it.cpu_rt_period = Some(1000);
        it.cpu_rt_runtime = Some(500);
    });
    limit(&["--cpuset-cpus", "0-1", "--cpuset-mems", "0"], |it| {
        it.cpuset_cpus = Some("0-1".into());
        it.cpuset_mems = Some("0".into());
    });
    limit(&["--pids-limit", "-1"], |it| it.pids_limit = Some(-1));
    limit(&["--blkio-weight", "300"], |it| it.blkio_weight = Some(300));
    let rate = |rate| vec![DeviceRate { path: PathBuf::from("/dev/sda"), rate }];
    limit(&["--blkio-weight-device", "/dev/sda:20"], |it| it.blkio_weight_device = rate(20));
    limit(&["--device-read-bps", "/dev/sda:1m"], |it| it.device_read_bps = rate(1 << 20));
    limit(&["--device-write-bps", "/dev/sda:1k"], |it| it.device_write_bps = rate(1024));
    limit(&["--device-read-iops", "/dev/sda:10"], |it| it.device_read_iops = rate(10));
    limit(&["--device-write-iops", "/dev/sda:11"], |it| it.device_write_iops = rate(11));
    limit(&["--cgroup-conf", "memory.high=5"], |it| {
        it.unified = [("memory.high".into(), "5".into())].into();
    });
}

#[test]
fn security_options_reach_the_request() {
    changes(&["--cap-add", "net_admin,SYS_TIME", "--cap-drop", "all"], |it| {
        it.cap_add = vec!["net_admin".into(), "SYS_TIME".into()];
        it.cap_drop = vec!["all".into()];
    });
    changes(&["--privileged"], |it| it.privileged = true);
    changes(
        &["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"],
        |it| {
            it.security =
                vec![SecurityOption::NoNewPrivileges(true), SecurityOption::SeccompUnconfined];
        },
    );
    changes(&["--sysctl", "net.ipv4.ip_forward=1"], |it| {
        it.sysctls = [("net.ipv4.ip_forward".into(), "1".into())].into();
    });
}

#[test]
fn namespace_options_reach_the_request() {
    changes(&["--network", "host"], |it| it.network = Some(NetworkMode::Host));
    changes(&["--net=none"], |it| it.network = Some(NetworkMode::None));
    changes(&["-h", "box"], |it| it.hostname = Some("box".into()));
    changes(&["--add-host", "db:10.0.0.1"], |it| {
        it.add_hosts = vec!["db:10.0.0.1".parse().unwrap()];
    });
    changes(&["--no-hosts"], |it| it.no_hosts = true);
    changes(&["--dns", "1.1.1.1", "--dns-search", "a.b", "--dns-option", "ndots:2"], |it| {
        it.dns = vec!["1.1.1.1".parse().unwrap()];
        it.dns_search = vec!["a.b".into()];
        it.dns_options = vec!["ndots:2".into()];
    });
    changes(&["--pid", "host", "--ipc", "container:web", "--uts", "ns:/proc/1/ns/uts"], |it| {
        it.pid = NamespaceMode::Host;
        it.ipc = NamespaceMode::Container("web".into());
        it.uts = NamespaceMode::Path(Path::new("/proc/1/ns/uts").into());
    });
    changes(&["--cgroupns", "host", "--userns", "host"], |it| {
        it.cgroupns = NamespaceMode::Host;
        it.userns = NamespaceMode::Host;
    });
    changes(&["--cgroup-parent", "/slice"], |it| it.cgroup_parent = Some("/slice".into()));
}

#[test]
fn standard_input_is_what_the_caller_says() {
    let options = run(&["-i", "demo"]).container;
    assert_eq!(build_request(options, StdinMode::Open).unwrap().stdin, StdinMode::Open);
}
