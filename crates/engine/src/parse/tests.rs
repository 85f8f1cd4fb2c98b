//! Words as people write them.

use std::path::Path;

use super::*;

#[test]
fn sizes_have_units_of_1024() {
    for (text, size) in [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("64k", 65_536),
        ("64KB", 65_536),
        ("1.5g", 1_610_612_736),
        ("10MiB", 10_485_760),
    ] {
        assert_eq!(bytes(text).unwrap(), size, "{text}");
    }
    for text in ["", "x", "1x", "-1", "1.2.3", "99999999999999p", "1 k"] {
        assert!(bytes(text).is_err(), "{text}");
    }
    assert_eq!(bytes_or_unlimited("-1").unwrap(), -1);
}

#[test]
fn cpus_are_decimal_numbers() {
    assert_eq!(cpus("1.5").unwrap(), 1_500_000_000);
    assert_eq!(cpus(".25").unwrap(), 250_000_000);
    assert_eq!(cpus("2").unwrap(), 2_000_000_000);
    for text in ["", ".", "-1", "1e3", "1.0000000001", "x"] {
        assert!(cpus(text).is_err(), "{text}");
    }
}

#[test]
fn the_environment_is_read_from_files_arguments_and_the_caller() {
    let host = [("HOME".to_owned(), "/root".to_owned()), ("LC_ALL".to_owned(), "C".to_owned())];
    let files = ["# remark\n\nA=1\nHOME\n".to_owned()];
    let arguments = ["A=2", "LC_*", "MISSING", "B=x=y"].map(str::to_owned);
    let all = environment(&files, &arguments, &host).unwrap();
    let all: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(all, ["A=1", "HOME=/root", "A=2", "LC_ALL=C", "B=x=y"]);
    assert!(environment(&[], &["=x".to_owned()], &host).is_err());
    let spaced = environment(&[], &["A B=c".to_owned()], &host).unwrap();
    assert_eq!(spaced, [("A B".to_owned(), "c".to_owned())]);
}

