//! CVE-2019-5736: a container gets hold of the runtime's own executable through /proc/PID/exe and
//! writes to it once nobody executes it any more. The runtime here is a copy, so that no other test
//! executes the file and hides a success behind `ETXTBSY`.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Bundle, json, text};

/// Everything that an attack could need.
const ALL_POWERFUL: &[&str] = &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"];

struct Victim {
    program: PathBuf,
    content: Vec<u8>,
}

impl Victim {
    fn new(bundle: &Bundle) -> Self {
        let program = bundle.path().join("runtime");
        fs::copy(common::RUNTIME, &program).unwrap();
        let content = fs::read(&program).unwrap();
        Self { program, content }
    }

    fn call(&self, bundle: &Bundle, words: &[&str]) -> std::process::ExitStatus {
        let output = fs::File::create(bundle.path().join("output")).unwrap();
        Command::new(&self.program)
            .arg("--root")
            .arg(bundle.state_root())
            .args(words)
            .current_dir(bundle.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .status()
            .unwrap()
    }

    fn must(&self, bundle: &Bundle, words: &[&str]) {
        let status = self.call(bundle, words);
        let output = fs::read_to_string(bundle.path().join("output")).unwrap();
        assert!(status.success(), "{words:?}: {output}");
    }

    fn assert_whole(&self) {
        assert!(fs::read(&self.program).unwrap() == self.content, "the runtime was overwritten");
    }
}

fn powerful(bundle: &mut Bundle) {
    bundle.set("/root/readonly", json!(false)).set(
        "/process/capabilities",
        json!({
            "bounding": ALL_POWERFUL, "permitted": ALL_POWERFUL, "effective": ALL_POWERFUL,
        }),
    );
}

/// Opens `/proc/PID/exe`, lets the process end, and tries to write.
fn attack(pid: i32, end: impl FnOnce()) -> std::io::Error {
    let held = fs::File::open(format!("/proc/{pid}/exe")).unwrap();
    end();
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let written = fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write(&mut file, b"overwritten"));
    written.expect_err("the executable of a process in a container can be written")
}

#[test]
fn the_executable_of_a_waiting_container_cannot_be_written_after_its_end() {
    let Some(mut bundle) = Bundle::new() else { return };
    let victim = Victim::new(&bundle);
    bundle.args(&["/bin/sleep", "1000"]).write();
    victim.must(&bundle, &["create", &bundle.id]);
    let pid = bundle.pid();
    let error = attack(pid, || {
        victim.must(&bundle, &["delete", "--force", &bundle.id]);
    });
    assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{error}");
    victim.assert_whole();
}

#[test]
fn a_neighbour_in_the_pid_namespace_cannot_write_it_either() {
    let (Some(mut pod), Some(mut waiting)) = (Bundle::new(), Bundle::new()) else { return };
    let victim = Victim::new(&pod);
    pod.args(&["/bin/sleep", "1000"]);
    powerful(&mut pod);
    pod.start_detached();
    let namespace = format!("/proc/{}/ns/pid", pod.pid());
    waiting.namespace("pid", Some(&namespace)).args(&["/bin/sleep", "1000"]).write();
    victim.must(&waiting, &["create", &waiting.id]);
    // The attacker sees the waiting process, holds its executable, and writes when it is gone.
    let script = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in *busybox|'') ;; *) \
        exec 9<$p/exe; echo held >/tmp/held; \
        while [ -e $p ]; do sleep 0.05; done; \
        (echo overwritten >/proc/self/fd/9) 2>/tmp/refused && echo yes >/tmp/written; \
        echo done >/tmp/done; exit;; esac; done; echo none >/tmp/done";
    pod.must(&["exec", "--detach", &pod.id, "/bin/sh", "-c", script]);
    let file = |name: &str| pod.rootfs().join("tmp").join(name);
    common::eventually("the attacker looks", || file("held").exists() || file("done").exists());
    assert!(file("held").exists(), "the attacker found no process of the runtime's");
    victim.must(&waiting, &["delete", "--force", &waiting.id]);
    common::eventually("the attacker writes", || file("done").exists());
    let refused = fs::read_to_string(file("refused")).unwrap();
    assert!(!file("written").exists());
    assert!(refused.contains("Read-only file system"), "{refused}");
    victim.assert_whole();
}

