//! Counting what test programs report, skipped tests apart from passed ones.

use std::collections::BTreeSet;

/// What a run of tests came to.
#[derive(Debug, Default)]
pub struct Summary {
    passed: usize,
    failed: usize,
    /// Names of tests that said `SKIPPED: reason`, with the reason.
    skipped: BTreeSet<(String, String)>,
    ignored: usize,
    /// The test whose captured output is being read.
    section: Option<String>,
}

impl Summary {
    /// Takes one line of a test program's output; gives whether a person should see it.
    pub fn line(&mut self, line: &str) -> bool {
        if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.section = Some(name.to_owned());
        } else if let Some(reason) = line.trim_start().strip_prefix("SKIPPED: ") {
            let name = self.section.clone().unwrap_or_else(|| "?".to_owned());
            self.skipped.insert((name, reason.to_owned()));
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.section = None;
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
            return true;
        } else if line.starts_with("failures:") {
            self.section = Some("failures".to_owned());
        }
        let shown_section = self.section.as_deref().is_none_or(|name| name == "failures");
        shown_section || line.contains("panicked at") || line.starts_with("SKIPPED")
    }

    /// Takes a suite that counted for itself: its `ok`, `not ok` and `skip - name` lines.
    pub fn tap_line(&mut self, line: &str) {
        if line.starts_with("ok ") {
            self.passed += 1;
        } else if line.starts_with("not ok ") {
            self.failed += 1;
        } else if let Some(rest) = line.strip_prefix("skip - ") {
            self.skip(rest, "as the suite says");
        }
    }

    /// Notes something that could not be run.
    pub fn skip(&mut self, what: &str, reason: &str) {
        // A skip counted here was not counted as passed by a test program.
        self.passed += 1;
        self.skipped.insert((what.to_owned(), reason.to_owned()));
    }

    /// Notes a suite that ended badly without naming a failed test.
    pub fn fail(&mut self) {
        self.failed += 1;
    }

    /// Whether anything failed.
    pub fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Prints the skipped tests with their reasons and the closing line.
    pub fn print(&self) {
        let names: BTreeSet<&str> = self.skipped.iter().map(|(name, _)| name.as_str()).collect();
        for (name, reason) in &self.skipped {
            println!("skipped: {name}: {reason}");
        }
        let skipped = names.len() + self.ignored;
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed.saturating_sub(names.len()),
            self.failed,
            skipped
        );
    }
}

/// The number before `word` in libtest's `12 passed; 0 failed; …`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_do_not_count_as_passed() {
        let mut summary = Summary::default();
        for line in [
            "---- needs_runc stdout ----",
            "SKIPPED: runc is not installed",
            "test result: ok. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            summary.line(line);
        }
        assert_eq!((summary.passed, summary.failed, summary.skipped.len()), (3, 1, 1));
        assert!(summary.has_failed());
    }

    #[test]
    fn a_suite_that_counts_for_itself_is_added() {
        let mut summary = Summary::default();
        summary.tap_line("ok - a");
        summary.tap_line("not ok - b (want 1)");
        summary.tap_line("skip - c (no controller)");
        assert_eq!((summary.passed, summary.failed, summary.skipped.len()), (2, 1, 1));
    }
}
