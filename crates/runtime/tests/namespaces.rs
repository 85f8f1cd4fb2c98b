//! Namespaces, made and joined (config-linux.md, "Namespaces", "User namespace mappings",
//! "Offset for Time Namespace", "Sysctl").

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};

use common::{Bundle, json, text};

const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(file: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{file}")).unwrap().display().to_string()
}

#[test]
fn every_namespace_is_made_when_asked_for_and_shared_otherwise() {
    let Some(mut bundle) = Bundle::new() else { return };
    let list = KINDS.map(|(_, file)| format!("/proc/self/ns/{file}")).join(" ");
    bundle.script(&format!("for n in {list}; do readlink $n; done"));
    let shown = |bundle: &Bundle| -> Vec<bool> {
        let printed = bundle.output();
        let lines: Vec<&str> = printed.lines().collect();
        KINDS.iter().zip(lines).map(|((_, file), line)| line == own(file)).collect()
    };
    bundle.namespace("cgroup", None);
    bundle.namespace("time", None);
    let shared = shown(&bundle);
    assert_eq!(shared, [false, false, false, false, false, true, false, false]);
    bundle.user_namespace();
    assert_eq!(shown(&bundle), [false; 8]);
}

/// A process in namespaces of its own.
struct Holder(Child);

impl Holder {
    fn new(flags: &[&str]) -> Option<Self> {
        if !common::has("unshare") {
            eprintln!("SKIPPED: unshare(1) is not installed");
            return None;
        }
        let mut child = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0u8; 1];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        Some(Self(child))
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(holder) = Holder::new(&["--net", "--ipc", "--uts", "--cgroup"]) else { return };
    bundle.script("for n in net ipc uts cgroup; do readlink /proc/self/ns/$n; done");
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        bundle.namespace(kind, Some(&holder.path(file)));
    }
    let printed = bundle.output();
    for (line, file) in printed.lines().zip(["net", "ipc", "uts", "cgroup"]) {
        assert_eq!(line, fs::read_link(holder.path(file)).unwrap().to_str().unwrap());
    }
}

#[test]
fn a_pid_namespace_is_joined_and_left_again() {
    let Some(mut bundle) = Bundle::new() else { return };
    // Another container's: its first process is 1, this one is not.
    let Some(mut first) = Bundle::new() else { return };
    first.args(&["/bin/sleep", "1000"]).start_detached();
    bundle.namespace("pid", Some(&format!("/proc/{}/ns/pid", first.pid())));
    bundle.script("cat /proc/1/cmdline | head -c 10; [ $$ != 1 ] && echo ' other'");
    assert_eq!(bundle.output(), "/bin/sleep other\n");
}

#[test]
fn a_user_namespace_is_joined() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(mut first) = Bundle::new() else { return };
    first.user_namespace().args(&["/bin/sleep", "1000"]).start_detached();
    let pid = first.pid();
    for (kind, file) in [("user", "user"), ("pid", "pid"), ("network", "net")] {
        bundle.namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
    }
    bundle.script(
        "cat /proc/self/uid_map; readlink /proc/self/ns/user; id -u; ls -ln / | grep -c 65534",
    );
    let printed = bundle.output();
    let wanted = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert!(printed.contains("0     100000      65536"), "{printed}");
    assert!(printed.contains(wanted.to_str().unwrap()), "{printed}");
}

#[test]
fn ids_are_mapped_in_a_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    bundle.script("id -u; cat /proc/self/uid_map; touch /tmp/x && stat -c %u /tmp/x; stat -c '%F' /dev/null; echo >/dev/null && echo fine");
    bundle.mount("/tmp", "tmpfs", "tmpfs", &[]);
    let printed = bundle.output();
    assert_eq!(printed, "0\n         0     100000      65536\n0\ncharacter special file\nfine\n");
    bundle.set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9] }));
    bundle.script("id -u; id -g; grep Groups /proc/self/status; grep CapEff /proc/self/status");
    assert_eq!(bundle.output(), "7\n8\nGroups:\t9 \nCapEff:\t0000000000000000\n");
}

