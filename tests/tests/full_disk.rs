//! A full disk: one clear line, the right exit code, nothing left behind, and the next command works.

use std::path::{Path, PathBuf};

use berth_testkit::{Finished, Scratch, command::finish, require, scratch::entries};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// A small file system, gone at the end.
struct Small(PathBuf);

impl Small {
    fn new(path: PathBuf, kibibytes: u64) -> Self {
        std::fs::create_dir_all(&path).expect("a small file system is made of tmpfs");
        let small = Self(path);
        let options = Self::size(kibibytes);
        mount("tmpfs", &small.0, "tmpfs", MountFlags::empty(), options.as_c_str())
            .expect("a small file system is made of tmpfs");
        small
    }

    fn size(kibibytes: u64) -> std::ffi::CString {
        std::ffi::CString::new(format!("size={kibibytes}k"))
            .expect("a small file system is made of tmpfs")
    }

    /// Gives it room.
    fn grow(&self) {
        mount_remount(&self.0, MountFlags::empty(), Self::size(64 << 10).as_c_str())
            .expect("a small file system is made of tmpfs");
    }

    /// Takes all room but so much. Gives the file that does.
    fn fill(&self, left: u64) -> PathBuf {
        let file = self.0.join("fill");
        let status = rustix::fs::statvfs(&self.0).expect("a small file system is made of tmpfs");
        let free = status.f_bavail * status.f_frsize;
        let bytes = vec![0; free.saturating_sub(left << 10) as usize];
        std::fs::write(&file, bytes).expect("a small file system is made of tmpfs");
        file
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn berth(scratch: &Scratch, root: &Path, runroot: &Path, arguments: &[&str]) -> Finished {
    let mut command = scratch.command();
    command.arg("--root").arg(root).arg("--runroot").arg(runroot).args(arguments);
    finish(&mut command)
}

/// One line, with what to try, and berth's own exit code.
#[track_caller]
fn told(finished: Finished) {
    let text = finished.failure(125);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2, "{text}");
    assert!(lines[0].starts_with("Error: "), "{text}");
    assert!(lines[1].starts_with("hint: the disk is full"), "{text}");
}

/// A run on too small a disk leaves nothing in these directories of it, and the next one, which has
/// room, works.
fn fails_cleanly_and_heals(
    small: &Small,
    size: u64,
    directories: &[&str],
    run: impl Fn(&[&str]) -> Finished,
) {
    told(run(&["run", "--rm", "demo", "true"]));
    for directory in directories {
        let left: Vec<_> = entries(&small.0.join(directory)).collect();
        assert!(left.is_empty(), "at {size} KiB is left: {left:?}");
    }
    small.grow();
    assert_eq!(run(&["run", "--rm", "demo", "echo", "healed"]).success(), "healed");
    assert_eq!(run(&["ps", "-aq"]).success(), "");
}

#[test]
fn a_store_that_fills_up_on_the_way_is_told_and_heals() {
    let scratch = require!(Scratch::new());
    let runroot = scratch.runroot();
    // From the database's first page over the load of the image to the unpacking of its layer.
    for (number, size) in [8, 40, 100, 200, 500, 700, 1000, 1300].into_iter().enumerate() {
        let small = Small::new(scratch.files().join(format!("small-{number}")), size);
        let run = |arguments: &[&str]| berth(&scratch, &small.0, &runroot, arguments);
        fails_cleanly_and_heals(&small, size, &["containers", "tmp", "layers"], run);
    }
    scratch.assert_clean();
}

#[test]
fn a_run_root_that_fills_up_on_the_way_is_told_and_heals() {
    let scratch = require!(Scratch::new());
    let root = scratch.root();
    for (number, size) in [4, 12, 24, 40, 60].into_iter().enumerate() {
        let small = Small::new(scratch.files().join(format!("run-{number}")), size);
        let run = |arguments: &[&str]| berth(&scratch, &root, &small.0, arguments);
        fails_cleanly_and_heals(&small, size, &["containers", "runtime"], run);
    }
    scratch.assert_clean();
}

#[test]
fn on_a_full_disk_containers_can_be_removed() {
    let scratch = require!(Scratch::new());
    let small = Small::new(scratch.files().join("small"), 20 << 10);
    let runroot = scratch.runroot();
    let run = |arguments: &[&str]| berth(&scratch, &small.0, &runroot, arguments);
    for name in ["a", "b", "c"] {
        run(&["create", "--name", name, "demo", "true"]).success();
    }
    let fill = small.fill(0);
    told(run(&["create", "demo", "true"]));
    told(run(&["run", "--rm", "demo", "true"]));
    assert_eq!(run(&["ps", "-aq"]).success().lines().count(), 3);
    assert_eq!(run(&["rm", "a", "b"]).success(), "a\nb");
    run(&["system", "prune", "--force"]).success();
    assert_eq!(run(&["ps", "-aq"]).success(), "");
    std::fs::remove_file(fill).unwrap();
    assert_eq!(run(&["run", "--rm", "demo", "echo", "healed"]).success(), "healed");
    drop(small);
    scratch.assert_clean();
}

#[test]
fn a_log_that_fills_the_disk_does_not_stop_its_container() {
    let scratch = require!(Scratch::new());
    let small = Small::new(scratch.files().join("small"), 20 << 10);
    let runroot = scratch.runroot();
    let run = |arguments: &[&str]| berth(&scratch, &small.0, &runroot, arguments);
    run(&["run", "--rm", "demo", "true"]).success();
    let fill = small.fill(256);
    let script = "i=0; while [ $i -lt 20000 ]; do echo a line that is to be logged; \
                  i=$((i+1)); done; exit 6";
    let all = run(&["run", "--name", "talks", "demo", "sh", "-c", script]);
    assert_eq!(all.stdout.lines().count(), 20000, "what is attached gets everything");
    assert_eq!(all.code, 6);
    let kept = run(&["logs", "talks"]).success().lines().count();
    assert!((1..20000).contains(&kept), "{kept} lines are kept");
    run(&["rm", "talks"]).success();
    std::fs::remove_file(fill).unwrap();
    assert_eq!(run(&["run", "--rm", "demo", "echo", "healed"]).success(), "healed");
    drop(small);
    scratch.assert_clean();
}
