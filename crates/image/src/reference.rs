//! References to images: `[registry/]repository[:tag][@digest]`, normalised the way docker does.
//!
//! The grammar is the distribution specification's (names and tags) with the registry's host in
//! front. What a short name may stand for besides Docker's default is a matter of look-up
//! ([`Reference::candidates`]), not of parsing.

use std::fmt;

use crate::digest::{Digest, DigestError};

/// The registry that a name without one stands for.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag that a name without a tag stands for.
pub const DEFAULT_TAG: &str = "latest";
/// Names that are tried for a short name after the default registry's.
const LOCAL_REGISTRIES: [&str; 2] = ["localhost", "berth.local"];

/// A normalised reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing is there.
    #[error("the image name is empty")]
    Empty,
    /// Longer than 255 characters.
    #[error("the image name `{0}` is longer than 255 characters")]
    TooLong(String),
    /// The registry part is wrong.
    #[error("`{registry}` in the image name `{name}` is not a registry's host name and port")]
    Registry {
        /// The whole name.
        name: String,
        /// The part.
        registry: String,
    },
    /// The repository part is wrong.
    #[error(
        "`{repository}` in the image name `{name}` is not a repository: lower-case letters, \
         digits, and between them `.`, `_`, `__` or `-`, in parts separated by `/`"
    )]
    Repository {
        /// The whole name.
        name: String,
        /// The part.
        repository: String,
    },
    /// The tag is wrong.
    #[error(
        "`{tag}` in the image name `{name}` is not a tag: at most 128 letters, digits, `_`, `.` \
         and `-`, not beginning with `.` or `-`"
    )]
    Tag {
        /// The whole name.
        name: String,
        /// The part.
        tag: String,
    },
    /// The digest is wrong.
    #[error("the digest in the image name `{name}` cannot be used")]
    Digest {
        /// The whole name.
        name: String,
        /// Why.
        #[source]
        source: DigestError,
    },
}

impl Reference {
    /// Parses and normalises a name: `debian` becomes `docker.io/library/debian:latest`.
    pub fn parse(name: &str) -> Result<Self, ReferenceError> {
        if name.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match name.split_once('@') {
            None => (name, None),
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|source| ReferenceError::Digest { name: name.to_owned(), source })?;
                (rest, Some(digest))
            }
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag { name: name.to_owned(), tag: tag.to_owned() });
        }
        let (registry, repository) = match rest.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, rest),
        };
        if !is_registry(registry) {
            return Err(ReferenceError::Registry {
                name: name.to_owned(),
                registry: registry.to_owned(),
            });
        }
        if !is_repository(repository) {
            return Err(ReferenceError::Repository {
                name: name.to_owned(),
                repository: repository.to_owned(),
            });
        }
        let registry = match registry {
            "index.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        if registry.len() + 1 + repository.len() > 255 {
            return Err(ReferenceError::TooLong(name.to_owned()));
        }
        let tag = match (tag, digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }

    /// The registry's host and port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; absent only beside a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository with a tag and without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        Self::parse(&format!("{}:{tag}", self.name()))
    }

    /// The same without the digest: what the store records. A reference that has only a digest
    /// names nothing and gives `None`.
    pub fn without_digest(&self) -> Option<Self> {
        self.tag.is_some().then(|| Self { digest: None, ..self.clone() })
    }

    /// The names that a person may have meant by `name`, in order: itself, and for a name without
    /// a registry the local ones.
    pub fn candidates(name: &str) -> Result<Vec<Self>, ReferenceError> {
        let first = Self::parse(name)?;
        let qualified = name.split_once('/').is_some_and(|(host, _)| is_host(host));
        let mut all = vec![first];
        if !qualified {
            for registry in LOCAL_REGISTRIES {
                all.push(Self::parse(&format!("{registry}/{name}"))?);
            }
        }
        Ok(all)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(name: &str) -> Result<Self, ReferenceError> {
        Self::parse(name)
    }
}

/// Whether the first part of a name is a host rather than a part of the repository.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

/// Host name or bracketed address, and an optional port.
fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, rest)) => match rest.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    let host_is_valid = if registry.starts_with('[') {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
    } else {
        host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let port_is_valid =
        port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty());
    host_is_valid && port_is_valid
}

/// Path components separated by slashes.
fn is_repository(repository: &str) -> bool {
    repository.split('/').all(is_component)
}

/// `[a-z0-9]+` groups joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_well = |b: Option<&u8>| b.is_some_and(|b| alphanumeric(*b));
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return false;
    }
    component.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
    })
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && !tag.is_empty()
        && !tag.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_normalised_as_docker_does() {
        for (given, expected) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("user/app", "docker.io/user/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("berth.local/demo", "berth.local/demo:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("quay.io/a/b.c/d__e--f:V1.0-x", "quay.io/a/b.c/d__e--f:V1.0-x"),
        ] {
            assert_eq!(Reference::parse(given).unwrap().to_string(), expected, "{given}");
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_default_tag() {
        let digest = Digest::of(b"x");
        let reference = Reference::parse(&format!("debian@{digest}")).unwrap();
        assert_eq!(reference.to_string(), format!("docker.io/library/debian@{digest}"));
        assert_eq!(reference.without_digest(), None);
        let reference = Reference::parse(&format!("debian:12@{digest}")).unwrap();
        assert_eq!(reference.tag(), Some("12"));
        assert_eq!(reference.digest(), Some(&digest));
    }

    #[test]
    fn wrong_names_are_refused_and_say_which_part() {
        use ReferenceError as E;
        assert!(matches!(Reference::parse(""), Err(E::Empty)));
        for name in ["UPPER", "a//b", "/a", "a/", "a..b", "a___b", "-a", "a b", "é", "../etc"] {
            let error = Reference::parse(name).unwrap_err();
            assert!(matches!(error, E::Repository { .. } | E::Registry { .. }), "{name}: {error}");
        }
        assert!(matches!(Reference::parse("a:"), Err(E::Tag { .. })));
        assert!(matches!(Reference::parse("a:-x"), Err(E::Tag { .. })));
        assert!(matches!(Reference::parse("a@sha256:1"), Err(E::Digest { .. })));
        assert!(matches!(Reference::parse("-.x/a"), Err(E::Registry { .. })));
        assert!(matches!(Reference::parse(&"a/".repeat(200)), Err(E::Repository { .. })));
        assert!(matches!(Reference::parse(&"a".repeat(300)), Err(E::TooLong(_))));
    }

    #[test]
    fn a_short_name_may_mean_a_local_image() {
        let names = |given| -> Vec<String> {
            Reference::candidates(given).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            names("demo"),
            ["docker.io/library/demo:latest", "localhost/demo:latest", "berth.local/demo:latest"]
        );
        assert_eq!(names("localhost/demo"), ["localhost/demo:latest"]);
    }
}
