//! `--format` templates: a small, documented part of Go's text/template.
//!
//! What is understood: text with `\n` and `\t`; `{{.}}`, `{{.Field}}` and dotted paths
//! `{{.State.Status}}`; string and whole-number literals; the functions `json`, `upper`, `lower`,
//! `title`, `len`, `index`, `join` and `println`; pipes between them; `{{-` and `-}}` to trim. A
//! template is applied to each row, so there is no `range`. Anything else is refused by name when
//! the template is parsed, before anything has been done.

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Action(Vec<Call>),
}

/// One stage of a pipe: a function with its operands, or a lone operand.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    function: Option<Function>,
    operands: Vec<Operand>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    /// `.A.B`; no segment at all for `.`.
    Path(Vec<String>),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    Json,
    Upper,
    Lower,
    Title,
    Len,
    Index,
    Join,
    Println,
}

const FUNCTIONS: [(&str, Function); 8] = [
    ("json", Function::Json),
    ("upper", Function::Upper),
    ("lower", Function::Lower),
    ("title", Function::Title),
    ("len", Function::Len),
    ("index", Function::Index),
    ("join", Function::Join),
    ("println", Function::Println),
];

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum TemplateError {
    /// An action is not closed.
    #[error("the template has `{{{{` without `}}}}` in `{0}`")]
    Unclosed(String),
    /// An empty action.
    #[error("the template has an empty action `{{{{}}}}`")]
    Empty,
    /// A word that is neither a field, a literal nor a function.
    #[error(
        "the template uses `{0}`, which is not supported: fields (.Name), dotted paths and the \
         functions json, upper, lower, title, len, index, join and println are"
    )]
    Unsupported(String),
    /// A string literal without its end.
    #[error("the template has a string without its closing quote: {0}")]
    UnclosedString(String),
    /// A field that the row does not have.
    #[error("there is no field `.{path}`; there {} {}", if fields.contains(' ') { "are" } else { "is" }, fields)]
    NoSuchField {
        /// The path as written.
        path: String,
        /// What could have been written instead.
        fields: String,
    },
    /// A function with operands that it cannot use.
    #[error("`{function}` in the template needs {expected}")]
    Operands {
        /// The function.
        function: &'static str,
        /// What it takes.
        expected: &'static str,
    },
}

impl berth_engine::EngineError for TemplateError {
    fn kind(&self) -> berth_engine::ErrorKind {
        berth_engine::ErrorKind::Invalid
    }
}

impl Template {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut trim_next = false;
        while let Some(start) = rest.find("{{") {
            let mut before = &rest[..start];
            let body = &rest[start + 2..];
            let end = closing(body).ok_or_else(|| TemplateError::Unclosed(rest[start..].into()))?;
            let mut action = &body[..end];
            if trim_next {
                before = before.trim_start();
            }
            if let Some(trimmed) = action.strip_prefix("- ") {
                before = before.trim_end();
                action = trimmed;
            }
            trim_next = action.ends_with(" -");
            action = action.strip_suffix(" -").unwrap_or(action).trim();
            push_text(&mut parts, before);
            if !(action.starts_with("/*") && action.ends_with("*/")) {
                parts.push(Part::Action(parse_action(action)?));
            }
            rest = &body[end + 2..];
        }
        push_text(&mut parts, if trim_next { rest.trim_start() } else { rest });
        Ok(Self { parts })
    }

    /// The text of the template for `row`.
    pub fn render(&self, row: &Value) -> Result<String, TemplateError> {
        self.evaluate(|calls| {
            let mut piped = None;
            for call in calls {
                piped = Some(call.evaluate(row, piped)?);
            }
            Ok(piped.as_ref().map(display).unwrap_or_default())
        })
    }

    /// The headings over the columns that the template makes; `heading` names a field's.
    pub fn headings(&self, heading: impl Fn(&str) -> Option<String>) -> String {
        let text = self.evaluate(|calls| {
            let path = calls.iter().flat_map(|call| &call.operands).find_map(|operand| {
                let Operand::Path(path) = operand else { return None };
                let last = path.last()?;
                heading(path.first()?).or_else(|| Some(last.to_uppercase()))
            });
            Ok(path.unwrap_or_default())
        });
        text.unwrap_or_default()
    }

    fn evaluate(
        &self,
        mut action: impl FnMut(&[Call]) -> Result<String, TemplateError>,
    ) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Action(calls) => text.push_str(&action(calls)?),
            }
        }
        Ok(text)
    }
}

/// Where the action that begins `body` ends; `}}` within a string does not end it.
fn closing(body: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '"' || character == '`' => quote = Some(character),
            None if body[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.replace("\\n", "\n").replace("\\t", "\t")));
    }
}

fn parse_action(action: &str) -> Result<Vec<Call>, TemplateError> {
    let words = words(action)?;
    if words.is_empty() {
        return Err(TemplateError::Empty);
    }
    words.split(|word| *word == "|").map(parse_call).collect()
}

