//! `events`

use berth_engine::view::Event;
use berth_engine::{EventsOptions, Filter};
use serde_json::{Map, Value, json};

use crate::args::system::Events;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::listing::Format;
use crate::output::{self, human};

/// `berth events`
pub fn run(arguments: Events, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let mut options = EventsOptions {
        since: arguments.since,
        until: arguments.until,
        follow: arguments.stream,
        ..EventsOptions::default()
    };
    for (key, value) in arguments.filters {
        match key.as_str() {
            "event" => options.kinds.push(value),
            "container" => options.filters.push(Filter::Name(value)),
            "id" => options.filters.push(Filter::Id(value)),
            "image" => options.filters.push(Filter::Ancestor(value)),
            "label" => options.filters.push(format!("label={value}").parse()?),
            // There are no events but those of containers.
            "type" if value == "container" => {}
            _ => {
                return Err(Failure::invalid(format!(
                    "--filter {key}={value}: container, id, event, image, label or type=container \
                     is expected"
                )));
            }
        }
    }
    let engine = context.engine()?;
    context.block_on(async {
        let mut stream = engine.events(options).await?;
        while let Some(event) = stream.next().await? {
            output::line(text(&event, &format, arguments.no_trunc)?.trim_end_matches('\n'))?;
        }
        Ok(0)
    })
}

fn text(event: &Event, format: &Format, full: bool) -> Result<String, Failure> {
    match format {
        Format::Default => Ok(sentence(event, full)),
        Format::Json => Ok(Value::Object(fields(event)).to_string()),
        Format::Lines(template) | Format::Table(template) => {
            Ok(template.render(&Value::Object(fields(event)))?)
        }
    }
}

/// `TIME container start ID (image=…, name=…)`
fn sentence(event: &Event, full: bool) -> String {
    let id = if full { &event.id } else { human::short_id(&event.id) };
    let mut details = vec![format!("image={}", event.image), format!("name={}", event.name)];
    details.extend(event.attributes.iter().map(|(key, value)| format!("{key}={value}")));
    let time = human::rfc3339(event.time);
    format!("{time} container {} {id} ({})", event.status, details.join(", "))
}

fn fields(event: &Event) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("ID", event.id.clone().into());
    set("Name", event.name.clone().into());
    set("Image", event.image.clone().into());
    set("Type", "container".into());
    set("Status", event.status.clone().into());
    set("Time", human::rfc3339(event.time).into());
    set("Attributes", json!(event.attributes));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_podmans() {
        let event = Event {
            time: jiff::Timestamp::new(1_700_000_000, 0).unwrap(),
            status: "died".into(),
            id: "0123456789abcdef".into(),
            name: "web".into(),
            image: "demo".into(),
            attributes: [("exitCode".to_owned(), "3".to_owned())].into(),
        };
        assert_eq!(
            sentence(&event, false),
            "2023-11-14T22:13:20.000000000Z container died 0123456789ab \
             (image=demo, name=web, exitCode=3)"
        );
        let template = Format::parse(Some("{{.Status}} {{.Attributes.exitCode}}")).unwrap();
        assert_eq!(text(&event, &template, false).unwrap(), "died 3");
    }
}
