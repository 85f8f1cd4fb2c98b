//! Word expansion (POSIX 2.6): parameters, command substitution, arithmetic, field splitting,
//! pathname expansion, quote removal.
//!
//! While a word is being expanded its text has the form of a pattern: what was quoted stands
//! behind backslashes, so that globbing sees which characters are literal. The backslashes go last.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::tree::{List, Operation, Part, Value, Word};
use super::{Leave, Shell, arithmetic};
use crate::outcome::Failure;
use crate::pattern;
use crate::sys::{self, Fork};

/// The fields that a word becomes.
#[derive(Default)]
struct Fields {
    done: Vec<Vec<u8>>,
    /// The field being made; `None` when nothing was added to it, not even empty quotes.
    current: Option<Vec<u8>>,
}

impl Fields {
    /// Adds text that stays as it is.
    fn add_quoted(&mut self, text: &[u8]) {
        let current = self.current.get_or_insert_default();
        for byte in text {
            if b"*?[]\\!-^".contains(byte) {
                current.push(b'\\');
            }
            current.push(*byte);
        }
    }

    /// Adds text whose pattern characters count.
    fn add_pattern(&mut self, text: &[u8]) {
        if !text.is_empty() {
            self.current.get_or_insert_default().extend(text);
        }
    }

    /// Adds an expansion's result from outside quotes, which is split into fields.
    fn add_split(&mut self, text: &[u8], separators: &[u8]) {
        for byte in text {
            if separators.contains(byte) {
                // Other separators than white space delimit empty fields too.
                match self.current.take() {
                    Some(field) => self.done.push(field),
                    None if !byte.is_ascii_whitespace() => self.done.push(Vec::new()),
                    None => {}
                }
                continue;
            }
            let current = self.current.get_or_insert_default();
            if *byte == b'\\' {
                current.push(b'\\');
            }
            current.push(*byte);
        }
    }

    /// Ends a field.
    fn end(&mut self) {
        self.done.extend(self.current.take());
    }
}

/// Whether results from outside quotes are split.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Splitting {
    Fields,
    None,
}

impl Shell {
    /// Expands words to arguments.
    pub(super) fn expand_words(&mut self, words: &[Word]) -> Result<Vec<Vec<u8>>, Leave> {
        let mut arguments = Vec::new();
        for word in words {
            let mut fields = Fields::default();
            self.expand_parts(word, Splitting::Fields, &mut fields)?;
            fields.end();
            for field in fields.done {
                if !self.settings.no_glob && pattern::is_pattern(&field) {
                    let found = glob(&field);
                    if !found.is_empty() {
                        arguments.extend(found);
                        continue;
                    }
                }
                arguments.push(pattern::unescape(&field));
            }
        }
        Ok(arguments)
    }

    /// Expands a word to one text, as in an assignment.
    pub(super) fn expand_single(&mut self, word: &Word) -> Result<Vec<u8>, Leave> {
        Ok(pattern::unescape(&self.expand_pattern(word)?))
    }

    /// Expands a word to one pattern.
    pub(super) fn expand_pattern(&mut self, word: &Word) -> Result<Vec<u8>, Leave> {
        let mut fields = Fields::default();
        self.expand_parts(word, Splitting::None, &mut fields)?;
        fields.end();
        Ok(fields.done.join(&b' '))
    }

    fn expand_parts(
        &mut self,
        word: &Word,
        splitting: Splitting,
        fields: &mut Fields,
    ) -> Result<(), Leave> {
        for (at, part) in word.iter().enumerate() {
            match part {
                Part::Quoted(text) => fields.add_quoted(text),
                Part::Plain(text) => {
                    let rest = text
                        .strip_prefix(b"~")
                        .filter(|rest| at == 0 && (rest.first().is_none_or(|byte| *byte == b'/')));
                    match (rest, self.value(b"HOME")) {
                        (Some(rest), Some(home)) => {
                            fields.add_quoted(home);
                            fields.add_pattern(rest);
                        }
                        _ => fields.add_pattern(text),
                    }
                }
                Part::Value { value, quoted } => {
                    self.expand_value(value, *quoted, splitting, fields)?;
                }
            }
        }
        Ok(())
    }

