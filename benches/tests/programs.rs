//! The programs as a user starts them.

use std::path::Path;
use std::process::{Command, Output};

const FLOOR: &str = env!("CARGO_BIN_EXE_berth-bench-floor");
const BENCH: &str = env!("CARGO_BIN_EXE_berth-bench");

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("the program starts")
}

#[test]
fn the_launcher_tells_time_memory_and_exit_code() {
    let output = run(FLOOR, &["measure", "sh", "-c", "sleep 0.05; exit 7"]);
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<u64> =
        text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [wall, processor, peak, code] = numbers[..] else { unreachable!("four numbers: {text}") };
    assert!(wall >= 50_000_000 && processor < wall, "{text}");
    assert!(peak > 100, "{text}");
    assert_eq!(code, 7);
}

#[test]
fn the_launcher_says_what_it_could_not_start() {
    let output = run(FLOOR, &["measure", "/no/such/program"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/program"));
}

#[test]
fn the_floor_is_a_container_and_leaves_nothing() {
    let busybox = Path::new("/usr/bin/busybox");
    if !rustix::process::geteuid().is_root() || !busybox.exists() {
        eprintln!("SKIPPED: needs root and a static busybox");
        return;
    }
    let bundle = tempfile::tempdir().expect("a directory");
    let binaries = bundle.path().join("rootfs/bin");
    std::fs::create_dir_all(&binaries).expect("a directory");
    std::fs::copy(busybox, binaries.join("busybox")).expect("a copy");
    let name = format!("berth-bench-test-{}", std::process::id());
    let script = "busybox hostname; echo $$; busybox ls -x /; echo >/x || echo read-only; \
                  busybox grep NoNewPrivs /proc/self/status";
    let path = bundle.path().to_string_lossy();
    let output = run(FLOOR, &["run", &path, &name, "/bin/busybox", "sh", "-c", script]);
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{said}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["floor", "1"], "{said}");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["bin", "dev", "proc", "sys"]);
    assert_eq!(lines[3], "read-only");
    assert!(lines[4].ends_with('1'), "{text}");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
        assert!(!hierarchy.path().join(&name).exists(), "{}", hierarchy.path().display());
    }
}

#[test]
fn the_floor_tells_what_its_parts_took() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    let bundle = tempfile::tempdir().expect("a directory");
    let binaries = bundle.path().join("rootfs/bin");
    std::fs::create_dir_all(&binaries).expect("a directory");
    // Not static, and so not to be executed in there: what was done before it is told all the same.
    std::fs::write(binaries.join("true"), "#!/bin/true\n").expect("a file");
    let name = format!("berth-bench-parts-{}", std::process::id());
    let path = bundle.path().to_string_lossy();
    let output = run(FLOOR, &["parts", &path, &name, "/bin/true"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let parts: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            let (time, part) = line.split_once(' ')?;
            time.parse::<u64>().ok().map(|_| part)
        })
        .collect();
    for part in ["child: privileges", "parent: clone with five namespaces"] {
        assert!(parts.contains(&part), "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn calls_have_a_cost() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("calls");
    std::fs::copy(FLOOR, &program).expect("a copy");
    let output = run(&program.to_string_lossy(), &[]);
    let text = String::from_utf8(output.stdout).expect("numbers");
    let costs: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(costs.len() == 2 && costs.iter().all(|cost| *cost > 0.0), "{text}");
}

#[test]
fn a_wrong_word_is_named() {
    for (arguments, word) in [
        (&["run", "nonsense"][..], "nonsense"),
        (&["runtime", "nonsense"][..], "nonsense"),
        (&["run", "lifecycle"][..], "not one of this benchmark"),
        (&["runtime", "--crowd", "0"][..], "--crowd"),
        (&["walk"][..], "walk"),
        (&["run", "--rounds", "x"][..], "x"),
        (&["run", "--run-on", "paper"][..], "paper"),
    ] {
        let output = run(BENCH, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{arguments:?}");
    }
    assert!(run(BENCH, &["--help"]).status.success());
}
