//! One function for each command: it translates the words into calls on the engine or the image
//! store, and what comes back into output. Nothing about containers is decided here.

mod attach;
mod copy;
mod disk_use;
mod events;
mod image_data;
mod images;
mod inspect;
mod lifecycle;
mod list;
mod logs;
mod manual;
mod request;
mod run;
mod selection;
mod stats;
mod system;
mod top;
mod verify;
mod volumes;

pub use manual::COMPLETE;
#[cfg(test)]
pub use request::build as build_request;

use crate::args::{Command, container, image, system as system_args, volume};
use crate::context::Context;
use crate::failure::Failure;

/// Runs a command; gives what the process exits with.
pub fn run(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Container(verb) | Command::Containers(container::Group::Verb(verb)) => {
            run_container_verb(verb, context)
        }
        Command::Containers(group) => run_container_group(group, context),
        Command::Ps(arguments) => list::run(&arguments, context),
        Command::Image(verb) | Command::ImageGroup(image::Group::Verb(verb)) => {
            run_image_verb(verb, context)
        }
        Command::ImageGroup(group) => run_image_group(group, context),
        Command::Images(arguments) => images::list(&arguments, context),
        Command::Rmi(arguments) => images::remove(&arguments, context),
        Command::Inspect(arguments) => inspect::run(&arguments, context),
        Command::Events(arguments) => events::run(arguments, context),
        Command::Info(arguments) => system::info(&arguments, context),
        Command::Version(arguments) => system::version(&arguments, context),
        Command::Volume(group) => run_volume_group(group, context),
        Command::System(group) => match group {
            system_args::Group::Prune(arguments) => system::prune(arguments, context),
            system_args::Group::Df(arguments) => disk_use::run(&arguments, context),
            system_args::Group::Info(arguments) => system::info(&arguments, context),
            system_args::Group::Migrate(arguments) => system::migrate(arguments, context),
        },
        Command::Completion(arguments) => manual::completion(&arguments),
        Command::Man(arguments) => manual::man(&arguments),
    }
}

fn run_container_verb(verb: container::Verb, context: &Context) -> Result<u8, Failure> {
    use container::Verb;
    match verb {
        Verb::Run(arguments) => run::run(*arguments, context),
        Verb::Create(arguments) => run::create(*arguments, context),
        Verb::Start(arguments) => attach::start(arguments, context),
        Verb::Stop(arguments) => lifecycle::stop(&arguments, context),
        Verb::Restart(arguments) => lifecycle::restart(&arguments, context),
        Verb::Kill(arguments) => lifecycle::kill(&arguments, context),
        Verb::Rm(arguments) => lifecycle::remove(&arguments, context),
        Verb::Logs(arguments) => logs::run(arguments, context),
        Verb::Exec(arguments) => attach::exec(arguments, context),
        Verb::Attach(arguments) => attach::attach(arguments, context),
        Verb::Wait(arguments) => lifecycle::wait(&arguments, context),
        Verb::Top(arguments) => top::run(arguments, context),
        Verb::Pause(arguments) => lifecycle::pause(&arguments, context),
        Verb::Unpause(arguments) => lifecycle::unpause(&arguments, context),
        Verb::Cp(arguments) => copy::run(&arguments, context),
        Verb::Stats(arguments) => stats::run(&arguments, context),
        Verb::Rename(arguments) => lifecycle::rename(&arguments, context),
        Verb::Update(arguments) => lifecycle::update(*arguments, context),
    }
}

fn run_container_group(group: container::Group, context: &Context) -> Result<u8, Failure> {
    use container::Group;
    match group {
        Group::Verb(verb) => run_container_verb(verb, context),
        Group::List(arguments) => list::run(&arguments, context),
        Group::Inspect(arguments) => inspect::containers(&arguments, context),
        Group::Prune(arguments) => lifecycle::prune(&arguments, context),
        Group::Exists(arguments) => lifecycle::exists(&arguments, context),
        Group::Cleanup(arguments) => lifecycle::cleanup(&arguments, context),
    }
}

fn run_image_verb(verb: image::Verb, context: &Context) -> Result<u8, Failure> {
    use image::Verb;
    match verb {
        Verb::Load(arguments) => images::load(&arguments, context),
        Verb::Import(arguments) => images::import(arguments, context),
        Verb::Tag(arguments) => images::tag(&arguments, context),
        Verb::Bundle(arguments) => images::bundle(arguments, context),
        Verb::History(arguments) => images::history(&arguments, context),
    }
}

fn run_image_group(group: image::Group, context: &Context) -> Result<u8, Failure> {
    use image::Group;
    match group {
        Group::Verb(verb) => run_image_verb(verb, context),
        Group::List(arguments) => images::list(&arguments, context),
        Group::Rm(arguments) => images::remove(&arguments, context),
        Group::Inspect(arguments) => inspect::images(&arguments, context),
        Group::Prune(arguments) => images::prune(&arguments, context),
        Group::Verify(arguments) => verify::run(&arguments, context),
        Group::Exists(arguments) => images::exists(&arguments, context),
    }
}

fn run_volume_group(group: volume::Group, context: &Context) -> Result<u8, Failure> {
    use volume::Group;
    match group {
        Group::Create(arguments) => volumes::create(arguments, context),
        Group::List(arguments) => volumes::list(&arguments, context),
        Group::Inspect(arguments) => volumes::inspect(&arguments, context),
        Group::Rm(arguments) => volumes::remove(&arguments, context),
        Group::Prune(arguments) => volumes::prune(&arguments, context),
        Group::Exists(arguments) => volumes::exists(&arguments, context),
    }
}
