//! Every option is read into what the engine is asked for; every mistake is told in one line.

use std::ffi::OsString;

use super::*;
use crate::args::Command as Words;
use crate::args::container::{Group, Verb};

fn words(line: &[&str]) -> Vec<OsString> {
    std::iter::once("berth").chain(line.iter().copied()).map(OsString::from).collect()
}

fn read(line: &[&str]) -> Words {
    match parse(words(line)) {
        Ok(cli) => cli.command,
        Err(outcome) => panic!("{line:?}: {outcome:?}"),
    }
}

fn wrong(line: &[&str]) -> String {
    match parse(words(line)) {
        Ok(cli) => panic!("{line:?}: {cli:?}"),
        Err(Outcome::Wrong(failure)) => {
            let hints = failure.hints().iter().map(|hint| format!("\nhint: {hint}"));
            format!("Error: {}{}", failure.message(), hints.collect::<String>())
        }
        Err(Outcome::Incomplete(text) | Outcome::Text(text)) => text,
    }
}

fn run(line: &[&str]) -> Box<crate::args::create::Run> {
    match read(&[&["run"], line].concat()) {
        Words::Container(Verb::Run(run)) => run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_of_all_commands_is_sound() {
    let mut command = Cli::command();
    command.build();
    command.debug_assert();
}

#[test]
fn options_end_at_the_image() {
    let run = run(&["-it", "--rm", "demo", "ls", "-l", "--rm=x", "--", "-it"]);
    assert_eq!(run.container.words, ["demo", "ls", "-l", "--rm=x", "--", "-it"]);
    assert!(run.container.general.interactive && run.container.general.tty);
    let Words::Container(Verb::Exec(exec)) = read(&["exec", "-e", "A=b", "web", "sh", "-c", "x"])
    else {
        panic!("not exec")
    };
    assert_eq!(exec.words, ["web", "sh", "-c", "x"]);
}

#[test]
fn switches_take_truth_values_as_in_podman() {
    let general = |line: &[&str]| run(line).container.general;
    assert!(!general(&["--rm=false", "demo"]).rm);
    assert!(general(&["--rm=true", "demo"]).rm);
    assert!(general(&["--rm", "--tty=0", "demo"]).rm);
    assert!(!general(&["--tty=0", "demo"]).tty);
    let both = general(&["-it", "--rm=1", "demo"]);
    assert!(both.interactive && both.tty && both.rm);
    assert!(!run(&["--sig-proxy=false", "demo"]).proxy.sig_proxy);
    assert!(run(&["--sig-proxy", "demo"]).proxy.sig_proxy);
    assert!(run(&["demo", "sh", "--x=true"]).container.words.contains(&"--x=true".to_owned()));
}

#[test]
fn commands_stand_alone_and_in_their_group() {
    assert!(matches!(read(&["ps", "-a"]), Words::Ps(_)));
    assert!(matches!(read(&["container", "ls"]), Words::Containers(Group::List(_))));
    assert!(matches!(read(&["container", "list"]), Words::Containers(Group::List(_))));
    assert!(matches!(read(&["container", "rm", "x"]), Words::Containers(Group::Verb(Verb::Rm(_)))));
    for line in [
        &["image", "load", "x"][..],
        &["image", "rm", "x"],
        &["image", "ls"],
        &["image", "tag", "a", "b"],
        &["image", "import", "x"],
        &["image", "inspect", "x"],
        &["image", "history", "x"],
        &["image", "prune"],
        &["image", "exists", "x"],
        &["images"],
        &["rmi", "x"],
        &["container", "cleanup", "x"],
        &["container", "prune", "-f"],
        &["container", "exists", "x"],
        &["container", "inspect", "x"],
        &["volume", "create"],
        &["volume", "ls"],
        &["volume", "inspect", "x"],
        &["volume", "rm", "x"],
        &["volume", "prune", "-f"],
        &["volume", "exists", "x"],
        &["system", "df"],
        &["system", "info"],
        &["system", "prune", "-af", "--volumes"],
        &["completion", "bash"],
        &["man"],
        &["events", "--stream=false"],
        &["info"],
        &["version"],
        &["wait", "--condition", "running", "x"],
        &["top", "x", "pid,comm"],
        &["cp", "x:/a", "-"],
        &["stats", "--no-stream"],
        &["rename", "a", "b"],
        &["update", "--memory", "64m", "--restart", "always", "x"],
        &["pause", "-a"],
        &["unpause", "-a"],
        &["bundle", "-t", "demo", "/tmp/b", "sh", "-l"],
    ] {
        read(line);
    }
}

#[test]
fn global_options_stand_anywhere_before_the_words() {
    for line in [&["--root", "/r", "ps"][..], &["ps", "--root", "/r"]] {
        let cli = parse(words(line)).unwrap();
        assert_eq!(cli.global.root.as_deref(), Some(std::path::Path::new("/r")));
    }
}

#[test]
fn mistakes_are_told_in_one_line_with_hints() {
    insta::assert_snapshot!(wrong(&["run"]), @"
    Error: the following required arguments were not provided: <IMAGE>...
    hint: berth run --help shows what can be written
    ");
    insta::assert_snapshot!(wrong(&["run", "--nmae", "x", "demo"]), @"
    Error: unexpected argument '--nmae' found
    hint: a similar argument exists: '--name'
    hint: berth run --help shows what can be written
    ");
    insta::assert_snapshot!(wrong(&["run", "-p", "80:80", "demo"]), @"
    Error: unexpected argument '-p' found
    hint: podman and docker have -p; berth cannot do it yet and does not pretend to
    hint: berth run --help shows what can be written
    ");
    insta::assert_snapshot!(wrong(&["run", "--memory", "5x", "demo"]), @r#"
    Error: --memory <SIZE>: invalid size "5x": expected a number of bytes with an optional unit b, k, m, g, t or p
    hint: berth run --help shows what can be written
    "#);
    insta::assert_snapshot!(wrong(&["run", "--pull", "always", "demo"]), @"
    Error: invalid value 'always' for '--pull <POLICY>' [possible values: missing, never]
    hint: berth run --help shows what can be written
    ");
    insta::assert_snapshot!(wrong(&["contaner", "ls"]), @"
    Error: unrecognized subcommand 'contaner'
    hint: a similar subcommand exists: 'container'
    hint: berth --help shows what can be written
    ");
    assert!(wrong(&["--log-level", "debug"]).contains("Usage: berth [OPTIONS] <COMMAND>"));
    assert!(wrong(&["help", "--help"]).contains("Usage: berth [OPTIONS] <COMMAND>"));
    assert!(wrong(&["volume", "help", "-h"]).contains("Usage: berth volume [OPTIONS] <COMMAND>"));
    assert!(wrong(&["volume"]).contains("Usage: berth volume [OPTIONS] <COMMAND>"));
    insta::assert_snapshot!(wrong(&["run", "--cpus", "1", "--cpu-quota", "5", "demo"]), @"
    Error: the argument '--cpus <NUMBER>' cannot be used with '--cpu-quota <MICROSECONDS>'
    hint: berth run --help shows what can be written
    ");
    insta::assert_snapshot!(wrong(&["rm", "-t", "5", "x"]), @"
    Error: the following required arguments were not provided: --force
    hint: berth rm --help shows what can be written
    ");
    assert!(
        wrong(&["run", "--platform", "linux/s390x", "demo"])
            .starts_with("Error: --platform <PLATFORM>: this machine runs images for linux/"),
    );
}

#[test]
fn the_help_of_every_command_is_as_it_was() {
    fn collect(command: &mut Command, text: &mut String) {
        // What every command has is told once.
        let help = command.render_help().to_string();
        let (before, global) = help.split_once("Global options:\n").unwrap_or((&help, ""));
        let after = global.split_once("\n\n").map_or("", |(_, after)| after);
        text.push_str(&format!("{}\n\n{after}\n", before.trim_end()));
        for child in command.get_subcommands_mut().filter(|child| child.get_name() != "help") {
            collect(child, text);
        }
    }
    let mut command = Cli::command();
    command.build();
    let mut text = command.render_help().to_string();
    command.get_subcommands_mut().for_each(|child| collect(child, &mut text));
    insta::assert_snapshot!(text);
}

mod requests;
