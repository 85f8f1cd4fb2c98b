//! Network devices that go into the container (config-linux.md, "Network Devices").
//!
//! Every device here is made in a network namespace that the test made for itself, and the runtime
//! is started in there: a device of the host would lose its addresses for good.

mod common;

use common::{Bundle, json, text};

/// A pair of devices of which one has addresses, a size and is up.
const PAIR: &str = "ip link add berth0 mtu 1400 type veth peer name berth1; \
    ip addr add 10.98.7.6/24 dev berth0; ip addr add 10.98.7.8/24 dev berth0; \
    ip addr add 169.254.1.1/16 scope link dev berth0; \
    [ ! -e /proc/sys/net/ipv6 ] || ip -6 addr add fd98::6/64 nodad dev berth0; \
    ip link set berth1 up; ip link set berth0 up; ";

#[test]
fn a_device_keeps_its_addresses_and_gets_its_name() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/netDevices", json!({ "berth0": { "name": "inside" }, "berth1": {} }));
    bundle.args(&["/bin/busybox", "ip", "addr"]);
    let Some(output) = bundle.shell(&["--net"], &format!("{PAIR} berth run $ID")) else { return };
    let printed = text(&output.stdout);
    let (_, inside) = printed.split_once(": inside").unwrap_or_else(|| panic!("{output:?}"));
    for words in ["mtu 1400", "UP", "inet 10.98.7.6/24", "inet 10.98.7.8/24"] {
        assert!(inside.contains(words), "{words}: {printed}");
    }
    if std::path::Path::new("/proc/sys/net/ipv6").exists() {
        assert!(inside.contains("inet6 fd98::6/64 scope global"), "{printed}");
    }
    assert!(!printed.contains("169.254"), "an address of the link alone stays: {printed}");
    assert!(printed.contains("berth1"), "{printed}");
}

#[test]
fn a_name_in_use_is_refused_and_nothing_moves_but_a_template_finds_another() {
    let Some(mut bundle) = Bundle::new() else { return };
    // Somebody else's namespace, which has such a device already.
    let script = format!(
        "{PAIR} unshare --net sleep 1000 >/dev/null 2>&1 & other=$!; trap 'kill $other' EXIT; \
         while [ \"$(readlink /proc/$other/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; do :; done; \
         ln -s /proc/$other/ns/net namespace; nsenter --net=namespace ip link add taken0 type bridge; \
         berth run $ID || ip addr show dev berth0"
    );
    let namespace = bundle.path().join("namespace");
    bundle.namespace("network", Some(namespace.to_str().unwrap()));
    bundle.without_namespace("pid");
    bundle.args(&["/bin/busybox", "ip", "addr"]);
    bundle.set("/linux/netDevices", json!({ "berth0": { "name": "taken0" } }));
    let Some(output) = bundle.shell(&["--net"], &script) else { return };
    assert!(text(&output.stderr).contains("give the name taken0 to"), "{output:?}");
    let printed = text(&output.stdout);
    assert!(printed.contains("10.98.7.6") && printed.contains("UP"), "{output:?}");

    std::fs::remove_file(&namespace).unwrap();
    bundle.set("/linux/netDevices", json!({ "berth0": { "name": "taken%d" } }));
    let output = bundle.shell(&["--net"], &script).unwrap();
    let printed = text(&output.stdout);
    let (_, inside) = printed.split_once(": taken1").unwrap_or_else(|| panic!("{output:?}"));
    assert!(inside.contains("10.98.7.6/24"), "{printed}");
}

#[test]
fn a_device_comes_back_when_there_is_no_container_in_the_end() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/netDevices", json!({ "berth0": { "name": "inside" }, "berth1": {} }));
    bundle.args(&["/bin/nosuch"]);
    let script = format!(
        "{PAIR} ip link set berth1 down; berth run $ID || ip addr show; ip link del berth0"
    );
    let Some(output) = bundle.shell(&["--net"], &script) else { return };
    assert!(text(&output.stderr).contains("/bin/nosuch"), "{output:?}");
    let printed = text(&output.stdout);
    let (before, after) = printed.split_once(": berth0").unwrap_or_else(|| panic!("{output:?}"));
    assert!(after.contains("inet 10.98.7.6/24") && after.contains(",UP"), "{printed}");
    assert!(before.contains(": berth1") || after.contains(": berth1"), "{printed}");
}

#[test]
fn what_cannot_be_moved_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/netDevices", json!({ "nosuchdevice": {} }));
    let Some(output) = bundle.shell(&["--net"], "berth run $ID") else { return };
    let message = text(&output.stderr);
    assert!(message.contains("linux.netDevices.nosuchdevice"), "{message}");
    assert!(message.contains("No such device"), "{message}");
    bundle.without_namespace("network");
    let output = bundle.shell(&["--net"], "berth run $ID").unwrap();
    assert!(text(&output.stderr).contains("needs a network namespace"), "{output:?}");
}

#[test]
fn a_user_namespace_is_no_obstacle() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace().set("/linux/netDevices", json!({ "berth0": {} }));
    bundle.args(&["/bin/busybox", "ip", "addr", "show", "dev", "berth0"]);
    let Some(output) = bundle.shell(&["--net"], &format!("{PAIR} berth run $ID")) else { return };
    let printed = text(&output.stdout);
    assert!(printed.contains("10.98.7.6/24") && printed.contains("UP"), "{output:?}");
}