#[test]
fn limits_of_processes_and_annotations_are_as_podman_has_them() {
    for (text, limit) in [("-1", Some(-1)), ("0", Some(0)), ("7", Some(7)), ("-5", None)] {
        assert_eq!(pids_limit(text).ok(), limit, "{text}");
    }
    for wrong in ["=x", " =x", "x", ""] {
        assert!(annotation(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(annotation("a=").unwrap(), ("a".to_owned(), String::new()));
}

#[test]
fn moments_are_absolute_or_back_from_now() {
    let now: jiff::Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
    for (text, expected) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("10m", "2026-01-02T11:50:00Z"),
        ("1h30m", "2026-01-02T10:30:00Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("1700000000.5", "2023-11-14T22:13:20.5Z"),
    ] {
        assert_eq!(moment(text, now).unwrap().to_string(), expected, "{text}");
    }
    for text in ["", "soon", "2026-13-01T00:00:00Z"] {
        assert!(moment(text, now).is_err(), "{text}");
    }
}

#[test]
fn volumes_are_binds_named_or_anonymous() {
    let here = Path::new("/here");
    let source = |text: &str| volume(text, here).unwrap().source;
    assert_eq!(source("/a:/b"), MountSource::Bind("/a".into()));
    assert_eq!(source("./a:/b"), MountSource::Bind("/here/./a".into()));
    assert_eq!(source("data:/b"), MountSource::Volume("data".to_owned()));
    assert_eq!(source("/b"), MountSource::Anonymous);
    let mount = volume("data:/b:ro,nocopy,z", here).unwrap();
    assert_eq!((mount.options, mount.copy_up), (vec!["ro".to_owned()], CopyUp::No));
    for text in ["", "a", "/a:b", "/a:/", "a b:/c", "/a:/b:nonsense", "/a:/b:ro:x"] {
        assert!(volume(text, here).is_err(), "{text}");
    }
}

#[test]
fn mounts_have_a_type_a_source_and_options() {
    let here = Path::new("/here");
    let bind = mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave", here).unwrap();
    assert_eq!(bind.source, MountSource::Bind("/a".into()));
    assert_eq!(bind.options, ["ro", "rslave"]);
    let volume = mount("type=volume,source=data,target=/b,volume-nocopy", here).unwrap();
    assert_eq!((volume.source, volume.copy_up), (MountSource::Volume("data".into()), CopyUp::No));
    let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700", here).unwrap();
    assert_eq!(tmpfs.options, ["size=1m", "mode=700"]);
    let rw = mount("type=bind,source=/a,target=/b,ro=false", here).unwrap();
    assert_eq!(rw.options, ["rw"]);
    for text in ["type=bind,target=/b", "type=image,source=x,target=/b", "type=bind,source=/a"] {
        assert!(mount(text, here).is_err(), "{text}");
    }
    assert!(mount("type=bind,source=/a,target=/b,nonsense=1", here).is_err());
}

#[test]
fn small_words_are_read() {
    assert_eq!("[\"a\",\"b\"]".parse(), Ok(Entrypoint(vec!["a".into(), "b".into()])));
    assert_eq!("".parse(), Ok(Entrypoint(Vec::new())));
    assert_eq!("container:x".parse(), Ok(NamespaceMode::Container("x".into())));
    assert_eq!("shareable".parse(), Ok(NamespaceMode::Private));
    assert!("bridge".parse::<NetworkMode>().is_err());
    assert_eq!("on-failure:3".parse(), Ok(RestartPolicy::OnFailure { max: Some(3) }));
    assert_eq!("on-failure:0".parse(), Ok(RestartPolicy::OnFailure { max: None }));
    assert!("sometimes".parse::<RestartPolicy>().is_err());
    let limit: Ulimit = "RLIMIT_NOFILE=10:20".parse().unwrap();
    assert_eq!((limit.name.as_str(), limit.soft, limit.hard), ("nofile", 10, 20));
    for text in ["nofile", "nofile=20:10", "x=1", "nofile=-2"] {
        assert!(text.parse::<Ulimit>().is_err(), "{text}");
    }
    let host: HostEntry = "a;b:[::1]".parse().unwrap();
    assert_eq!(host.names, ["a", "b"]);
    assert_eq!("x:host-gateway".parse::<HostEntry>().unwrap().address, HostAddress::HostGateway);
    let device: DeviceRequest = "/dev/a:r".parse().unwrap();
    assert_eq!(
        (device.container.as_path(), device.permissions.as_str()),
        (Path::new("/dev/a"), "r")
    );
    let device: DeviceRequest = "/dev/a:/dev/b:rw".parse().unwrap();
    assert_eq!(device.container, Path::new("/dev/b"));
    assert!("/dev/a:/dev/b:x".parse::<DeviceRequest>().is_err());
    let rule: DeviceRule = "c 1:* rw".parse().unwrap();
    assert_eq!((rule.kind, rule.major, rule.minor), ('c', Some(1), None));
    for text in ["c", "x 1:2 r", "c 1 r", "c 1:2 q", "c 1:2 r more"] {
        assert!(text.parse::<DeviceRule>().is_err(), "{text}");
    }
    assert_eq!(umask("0027").unwrap(), 0o27);
    assert!(umask("1777").is_err() && umask("9").is_err());
    assert_eq!(key_value("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
    assert!(key_value("=b").is_err());
    assert_eq!(device_rate("/dev/sda:10mb").unwrap().rate, 10 << 20);
}

#[test]
fn security_options_are_read_in_every_spelling() {
    use SecurityOption as S;
    for (text, expected) in [
        ("no-new-privileges", S::NoNewPrivileges(true)),
        ("no-new-privileges=false", S::NoNewPrivileges(false)),
        ("no-new-privileges:true", S::NoNewPrivileges(true)),
        ("seccomp=unconfined", S::SeccompUnconfined),
        ("seccomp=/p.json", S::SeccompProfile("/p.json".into())),
        ("mask=/a:/b", S::Mask(vec!["/a".into(), "/b".into()])),
        ("unmask=ALL", S::UnmaskAll),
        ("label=disable", S::Label("disable".into())),
        ("apparmor=unconfined", S::Apparmor("unconfined".into())),
    ] {
        assert_eq!(text.parse::<S>().unwrap(), expected, "{text}");
    }
    for text in ["", "seccomp", "seccomp=", "nonsense=1", "no-new-privileges=maybe"] {
        assert!(text.parse::<S>().is_err(), "{text}");
    }
}

#[test]
fn log_options_are_read() {
    let mut log = LogRequest::default();
    log_option(&mut log, "max-size=10m").unwrap();
    log_option(&mut log, "max-file=3").unwrap();
    assert_eq!((log.max_size, log.max_files), (Some(10 << 20), Some(3)));
    assert!(log_option(&mut log, "max-file=0").is_err());
    assert!(log_option(&mut log, "tag=x").is_err());
}