fn parse_call(words: &[&str]) -> Result<Call, TemplateError> {
    let (first, others) = words.split_first().ok_or(TemplateError::Empty)?;
    if let Some((_, function)) = FUNCTIONS.iter().find(|(name, _)| name == first) {
        let operands = others.iter().map(|word| parse_operand(word)).collect::<Result<_, _>>()?;
        return Ok(Call { function: Some(*function), operands });
    }
    let operand = parse_operand(first)?;
    match others.first() {
        Some(extra) => Err(TemplateError::Unsupported((*extra).to_owned())),
        None => Ok(Call { function: None, operands: vec![operand] }),
    }
}

fn parse_operand(word: &str) -> Result<Operand, TemplateError> {
    let unsupported = || TemplateError::Unsupported(word.to_owned());
    if let Some(path) = word.strip_prefix('.') {
        let segments: Vec<String> =
            path.split('.').filter(|_| !path.is_empty()).map(str::to_owned).collect();
        let name = |segment: &String| {
            !segment.is_empty() && segment.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        return segments
            .iter()
            .all(name)
            .then_some(Operand::Path(segments))
            .ok_or_else(unsupported);
    }
    if word.starts_with('"') {
        return serde_json::from_str(word).map(Operand::Literal).map_err(|_| unsupported());
    }
    if let Some(raw) = word.strip_prefix('`') {
        return Ok(Operand::Literal(raw.trim_end_matches('`').into()));
    }
    word.parse::<i64>().map(|number| Operand::Literal(number.into())).map_err(|_| unsupported())
}

/// The words of an action: blanks separate them, `|` is one of its own, strings stay whole.
fn words(action: &str) -> Result<Vec<&str>, TemplateError> {
    let mut words = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' => 1,
            '"' | '`' => string_length(rest, first)?,
            _ => rest.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(rest.len()),
        };
        let (word, tail) = rest.split_at(length);
        words.push(word);
        rest = tail.trim_start();
    }
    Ok(words)
}

fn string_length(text: &str, quote: char) -> Result<usize, TemplateError> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if character == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(TemplateError::UnclosedString(text.to_owned()))
}

impl Call {
    fn evaluate(&self, row: &Value, piped: Option<Value>) -> Result<Value, TemplateError> {
        let mut values = self
            .operands
            .iter()
            .map(|operand| match operand {
                Operand::Literal(value) => Ok(value.clone()),
                Operand::Path(path) => look_up(row, path),
            })
            .collect::<Result<Vec<_>, _>>()?;
        values.extend(piped);
        match self.function {
            None => match <[Value; 1]>::try_from(values) {
                Ok([value]) => Ok(value),
                Err(values) => {
                    Err(TemplateError::Unsupported(values.first().map(display).unwrap_or_default()))
                }
            },
            Some(function) => function.call(&values),
        }
    }
}

impl Function {
    fn call(self, values: &[Value]) -> Result<Value, TemplateError> {
        let function = FUNCTIONS.iter().find(|(_, f)| *f == self).map_or("", |(name, _)| name);
        let wrong = |expected| TemplateError::Operands { function, expected };
        match (self, values) {
            (Self::Json, [value]) => Ok(value.to_string().into()),
            (Self::Upper, [value]) => Ok(display(value).to_uppercase().into()),
            (Self::Lower, [value]) => Ok(display(value).to_lowercase().into()),
            (Self::Title, [value]) => Ok(title(&display(value)).into()),
            (Self::Len, [Value::String(text)]) => Ok(text.len().into()),
            (Self::Len, [Value::Array(items)]) => Ok(items.len().into()),
            (Self::Len, [Value::Object(members)]) => Ok(members.len().into()),
            (Self::Len, [Value::Null]) => Ok(0.into()),
            (Self::Index, [Value::Object(members), Value::String(key)]) => {
                Ok(members.get(key).cloned().unwrap_or_else(|| "".into()))
            }
            (Self::Index, [Value::Array(items), Value::Number(index)]) => index
                .as_u64()
                .and_then(|index| items.get(index as usize).cloned())
                .ok_or_else(|| wrong("an index that the list has")),
            (Self::Index, [Value::Null, _]) => Ok("".into()),
            (Self::Join, [Value::Array(items), Value::String(separator)]) => {
                let texts: Vec<String> = items.iter().map(display).collect();
                Ok(texts.join(separator).into())
            }
            (Self::Join, [Value::Null, _]) => Ok("".into()),
            (Self::Println, values) => {
                let texts: Vec<String> = values.iter().map(display).collect();
                Ok(format!("{}\n", texts.join(" ")).into())
            }
            (Self::Len, _) => Err(wrong("one string, list or map")),
            (Self::Index, _) => Err(wrong("a map and a key, or a list and a position")),
            (Self::Join, _) => Err(wrong("a list and a separator")),
            (Self::Json | Self::Upper | Self::Lower | Self::Title, _) => Err(wrong("one value")),
        }
    }
}

