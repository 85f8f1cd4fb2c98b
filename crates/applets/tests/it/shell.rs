//! The shell: what scripts print and how they end.

use crate::{Ran, Scratch, run, run_with};

/// Runs a script that finds the other applets by itself.
fn sh(script: &str) -> Ran {
    run("sh", &["-c", script])
}

/// What a script prints; it must succeed.
#[track_caller]
fn prints(script: &str, expected: &str) {
    let ran = sh(script);
    assert_eq!((ran.out.as_str(), ran.error.as_str()), (expected, ""), "{script}");
    assert_eq!(ran.code, Some(0), "{script}");
}

/// The status that a script ends with.
#[track_caller]
fn ends(script: &str, code: i32) {
    let ran = sh(script);
    assert_eq!(ran.code, Some(code), "{script}: {ran:?}");
}

#[test]
fn words_are_quoted_and_split() {
    prints("echo a  'b  c' \"d  e\" f\\ g", "a b  c d  e f g\n");
    prints("x='1  2'; echo $x \"$x\"", "1 2 1  2\n");
    prints("x=; echo a $x b \"$x\" c", "a b  c\n");
    prints("echo \"a\\\"b\\$c\\d\"", "a\"b$c\\d\n");
    prints("echo a\\\nb", "ab\n");
    prints("echo a#b # comment", "a#b\n");
    prints("IFS=:; x=a::b; for i in $x; do echo \"[$i]\"; done", "[a]\n[]\n[b]\n");
    prints("echo ''", "\n");
}

#[test]
fn parameters_expand() {
    prints("x=5; echo ${x}y ${#x} ${y:-none} ${y-}${x:+set}", "5y 1 none set\n");
    prints("echo ${y:=made} $y", "made made\n");
    prints(
        "p=/a/b.tar.gz; echo ${p##*/} ${p%.gz} ${p%%.*} ${p#/a}",
        "b.tar.gz /a/b.tar /a/b /b.tar.gz\n",
    );
    prints(
        "set -- a 'b c'; echo $# \"$1\" \"$2\"; for i in \"$@\"; do echo \"<$i>\"; done",
        "2 a b c\n<a>\n<b c>\n",
    );
    prints("set -- 1 2; echo \"$*\" \"x$@y\"", "1 2 x1 2y\n");
    prints("set -- a b c; shift; echo $1 $#", "b 2\n");
    prints("set -- 1 2 3 4 5 6 7 8 9 ten; echo ${10} $10", "ten 10\n");
    prints("HOME=/h; echo ~ ~/x a~", "/h /h/x a~\n");
    prints("[ $$ -gt 0 ] && [ $$ = $(echo $$) ] && echo same", "same\n");
    ends("echo ${missing:?not there}", 2);
    ends("set -u; echo $missing", 2);
}

#[test]
fn positional_arguments_come_after_the_name() {
    let ran = run("sh", &["-c", "echo $0 $1 $#", "name", "one", "two"]);
    assert_eq!(ran.out, "name one 2\n");
}

#[test]
fn arithmetic_is_evaluated() {
    prints("echo $((1 + 2 * 3)) $(( (1+2)*3 )) $((7/2)) $((7%3)) $((-3))", "7 9 3 1 -3\n");
    prints("i=5; i=$((i+1)); echo $i $((i*=2)) $i $(($i > 3 && 0))", "6 12 12 0\n");
    prints("echo $((0x10)) $((010)) $((1<<4)) $((5>4?1:2)) $((0 && 1/0))", "16 8 16 1 0\n");
    ends("echo $((1/0))", 2);
}

#[test]
fn commands_are_substituted() {
    prints("echo $(echo a; echo b) \"$(echo c; echo d)\"", "a b c\nd\n");
    prints("echo $(echo $(echo deep))", "deep\n");
    prints("x=$(false); echo $?", "1\n");
    prints("x=$(printf 'a\\n\\n'); echo \"[$x]\"", "[a]\n");
}

#[test]
fn pipelines_join_commands() {
    prints("printf 'b\\na\\n' | sort | head -n 1", "a\n");
    prints("seq 3 | while read i; do echo \"<$i>\"; done", "<1>\n<2>\n<3>\n");
    prints("seq 100000 | head -n 1", "1\n");
    ends("false | true", 0);
    ends("set -o pipefail; false | true", 1);
    ends("! true", 1);
    prints("{ echo a; echo b; } | wc -l", "2\n");
    prints("(echo a; exit 3); echo $?", "a\n3\n");
}

#[test]
fn lists_connect_by_status() {
    prints("true && echo yes || echo no", "yes\n");
    prints("false && echo yes || echo no", "no\n");
    prints("false; echo $?; true; echo $?", "1\n0\n");
}

#[test]
fn compound_commands_choose_and_loop() {
    prints("if false; then echo a; elif true; then echo b; else echo c; fi", "b\n");
    prints("for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done", "1\n3\n");
    prints("i=0; while true; do i=$((i+1)); [ $i -ge 3 ] && break; done; echo $i", "3\n");
    prints("i=3; until [ $i = 0 ]; do echo $i; i=$((i-1)); done", "3\n2\n1\n");
    prints("case abc in x) echo 1;; a*|b) echo 2;; *) echo 3;; esac", "2\n");
    prints("case 'a*' in 'a*') echo literal;; esac", "literal\n");
    prints("case abc in 'a*') echo literal;; (a?c) echo match; esac", "match\n");
    prints("for i in a b; do for j in 1 2; do break 2; done; echo no; done; echo $i$j", "a1\n");
    prints("f() { echo \"f:$1\"; return 3; }; f x; echo $?", "f:x\n3\n");
    prints("f() { local v=in; echo $v; }; v=out; f; echo $v", "in\nout\n");
}

