//! What a person sees of commands that need no container.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The built command line on state of the test's own.
struct Berth {
    state: TempDir,
}

impl Berth {
    fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command
            .env("BERTH_ROOT", self.state.path().join("root"))
            .env("BERTH_RUNROOT", self.state.path().join("run"))
            .env_remove("BERTH_COMPLETE")
            .args(words)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Exit code, standard output and standard error.
    fn seen(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.run(words);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn help_and_version_succeed_and_a_wrong_line_is_125() {
    let berth = Berth::new();
    let (code, help, _) = berth.seen(&["--help"]);
    assert!(code == 0 && help.contains("Usage: berth [OPTIONS] <COMMAND>"), "{help}");
    let (code, version, _) = berth.seen(&["--version"]);
    assert_eq!((code, version), (0, format!("berth {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(
        berth.seen(&["frobnicate"]),
        (
            125,
            String::new(),
            "Error: unrecognized subcommand 'frobnicate'\n\
             hint: berth --help shows what can be written\n"
                .to_owned()
        )
    );
    let (code, _, help) = berth.seen(&[]);
    assert!(code == 125 && help.contains("Usage: berth"), "{help}");
}

#[test]
fn a_wrong_template_is_refused_before_anything_is_made() {
    let berth = Berth::new();
    for command in [&["ps"][..], &["images"], &["volume", "ls"], &["stats"], &["info"]] {
        let (code, _, error) = berth.seen(&[command, &["--format", "{{range .}}"]].concat());
        assert_eq!(code, 125);
        assert!(error.starts_with("Error: the template uses `range`"), "{error}");
    }
    assert_eq!(std::fs::read_dir(berth.state.path()).unwrap().count(), 0);
}

#[test]
fn empty_lists_have_headings_unless_told_otherwise() {
    let berth = Berth::new();
    assert_eq!(
        berth.seen(&["ps"]).1,
        "CONTAINER ID  IMAGE  COMMAND  CREATED  STATUS  PORTS  NAMES\n"
    );
    assert_eq!(berth.seen(&["images"]).1, "REPOSITORY  TAG  IMAGE ID  CREATED  SIZE\n");
    assert_eq!(berth.seen(&["volume", "ls"]).1, "DRIVER  VOLUME NAME\n");
    assert_eq!(berth.seen(&["ps", "--noheading"]).1, "");
    assert_eq!(berth.seen(&["ps", "--format", "json"]).1, "[]\n");
    assert_eq!(berth.seen(&["ps", "-q"]).1, "");
    assert_eq!(
        berth.seen(&["ps", "--format", "table {{.ID}}\\t{{.Names}}"]).1,
        "CONTAINER ID  NAMES\n"
    );
}

#[test]
fn what_is_not_there_is_told_by_one_line_and_a_code() {
    let berth = Berth::new();
    for (words, code) in [
        (&["start", "nobody"][..], 125),
        (&["inspect", "nobody"], 125),
        (&["rm", "nobody"], 1),
        (&["rmi", "nobody"], 1),
        (&["volume", "rm", "nobody"], 1),
        (&["container", "exists", "nobody"], 1),
        (&["image", "exists", "nobody"], 1),
        (&["volume", "exists", "nobody"], 1),
        (&["rm", "--ignore", "nobody"], 0),
        (&["rm", "--all"], 0),
        (&["rmi", "--all"], 0),
        (&["stop", "--all"], 0),
        (&["stats", "--no-stream", "--all"], 0),
        (&["system", "prune", "--force"], 0),
        (&["container", "prune"], 0),
    ] {
        let (seen, _, error) = berth.seen(words);
        assert_eq!(seen, code, "{words:?}: {error}");
        assert!(error.matches("Error: ").count() <= 1, "{error}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error_worth_a_word() {
    let berth = Berth::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = berth.command(&["ps"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn volumes_are_made_shown_and_removed() {
    let berth = Berth::new();
    assert_eq!(berth.seen(&["volume", "create", "data", "-l", "a=b"]).1, "data\n");
    assert_eq!(berth.seen(&["volume", "create", "data"]).0, 125);
    assert_eq!(berth.seen(&["volume", "create", "--ignore", "data"]).1, "data\n");
    let format = "{{.Name}} {{.Labels}}";
    assert_eq!(berth.seen(&["volume", "ls", "--format", format]).1, "data a=b\n");
    assert_eq!(
        berth.seen(&["volume", "inspect", "data", "--format", "{{index .Labels \"a\"}}"]).1,
        "b\n"
    );
    assert_eq!(berth.seen(&["inspect", "--format", "{{.Driver}}", "data"]).1, "local\n");
    assert_eq!(berth.seen(&["volume", "ls", "-q", "-f", "name=nope"]).1, "");
    assert_eq!(berth.seen(&["volume", "rm", "data"]).1, "data\n");
    assert_eq!(berth.seen(&["volume", "ls", "-q"]).1, "");
}

#[test]
fn questions_are_asked_and_no_is_the_answer_of_silence() {
    let berth = Berth::new();
    berth.run(&["volume", "create", "data"]);
    let (code, _, question) = berth.seen(&["volume", "prune"]);
    assert_eq!(code, 0);
    assert!(question.ends_with("Are you sure you want to continue? [y/N] "), "{question}");
    assert_eq!(berth.seen(&["volume", "ls", "-q"]).1, "data\n");
    assert_eq!(berth.seen(&["volume", "prune", "--force"]).1, "data\n");
}

#[test]
fn shells_complete_commands_options_and_names() {
    let berth = Berth::new();
    berth.run(&["volume", "create", "data"]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, _) = berth.seen(&["completion", shell]);
        assert!(code == 0 && script.contains("BERTH_COMPLETE"), "{shell}: {script}");
    }
    let complete = |words: &[&str]| {
        let index = (words.len() - 1).to_string();
        let output = berth
            .command(&[])
            .env("BERTH_COMPLETE", "bash")
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_INDEX", index)
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .arg("--")
            .args(words)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(complete(&["berth", "vol"]).lines().any(|word| word == "volume"));
    assert!(complete(&["berth", "run", "--cpus"]).contains("--cpuset-cpus"));
    assert!(complete(&["berth", "volume", "rm", ""]).lines().any(|word| word == "data"));
    assert!(complete(&["berth", "volume", "rm", "x"]).is_empty());
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let berth = Berth::new();
    let directory = berth.state.path().join("man");
    assert_eq!(berth.seen(&["man", directory.to_str().unwrap()]).0, 0);
    for page in ["berth", "berth-run", "berth-container-ls", "berth-system-prune"] {
        let text = std::fs::read_to_string(directory.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME"), "{page}: {text}");
    }
    assert!(berth.seen(&["man"]).1.contains("Containers without a daemon"));
}
