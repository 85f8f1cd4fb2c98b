//! id, env, kill, ps, sleep, uname, date, hello, init.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{applet, collect, out, run};

#[test]
fn every_applet_is_in_order_and_documented() {
    let names = out("--list", &[]);
    let names: Vec<&str> = names.lines().collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    let help = out("--help", &[]);
    for name in names {
        assert!(help.contains(&format!("  {name} ")), "{name}");
    }
}

#[test]
fn id_reads_the_kernels_word() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    let uid = uid.split_whitespace().nth(1).unwrap();
    assert_eq!(out("id", &["-u"]), format!("{uid}\n"));
    assert!(out("id", &[]).starts_with(&format!("uid={uid}")));
}

#[test]
fn env_changes_what_a_command_sees() {
    assert_eq!(out("env", &["-i", "A=1", "B=2"]), "A=1\nB=2\n");
    let program = env!("CARGO_BIN_EXE_berth-applets");
    assert_eq!(out("env", &["-u", "PATH", "A=x", program, "env"]), "A=x\n");
    assert_eq!(run("env", &["/does/not/exist"]).code, Some(127));
    assert_eq!(run("env", &["/etc/passwd"]).code, Some(126));
}

#[test]
fn kill_sends_signals() {
    let mut sleeper = applet("sleep").arg("100").spawn().unwrap();
    out("kill", &["-0", &sleeper.id().to_string()]);
    out("kill", &["-s", "USR1", &sleeper.id().to_string()]);
    let status = sleeper.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(10));
    assert_eq!(run("kill", &["-NOPE", "1"]).code, Some(2));
    assert!(out("kill", &["-l"]).contains("15 TERM"));
}

#[test]
fn sleep_takes_fractions() {
    let before = Instant::now();
    out("sleep", &["0.2"]);
    assert!(before.elapsed() >= Duration::from_millis(200));
    assert_eq!(run("sleep", &["soon"]).code, Some(2));
}

#[test]
fn ps_lists_itself() {
    let list = out("ps", &[]);
    assert!(list.starts_with("  PID"), "{list}");
    assert!(list.lines().any(|line| line.ends_with("berth-applets ps")), "{list}");
}

#[test]
fn uname_and_date_print() {
    assert_eq!(out("uname", &[]), "Linux\n");
    assert_eq!(out("uname", &["-sm"]), format!("Linux {}\n", std::env::consts::ARCH));
    let year: u32 = out("date", &["+%Y"]).trim().parse().unwrap();
    assert!(year >= 2025);
    assert_eq!(out("date", &["+%F"]).len(), 11);
}

#[test]
fn hello_tells_what_it_sees() {
    let text = out("hello", &[]);
    for label in
        ["hostname", "process", "user", "root", "limits", "privileges", "mounts", "network"]
    {
        assert!(text.lines().any(|line| line.trim_start().starts_with(label)), "{label}: {text}");
    }
}

#[test]
fn init_passes_on_status_and_signals() {
    let program = env!("CARGO_BIN_EXE_berth-applets");
    assert_eq!(run("init", &["--", program, "sh", "-c", "exit 9"]).code, Some(9));
    assert_eq!(run("init", &["/does/not/exist"]).code, Some(127));
    let script = "trap 'echo got it; exit 4' TERM; echo ready; while true; do sleep 0.05; done";
    let mut child = applet("init")
        .args([program, "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    out("kill", &[&pid]);
    let ran = collect(child);
    assert_eq!((ran.code, ran.out.as_str()), (Some(4), "got it\n"), "{}", ran.error);
}