#[test]
fn processes_of_exec_and_interpreters_that_are_the_runtime_give_no_hold() {
    let Some(mut bundle) = Bundle::new() else { return };
    let victim = Victim::new(&bundle);
    fs::write(bundle.rootfs().join("bin/evil"), "#!/proc/self/exe\n").unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(bundle.rootfs().join("bin/evil"), mode).unwrap();
    // Holds what it finds, and tries each for a while: it is busy only as long as it is executed.
    bundle.script(
        "while [ ! -e /tmp/stop ]; do for p in /proc/[0-9]*; do \
         case $(readlink $p/exe 2>/dev/null) in *busybox|'') ;; *) \
         (exec 9<$p/exe && echo seen >/tmp/seen && i=0 && while [ $i -lt 20 ]; do \
         (echo overwritten >/proc/self/fd/9) && echo yes >/tmp/written; \
         i=$((i+1)); sleep 0.02; done) 2>/dev/null & ;; esac; done; done",
    );
    powerful(&mut bundle);
    bundle.write();
    victim.must(&bundle, &["run", "--detach", &bundle.id]);
    let seen = bundle.rootfs().join("tmp/seen");
    let end = Instant::now() + Duration::from_mins(1);
    let mut rounds = 0;
    while rounds < 10 || (!seen.exists() && Instant::now() < end) {
        let _ = victim.call(&bundle, &["exec", &bundle.id, "/bin/evil"]);
        let _ = victim.call(&bundle, &["exec", &bundle.id, "/bin/true"]);
        rounds += 1;
    }
    assert!(seen.exists(), "the attacker never held the runtime's executable");
    std::thread::sleep(Duration::from_millis(500));
    fs::write(bundle.rootfs().join("tmp/stop"), "").unwrap();
    assert!(!bundle.rootfs().join("tmp/written").exists());
    victim.assert_whole();
}

#[test]
fn the_executable_of_a_user_without_privileges_is_a_sealed_copy() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !common::has("setpriv") {
        eprintln!("SKIPPED: setpriv (util-linux) is not installed");
        return;
    }
    // Whoever may not clone a mount owns the file, and so may the container's root.
    let victim = Victim::new(&bundle);
    let state = bundle.single_mapping(12_345);
    std::os::unix::fs::chown(&victim.program, Some(12_345), Some(12_345)).unwrap();
    bundle.args(&["/bin/sleep", "1000"]).write();
    let call = |words: &[&str]| {
        let status = Command::new("setpriv")
            .args(["--reuid", "12345", "--regid", "12345", "--clear-groups", "--"])
            .arg(&victim.program)
            .arg("--root")
            .arg(&state)
            .args(words)
            .current_dir(bundle.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()
            .unwrap();
        assert!(status.success(), "{words:?}");
    };
    let pid_file = state.join("pid");
    call(&["create", "--pid-file", pid_file.to_str().unwrap(), &bundle.id]);
    let pid = fs::read_to_string(pid_file).unwrap().parse().unwrap();
    let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let error = attack(pid, || call(&["delete", "--force", &bundle.id]));
    assert!(executable.to_str().unwrap().contains("memfd:"), "{}", executable.display());
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    victim.assert_whole();
}

#[test]
fn the_runtime_refuses_to_go_on_where_it_can_be_written() {
    // The library, which cannot execute its caller again, says so instead.
    if !common::is_root() {
        eprintln!("SKIPPED: the executable is not this user's to write");
        return;
    }
    let found = berth_runtime::protect::writable_executable().unwrap();
    let own = std::env::current_exe().unwrap();
    let flags = fs::File::options().read(true).custom_flags(libc::O_PATH).open(&own).unwrap();
    let mount = rustix::fs::fstatvfs(&flags).unwrap();
    let read_only = mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    assert_eq!(found, (!read_only).then_some(own));
    let Some(bundle) = Bundle::new() else { return };
    bundle.write();
    let runtime = berth_runtime::Runtime::new(bundle.state_root());
    let id: berth_runtime::ContainerId = bundle.id.parse().unwrap();
    let options = berth_runtime::CreateOptions::new(id, bundle.path());
    let error = runtime.create(options).unwrap_err().to_string();
    assert!(text(error.as_bytes()).contains("overwrit"), "{error}");
}
