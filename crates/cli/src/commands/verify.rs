//! `image verify`

use berth_image::{Problem, ProblemKind, VerifyDepth, VerifyReport};
use serde_json::{Map, Value, json};

use super::selection::Tally;
use crate::args::image::Verify;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::listing::{Column, Format, Headings, Listing, Row, column};
use crate::output::progress::{Verbosity, listener};

const COLUMNS: &[Column] = &[
    column("Image", "IMAGE"),
    column("Digest", "DIGEST"),
    column("Problem", "PROBLEM"),
    column("Actual", "ACTUAL DIGEST"),
];

/// `berth image verify`
pub fn run(arguments: &Verify, context: &Context) -> Result<u8, Failure> {
    let format = Format::parse(arguments.format.format.as_deref())?;
    let depth = if arguments.quick { VerifyDepth::Blobs } else { VerifyDepth::Contents };
    let store = context.store()?;
    let progress = listener(Verbosity::Normal);
    let all = [None];
    let named: Vec<Option<&str>> = arguments.images.iter().map(|name| Some(&**name)).collect();
    let wanted = if named.is_empty() { &all[..] } else { &named };
    let mut tally = Tally::default();
    let mut report = VerifyReport::default();
    for name in wanted {
        let verified = store.verify(*name, depth, progress.as_ref()).map_err(Failure::image);
        if let Some(found) = tally.take(verified) {
            report.images += found.images;
            report.blobs += found.blobs;
            report.problems.extend(found.problems);
        }
    }
    drop(progress);
    print(&format, &report)?;
    if !report.problems.is_empty() {
        let text = format!("{} damaged or missing", counted(report.problems.len(), "blob"));
        let failure = Failure::new(berth_engine::ErrorKind::Internal, text)
            .with_hint("load the image again: what is damaged has been taken out of the store");
        tally.take(Err::<(), _>(failure));
    }
    Ok(tally.exit_code())
}

fn print(format: &Format, report: &VerifyReport) -> Result<(), Failure> {
    let rows: Vec<Row> = report.problems.iter().map(row).collect();
    let text = match format {
        Format::Json => {
            let problems: Vec<Value> = rows.into_iter().map(|row| row.json).collect();
            let value = json!({
                "Images": report.images, "Blobs": report.blobs, "Problems": problems,
            });
            output::json(&value) + "\n"
        }
        Format::Default if rows.is_empty() => {
            let images = counted(report.images, "image");
            format!("{images}, {}: all are whole\n", counted(report.blobs, "blob"))
        }
        format => {
            let shown = vec!["Image", "Digest", "Problem"];
            let headings = Headings::Shown;
            Listing { format: format.clone(), columns: COLUMNS, shown, headings }.render(rows)?
        }
    };
    Ok(output::print(&text)?)
}

/// A number with the word for it.
fn counted(number: usize, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}

fn row(problem: &Problem) -> Row {
    let (text, actual) = match &problem.kind {
        ProblemKind::Missing => ("missing".to_owned(), None),
        ProblemKind::Damaged { actual } => ("has another digest".to_owned(), Some(actual)),
        ProblemKind::Unreadable { reason } => (format!("cannot be read: {reason}"), None),
        ProblemKind::DiffId { expected, actual } => {
            (format!("decompressed it is not {expected}"), Some(actual))
        }
        _ => ("damaged".to_owned(), None),
    };
    let mut fields = Map::new();
    fields.insert("Image".to_owned(), problem.image.clone().into());
    fields.insert("Digest".to_owned(), problem.digest.to_string().into());
    fields.insert("Problem".to_owned(), text.into());
    fields.insert("Actual".to_owned(), actual.map(ToString::to_string).into());
    Row::shown(fields)
}
