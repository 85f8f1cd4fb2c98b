//! CVE-2024-21626: descriptors of the host in a container, as working directory, as program, as a
//! path that the runtime itself opens, and in hooks.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod common;

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use common::{Bundle, json, text};

/// Gives the command a directory of the host as descriptor 9, as a careless caller would, and
/// shows the host's file `marker` to whoever gets out.
fn leak_root(bundle: &Bundle, words: &[&str]) -> Output {
    let mut command = Command::new("/bin/sh");
    let line = "exec 9</ && exec \"$@\"";
    command.args(["-c", line, "sh", common::RUNTIME, "--root"]).arg(bundle.state_root());
    command.args(words).current_dir(bundle.path()).output().unwrap()
}

fn marker(bundle: &Bundle) -> String {
    let path = bundle.path().join("marker");
    fs::write(&path, "#!/bin/sh\necho ESCAPED\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn assert_inside(output: &Output) {
    let printed = text(&output.stdout);
    assert!(!printed.contains("ESCAPED"), "{printed}{}", text(&output.stderr));
    assert!(!printed.contains("marker"), "{printed}{}", text(&output.stderr));
}

#[test]
fn no_descriptor_is_a_working_directory_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let marker = marker(&bundle);
    for number in 3..20 {
        bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        bundle.script(&format!("ls -a ../../../../../../..{marker}; cat ./{marker}")).write();
        assert_inside(&leak_root(&bundle, &["run", &bundle.id]));
    }
    bundle.set("/process/cwd", json!("/")).args(&["/bin/sleep", "1000"]);
    bundle.start_detached();
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let path = format!("../../../../../../..{marker}");
        let words = ["exec", "--cwd", &cwd, &bundle.id, "/bin/ls", &path];
        assert_inside(&leak_root(&bundle, &words));
    }
}

#[test]
fn no_descriptor_is_a_way_to_a_program_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    // A program, since the interpreter of a script would look for it again.
    let outside = bundle.path().join("echo");
    fs::copy("/bin/busybox", &outside).unwrap();
    let outside = outside.display();
    let program = |number| format!("/proc/self/fd/{number}/../../../../../../..{outside}");
    for number in 3..20 {
        bundle.args(&[&program(number), "ESCAPED"]).write();
        let output = leak_root(&bundle, &["run", &bundle.id]);
        assert_inside(&output);
        assert!(!output.status.success());
    }
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.start_detached();
    for number in 3..20 {
        let output = leak_root(&bundle, &["exec", &bundle.id, &program(number), "ESCAPED"]);
        assert_inside(&output);
        assert!(!output.status.success());
    }
}

#[test]
fn no_file_that_the_runtime_reads_in_the_container_leads_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let passwd = bundle.path().join("passwd");
    fs::write(&passwd, "root:x:0:0:root:/ESCAPED:/bin/sh\n").unwrap();
    let link = bundle.rootfs().join("etc/passwd");
    fs::remove_file(&link).unwrap();
    let way = format!("/proc/self/fd/9{}", passwd.display());
    std::os::unix::fs::symlink(way, &link).unwrap();
    bundle.set("/process/env", json!(["PATH=/bin"])).args(&["/bin/env"]).write();
    let output = leak_root(&bundle, &["run", &bundle.id]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("HOME=/"), "{output:?}");
    assert_inside(&output);
}

#[test]
fn a_program_has_its_standard_streams_and_nothing_else() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ls -l /proc/self/fd | grep -c -v -e total -e '[0-2] ->'").write();
    // `ls` has one of its own.
    let output = leak_root(&bundle, &["run", &bundle.id]);
    assert_eq!(text(&output.stdout), "1\n");
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.start_detached();
    let script = "ls -l /proc/self/fd | grep -c -v -e total -e '[0-2] ->'";
    let output = leak_root(&bundle, &["exec", &bundle.id, "/bin/sh", "-c", script]);
    assert_eq!(text(&output.stdout), "1\n");
}

