//! cat, head, tail, wc, tee, seq, echo, printf, grep, sort, uniq, tr.

use crate::{Scratch, filter, out, run, run_with};

#[test]
fn cat_joins_files_and_goes_on_after_a_missing_one() {
    let scratch = Scratch::new("cat");
    let (a, b) = (scratch.write("a", "one\n"), scratch.write("b", "two\n"));
    assert_eq!(out("cat", &[&a, &b]), "one\ntwo\n");
    assert_eq!(filter("cat", &[&a, "-"], "in\n"), "one\nin\n");
    let ran = run("cat", &["/does/not/exist", &b]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.out, "two\n");
    assert_eq!(ran.error, "cat: /does/not/exist: No such file or directory\n");
}

#[test]
fn head_and_tail_count_lines_and_bytes() {
    let ten = out("seq", &["20"]);
    assert_eq!(filter("head", &["-n", "2"], &ten), "1\n2\n");
    assert_eq!(filter("head", &["-3"], &ten), "1\n2\n3\n");
    assert_eq!(filter("head", &["-c", "3"], &ten), "1\n2");
    assert_eq!(filter("tail", &["-n2"], &ten), "19\n20\n");
    assert_eq!(filter("tail", &["-c", "4"], &ten), "\n20\n");
    assert_eq!(filter("head", &[], &ten).lines().count(), 10);
}

#[test]
fn wc_counts() {
    assert_eq!(filter("wc", &[], "a b\nc\n"), "2 3 6\n");
    assert_eq!(filter("wc", &["-l"], "a\nb"), "1\n");
    let scratch = Scratch::new("wc");
    let (a, b) = (scratch.write("a", "1\n"), scratch.write("b", "2 3\n"));
    assert_eq!(out("wc", &["-w", &a, &b]), format!("1 {a}\n2 {b}\n3 total\n"));
}

#[test]
fn tee_copies_and_appends() {
    let scratch = Scratch::new("tee");
    let file = scratch.write("file", "old\n");
    assert_eq!(filter("tee", &["-a", &file], "new\n"), "new\n");
    assert_eq!(scratch.read("file"), "old\nnew\n");
    filter("tee", &[&file], "only\n");
    assert_eq!(scratch.read("file"), "only\n");
}

#[test]
fn seq_counts_in_both_directions() {
    assert_eq!(out("seq", &["2", "4"]), "2\n3\n4\n");
    assert_eq!(out("seq", &["3", "-1", "1"]), "3\n2\n1\n");
    assert_eq!(out("seq", &["2", "1"]), "");
    assert_eq!(run("seq", &["1", "0", "2"]).code, Some(2));
}

#[test]
fn echo_and_printf_format() {
    assert_eq!(out("echo", &["-n", "a", "b"]), "a b");
    assert_eq!(out("echo", &["-e", "a\\tb\\x41\\0101"]), "a\tbAA\n");
    assert_eq!(out("echo", &["a\\n"]), "a\\n\n");
    assert_eq!(out("printf", &["%s-%03d|%-4s|%x\\n", "a", "7", "b", "255"]), "a-007|b   |ff\n");
    assert_eq!(out("printf", &["%s\\n", "a", "b"]), "a\nb\n");
    assert_eq!(out("printf", &["%5.2s|%%\\n", "abc"]), "   ab|%\n");
    assert_eq!(
        run("printf", &["%d\\n", "x"]),
        crate::Ran { code: Some(1), out: "0\n".to_owned(), error: String::new() }
    );
    assert_eq!(run("printf", &["%q"]).code, Some(2));
}

#[test]
fn grep_matches_patterns() {
    let lines = "alpha\nbeta\nGamma\na.c\nabc\n";
    assert_eq!(filter("grep", &["^a.*a$"], lines), "alpha\n");
    assert_eq!(filter("grep", &["-F", "a.c"], lines), "a.c\n");
    assert_eq!(filter("grep", &["-in", "gamma"], lines), "3:Gamma\n");
    assert_eq!(filter("grep", &["-vc", "b"], lines), "3\n");
    assert_eq!(filter("grep", &["-E", "^be|c$"], lines), "beta\na.c\nabc\n");
    assert_eq!(filter("grep", &["[[:upper:]]"], lines), "Gamma\n");
    assert_eq!(run_with("grep", &["-q", "zeta"], lines).code, Some(1));
    assert_eq!(run_with("grep", &["\\(a\\)"], lines).code, Some(2));
    assert_eq!(run("grep", &["x", "/does/not/exist"]).code, Some(2));
}

#[test]
fn sort_and_uniq_order_lines() {
    assert_eq!(filter("sort", &[], "b\na\nb\n"), "a\nb\nb\n");
    assert_eq!(filter("sort", &["-rn"], "9\n10\n1\n"), "10\n9\n1\n");
    assert_eq!(filter("sort", &["-u"], "b\na\nb\n"), "a\nb\n");
    assert_eq!(filter("uniq", &["-c"], "a\na\nb\n"), "      2 a\n      1 b\n");
    assert_eq!(filter("uniq", &["-d"], "a\na\nb\n"), "a\n");
}

#[test]
fn tr_translates() {
    assert_eq!(filter("tr", &["a-c", "A-C"], "abcd\n"), "ABCd\n");
    assert_eq!(filter("tr", &["-d", "\\n"], "a\nb\n"), "ab");
}

#[test]
fn unknown_options_are_refused_by_name() {
    let ran = run("cat", &["-q"]);
    assert_eq!((ran.code, ran.error.as_str()), (Some(2), "cat: unknown option -q in -q\n"));
    assert_eq!(run("no-such-applet", &[]).code, Some(127));
}