#[test]
fn redirections_change_where_things_go() {
    let scratch = Scratch::new("redirect");
    let file = scratch.path("file");
    prints(&format!("echo a > {file}; echo b >> {file}; cat < {file}"), "a\nb\n");
    prints(&format!("ls /does/not/exist 2> {file}; wc -l < {file}"), "1\n");
    prints("ls /does/not/exist 2>&1 | wc -l", "1\n");
    prints("echo gone >/dev/null 2>&1; echo kept", "kept\n");
    prints(&format!("{{ echo 1; echo 2; }} > {file}; tail -n 1 {file}"), "2\n");
    prints(&format!("exec 3> {file}; echo three >&3; exec 3>&-; cat {file}"), "three\n");
    prints(&format!("while read l; do echo \"<$l>\"; done < {file}"), "<three>\n");
    let ran = sh("echo x > /does/not/exist; echo $?");
    assert_eq!((ran.out.as_str(), ran.code), ("1\n", Some(0)));
    assert!(ran.error.contains("/does/not/exist"), "{}", ran.error);
    ends("cat <<EOF\nx\nEOF", 2);
}

#[test]
fn globs_match_sorted_names() {
    let scratch = Scratch::new("glob");
    for name in ["b.txt", "a.txt", "c.rs", ".hidden"] {
        scratch.write(name, "");
    }
    let root = scratch.path("");
    prints(
        &format!("cd {root}; echo *.txt ?.rs [ab]* .h*"),
        "a.txt b.txt c.rs a.txt b.txt .hidden\n",
    );
    prints(&format!("cd {root}; echo '*' \\*.txt none*"), "* *.txt none*\n");
    prints(&format!("echo {root}*.rs"), &format!("{root}c.rs\n"));
    prints(&format!("cd {root}; set -f; echo *"), "*\n");
}

#[test]
fn variables_reach_programs_when_exported() {
    prints("a=1; export b=2; env | grep '^[ab]='", "b=2\n");
    prints("c=3 env | grep ^c=; echo ${c:-unset}", "c=3\nunset\n");
    prints("export x=1; unset x; env | grep -c ^x= || true", "0\n");
    ends("readonly r=1; r=2", 2);
}

#[test]
fn statuses_are_those_of_posix() {
    ends("exit 7", 7);
    ends("exit 256", 0);
    ends("false", 1);
    ends("no-such-command", 127);
    ends("/etc/passwd", 126);
    ends("/etc", 126);
    ends("sleep 100 & kill -9 $!; wait $!", 137);
    ends("set -e; false; exit 9", 1);
    ends("set -e; if false; then :; fi; false || true; ! true; exit 9", 9);
    ends("if", 2);
    ends("echo a; )", 2);
    assert_eq!(sh("no-such-command").error, "sh: no-such-command: command not found\n");
}

#[test]
fn background_jobs_are_waited_for() {
    prints("sleep 0.1 & wait; echo done", "done\n");
    prints("(exit 5) & wait $!; echo $?", "5\n");
    prints("{ sleep 0.2; echo late; } & echo early; wait", "early\nlate\n");
}

#[test]
fn traps_run_on_signals_and_at_the_end() {
    prints("trap 'echo bye' EXIT; echo hi", "hi\nbye\n");
    prints("trap 'echo caught' USR1; kill -USR1 $$; echo after", "caught\nafter\n");
    ends("trap 'exit 3' TERM; kill $$; sleep 5", 3);
    prints("trap '' TERM; kill $$; echo alive", "alive\n");
    ends("trap 'exit 6' TERM; { sleep 0.2; kill $$; } & sleep 2 >/dev/null 2>&1 & wait; exit 1", 6);
    ends("trap x KILL", 2);
}

#[test]
fn read_splits_lines_and_leaves_the_rest() {
    let ran = run_with("sh", &["-c", "read a b; echo \"[$a][$b]\"; cat"], "1 2 3\nrest\n");
    assert_eq!(ran.out, "[1][2 3]\nrest\n");
    let ran = run_with("sh", &["-c", "while read -r x; do echo \"<$x>\"; done"], "a\\b\nlast");
    assert_eq!(ran.out, "<a\\b>\n");
    ends("read x < /dev/null", 1);
}

#[test]
fn scripts_come_from_files_and_standard_input() {
    let scratch = Scratch::new("script");
    let file = scratch.write("s.sh", "echo $0 $1\n. $2\n");
    let other = scratch.write("o.sh", "echo sourced\n");
    assert_eq!(run("sh", &[&file, "arg", &other]).out, format!("{file} arg\nsourced\n"));
    let ran = run_with("sh", &[], "echo one\nif true\nthen echo two\nfi\ncat\nfrom cat\n");
    assert_eq!(ran.out, "one\ntwo\nfrom cat\n");
    assert_eq!(run("sh", &["/does/not/exist"]).code, Some(127));
}

#[test]
fn what_is_missing_is_refused_by_name() {
    for (script, word) in
        [("echo `ls`", "backquotes"), ("jobs", "not supported"), ("cat <<X\nX", "here-documents")]
    {
        let ran = sh(script);
        assert!(ran.error.contains(word), "{script}: {}", ran.error);
        assert_eq!(ran.code, Some(2), "{script}");
    }
}

#[test]
fn an_interactive_shell_prompts() {
    let ran = run_with("sh", &["-i"], "echo hi\nfalse\necho $?\nnope\necho on\nexit 4\n");
    assert_eq!((ran.out.as_str(), ran.code), ("hi\n1\non\n", Some(4)));
    assert!(ran.error.contains("$ ") && ran.error.contains("command not found"), "{}", ran.error);
}

#[test]
fn exec_replaces_the_shell() {
    prints("exec echo replaced; echo not reached", "replaced\n");
    ends("exec no-such-command", 127);
}
