//! What was found, as a text for people and as a section of a Markdown file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::contest::found;
use crate::options::{Section, Task};
use crate::statistics::Summary;

const HEADER: &str = "# Benchmarks\n\n`cargo xtask bench run` and `cargo xtask bench runtime` \
                      write the sections between the markers; edit outside of them.\n";

/// Everything that was found.
pub struct Report {
    task: Task,
    machine: Vec<(String, String)>,
    chapters: Vec<Chapter>,
}

/// What one section of the benchmark found.
pub struct Chapter {
    title: &'static str,
    introduction: String,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    bars: Vec<Bar>,
    notes: Vec<String>,
}

/// A figure that is to be reached.
struct Bar {
    what: String,
    at_most: String,
    found: String,
    met: bool,
}

impl Report {
    pub fn new(task: Task, machine: Vec<(String, String)>) -> Self {
        Self { task, machine, chapters: Vec::new() }
    }

    pub fn add(&mut self, chapter: Chapter) {
        self.chapters.push(chapter);
    }

    /// Adds what the machine was like at the end.
    pub fn conditions(&mut self, load: String) {
        self.machine.push(("Load after".to_owned(), load));
    }

    /// The section, which reads well as plain text, too.
    pub fn text(&self) -> String {
        let mut text = format!("## {}\n\n", self.task.title());
        let machine: Vec<Vec<String>> =
            self.machine.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
        table(&mut text, &["Machine", ""], &machine);
        for chapter in &self.chapters {
            let _ = write!(text, "\n### {}\n\n{}\n\n", chapter.title, chapter.introduction);
            table(&mut text, &chapter.header, &chapter.rows);
            if !chapter.bars.is_empty() {
                text.push('\n');
                let rows: Vec<Vec<String>> = chapter.bars.iter().map(Bar::row).collect();
                table(&mut text, &["Figure", "At most", "Found", ""], &rows);
            }
            for note in &chapter.notes {
                let _ = write!(text, "\n- {note}");
            }
            if !chapter.notes.is_empty() {
                text.push('\n');
            }
        }
        text
    }

    /// Puts the section between the markers of a file, which is made if it is not there.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let before = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HEADER.to_owned(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        fs::write(path, replace_section(&before, self.task.mark(), &self.text()))
            .with_context(|| format!("write {}", path.display()))
    }
}

/// Replaces what stands between the markers, or appends it with markers.
fn replace_section(text: &str, mark: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- {mark}: begin -->"), format!("<!-- {mark}: end -->"));
    let section = format!("{begin}\n{section}{end}");
    let around = text
        .split_once(&begin)
        .and_then(|(before, rest)| rest.split_once(&end).map(|(_, after)| (before, after)));
    match around {
        Some((before, after)) => format!("{before}{section}{after}"),
        None => format!("{}\n\n{section}\n", text.trim_end()),
    }
}

impl Chapter {
    pub fn new(section: Section, introduction: impl Into<String>, header: &[&'static str]) -> Self {
        Self {
            title: section.title(),
            introduction: introduction.into(),
            header: header.to_vec(),
            rows: Vec::new(),
            bars: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds one row a contestant; who failed becomes a note.
    pub fn contest(&mut self, results: &[(String, anyhow::Result<Summary>)]) {
        let first = results.iter().find_map(|(_, result)| result.as_ref().ok());
        for (name, result) in results {
            match result {
                Ok(summary) => self.row([
                    name.clone(),
                    milliseconds(summary.median),
                    milliseconds(summary.minimum),
                    milliseconds(summary.high),
                    first.map(|first| times(summary.ratio(first))).unwrap_or_default(),
                    milliseconds(summary.processor),
                    mebibytes(summary.peak),
                ]),
                Err(error) => self.note(format!("{name} failed: {error:#}")),
            }
        }
    }

    /// The columns of [`Self::contest`].
    pub const CONTEST: &[&'static str] =
        &["", "Median", "Minimum", "95 %", "× first", "Processor", "Peak memory"];

    /// A ratio of two contestants' medians that is to be reached.
    pub fn ratio_bar(
        &mut self,
        what: &str,
        results: &[(String, anyhow::Result<Summary>)],
        ours: &str,
        theirs: &str,
        at_most: f64,
    ) {
        match (found(results, ours), found(results, theirs)) {
            (Some(ours), Some(theirs)) => {
                let ratio = ours.ratio(theirs);
                self.bar(what, times(at_most), times(ratio), ratio <= at_most);
            }
            _ => self.note(format!("SKIPPED: {what}: not both of them ran")),
        }
    }

    pub fn bar(&mut self, what: &str, at_most: String, found: String, met: bool) {
        self.bars.push(Bar { what: what.to_owned(), at_most, found, met });
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

impl Bar {
    fn row(&self) -> Vec<String> {
        let verdict = if self.met { "met" } else { "**missed**" };
        vec![self.what.clone(), self.at_most.clone(), self.found.clone(), verdict.to_owned()]
    }
}

pub fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

pub fn kibibytes(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}

pub fn times(ratio: f64) -> String {
    format!("{ratio:.3}×")
}

/// Writes a table with columns that line up.
fn table(text: &mut String, header: &[&str], rows: &[Vec<String>]) {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = rows.iter().map(|row| cell(row, column).chars().count());
            cells.max().unwrap_or(0).max(name.chars().count()).max(3)
        })
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        for (text_of_cell, width) in cells.zip(&widths) {
            let _ = write!(text, "| {text_of_cell:<width$} ");
        }
        text.push_str("|\n");
    };
    line(&mut header.iter().map(|name| (*name).to_owned()));
    line(&mut widths.iter().map(|width| "-".repeat(*width)));
    for row in rows {
        line(&mut (0..header.len()).map(|column| cell(row, column)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let first = replace_section(HEADER, "mark", "one\n");
        assert!(first.starts_with("# Benchmarks"));
        let kept = format!("{first}\nwritten by hand\n");
        let second = replace_section(&kept, "mark", "two\n");
        assert!(!second.contains("one\n") && second.contains("two\n"));
        assert!(second.ends_with("written by hand\n"));
        assert_eq!(second.matches("mark: begin").count(), 1);
    }

    #[test]
    fn a_report_names_who_failed_and_which_figures_were_missed() {
        let mut chapter = Chapter::new(Section::Sizes, "", &["a", "b"]);
        chapter.row(["1".to_owned(), "2".to_owned()]);
        chapter.bar("size", "1".to_owned(), "2".to_owned(), false);
        chapter.contest(&[("x".to_owned(), Err(anyhow::anyhow!("broken")))]);
        let mut report = Report::new(Task::Run, vec![("Kernel".to_owned(), "6".to_owned())]);
        report.add(chapter);
        let text = report.text();
        assert!(text.contains("| 1   | 2   |"), "{text}");
        assert!(text.contains("**missed**") && text.contains("x failed: broken"), "{text}");
    }
}
