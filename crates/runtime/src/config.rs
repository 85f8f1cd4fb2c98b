//! Reading `config.json` (config.md) and a `process` file, with errors that say where and what.
//!
//! This module knows text and types. Whether a value can be honoured is `validate`'s business.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use berth_spec::runtime::{Mount, Process, Spec};
use rustix::fs::{Mode, OFlags};

use crate::error::{ErrorKind, kind_of};
use crate::idmap::IdMapError;
use crate::json_path;

/// The most that a configuration may measure, in bytes.
const LIMIT: u64 = 16 << 20;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is larger than any configuration should be.
    #[error("{} is larger than {LIMIT} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not JSON, or not of the specification's shape.
    #[error("{}: {field}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The JSON path of the property.
        field: String,
        /// What was expected.
        #[source]
        source: serde_json::Error,
    },
    /// A property has a value that cannot be.
    #[error("{field}: {problem}")]
    Invalid {
        /// The JSON path of the property.
        field: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A property asks for what berth-runtime or this host cannot do.
    #[error("{field} is not supported: {reason}")]
    Unsupported {
        /// The JSON path of the property.
        field: String,
        /// Why.
        reason: String,
    },
    /// The system call filter.
    #[error("linux.seccomp cannot be compiled")]
    Seccomp(#[source] berth_seccomp::CompileError),
    /// The ids of a mount.
    #[error("{field}: cannot map ids")]
    IdMap {
        /// The JSON path of the property.
        field: String,
        /// Why.
        #[source]
        source: IdMapError,
    },
    /// A file or directory that the configuration names.
    #[error("{field}: cannot open {}", path.display())]
    Open {
        /// The JSON path of the property.
        field: String,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl ConfigError {
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Open { source, .. }
                if kind_of(source) == ErrorKind::Permission =>
            {
                ErrorKind::Permission
            }
            _ => ErrorKind::InvalidConfig,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("`berth-runtime spec` writes a config.json; --bundle names its directory")
            }
            Self::Unsupported { .. } => Some("remove the property, or use a host that has it"),
            Self::Seccomp(error) => error.hint(),
            _ => None,
        }
    }

    /// A value that cannot be.
    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), problem: problem.into() }
    }

    /// A value that cannot be honoured.
    pub(crate) fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }
}

/// A configuration and the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// Its text, kept for the container's later life.
    pub text: Vec<u8>,
}

/// Reads `config.json` in `bundle`.
pub(crate) fn load(bundle: &Path) -> Result<Loaded, ConfigError> {
    load_file(&bundle.join("config.json"))
}

/// Reads a configuration.
pub(crate) fn load_file(path: &Path) -> Result<Loaded, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    // A FIFO or a device would keep its reader for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let text = read(path, file)?;
    let spec = parse(path, &text)?;
    Ok(Loaded { spec, text })
}

/// Reads a `process` object, as `exec --process` gives it.
pub fn load_process(path: &Path) -> Result<Process, ConfigError> {
    let file =
        File::open(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &read(path, file)?)
}

/// Reads mounts: an array of them, or an object with `mounts`.
pub fn load_mounts(path: &Path) -> Result<Vec<Mount>, ConfigError> {
    #[derive(serde::Deserialize)]
    struct Document {
        mounts: Vec<Mount>,
    }
    let file =
        File::open(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let text = read(path, file)?;
    if text.trim_ascii_start().starts_with(b"[") {
        parse(path, &text)
    } else {
        parse::<Document>(path, &text).map(|document| document.mounts)
    }
}

fn read(path: &Path, file: File) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = Vec::with_capacity(16 << 10);
    file.take(LIMIT + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > LIMIT {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Parses JSON; the error names the property.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    path: &Path,
    text: &[u8],
) -> Result<T, ConfigError> {
    serde_json::from_slice(text).map_err(|source| {
        let field = match json_path::at(text, source.line(), source.column()) {
            document if document.is_empty() => "the document".to_owned(),
            field => field,
        };
        ConfigError::Parse { path: path.to_owned(), field, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> String {
        let error = parse::<Spec>(Path::new("c"), text.as_bytes()).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    }

    #[test]
    fn an_error_names_the_property_and_what_was_expected() {
        let text = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":["a",7],"cwd":"/"}}"#;
        let message = failure(text);
        assert!(message.contains("process.args[1]"), "{message}");
        assert!(message.contains("expected a string"), "{message}");
        let message = failure(
            r#"{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"uts"},{"type":"moon"}]}}"#,
        );
        assert!(message.contains("linux.namespaces[1].type"), "{message}");
        assert!(message.contains("`network`"), "{message}");
        let message = failure(r#"{"ociVersion":"1.0.2","process":{"user":{}}}"#);
        assert!(message.contains("c: process: missing field `cwd`"), "{message}");
    }

    #[test]
    fn hostile_json_is_an_error_and_no_crash() {
        let deep = "[".repeat(1 << 20);
        for text in ["", "{", "null", "[]", "{} {}", "\u{0}", &deep] {
            assert!(parse::<Spec>(Path::new("c"), text.as_bytes()).is_err(), "{text:.20}");
        }
        let annotations = format!(r#"{{"ociVersion":"1.0.2","windows":{deep}}}"#);
        assert!(parse::<Spec>(Path::new("c"), annotations.as_bytes()).is_err());
    }
}