#[test]
fn a_created_container_waits_with_nothing_that_leads_out() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).write();
    // Detached from the pipes of this test, as it lives on.
    let null = || fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let status = Command::new("/bin/sh")
        .args(["-c", "exec 9</ && exec \"$@\"", "sh", common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["create", &bundle.id])
        .current_dir(bundle.path())
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .status()
        .unwrap();
    assert!(status.success());
    let pid = bundle.pid();
    let mut kinds = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().parse::<i32>().unwrap() < 3 {
            continue;
        }
        let kind = fs::metadata(entry.path()).unwrap();
        assert!(!kind.is_dir(), "{:?}", fs::read_link(entry.path()));
        let target = fs::read_link(entry.path()).unwrap().display().to_string();
        // By which it reads its own signals.
        if target != "anon_inode:[signalfd]" {
            kinds.push(target);
        }
    }
    // The gate, the file for an error, and the socket to a maker that is gone.
    assert!(kinds.len() <= 3, "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind.ends_with("exec.fifo")), "{kinds:?}");
    // None of it is the program's.
    bundle.must(&["start", &bundle.id]);
    let program = || fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    common::eventually("the program runs", || program().starts_with(b"/bin/sleep"));
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut numbers: Vec<_> = descriptors.map(|entry| entry.unwrap().file_name()).collect();
    numbers.sort();
    assert_eq!(numbers, ["0", "1", "2"]);
}

#[test]
fn only_the_callers_descriptors_are_preserved() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ls -l /proc/self/fd; cat <&3").write();
    // The log file is opened first, and would be number 3.
    let log = bundle.path().join("log");
    let words = ["--log", log.to_str().unwrap(), "run", "--preserve-fds", "1", &bundle.id];
    let output = bundle.call(&words);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    assert!(!text(&output.stdout).contains("log"), "{output:?}");
    let logged = fs::read_to_string(&log).unwrap();
    assert!(logged.contains("--preserve-fds"), "{logged}");
    // The caller's is, and the one after it is not.
    let file = bundle.path().join("given");
    fs::write(&file, "given").unwrap();
    let line = "exec 3<given 4</ && exec \"$@\"";
    let output = Command::new("/bin/sh")
        .args(["-c", line, "sh", common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["run", "--preserve-fds", "1", &bundle.id])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert!(printed.ends_with("given"), "{output:?}");
    assert!(!printed.contains("4 -> /\n"), "{printed}");
}

#[test]
fn hooks_inherit_neither_descriptors_nor_environment() {
    let Some(mut bundle) = Bundle::new() else { return };
    // What a hook is given takes the place of the runtime's own environment, all of it.
    let report = bundle.path().join("report");
    let script = format!("(env; ls -l /proc/self/fd) >>{}; exit 0", report.display());
    let hook = json!([{
        "path": "/bin/busybox",
        "args": ["sh", "-c", script],
        "env": ["PATH=/bin:/usr/bin", "ONLY=this"],
    }]);
    for stage in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        if bundle.spec.get("hooks").is_none() {
            bundle.spec["hooks"] = json!({});
        }
        bundle.spec["hooks"][stage] = hook.clone();
    }
    bundle.write();
    let directory: OwnedFd = fs::File::open("/").unwrap().into();
    assert!(directory.as_raw_fd() > 2);
    let output = Command::new("/bin/sh")
        .args(["-c", "exec 9</ && exec \"$@\"", "sh", common::RUNTIME, "--root"])
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.path())
        .env("LD_PRELOAD", "/nonexistent/evil.so")
        .env("LD_LIBRARY_PATH", "/nonexistent")
        .env("BASH_ENV", "/nonexistent")
        .env("CALLERS", "variable")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = fs::read_to_string(&report).unwrap();
    assert_eq!(report.matches("ONLY=this").count(), 5, "{report}");
    for foreign in ["LD_", "BASH_ENV", "CALLERS", " 9 -> /"] {
        assert!(!report.contains(foreign), "{foreign}: {report}");
    }
}
