//! `cp`

use std::path::Path;

use berth_engine::CopyOptions;

use crate::args::container::Copy;
use crate::context::Context;
use crate::failure::Failure;
use crate::parse::container_path::CopyEnd;
use crate::terminal;

/// `berth cp`
pub fn run(arguments: &Copy, context: &Context) -> Result<u8, Failure> {
    let options = CopyOptions { overwrite: arguments.overwrite, archive: arguments.archive };
    let ends = (CopyEnd::parse(&arguments.source), CopyEnd::parse(&arguments.destination));
    let from_terminal = || terminal::is_terminal(std::io::stdin());
    let to_terminal = || terminal::is_terminal(std::io::stdout());
    match &ends {
        (CopyEnd::Stream, CopyEnd::Container { .. }) if from_terminal() => {
            return Err(Failure::invalid("standard input is a terminal, not an archive"));
        }
        (CopyEnd::Container { .. }, CopyEnd::Stream) if to_terminal() => {
            return Err(Failure::invalid("an archive would be written to the terminal")
                .with_hint("redirect standard output to a file or a pipe"));
        }
        _ => {}
    }
    let engine = context.engine()?;
    let copied = context.block_on(async {
        match ends {
            (CopyEnd::Host(host), CopyEnd::Container { container, path }) => {
                engine.copy_from_host(&host, &container, rooted(&path), options).await?;
            }
            (CopyEnd::Container { container, path }, CopyEnd::Host(host)) => {
                engine.copy_to_host(&container, rooted(&path), &host, options).await?;
            }
            (CopyEnd::Stream, CopyEnd::Container { container, path }) => {
                let archive = Box::new(std::io::stdin());
                engine.copy_to(&container, rooted(&path), archive, options).await?;
            }
            (CopyEnd::Container { container, path }, CopyEnd::Stream) => {
                let archive = Box::new(std::io::stdout());
                engine.copy_from(&container, rooted(&path), archive).await?;
            }
            (CopyEnd::Container { .. }, CopyEnd::Container { .. }) => {
                return Err(Failure::invalid("both ends are in containers")
                    .with_hint("berth cp ONE:PATH - | berth cp - OTHER:DIRECTORY does it"));
            }
            _ => {
                return Err(Failure::invalid("neither end is in a container")
                    .with_hint("it is written as berth cp CONTAINER:PATH PATH, or the other way"));
            }
        }
        Ok(0)
    });
    let Copy { source, destination, .. } = arguments;
    copied.map_err(|failure| failure.during(format!("cannot copy {source} to {destination}")))
}

/// `CONTAINER:` alone is its root directory.
fn rooted(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new("/") } else { path }
}