fn title(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect::<String>()
    })
}

fn look_up(row: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = row;
    for (depth, segment) in path.iter().enumerate() {
        let Value::Object(members) = value else {
            if value.is_null() {
                return Ok(Value::Null);
            }
            return Err(no_such_field(&path[..=depth], "none below that value".into()));
        };
        value = members.get(segment).ok_or_else(|| {
            let mut names: Vec<String> = members.keys().map(|name| format!(".{name}")).collect();
            names.sort();
            no_such_field(&path[..=depth], names.join(" "))
        })?;
    }
    Ok(value.clone())
}

fn no_such_field(path: &[String], fields: String) -> TemplateError {
    TemplateError::NoSuchField { path: path.join("."), fields }
}

/// A value as Go prints it.
pub fn display(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(display).collect();
            format!("[{}]", texts.join(" "))
        }
        Value::Object(members) => {
            let texts: Vec<String> =
                members.iter().map(|(key, value)| format!("{key}:{}", display(value))).collect();
            format!("map[{}]", texts.join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> Result<String, TemplateError> {
        let row = json!({
            "ID": "abc", "Names": ["web", "www"], "Pid": 7, "Up": true, "None": null,
            "State": {"Status": "running"}, "Labels": {"a.b": "c"}, "Brace": "}}",
        });
        Template::parse(template)?.render(&row)
    }

    #[test]
    fn fields_paths_and_text_are_rendered() {
        assert_eq!(
            render("{{.ID}} {{ .Names }}\\t{{.State.Status}}\\n").unwrap(),
            "abc [web www]\trunning\n"
        );
        assert_eq!(
            render("{{.Pid}}/{{.Up}}/{{.None}}/{{.None.Deeper}}").unwrap(),
            "7/true/<no value>/<no value>"
        );
        assert_eq!(render("plain").unwrap(), "plain");
        assert_eq!(render("{{.Labels}}").unwrap(), "map[a.b:c]");
    }

    #[test]
    fn functions_and_pipes_work() {
        assert_eq!(render("{{json .Names}}").unwrap(), r#"["web","www"]"#);
        assert_eq!(render("{{.Names | json}}").unwrap(), r#"["web","www"]"#);
        assert_eq!(
            render("{{upper .ID}}{{title .ID}}{{.ID | upper | lower}}").unwrap(),
            "ABCAbcabc"
        );
        assert_eq!(render("{{len .Names}}{{len .ID}}{{len .None}}").unwrap(), "230");
        assert_eq!(render(r#"{{index .Labels "a.b"}}-{{index .Labels "x"}}"#).unwrap(), "c-");
        assert_eq!(render("{{index .Names 1}}").unwrap(), "www");
        assert_eq!(render(r#"{{join .Names ", "}}"#).unwrap(), "web, www");
        assert_eq!(render(r#"{{println "}}" .ID}}"#).unwrap(), "}} abc\n");
        assert_eq!(render("{{println `a|b`}}").unwrap(), "a|b\n");
    }

    #[test]
    fn dashes_trim_and_comments_vanish() {
        assert_eq!(render("a  {{- .ID -}}  b{{/* no */}}").unwrap(), "aabcb");
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        assert_eq!(
            render("{{range .Names}}").unwrap_err(),
            TemplateError::Unsupported("range".into())
        );
        assert_eq!(render("{{.ID").unwrap_err(), TemplateError::Unclosed("{{.ID".into()));
        assert_eq!(render("{{}}").unwrap_err(), TemplateError::Empty);
        assert_eq!(render("{{$x}}").unwrap_err(), TemplateError::Unsupported("$x".into()));
        assert_eq!(render("{{.ID .Pid}}").unwrap_err(), TemplateError::Unsupported(".Pid".into()));
        assert!(matches!(render("{{index .Names 5}}"), Err(TemplateError::Operands { .. })));
        assert!(matches!(render("{{json}}"), Err(TemplateError::Operands { .. })));
    }

    #[test]
    fn an_unknown_field_lists_the_known_ones() {
        assert_eq!(
            render("{{.State.Foo}}").unwrap_err().to_string(),
            "there is no field `.State.Foo`; there is .Status"
        );
        assert!(render("{{.Nope}}").unwrap_err().to_string().contains("there are .Brace .ID"));
    }

    #[test]
    fn headings_come_from_fields() {
        let template = Template::parse("{{.ID}}\\t{{json .Names}}\\t{{.State.Status}}").unwrap();
        let headings = template.headings(|field| (field == "ID").then(|| "CONTAINER ID".into()));
        assert_eq!(headings, "CONTAINER ID\tNAMES\tSTATUS");
    }
}
