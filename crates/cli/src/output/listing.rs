//! Listings in the format that was asked for: a table, JSON, or a template for each row.

use serde_json::{Map, Value};

use super::table::Table;
use super::template::{Template, TemplateError, display};

/// A field that templates can name, and the heading above it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The name in templates.
    pub field: &'static str,
    /// The heading in tables.
    pub heading: &'static str,
}

/// Declares columns as `[("ID", "CONTAINER ID"), …]`.
pub const fn column(field: &'static str, heading: &'static str) -> Column {
    Column { field, heading }
}

/// One row: what is shown, and what `--format json` gives of it.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Fields by their names in templates.
    pub fields: Map<String, Value>,
    /// The row as data.
    pub json: Value,
}

impl Row {
    /// A row whose data is what is shown.
    pub fn shown(fields: Map<String, Value>) -> Self {
        Self { json: Value::Object(fields.clone()), fields }
    }
}

/// A parsed `--format`.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// The command's own table.
    Default,
    /// An array of objects.
    Json,
    /// A line for each row.
    Lines(Template),
    /// A table whose columns are separated by tabs in the template.
    Table(Template),
}

impl Format {
    /// Reads `--format`.
    pub fn parse(text: Option<&str>) -> Result<Self, TemplateError> {
        match text {
            None | Some("table") => Ok(Self::Default),
            Some("json" | "{{json .}}" | "{{ json . }}") => Ok(Self::Json),
            Some(text) => match text.strip_prefix("table ") {
                Some(columns) => Template::parse(columns.trim_start()).map(Self::Table),
                None => Template::parse(text).map(Self::Lines),
            },
        }
    }
}

/// How a listing is printed.
#[derive(Debug, Clone)]
pub struct Listing {
    /// `--format`
    pub format: Format,
    /// Everything that can be shown.
    pub columns: &'static [Column],
    /// Fields of the command's own table, in order.
    pub shown: Vec<&'static str>,
    /// Whether headings are left out.
    pub headings: Headings,
}

/// Whether a table begins with headings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headings {
    /// It does.
    Shown,
    /// `--noheading`
    Hidden,
}

impl Headings {
    /// Hidden when the option is given.
    pub fn hidden_if(option: bool) -> Self {
        if option { Self::Hidden } else { Self::Shown }
    }
}

impl Listing {
    /// The text of the listing.
    pub fn render(&self, rows: Vec<Row>) -> Result<String, TemplateError> {
        match &self.format {
            Format::Json => {
                let values: Vec<Value> = rows.into_iter().map(|row| row.json).collect();
                Ok(format!("{}\n", super::json(&Value::Array(values))))
            }
            Format::Lines(template) => {
                let mut text = String::new();
                for row in rows {
                    let line = template.render(&Value::Object(row.fields))?;
                    text.push_str(&line);
                    if !line.ends_with('\n') {
                        text.push('\n');
                    }
                }
                Ok(text)
            }
            Format::Table(template) => {
                let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
                let mut table =
                    self.table(|| cells(&template.headings(|field| self.heading(field))));
                for row in rows {
                    table.row(cells(&template.render(&Value::Object(row.fields))?));
                }
                Ok(table.render())
            }
            Format::Default => {
                let mut table = self
                    .table(|| self.shown.iter().filter_map(|field| self.heading(field)).collect());
                for row in rows {
                    let cell = |field: &&str| row.fields.get(*field).map(display);
                    table.row(
                        self.shown.iter().map(|field| cell(field).unwrap_or_default()).collect(),
                    );
                }
                Ok(table.render())
            }
        }
    }

    fn table(&self, headings: impl Fn() -> Vec<String>) -> Table {
        match self.headings {
            Headings::Shown => Table::with_headings(headings()),
            Headings::Hidden => Table::new(),
        }
    }

    fn heading(&self, field: &str) -> Option<String> {
        self.columns
            .iter()
            .find(|column| column.field == field)
            .map(|column| column.heading.to_owned())
    }
}

/// JSON values, each through a template, or all as one array (`inspect`).
pub fn inspection(format: Option<&str>, values: Vec<Value>) -> Result<String, TemplateError> {
    match Format::parse(format)? {
        Format::Default | Format::Json => Ok(format!("{}\n", super::json(&Value::Array(values)))),
        Format::Lines(template) | Format::Table(template) => {
            let lines: Result<Vec<String>, _> =
                values.iter().map(|value| template.render(value).map(|line| line + "\n")).collect();
            Ok(lines?.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[column("ID", "CONTAINER ID"), column("Names", "NAMES")];

    fn render(format: Option<&str>, headings: Headings) -> String {
        let row = |id: &str, name: &str| {
            let Value::Object(fields) = json!({"ID": id, "Names": name}) else { unreachable!() };
            Row { fields, json: json!({"Id": id}) }
        };
        let listing = Listing {
            format: Format::parse(format).unwrap(),
            columns: COLUMNS,
            shown: vec!["ID", "Names"],
            headings,
        };
        listing.render(vec![row("1", "web"), row("22", "database")]).unwrap()
    }

    #[test]
    fn the_default_is_a_table_with_headings() {
        assert_eq!(
            render(None, Headings::Shown),
            "CONTAINER ID  NAMES\n1             web\n22            database\n"
        );
        assert_eq!(render(Some("table"), Headings::Hidden), "1   web\n22  database\n");
    }

    #[test]
    fn templates_make_lines_or_tables() {
        assert_eq!(render(Some("{{.ID}}/{{.Names}}"), Headings::Shown), "1/web\n22/database\n");
        assert_eq!(
            render(Some("table {{.Names}}\\t{{.ID}}"), Headings::Shown),
            "NAMES     CONTAINER ID\nweb       1\ndatabase  22\n"
        );
    }

    #[test]
    fn json_is_an_array_of_data() {
        let text = render(Some("json"), Headings::Shown);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!([{"Id": "1"}, {"Id": "22"}])
        );
    }

    #[test]
    fn inspection_is_an_array_or_a_line_each() {
        let values = vec![json!({"Name": "a"}), json!({"Name": "b"})];
        assert_eq!(inspection(Some("{{.Name}}"), values.clone()).unwrap(), "a\nb\n");
        assert!(inspection(None, values).unwrap().starts_with("[\n    {"));
    }
}
