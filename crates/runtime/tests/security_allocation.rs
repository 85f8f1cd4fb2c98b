//! Between clone and exec nothing is allocated or freed: another thread may have held the
//! allocator's lock when the process was cloned. This program's allocator ends a process that is
//! not the one it began in.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};

use berth_runtime::{CreateOptions, CreateUntil, DeleteMode, OwnBinary, Runtime};
use common::{Bundle, json};

/// The process that may allocate; 0 for any.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// The exit code of one that did and was not.
const CAUGHT: i32 = 97;

struct Guarded;

fn check() {
    let owner = OWNER.load(Ordering::Relaxed);
    // SAFETY: takes no pointer.
    if owner != 0 && owner != unsafe { libc::getpid() } {
        // SAFETY: never returns and takes no pointer.
        unsafe { libc::_exit(CAUGHT) };
    }
}

// SAFETY: all is the system's, but for processes that end.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

/// A configuration that takes every way through the set-up that this host has.
fn elaborate(bundle: &mut Bundle) {
    let long = format!("/{}", "d".repeat(255));
    bundle.set("/root/readonly", json!(false));
    bundle.mount(&format!("{long}/{}", "e".repeat(255)), "tmpfs", "tmpfs", &["tmpcopyup"]);
    bundle.mount("/file", "bind", "/etc/hostname", &["bind", "ro"]);
    fs::create_dir_all(bundle.rootfs().join("copied/below")).unwrap();
    fs::write(bundle.rootfs().join("copied/below/file"), "content").unwrap();
    std::os::unix::fs::symlink("a".repeat(300), bundle.rootfs().join("copied/link")).unwrap();
    std::os::unix::fs::symlink("/target/of/link", bundle.rootfs().join("dangling")).unwrap();
    bundle.mount("/copied", "tmpfs", "tmpfs", &["tmpcopyup"]);
    bundle.mount("/dangling/below", "tmpfs", "tmpfs", &["ro", "nosuid"]);
    bundle.push("/linux/maskedPaths", json!("/etc/passwd"));
    bundle.push("/linux/readonlyPaths", json!("/etc"));
    let deep = format!("/dev/{}/{}", "f".repeat(200), "g".repeat(255));
    bundle.push("/linux/devices", json!({ "path": deep, "type": "c", "major": 1, "minor": 3 }));
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 } ] }),
    );
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]));
    bundle.set("/process/env", json!(["PATH=/nowhere:/bin"]));
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] }));
    let hook = json!([{ "path": "/bin/busybox", "args": ["true"] }]);
    bundle.spec["hooks"] = json!({ "createContainer": hook, "startContainer": hook });
    bundle.set("/process/args", json!(["true"]));
}

fn create(bundle: &Bundle, until: CreateUntil) -> Result<(), String> {
    bundle.write();
    let runtime = Runtime::new(bundle.state_root());
    let id: berth_runtime::ContainerId = bundle.id.parse().unwrap();
    let options = CreateOptions {
        until,
        own_binary: OwnBinary::Protected,
        ..CreateOptions::new(id.clone(), bundle.path())
    };
    let made = runtime.create(options).map(|created| {
        if until == CreateUntil::Created {
            runtime.start(&id).unwrap();
        }
        let ended = berth_runtime::process::wait(&created.pidfd).unwrap();
        assert_eq!(ended, berth_runtime::process::Ended::Exited(0));
    });
    let _ = runtime.delete(&id, DeleteMode::Force);
    made.map_err(|error| berth_runtime::error::chain(&error))
}

#[test]
fn a_new_process_neither_allocates_nor_frees() {
    let (Some(mut plain), Some(mut mapped), Some(mut failing)) =
        (Bundle::new(), Bundle::new(), Bundle::new())
    else {
        return;
    };
    elaborate(&mut plain);
    elaborate(&mut mapped);
    mapped.user_namespace();
    // The container's root has to own what it makes directories in.
    let status = std::process::Command::new("chown")
        .args(["-R", "100000:100000"])
        .arg(mapped.path())
        .status()
        .unwrap();
    assert!(status.success());
    mapped.spec["linux"].as_object_mut().unwrap().remove("devices");
    failing.set("/process/args", json!(["nowhere"]));
    // SAFETY: takes no pointer.
    OWNER.store(unsafe { libc::getpid() }, Ordering::Relaxed);
    let results = [
        create(&plain, CreateUntil::Running),
        create(&plain, CreateUntil::Created),
        create(&mapped, CreateUntil::Running),
        create(&failing, CreateUntil::Running),
    ];
    OWNER.store(0, Ordering::Relaxed);
    let [running, created, mapped, failed] = results;
    running.unwrap();
    created.unwrap();
    mapped.unwrap();
    // It told why it failed, rather than being caught.
    let message = failed.unwrap_err();
    assert!(message.contains("nowhere"), "{message}");
}
