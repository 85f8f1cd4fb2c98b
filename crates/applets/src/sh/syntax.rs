//! Reads shell text into the tree (POSIX 2.2 quoting, 2.3 tokens, 2.10 grammar).
//!
//! The parser works on the text itself, without a separate list of tokens, since what a character
//! means depends on the place it stands in.

use super::tree::{
    Command, Connector, Item, Kind, List, Mode, Operation, Part, Pipeline, Redirection, Simple,
    Value, Word,
};
use crate::outcome::Failure;

/// Words that end a list where a command would start.
const CLOSERS: [&[u8]; 9] = [b"then", b"elif", b"else", b"fi", b"do", b"done", b"esac", b"}", b")"];

/// Reads a text.
pub struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    more: bool,
}

impl<'a> Parser<'a> {
    /// A parser at the start of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, more: false }
    }

    /// Whether the last error was that the text ended too early.
    pub fn wants_more(&self) -> bool {
        self.more
    }

    /// The commands of the next line that has any; `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<List>, Failure> {
        self.skip_lines()?;
        if self.peek().is_none() {
            return Ok(None);
        }
        let mut list = List::new();
        loop {
            list.push(self.item()?);
            self.skip_blanks();
            match self.peek() {
                None | Some(b'\n') => return Ok(Some(list)),
                _ if self.at_closer().is_some() => return Err(self.unexpected()),
                _ => {}
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes a text when it comes next.
    fn take(&mut self, wanted: &[u8]) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// An error about what comes next.
    fn unexpected(&mut self) -> Failure {
        let rest = self.rest();
        if rest.is_empty() {
            return self.ended("a command");
        }
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let word = String::from_utf8_lossy(rest.get(..end.max(1)).unwrap_or_default());
        let word = if word == "\n" { "end of line".into() } else { word };
        let line = 1 + self.text.iter().take(self.at).filter(|byte| **byte == b'\n').count();
        Failure::usage(format!("syntax error in line {line}: unexpected {word}"))
    }

    /// An error about the text's end.
    fn ended(&mut self, inside: &str) -> Failure {
        self.more = true;
        Failure::usage(format!("syntax error: the text ends inside {inside}"))
    }

    /// Skips blanks, comments and escaped newlines.
    fn skip_blanks(&mut self) {
        loop {
            match self.rest() {
                [b' ' | b'\t' | b'\r', ..] => self.at += 1,
                [b'\\', b'\n', ..] => self.at += 2,
                [b'#', ..] => {
                    let rest = self.rest();
                    self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    /// Skips blanks and newlines.
    fn skip_lines(&mut self) -> Result<(), Failure> {
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(b'\n') => self.at += 1,
                Some(0) => return Err(Failure::usage("the text is binary")),
                _ => return Ok(()),
            }
        }
    }

    /// The word that comes next, if it is made of plain characters only.
    fn plain_word(&self) -> &'a [u8] {
        let rest = self.rest();
        let end = rest.iter().position(|byte| b" \t\r\n;&|()<>'\"\\$`".contains(byte));
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    }

    /// The word, if it is one that ends a list.
    fn at_closer(&self) -> Option<&'a [u8]> {
        if self.peek() == Some(b')') {
            return self.rest().get(..1);
        }
        if self.rest().starts_with(b";;") {
            return self.rest().get(..2);
        }
        let word = self.plain_word();
        CLOSERS.contains(&word).then_some(word)
    }

    /// Takes a reserved word, or says that it is missing.
    fn expect(&mut self, word: &[u8]) -> Result<(), Failure> {
        self.skip_lines()?;
        let next = if word == b")" { self.rest().get(..1) } else { Some(self.plain_word()) };
        if next == Some(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.unexpected())
    }

    /// The list inside a compound command, up to a word that ends it.
    fn inner_list(&mut self) -> Result<List, Failure> {
        let mut list = List::new();
        loop {
            self.skip_lines()?;
            if self.peek().is_none() {
                return Err(self.ended("a compound command"));
            }
            if self.at_closer().is_some() {
                if list.is_empty() {
                    return Err(self.unexpected());
                }
                return Ok(list);
            }
            list.push(self.item()?);
        }
    }

    /// Pipelines joined by `&&` and `||`, with the separator that follows.
    fn item(&mut self) -> Result<Item, Failure> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.skip_blanks();
            let connector = if self.take(b"&&") {
                Connector::And
            } else if self.take(b"||") {
                Connector::Or
            } else {
                break;
            };
            self.skip_lines()?;
            rest.push((connector, self.pipeline()?));
        }
        let background = self.peek() == Some(b'&');
        let separated = self.peek() == Some(b';') && !self.rest().starts_with(b";;");
        if background || separated {
            self.at += 1;
        } else if !matches!(self.peek(), None | Some(b'\n' | b')')) && self.at_closer().is_none() {
            return Err(self.unexpected());
        }
        Ok(Item { first, rest, background })
    }

    fn pipeline(&mut self) -> Result<Pipeline, Failure> {
        self.skip_blanks();
        let mut negated = false;
        while self.plain_word() == b"!" {
            self.at += 1;
            negated = !negated;
            self.skip_blanks();
        }
        let mut commands = vec![self.command()?];
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'|') || self.rest().starts_with(b"||") {
                return Ok(Pipeline { negated, commands });
            }
            self.at += 1;
            self.skip_lines()?;
            commands.push(self.command()?);
        }
    }

    /// A command with its redirections.
    fn command(&mut self) -> Result<Command, Failure> {
        self.skip_blanks();
        if self.peek() == Some(b'(') {
            self.at += 1;
            let list = self.inner_list()?;
            self.expect(b")")?;
            return self.with_redirections(Kind::Subshell(list));
        }
        let word = self.plain_word();
        if !self.rest().get(word.len()..).is_some_and(starts_quoting) {
            let start = self.at;
            self.at += word.len();
            match word {
                b"{" => {
                    let list = self.inner_list()?;
                    self.expect(b"}")?;
                    return self.with_redirections(Kind::Group(list));
                }
                b"if" => {
                    let kind = self.if_command()?;
                    return self.with_redirections(kind);
                }
                b"while" | b"until" => {
                    let condition = self.inner_list()?;
                    let body = self.do_group()?;
                    let until = word == b"until";
                    return self.with_redirections(Kind::While { until, condition, body });
                }
                b"for" => {
                    let kind = self.for_command()?;
                    return self.with_redirections(kind);
                }
                b"case" => {
                    let kind = self.case_command()?;
                    return self.with_redirections(kind);
                }
                _ => self.at = start,
            }
            if let Some(function) = self.function(word)? {
                return Ok(function);
            }
        }
        self.simple()
    }

    /// `name() command`, if that comes next.
    fn function(&mut self, name: &[u8]) -> Result<Option<Command>, Failure> {
        let start = self.at;
        self.at += name.len();
        self.skip_blanks();
        if !is_name(name) || !self.take(b"(") {
            self.at = start;
            return Ok(None);
        }
        self.skip_blanks();
        if !self.take(b")") {
            return Err(self.unexpected());
        }
        self.skip_lines()?;
        let body = Box::new(self.command()?);
        let kind = Kind::Function { name: name.to_vec(), body };
        Ok(Some(Command { kind, redirections: Vec::new() }))
    }

    fn with_redirections(&mut self, kind: Kind) -> Result<Command, Failure> {
        let mut redirections = Vec::new();
        loop {
            self.skip_blanks();
            match self.redirection()? {
                Some(redirection) => redirections.push(redirection),
                None => return Ok(Command { kind, redirections }),
            }
        }
    }

    fn if_command(&mut self) -> Result<Kind, Failure> {
        let mut branches = Vec::new();
        loop {
            let condition = self.inner_list()?;
            self.expect(b"then")?;
            branches.push((condition, self.inner_list()?));
            let word = self.plain_word();
            self.at += word.len();
            match word {
                b"elif" => {}
                b"else" => {
                    let otherwise = Some(self.inner_list()?);
                    self.expect(b"fi")?;
                    return Ok(Kind::If { branches, otherwise });
                }
                b"fi" => return Ok(Kind::If { branches, otherwise: None }),
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn do_group(&mut self) -> Result<List, Failure> {
        self.expect(b"do")?;
        let body = self.inner_list()?;
        self.expect(b"done")?;
        Ok(body)
    }

    fn for_command(&mut self) -> Result<Kind, Failure> {
        self.skip_blanks();
        let name = self.plain_word();
        if !is_name(name) {
            return Err(self.unexpected());
        }
        self.at += name.len();
        self.skip_lines()?;
        let mut words = None;
        if self.plain_word() == b"in" {
            self.at += 2;
            let mut found = Vec::new();
            loop {
                self.skip_blanks();
                match self.word()? {
                    Some(word) => found.push(word),
                    None => break,
                }
            }
            words = Some(found);
        }
        self.skip_blanks();
        if self.peek() == Some(b';') {
            self.at += 1;
        }
        let body = self.do_group()?;
        Ok(Kind::For { name: name.to_vec(), words, body })
    }

    fn case_command(&mut self) -> Result<Kind, Failure> {
        self.skip_blanks();
        let word = self.word()?.ok_or_else(|| self.unexpected())?;
        self.expect(b"in")?;
        let mut arms = Vec::new();
        loop {
            self.skip_lines()?;
            if self.peek().is_none() {
                return Err(self.ended("case"));
            }
            if self.plain_word() == b"esac" {
                self.at += 4;
                return Ok(Kind::Case { word, arms });
            }
            if self.peek() == Some(b'(') {
                self.at += 1;
            }
            let mut patterns = Vec::new();
            loop {
                self.skip_blanks();
                patterns.push(self.word()?.ok_or_else(|| self.unexpected())?);
                self.skip_blanks();
                if !self.take(b"|") {
                    break;
                }
            }
            if !self.take(b")") {
                return Err(self.unexpected());
            }
            self.skip_lines()?;
            let empty = self.rest().starts_with(b";;") || self.plain_word() == b"esac";
            arms.push((patterns, if empty { List::new() } else { self.inner_list()? }));
            self.skip_lines()?;
            if !self.take(b";;") && self.plain_word() != b"esac" {
                return Err(self.unexpected());
            }
        }
    }

    fn simple(&mut self) -> Result<Command, Failure> {
        let mut simple = Simple::default();
        let mut redirections = Vec::new();
        loop {
            self.skip_blanks();
            if let Some(redirection) = self.redirection()? {
                redirections.push(redirection);
                continue;
            }
            if simple.words.is_empty()
                && let Some(name) = self.assignment_name()
            {
                self.at += name.len() + 1;
                let value = self.word()?.unwrap_or_default();
                simple.assignments.push((name.to_vec(), value));
                continue;
            }
            match self.word()? {
                Some(word) => simple.words.push(word),
                None => break,
            }
        }
        if simple.words.is_empty() && simple.assignments.is_empty() && redirections.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Command { kind: Kind::Simple(simple), redirections })
    }

    /// The name before a `=` that makes an assignment.
    fn assignment_name(&self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))?;
        let name = rest.get(..end)?;
        (rest.get(end) == Some(&b'=') && is_name(name)).then_some(name)
    }

    /// A redirection, if one comes next.
    fn redirection(&mut self) -> Result<Option<Redirection>, Failure> {
        let rest = self.rest();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let Some(&direction @ (b'<' | b'>')) = rest.get(digits) else { return Ok(None) };
        let number = std::str::from_utf8(rest.get(..digits).unwrap_or_default()).unwrap_or("");
        let default = i32::from(direction == b'>');
        let descriptor = if digits == 0 { default } else { number.parse().unwrap_or(-1) };
        if !(0..10).contains(&descriptor) {
            return Err(Failure::usage(format!(
                "descriptor {number} is not supported: 0 to 9 are"
            )));
        }
        self.at += digits + 1;
        let mode = match (direction, self.peek()) {
            (b'<', Some(b'<')) => {
                return Err(Failure::usage("here-documents (<<) are not supported"));
            }
            (b'<', Some(b'>')) => Mode::ReadWrite,
            (_, Some(b'&')) => Mode::Duplicate,
            (b'>', Some(b'>')) => Mode::Append,
            (b'>', Some(b'|')) => {
                self.at += 1;
                Mode::Write
            }
            (b'>', _) => Mode::Write,
            _ => Mode::Read,
        };
        if matches!(mode, Mode::ReadWrite | Mode::Duplicate | Mode::Append) {
            self.at += 1;
        }
        self.skip_blanks();
        let target = self.word()?.ok_or_else(|| self.unexpected())?;
        Ok(Some(Redirection { descriptor, mode, target }))
    }

    /// A word, if one comes next.
    fn word(&mut self) -> Result<Option<Word>, Failure> {
        let word = self.parts(Place::Command)?;
        Ok((!word.is_empty()).then_some(word))
    }

    /// The parts of a word, up to where its place ends it.
    fn parts(&mut self, place: Place) -> Result<Word, Failure> {
        let mut parts = Word::new();
        let mut plain = Vec::new();
        let mut open_parentheses = 0_usize;
        let flush = |plain: &mut Vec<u8>, parts: &mut Word| {
            if !plain.is_empty() {
                parts.push(match place {
                    Place::Quotes => Part::Quoted(std::mem::take(plain)),
                    _ => Part::Plain(std::mem::take(plain)),
                });
            }
        };
        loop {
            let Some(byte) = self.peek() else {
                if let Some(inside) = place.unfinished() {
                    return Err(self.ended(inside));
                }
                break;
            };
            if place.ends_at(byte) {
                break;
            }
            match byte {
                b')' if place == Place::Arithmetic && open_parentheses == 0 => break,
                b'(' | b')' if place == Place::Arithmetic => {
                    open_parentheses = match byte {
                        b'(' => open_parentheses + 1,
                        _ => open_parentheses - 1,
                    };
                    plain.push(byte);
                    self.at += 1;
                }
                b'\\' => {
                    self.at += 1;
                    let Some(next) = self.peek() else { return Err(self.ended("an escape")) };
                    self.at += 1;
                    let escapes = place != Place::Quotes || b"$`\"\\\n".contains(&next);
                    if next == b'\n' && escapes {
                        continue;
                    }
                    flush(&mut plain, &mut parts);
                    let text = if escapes { vec![next] } else { vec![b'\\', next] };
                    parts.push(Part::Quoted(text));
                }
                b'\'' if place != Place::Quotes => {
                    flush(&mut plain, &mut parts);
                    self.at += 1;
                    let rest = self.rest();
                    let Some(end) = rest.iter().position(|byte| *byte == b'\'') else {
                        self.at = self.text.len();
                        return Err(self.ended("single quotes"));
                    };
                    parts.push(Part::Quoted(rest.get(..end).unwrap_or_default().to_vec()));
                    self.at += end + 1;
                }
                b'"' if place != Place::Quotes => {
                    flush(&mut plain, &mut parts);
                    self.at += 1;
                    let inner = self.parts(Place::Quotes)?;
                    self.at += 1;
                    // Empty quotes still make a word.
                    if inner.is_empty() {
                        parts.push(Part::Quoted(Vec::new()));
                    }
                    parts.extend(inner);
                }
                b'$' => match self.dollar()? {
                    Some(value) => {
                        flush(&mut plain, &mut parts);
                        parts.push(Part::Value { value, quoted: place == Place::Quotes });
                    }
                    None => plain.push(b'$'),
                },
                b'`' => {
                    return Err(Failure::usage("backquotes are not supported: use $(...)"));
                }
                other => {
                    plain.push(other);
                    self.at += 1;
                }
            }
        }
        flush(&mut plain, &mut parts);
        Ok(parts)
    }

    /// What a `$` stands for; `None` for itself.
    fn dollar(&mut self) -> Result<Option<Value>, Failure> {
        self.at += 1;
        if self.rest().starts_with(b"((") {
            let start = self.at;
            self.at += 2;
            let word = self.parts(Place::Arithmetic)?;
            if self.take(b"))") {
                return Ok(Some(Value::Arithmetic(word)));
            }
            self.at = start;
        }
        if self.take(b"(") {
            self.skip_lines()?;
            let list = if self.peek() == Some(b')') { List::new() } else { self.inner_list()? };
            self.expect(b")")?;
            return Ok(Some(Value::Command(list)));
        }
        if self.take(b"{") {
            return self.braces().map(Some);
        }
        let name = self.parameter_name();
        if name.is_empty() {
            return Ok(None);
        }
        // Without braces only one digit counts.
        let digit = name.first().is_some_and(u8::is_ascii_digit);
        let name = if digit { name.get(..1).unwrap_or_default() } else { name };
        self.at += name.len();
        Ok(Some(Value::Parameter { name: name.to_vec(), operation: Operation::Get }))
    }

    /// The parameter's name that comes next; empty if there is none.
    fn parameter_name(&self) -> &'a [u8] {
        let rest = self.rest();
        match rest.first() {
            Some(b'@' | b'*' | b'#' | b'?' | b'$' | b'!' | b'-') => {
                rest.get(..1).unwrap_or_default()
            }
            Some(b'0'..=b'9') => {
                let end = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest.get(..end).unwrap_or_default()
            }
            _ => {
                let letter = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
                rest.get(..rest.iter().take_while(letter).count()).unwrap_or_default()
            }
        }
    }

    /// What stands between `${` and `}`.
    fn braces(&mut self) -> Result<Value, Failure> {
        let rest = self.rest();
        let length = rest.first() == Some(&b'#') && !matches!(rest.get(1), None | Some(b'}'));
        if length {
            self.at += 1;
        }
        let name = self.parameter_name().to_vec();
        if name.is_empty() {
            return Err(self.unexpected());
        }
        self.at += name.len();
        if length || self.peek() == Some(b'}') {
            if !self.take(b"}") {
                return Err(self.unexpected());
            }
            let operation = if length { Operation::Length } else { Operation::Get };
            return Ok(Value::Parameter { name, operation });
        }
        let empty_too = self.take(b":");
        let Some(operator) = self.peek() else { return Err(self.ended("${...}")) };
        self.at += 1;
        let operation = match operator {
            b'-' | b'=' | b'+' | b'?' => {
                Operation::Replace { operator, empty_too, word: self.parts(Place::Braces)? }
            }
            b'#' | b'%' if !empty_too => {
                let longest = self.take(&[operator]);
                Operation::Strip { operator, longest, pattern: self.parts(Place::Braces)? }
            }
            other => {
                let (name, other) = (String::from_utf8_lossy(&name), char::from(other));
                return Err(Failure::usage(format!("${{{name}{other}...}} is not supported")));
            }
        };
        if !self.take(b"}") {
            return Err(self.ended("${...}"));
        }
        Ok(Value::Parameter { name, operation })
    }
}

/// Where a word stands, which decides where it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Among the words of a command.
    Command,
    /// In double quotes.
    Quotes,
    /// In `${...}`.
    Braces,
    /// In `$((...))`.
    Arithmetic,
}

impl Place {
    fn ends_at(self, byte: u8) -> bool {
        match self {
            Self::Command => b" \t\r\n;&|()<>".contains(&byte),
            Self::Quotes => byte == b'"',
            Self::Braces => byte == b'}',
            Self::Arithmetic => false,
        }
    }

    fn unfinished(self) -> Option<&'static str> {
        match self {
            Self::Command => None,
            Self::Quotes => Some("double quotes"),
            Self::Braces => Some("${...}"),
            Self::Arithmetic => Some("$((...))"),
        }
    }
}

/// Whether a text goes on with something that makes the word before it longer.
fn starts_quoting(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| b"'\"\\$`".contains(byte))
}

/// Whether a text can name a variable.
pub fn is_name(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
