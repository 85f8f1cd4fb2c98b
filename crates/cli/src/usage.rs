//! Reading the command line, and telling what is wrong with it.
//!
//! clap's messages are turned into berth's form: one `Error:` line, then `hint:` lines. Options of
//! podman and docker that berth does not have are named as such.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory, FromArgMatches};

use crate::args::Cli;
use crate::failure::{FAILED, Failure};
use crate::output;

/// What there is instead of a command to run.
#[derive(Debug)]
pub enum Outcome {
    /// Help or the version was asked for.
    Text(String),
    /// The line is wrong.
    Wrong(Box<Failure>),
    /// No command was given: the help, as an error.
    Incomplete(String),
}

impl Outcome {
    /// Prints it and gives the exit code.
    pub fn report(&self) -> u8 {
        match self {
            // Whoever asked for help and does not read it wants nothing more.
            Self::Text(text) => u8::from(output::print(text).is_err()),
            Self::Incomplete(text) => {
                output::write_error(text.as_bytes());
                FAILED
            }
            Self::Wrong(failure) => {
                output::failure(failure);
                FAILED
            }
        }
    }
}

/// Options of podman's and docker's `run` and `create` that berth does not have.
const FOREIGN: &[&str] = &[
    "--arch",
    "--authfile",
    "--cgroups",
    "--chrootdirs",
    "--conmon-pidfile",
    "--creds",
    "--disable-content-trust",
    "--domainname",
    "--env-merge",
    "--expose",
    "--gidmap",
    "--gpus",
    "--health-cmd",
    "--health-interval",
    "--health-on-failure",
    "--health-retries",
    "--health-start-period",
    "--health-timeout",
    "--hostuser",
    "--http-proxy",
    "--ip",
    "--ip6",
    "--isolation",
    "--kernel-memory",
    "--link",
    "--mac-address",
    "--network-alias",
    "--no-healthcheck",
    "--os",
    "--passwd",
    "--passwd-entry",
    "--personality",
    "--pod",
    "--pod-id-file",
    "--preserve-fds",
    "--publish",
    "--publish-all",
    "--requires",
    "--rmi",
    "--sdnotify",
    "--seccomp-policy",
    "--secret",
    "--storage-opt",
    "--subgidname",
    "--subuidname",
    "--systemd",
    "--timeout",
    "--tls-verify",
    "--tz",
    "--uidmap",
    "--variant",
    "--volume-driver",
    "-p",
    "-P",
];

/// Reads the command line.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Outcome> {
    let words: Vec<OsString> = words.into_iter().collect();
    let mut command = Cli::command();
    if words.iter().any(is_valued_switch) {
        command.build();
        command = with_valued_switches(command);
    }
    let parsed = command
        .try_get_matches_from_mut(&words)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        let path = called(&command, &words);
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Outcome::Text(error.render().to_string())
            }
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Outcome::Incomplete(help(&mut command, &path))
            }
            _ => match help_of_help(&words, &path) {
                Some(parent) => Outcome::Text(help(&mut command, parent)),
                None => Outcome::Wrong(Box::new(failure(&error, &path))),
            },
        }
    })
}

/// The command whose help `berth help --help` asks for: clap takes the option for a command's name.
fn help_of_help<'a>(words: &[OsString], path: &'a [String]) -> Option<&'a [String]> {
    let is_asked = words.last().is_some_and(|word| word == "--help" || word == "-h");
    let (last, parent) = path.split_last()?;
    (is_asked && last == "help").then_some(parent)
}

/// The command that the words are for, such as `container`, `ls`.
fn called(command: &Command, words: &[OsString]) -> Vec<String> {
    let mut path = Vec::new();
    let mut command = command;
    let mut after_option = false;
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(child) = command.find_subcommand(word) {
            path.push(child.get_name().to_owned());
            command = child;
        } else if !word.starts_with('-') && !after_option {
            break;
        }
        after_option = word.starts_with('-') && !word.contains('=');
    }
    path
}

/// The help of the command at `path`.
fn help(command: &mut Command, path: &[String]) -> String {
    match path.split_first() {
        None => command.render_help().to_string(),
        Some((first, rest)) => {
            command.find_subcommand_mut(first).map(|child| help(child, rest)).unwrap_or_default()
        }
    }
}

/// Whether a word is like `--rm=false`: podman and docker let every switch take a truth value.
fn is_valued_switch(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| {
        word.starts_with('-')
            && word.split_once('=').is_some_and(|(_, value)| {
                matches!(value, "true" | "false" | "1" | "0" | "True" | "False" | "TRUE" | "FALSE")
            })
    })
}

/// Lets every switch take `=true` or `=false`. Only lines that need it pay for it, and the help,
/// which would become harder to read, does not show it.
fn with_valued_switches(command: Command) -> Command {
    command
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .value_parser(clap::builder::BoolishValueParser::new()),
            _ => argument,
        })
        .mut_subcommands(with_valued_switches)
}

fn failure(error: &clap::Error, path: &[String]) -> Failure {
    let rendered = error.render().to_string();
    let mut failure = Failure::invalid(message(error, &rendered));
    if let Some(option) = foreign_option(error) {
        failure = failure.with_hint(format!(
            "podman and docker have {option}; berth cannot do it yet and does not pretend to"
        ));
    } else {
        let tips = rendered.lines().filter_map(|line| line.trim_start().strip_prefix("tip: "));
        // How to pass an unknown option as a value is the last thing one wants to know.
        for tip in tips.filter(|tip| !tip.starts_with("to pass ")) {
            failure = failure.with_hint(tip);
        }
    }
    let called = [&["berth".to_owned()], path].concat().join(" ");
    failure.with_hint(format!("{called} --help shows what can be written"))
}

/// The unknown option, when podman or docker know it.
fn foreign_option(error: &clap::Error) -> Option<&str> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let option = option.split(['=', ' ']).next()?;
    (error.kind() == ErrorKind::UnknownArgument && FOREIGN.contains(&option)).then_some(option)
}

/// The message in one line, without clap's `error:`.
fn message(error: &clap::Error, rendered: &str) -> String {
    use std::error::Error;
    if let (Some(ContextValue::String(option)), Some(cause)) =
        (error.get(ContextKind::InvalidArg), error.source())
    {
        return format!("{option}: {cause}");
    }
    let paragraph: Vec<&str> =
        rendered.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let text = paragraph.join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests;
