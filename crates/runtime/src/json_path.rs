//! Where in a JSON document an error is: the path of properties, from the line and column that the
//! parser tells. Walking the text once after a failure spares following paths while parsing, which
//! costs as much again in time and in code.

/// What encloses a position.
enum Frame {
    /// An object, and the property that is being read.
    Object(String),
    /// An array, and the index that is being read.
    Array(usize),
}

/// The path of the value that is being read at `line` and `column` (both from 1, in bytes, as
/// `serde_json` counts them), such as `process.args[1]`; empty for the document itself.
pub(crate) fn at(text: &[u8], line: usize, column: usize) -> String {
    let start: usize =
        text.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let end = (start + column).min(text.len());
    let mut frames: Vec<Frame> = Vec::new();
    let mut position = 0;
    while let Some(&byte) = text.get(..end).and_then(|seen| seen.get(position)) {
        match byte {
            b'"' => {
                let (string, after) = string(text, position + 1);
                // A string followed by a colon is a property's name, wherever else it ends.
                let rest = text.get(after..).unwrap_or_default();
                let is_name = rest.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
                if let (true, Some(Frame::Object(name))) = (is_name, frames.last_mut()) {
                    *name = string;
                }
                position = after;
                continue;
            }
            b'{' => frames.push(Frame::Object(String::new())),
            b'[' => frames.push(Frame::Array(0)),
            b'}' | b']' => {
                frames.pop();
            }
            b',' => {
                if let Some(Frame::Array(index)) = frames.last_mut() {
                    *index += 1;
                }
            }
            _ => {}
        }
        position += 1;
    }
    render(&frames)
}

/// The string that begins at `start`, after its quotation mark, and the position behind its end.
fn string(text: &[u8], start: usize) -> (String, usize) {
    let mut position = start;
    while let Some(&byte) = text.get(position) {
        match byte {
            b'\\' => position += 1,
            b'"' => break,
            _ => {}
        }
        position += 1;
    }
    let inside = text.get(start..position).unwrap_or_default();
    (String::from_utf8_lossy(inside).into_owned(), position + 1)
}

fn render(frames: &[Frame]) -> String {
    let mut path = String::new();
    for frame in frames {
        match frame {
            Frame::Object(name) if name.is_empty() => {}
            Frame::Object(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Frame::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(text: &str) -> String {
        let error = serde_json::from_str::<berth_spec::runtime::Spec>(text).unwrap_err();
        at(text.as_bytes(), error.line(), error.column())
    }

    #[test]
    fn the_path_is_that_of_the_value_that_failed() {
        assert_eq!(path_of(r#"{"ociVersion": 7}"#), "ociVersion");
        assert_eq!(
            path_of("{\"ociVersion\":\"1\",\n \"process\":{\"user\":{\"uid\":\"x\"}}}"),
            "process.user.uid"
        );
        assert_eq!(
            path_of(r#"{"ociVersion":"1","process":{"args":["a","}",{}]}}"#),
            "process.args[2]"
        );
        let nested = r#"{"ociVersion":"1","mounts":[{"destination":"/a"},{"destination":"/b","options":["ro",1]}]}"#;
        assert_eq!(path_of(nested), "mounts[1].options[1]");
    }

    #[test]
    fn an_object_that_lacks_a_property_is_named_itself() {
        let text = r#"{"ociVersion":"1","mounts":[{"destination":"/a"},{"source":"b"}]}"#;
        assert_eq!(path_of(text), "mounts[1]");
        assert_eq!(path_of(r#"{"root":{"path":"r"}}"#), "");
    }

    #[test]
    fn a_document_cut_short_anywhere_gives_some_path() {
        let text =
            r#"{"ociVersion":"1","annotations":{"a\"b":"c"},"mounts":[{"destination":"/a"}]}"#;
        for length in 0..text.len() {
            let cut = &text[..length];
            let error = serde_json::from_str::<berth_spec::runtime::Spec>(cut).unwrap_err();
            at(cut.as_bytes(), error.line(), error.column());
        }
    }
}