    fn expand_value(
        &mut self,
        value: &Value,
        quoted: bool,
        splitting: Splitting,
        fields: &mut Fields,
    ) -> Result<(), Leave> {
        let text = match value {
            Value::Command(list) => self.substitute(list)?,
            Value::Arithmetic(word) => {
                let text = self.expand_single(word)?;
                arithmetic::evaluate(&text, self)?.to_string().into_bytes()
            }
            Value::Parameter { name, operation } => {
                if matches!(name.as_slice(), b"@" | b"*") && matches!(operation, Operation::Get) {
                    self.add_positional(name, quoted, splitting, fields);
                    return Ok(());
                }
                if let Operation::Replace { operator, empty_too, word } = operation {
                    let known = self.parameter(name);
                    let set = known.is_some_and(|value| !(*empty_too && value.is_empty()));
                    let use_word = set == (*operator == b'+');
                    if use_word && matches!(operator, b'-' | b'+') {
                        return self.add_replacement(word, quoted, splitting, fields);
                    }
                }
                self.parameter_value(name, operation)?
            }
        };
        if quoted {
            fields.add_quoted(&text);
        } else if splitting == Splitting::None {
            fields.current.get_or_insert_default();
            fields.add_split(&text, b"");
        } else {
            let separators = self.value(b"IFS").unwrap_or(b" \t\n").to_vec();
            fields.add_split(&text, &separators);
        }
        Ok(())
    }

    /// Adds the word of `${name-word}`, which keeps its own quoting.
    fn add_replacement(
        &mut self,
        word: &Word,
        quoted: bool,
        splitting: Splitting,
        fields: &mut Fields,
    ) -> Result<(), Leave> {
        if !quoted {
            return self.expand_parts(word, splitting, fields);
        }
        let text = self.expand_single(word)?;
        fields.add_quoted(&text);
        Ok(())
    }

    /// Adds `$@` or `$*`.
    fn add_positional(
        &mut self,
        name: &[u8],
        quoted: bool,
        splitting: Splitting,
        fields: &mut Fields,
    ) {
        let separators = self.value(b"IFS").unwrap_or(b" \t\n").to_vec();
        if (quoted && name == b"*") || splitting == Splitting::None {
            let separator: &[u8] = separators.get(..1).unwrap_or_default();
            let joined = self.positional.join(separator);
            fields.add_quoted(&joined);
            return;
        }
        for (at, text) in self.positional.iter().enumerate() {
            if at > 0 {
                fields.end();
            }
            if quoted {
                fields.add_quoted(text);
            } else {
                fields.add_split(text, &separators);
            }
        }
    }

    /// A parameter's value, if it is set.
    fn parameter(&self, name: &[u8]) -> Option<Vec<u8>> {
        let number = |value: usize| Some(value.to_string().into_bytes());
        match name {
            b"?" => number(usize::from(self.status)),
            b"$" => self.value(b"$").map(<[u8]>::to_vec).or_else(|| {
                // Subshells keep the number of the shell that made them.
                number(usize::try_from(std::process::id()).unwrap_or_default())
            }),
            b"!" => self.last_background.map(|pid| pid.to_string().into_bytes()),
            b"#" => number(self.positional.len()),
            b"0" => Some(self.name.clone()),
            b"-" => {
                let set = [
                    (self.settings.exit_on_error, b'e'),
                    (self.settings.unset_is_error, b'u'),
                    (self.settings.trace, b'x'),
                    (self.settings.no_glob, b'f'),
                    (self.interactive, b'i'),
                ];
                Some(set.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect())
            }
            b"@" | b"*" => (!self.positional.is_empty()).then(|| self.positional.join(&b' ')),
            [b'1'..=b'9', ..] => {
                let index: usize = std::str::from_utf8(name).ok()?.parse().ok()?;
                self.positional.get(index.checked_sub(1)?).cloned()
            }
            name => self.value(name).map(<[u8]>::to_vec),
        }
    }

