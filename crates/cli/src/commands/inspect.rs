//! `inspect`, alone and of `container` and `image`.

use berth_engine::ErrorKind;
use serde_json::Value;

use super::image_data;
use super::selection::Tally;
use super::volumes;
use crate::args::container;
use crate::args::image;
use crate::args::system::{Inspect, InspectKind};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::listing::{Format, inspection};

/// `berth inspect`
pub fn run(arguments: &Inspect, context: &Context) -> Result<u8, Failure> {
    let look_up = |name: &str| match arguments.kind {
        InspectKind::Container => one_container(name, arguments.size, context),
        InspectKind::Image => one_image(name, context),
        InspectKind::Volume => one_volume(name, context),
        InspectKind::All => anything(name, arguments.size, context),
    };
    print_all(&arguments.names, arguments.format.format.as_deref(), look_up)
}

/// `berth container inspect`
pub fn containers(arguments: &container::Inspect, context: &Context) -> Result<u8, Failure> {
    let look_up = |name: &str| one_container(name, arguments.size, context);
    print_all(&arguments.containers, arguments.format.format.as_deref(), look_up)
}

/// `berth image inspect`
pub fn images(arguments: &image::Inspect, context: &Context) -> Result<u8, Failure> {
    print_all(&arguments.images, arguments.format.format.as_deref(), |name| {
        one_image(name, context)
    })
}

/// Prints what was found, then tells what was not.
pub fn print_all(
    names: &[String],
    format: Option<&str>,
    look_up: impl Fn(&str) -> Result<Value, Failure>,
) -> Result<u8, Failure> {
    Format::parse(format)?;
    let (found, missing): (Vec<_>, Vec<_>) =
        names.iter().map(|name| look_up(name)).partition(Result::is_ok);
    let found: Vec<Value> = found.into_iter().flatten().collect();
    if !found.is_empty() || format.is_none() {
        output::print(&inspection(format, found)?)?;
    }
    let mut tally = Tally::default();
    for result in missing {
        tally.take(result);
    }
    Ok(tally.exit_code())
}

fn one_container(name: &str, size: bool, context: &Context) -> Result<Value, Failure> {
    let engine = context.engine()?;
    context.block_on(async { Ok(engine.inspect(name, size).await?) })
}

fn one_image(name: &str, context: &Context) -> Result<Value, Failure> {
    let engine = context.engine()?;
    let image = context.block_on(async { Ok(engine.image(name).await?) })?;
    let all = engine.images().images().map_err(Failure::image)?;
    let summary = all.iter().find(|summary| summary.digest == image.target);
    let names = summary.map(|summary| summary.names.as_slice()).unwrap_or_default();
    Ok(image_data::inspection(&image, names))
}

fn one_volume(name: &str, context: &Context) -> Result<Value, Failure> {
    volumes::find(name, context).map(|volume| volumes::inspection(&volume))
}

/// A container, else an image, else a volume.
fn anything(name: &str, size: bool, context: &Context) -> Result<Value, Failure> {
    let is_missing = |result: &Result<Value, Failure>| {
        result.as_ref().is_err_and(|failure| failure.kind() == ErrorKind::NotFound)
    };
    let result = one_container(name, size, context);
    if !is_missing(&result) {
        return result;
    }
    // A container's name may be none of an image's (upper case, say): that is no error here.
    if let Ok(image) = one_image(name, context) {
        return Ok(image);
    }
    let result = one_volume(name, context);
    if !is_missing(&result) {
        return result;
    }
    Err(Failure::new(
        ErrorKind::NotFound,
        format!("there is no container, image or volume {name:?}"),
    ))
}
