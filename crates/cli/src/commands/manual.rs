//! `completion` and `man`: made of the same words that the parser knows.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use crate::args::Cli;
use crate::args::system::{Completion, Man, Shell};
use crate::failure::Failure;
use crate::output;

/// The variable by which a shell asks for completions.
pub const COMPLETE: &str = "BERTH_COMPLETE";

/// `berth completion`
pub fn completion(arguments: &Completion) -> Result<u8, Failure> {
    let completer: &dyn EnvCompleter = match arguments.shell {
        Shell::Bash => &Bash,
        Shell::Elvish => &Elvish,
        Shell::Fish => &Fish,
        Shell::Powershell => &Powershell,
        Shell::Zsh => &Zsh,
    };
    let mut script = Vec::new();
    completer
        .write_registration(COMPLETE, "berth", "berth", "berth", &mut script)
        .map_err(|error| Failure::cannot("write the completion script", &error))?;
    output::write(&script)?;
    Ok(0)
}

/// `berth man`
pub fn man(arguments: &Man) -> Result<u8, Failure> {
    let mut command = Cli::command();
    command.build();
    match &arguments.directory {
        None => output::write(&page(&command)?)?,
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(|error| failure(directory, &error))?;
            write_pages(&command, "berth", directory)?;
        }
    }
    Ok(0)
}

fn write_pages(command: &clap::Command, name: &str, directory: &Path) -> Result<(), Failure> {
    let path = directory.join(format!("{name}.1"));
    let title: &'static str = name.to_owned().leak();
    let page = page(&command.clone().name(title).display_name(title))?;
    std::fs::write(&path, page).map_err(|error| failure(&path, &error))?;
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        write_pages(child, &format!("{name}-{}", child.get_name()), directory)?;
    }
    Ok(())
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .manual("berth manual")
        .render(&mut text)
        .map_err(|error| Failure::cannot("write a manual page", &error))?;
    Ok(text)
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::cannot(format!("write {}", path.display()), error)
}
