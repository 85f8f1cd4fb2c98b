//! The part of `tidy` that reads one source file: module documentation, and the size of files and functions.

use std::path::Path;

/// Past this many lines a file says why, in a line that contains `tidy: long file`.
const FILE_LINES: usize = 800;

/// Past this many lines a function says why, in a line above it that contains `tidy: long function`.
const FUNCTION_LINES: usize = 100;

/// Adds to `breaches` what breaks a rule in this file.
pub fn check(path: &Path, text: &str, breaches: &mut Vec<String>) {
    let shown = path.strip_prefix(".").unwrap_or(path).display();
    if !text.lines().any(|line| line.starts_with("//!")) {
        breaches.push(format!("{shown}: no `//!` line says what the module is for"));
    }
    let lines: Vec<&str> = text.lines().collect();
    // Unit tests at a file's end do not make the room larger.
    let code_lines = lines.iter().position(|line| *line == "#[cfg(test)]").unwrap_or(lines.len());
    if code_lines > FILE_LINES && !text.contains("tidy: long file") {
        breaches.push(format!("{shown}: {code_lines} lines; past {FILE_LINES} a file hides two"));
    }
    for (start, length) in functions(&lines) {
        let reasoned = lines[start.saturating_sub(12)..start]
            .iter()
            .any(|line| line.contains("tidy: long function"));
        if length > FUNCTION_LINES && !reasoned {
            breaches.push(format!("{shown}:{}: a function of {length} lines", start + 1));
        }
    }
}

/// Where each function starts and how many lines it has. rustfmt puts a function's closing brace
/// at the indentation of its first line, which spares a parser here.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indentation = line.len() - code.len();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "unsafe fn ",
            "pub unsafe fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|start| code.starts_with(start));
        if !is_function {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indentation));
        if let Some(length) = lines[index..].iter().position(|line| *line == closing) {
            found.push((index, length + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_function_is_a_breach_unless_it_says_why() {
        let body = "    let a = 1;\n".repeat(120);
        let mut breaches = Vec::new();
        check(Path::new("./a.rs"), &format!("//! A.\n\nfn long() {{\n{body}}}\n"), &mut breaches);
        assert_eq!(breaches, ["a.rs:3: a function of 122 lines"]);
        breaches.clear();
        let text = format!("//! A.\n\n// tidy: long function: a table\nfn long() {{\n{body}}}\n");
        check(Path::new("./a.rs"), &text, &mut breaches);
        assert!(breaches.is_empty());
    }

    #[test]
    fn a_module_without_its_purpose_is_a_breach() {
        let mut breaches = Vec::new();
        check(Path::new("./b.rs"), "fn short() {}\n", &mut breaches);
        assert_eq!(breaches, ["b.rs: no `//!` line says what the module is for"]);
    }
}
