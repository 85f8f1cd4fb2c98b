//! mkdir, rm, touch, cp, mv, ln, dd, ls, stat, chmod, test and the path printers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Scratch, out, run};

#[test]
fn directories_are_made_and_removed() {
    let scratch = Scratch::new("mkdir");
    let deep = scratch.path("a/b/c");
    assert_eq!(run("mkdir", &[&deep]).code, Some(1));
    out("mkdir", &["-p", &deep]);
    out("mkdir", &["-m", "700", &scratch.path("private")]);
    let mode = std::fs::metadata(scratch.path("private")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(run("rm", &[&scratch.path("a")]).code, Some(1));
    out("rm", &["-r", &scratch.path("a")]);
    assert!(!Path::new(&deep).exists());
    out("rm", &["-f", &deep]);
    assert_eq!(run("rm", &[&deep]).code, Some(1));
}

#[test]
fn rm_removes_a_link_and_not_what_it_points_to() {
    let scratch = Scratch::new("rmlink");
    out("mkdir", &[&scratch.path("kept")]);
    scratch.write("kept/file", "x");
    out("ln", &["-s", &scratch.path("kept"), &scratch.path("link")]);
    out("rm", &["-r", &scratch.path("link")]);
    assert_eq!(scratch.read("kept/file"), "x");
}

#[test]
fn copies_keep_content_links_and_modes() {
    let scratch = Scratch::new("cp");
    out("mkdir", &[&scratch.path("from")]);
    let file = scratch.write("from/file", "text");
    out("chmod", &["750", &file]);
    out("ln", &["-s", "file", &scratch.path("from/link")]);
    assert_eq!(run("cp", &[&scratch.path("from"), &scratch.path("to")]).code, Some(1));
    out("cp", &["-a", &scratch.path("from"), &scratch.path("to")]);
    assert_eq!(scratch.read("to/file"), "text");
    assert_eq!(out("readlink", &[&scratch.path("to/link")]), "file\n");
    assert_eq!(out("stat", &["-c", "%a %F", &scratch.path("to/file")]), "750 regular file\n");
    out("cp", &[&file, &scratch.path("to")]);
    out("mv", &[&scratch.path("to/file"), &scratch.path("moved")]);
    assert_eq!(scratch.read("moved"), "text");
    assert!(!Path::new(&scratch.path("to/file")).exists());
}

#[test]
fn hard_links_share_an_inode() {
    let scratch = Scratch::new("ln");
    let file = scratch.write("file", "x");
    out("ln", &[&file, &scratch.path("other")]);
    assert_eq!(out("stat", &["-c", "%h", &file]), "2\n");
    assert_eq!(run("ln", &["-s", "x", &scratch.path("other")]).code, Some(1));
    out("ln", &["-sf", "x", &scratch.path("other")]);
    assert_eq!(out("readlink", &[&scratch.path("other")]), "x\n");
}

#[test]
fn dd_copies_blocks() {
    let scratch = Scratch::new("dd");
    let file = scratch.write("in", "0123456789");
    let of = format!("of={}", scratch.path("out"));
    let ran = run("dd", &[&format!("if={file}"), &of, "bs=2", "skip=1", "count=3"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.error.starts_with("3+0 blocks, 6 bytes"), "{}", ran.error);
    assert_eq!(scratch.read("out"), "234567");
    assert_eq!(run("dd", &["what=1"]).code, Some(2));
}

#[test]
fn ls_lists_names_and_details() {
    let scratch = Scratch::new("ls");
    scratch.write("b", "");
    scratch.write("a", "12");
    scratch.write(".hidden", "");
    let root = scratch.path("");
    assert_eq!(out("ls", &[&root]), "a\nb\n");
    assert_eq!(out("ls", &["-a", &root]), ".\n..\n.hidden\na\nb\n");
    out("ln", &["-s", "a", &scratch.path("link")]);
    let long = out("ls", &["-l", &root]);
    assert!(
        long.lines().any(|line| line.starts_with('l') && line.ends_with("link -> a")),
        "{long}"
    );
    let first = long.lines().next().unwrap();
    assert!(first.starts_with("-rw") && first.contains(" 2 ") && first.ends_with(" a"), "{first}");
    assert!(out("ls", &["-l", "/dev/null"]).contains("1, 3"));
    assert_eq!(run("ls", &["/does/not/exist"]).code, Some(1));
}

#[test]
fn touch_makes_files() {
    let scratch = Scratch::new("touch");
    out("touch", &[&scratch.path("new")]);
    assert_eq!(scratch.read("new"), "");
    scratch.write("old", "kept");
    out("touch", &[&scratch.path("old")]);
    assert_eq!(scratch.read("old"), "kept");
}

#[test]
fn test_evaluates_expressions() {
    let scratch = Scratch::new("test");
    let file = scratch.write("file", "x");
    let holds = |words: &[&str]| run("test", words).code;
    assert_eq!(holds(&["-f", &file]), Some(0));
    assert_eq!(holds(&["-d", &file]), Some(1));
    assert_eq!(holds(&["!", "-e", "/does/not/exist"]), Some(0));
    assert_eq!(holds(&["2", "-lt", "10"]), Some(0));
    assert_eq!(holds(&["a", "=", "b", "-o", "x"]), Some(0));
    assert_eq!(holds(&["(", "a", "=", "a", ")", "-a", "-z", ""]), Some(0));
    assert_eq!(holds(&["-n", ""]), Some(1));
    assert_eq!(holds(&["-n"]), Some(0));
    assert_eq!(holds(&[]), Some(1));
    assert_eq!(holds(&["x", "-eq", "1"]), Some(2));
    assert_eq!(run("[", &["a", "=", "a", "]"]).code, Some(0));
    assert_eq!(run("[", &["a", "=", "a"]).code, Some(2));
}

#[test]
fn paths_are_taken_apart() {
    assert_eq!(out("basename", &["/a/b.txt", ".txt"]), "b\n");
    assert_eq!(out("dirname", &["/a/b"]), "/a\n");
    assert_eq!(out("dirname", &["b"]), ".\n");
}