    /// The result of `${...}`.
    fn parameter_value(&mut self, name: &[u8], operation: &Operation) -> Result<Vec<u8>, Leave> {
        let display = OsStr::from_bytes(name).display().to_string();
        let known = self.parameter(name);
        if let Operation::Replace { operator, empty_too, word } = operation {
            let set = known.as_ref().is_some_and(|value| !(*empty_too && value.is_empty()));
            if set {
                return Ok(if *operator == b'+' { Vec::new() } else { known.unwrap_or_default() });
            }
            if *operator == b'+' {
                return Ok(Vec::new());
            }
            let text = self.expand_single(word)?;
            if *operator == b'?' {
                let text =
                    if text.is_empty() { "not set".into() } else { String::from_utf8_lossy(&text) };
                // A missing parameter ends a script, whatever its place.
                self.status = self.complain(&Failure::usage(format!("{display}: {text}")));
                return Err(if self.interactive {
                    Leave::Error(Failure::usage("stopped"))
                } else {
                    Leave::Exit(2)
                });
            }
            self.assign(name, text.clone())?;
            return Ok(text);
        }
        let Some(value) = known else {
            if self.settings.unset_is_error {
                return Err(Failure::usage(format!("{display}: not set")).into());
            }
            return Ok(if matches!(operation, Operation::Length) {
                b"0".to_vec()
            } else {
                Vec::new()
            });
        };
        Ok(match operation {
            Operation::Length => String::from_utf8_lossy(&value).chars().count().to_string().into(),
            Operation::Strip { operator, longest, pattern } => {
                let pattern = self.expand_pattern(pattern)?;
                strip(&value, &pattern, *operator, *longest)
            }
            Operation::Get | Operation::Replace { .. } => value,
        })
    }

    /// Runs a list and gives what it prints, without the newlines at its end.
    fn substitute(&mut self, list: &List) -> Result<Vec<u8>, Leave> {
        let (read, write) = sys::pipe()?;
        match self.fork()? {
            Fork::Child => {
                drop(read);
                let status = match sys::redirect(std::os::fd::AsFd::as_fd(&write), 1) {
                    Ok(()) => self.run_as_child(|shell| shell.run_list(list)),
                    Err(_) => 1,
                };
                sys::exit_now(status)
            }
            Fork::Parent(child) => {
                drop(write);
                let mut text = Vec::new();
                fs::File::from(read).read_to_end(&mut text)?;
                self.substituted = Some(self.wait_for(child)?);
                while text.last() == Some(&b'\n') {
                    text.pop();
                }
                text.retain(|byte| *byte != 0);
                Ok(text)
            }
        }
    }
}

/// Removes what a pattern matches at the start or the end of a value.
fn strip(value: &[u8], wanted: &[u8], operator: u8, longest: bool) -> Vec<u8> {
    // Lengths of what is removed, in the order of preference.
    let mut lengths: Vec<usize> = (0..=value.len()).collect();
    if longest {
        lengths.reverse();
    }
    for length in lengths {
        let (part, rest) = if operator == b'#' {
            value.split_at(length)
        } else {
            let (rest, part) = value.split_at(value.len() - length);
            (part, rest)
        };
        if pattern::matches(wanted, part) {
            return rest.to_vec();
        }
    }
    value.to_vec()
}

/// The paths that match a pattern, sorted.
fn glob(wanted: &[u8]) -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = vec![Vec::new()];
    let mut parts = wanted.split(|byte| *byte == b'/').peekable();
    if wanted.first() == Some(&b'/') {
        parts.next();
        paths = vec![b"/".to_vec()];
    }
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let mut next = Vec::new();
        for path in &paths {
            if !pattern::is_pattern(part) {
                let joined = join(path, &pattern::unescape(part), last);
                if fs::symlink_metadata(PathBuf::from(OsStr::from_bytes(&joined))).is_ok() {
                    next.push(joined);
                }
                continue;
            }
            let directory: &[u8] = if path.is_empty() { b"." } else { path };
            let Ok(entries) = fs::read_dir(OsStr::from_bytes(directory)) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name());
            for name in names {
                let name = name.as_bytes();
                let hidden = name.first() == Some(&b'.') && part.first() != Some(&b'.');
                if !hidden && pattern::matches(part, name) {
                    next.push(join(path, name, last));
                }
            }
        }
        paths = next;
    }
    paths.sort();
    paths
}

/// Adds a name to a path that ends in a slash, or is empty.
fn join(path: &[u8], name: &[u8], last: bool) -> Vec<u8> {
    let slash: &[u8] = if last || name.is_empty() { b"" } else { b"/" };
    [path, name, slash].concat()
}