#[test]
fn a_root_that_the_containers_user_cannot_reach_is_no_obstacle() {
    let Some(mut bundle) = Bundle::new() else { return };
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    bundle.mount("/mnt", "bind", outside.to_str().unwrap(), &["rbind"]);
    fs::create_dir(bundle.rootfs().join("mnt")).unwrap();
    bundle.user_namespace().script("ls /; ls -d /mnt");
    assert!(bundle.output().ends_with("tmp\n/mnt\n"));
}

#[test]
fn names_are_set_in_a_uts_namespace_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("hostname; cat /proc/sys/kernel/domainname");
    bundle.set("/hostname", json!("a-host")).set("/domainname", json!("a.domain"));
    assert_eq!(bundle.output(), "a-host\na.domain\n");
    bundle.without_namespace("uts");
    assert!(bundle.refusal().contains("hostname"));
}

#[test]
fn the_clocks_have_their_offsets() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.namespace("time", None);
    bundle.set(
        "/linux/timeOffsets",
        json!({ "boottime": { "secs": 86_400_000 }, "monotonic": { "secs": 5, "nanosecs": 7 } }),
    );
    bundle.script("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets");
    let printed = bundle.output();
    let uptime: u64 = printed.lines().next().unwrap().parse().unwrap();
    assert!(uptime > 86_400_000, "{printed}");
    // In a user namespace the process is no master of its own files in procfs.
    bundle.user_namespace();
    let printed = bundle.output();
    let words: Vec<&str> = printed.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(words, ["boottime", "86400000", "0"], "{printed}");
}

#[test]
fn kernel_parameters_are_the_containers_own() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set(
        "/linux/sysctl",
        json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "4321", "net/core/somaxconn": "77" }),
    );
    bundle.script("cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax net/core/somaxconn");
    assert_eq!(bundle.output(), "1\n4321\n77\n");
    bundle.without_namespace("network");
    assert!(bundle.refusal().contains("network namespace"));
    bundle.set("/linux/sysctl", json!({ "kernel.nosuch": "1" }));
    assert!(bundle.refusal().contains("linux.sysctl.kernel.nosuch"));
}

#[test]
fn without_a_mount_namespace_nothing_is_mounted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("mount");
    assert!(bundle.refusal().contains("mounts"));
    for (pointer, value) in [
        ("/mounts", json!([])),
        ("/linux/maskedPaths", json!([])),
        ("/linux/readonlyPaths", json!([])),
        ("/root/readonly", json!(false)),
    ] {
        bundle.set(pointer, value);
    }
    bundle.script("ls /; pwd");
    assert_eq!(bundle.output(), "bin\ndev\netc\nhome\nproc\nsys\ntmp\n/\n");
}

#[test]
fn a_namespace_that_is_not_there_is_an_error() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.namespace("network", Some("/run/netns/nosuch-namespace"));
    let message = bundle.refusal();
    assert!(message.contains("linux.namespaces") && message.contains("nosuch"), "{message}");
    bundle.namespace("network", Some("/proc/self/ns/uts"));
    let output = bundle.run();
    assert!(text(&output.stderr).contains("join the namespace network"), "{output:?}");
}

#[test]
fn what_go_programs_write_for_nothing_is_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    for pointer in [
        "/hooks",
        "/annotations",
        "/linux/timeOffsets",
        "/linux/sysctl",
        "/linux/devices",
        "/linux/uidMappings",
        "/linux/seccomp",
        "/linux/resources",
        "/process/rlimits",
        "/process/user/additionalGids",
        "/process/capabilities/ambient",
        "/process/noNewPrivileges",
    ] {
        bundle.set(pointer, json!(null));
    }
    for namespace in bundle.spec["linux"]["namespaces"].as_array_mut().unwrap() {
        namespace["path"] = json!("");
    }
    bundle.args(&["/bin/echo", "runs"]);
    assert_eq!(bundle.output(), "runs\n");
}

#[test]
fn the_loopback_device_of_a_new_network_is_up() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("grep -qw 127.0.0.1 /proc/net/fib_trie && echo 1");
    assert_eq!(bundle.output(), "1\n");
}
