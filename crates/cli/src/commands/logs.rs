//! `logs`

use std::future::Future;
use std::io::{self, BufWriter, Write};
use std::pin::pin;
use std::task::Poll;

use berth_engine::view::LogLine;
use berth_engine::{LogStream, LogsOptions};

use crate::args::container::Logs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, OutputError, human};

/// `berth logs`
pub fn run(arguments: Logs, context: &Context) -> Result<u8, Failure> {
    let engine = context.engine()?;
    let options = LogsOptions {
        follow: arguments.follow,
        since: arguments.since,
        until: arguments.until,
        tail: arguments.tail.0,
        ..LogsOptions::default()
    };
    context.block_on(async {
        let prefix = Prefix {
            name: arguments.names.then(|| arguments.container.clone()),
            time: arguments.timestamps,
        };
        let stream = engine.logs(&arguments.container, options).await?;
        print(stream, &prefix).await?;
        Ok(0)
    })
}

/// What stands before each line.
struct Prefix {
    name: Option<String>,
    time: bool,
}

/// Prints lines as they come: many at once while there are more, each at once when there are not.
async fn print(mut stream: LogStream, prefix: &Prefix) -> Result<(), Failure> {
    let mut stdout = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut at_start = true;
    loop {
        let line = {
            let mut next = pin!(stream.next());
            let ready = std::future::poll_fn(|task| Poll::Ready(next.as_mut().poll(task))).await;
            match ready {
                Poll::Ready(line) => line?,
                Poll::Pending => {
                    stdout.flush().map_err(OutputError::from)?;
                    next.await?
                }
            }
        };
        let Some(line) = line else { break };
        if line.is_stderr {
            stdout.flush().map_err(OutputError::from)?;
            output::write_error(&text(&line, prefix, at_start));
        } else {
            stdout.write_all(&text(&line, prefix, at_start)).map_err(OutputError::from)?;
        }
        at_start = line.content.ends_with(b"\n");
    }
    stdout.flush().map_err(OutputError::from)?;
    Ok(())
}

fn text(line: &LogLine, prefix: &Prefix, at_start: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.content.len() + 40);
    if at_start {
        if let Some(name) = &prefix.name {
            text.extend_from_slice(format!("{name} ").as_bytes());
        }
        if prefix.time {
            text.extend_from_slice(format!("{} ", human::rfc3339(line.time)).as_bytes());
        }
    }
    text.extend_from_slice(&line.content);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_stand_at_the_beginning_of_lines_only() {
        let line = LogLine {
            time: jiff::Timestamp::new(1_700_000_000, 5).unwrap(),
            is_stderr: false,
            content: b"part".to_vec(),
        };
        let prefix = Prefix { name: Some("web".into()), time: true };
        assert_eq!(text(&line, &prefix, true), b"web 2023-11-14T22:13:20.000000005Z part");
        assert_eq!(text(&line, &prefix, false), b"part");
    }
}
