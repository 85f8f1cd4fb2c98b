//! The two ends of `berth cp`.

use std::path::PathBuf;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyEnd {
    /// `CONTAINER:PATH`
    Container {
        /// Name or ID.
        container: String,
        /// Path in it, as written.
        path: PathBuf,
    },
    /// A path here, as written.
    Host(PathBuf),
    /// `-`: a tar stream on standard input or output.
    Stream,
}

impl CopyEnd {
    /// Reads `text` as docker and podman do: what has a colon names a container, unless it begins
    /// like a path (`/`, `.`).
    pub fn parse(text: &str) -> Self {
        if text == "-" {
            return Self::Stream;
        }
        match text.split_once(':') {
            Some((container, path)) if !container.is_empty() && !text.starts_with(['/', '.']) => {
                Self::Container { container: container.to_owned(), path: path.into() }
            }
            _ => Self::Host(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_names_a_container_unless_it_is_in_a_path() {
        let inside = |container: &str, path: &str| CopyEnd::Container {
            container: container.into(),
            path: path.into(),
        };
        assert_eq!(CopyEnd::parse("web:/etc/hosts"), inside("web", "/etc/hosts"));
        assert_eq!(CopyEnd::parse("web:a:b"), inside("web", "a:b"));
        assert_eq!(CopyEnd::parse("./web:x"), CopyEnd::Host("./web:x".into()));
        assert_eq!(CopyEnd::parse("/web:x"), CopyEnd::Host("/web:x".into()));
        assert_eq!(CopyEnd::parse("file"), CopyEnd::Host("file".into()));
        assert_eq!(CopyEnd::parse(":x"), CopyEnd::Host(":x".into()));
        assert_eq!(CopyEnd::parse("-"), CopyEnd::Stream);
    }
}
