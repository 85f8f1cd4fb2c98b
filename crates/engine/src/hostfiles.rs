//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a container.

use std::fmt::Write as _;

use crate::request::{ContainerRequest, HostAddress, NetworkMode};

/// What the host's own files say, read where they are needed.
#[derive(Debug, Default)]
pub(crate) struct HostFiles {
    pub(crate) hosts: String,
    pub(crate) resolv_conf: String,
}

impl HostFiles {
    /// Reads them; a missing file is an empty one.
    pub(crate) fn read(request: &ContainerRequest) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let shares = matches!(request.network, Some(NetworkMode::Host | NetworkMode::Path(_)));
        Self {
            hosts: if shares { read("/etc/hosts") } else { String::new() },
            resolv_conf: read("/etc/resolv.conf"),
        }
    }
}

/// /etc/hosts. With the host's network it is the host's file and more; else it begins with the
/// loopback's names.
pub(crate) fn hosts(
    request: &ContainerRequest,
    host: &HostFiles,
    hostname: &str,
    name: &str,
) -> String {
    let mut text = String::new();
    // Added entries come first, so that they outweigh the host's.
    for entry in &request.add_hosts {
        let address = match entry.address {
            HostAddress::Address(address) => address.to_string(),
            // Without a network of its own the container reaches the host by the loopback or not
            // at all.
            HostAddress::HostGateway => "127.0.0.1".to_owned(),
        };
        let _ = writeln!(text, "{address}\t{}", entry.names.join(" "));
    }
    if host.hosts.is_empty() {
        text.push_str("127.0.0.1\tlocalhost localhost.localdomain\n");
        text.push_str("::1\tlocalhost ip6-localhost ip6-loopback localhost6\n");
    } else {
        text.push_str(&host.hosts);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    if !matches!(request.network, Some(NetworkMode::Host)) {
        let _ = writeln!(text, "127.0.0.1\t{hostname} {name}");
    }
    text
}

/// /etc/resolv.conf: the host's, with each kind of line replaced by what was asked for.
pub(crate) fn resolv_conf(request: &ContainerRequest, host: &HostFiles) -> String {
    let is_kind = |line: &str, kinds: &[&str]| {
        line.split_whitespace().next().is_some_and(|word| kinds.contains(&word))
    };
    let mut text = String::new();
    for line in host.resolv_conf.lines() {
        let replaced = (!request.dns.is_empty() && is_kind(line, &["nameserver"]))
            || (!request.dns_search.is_empty() && is_kind(line, &["search", "domain"]))
            || (!request.dns_options.is_empty() && is_kind(line, &["options"]));
        if !replaced {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !request.dns_search.is_empty() && request.dns_search != ["."] {
        let _ = writeln!(text, "search {}", request.dns_search.join(" "));
    }
    for address in &request.dns {
        let _ = writeln!(text, "nameserver {address}");
    }
    if !request.dns_options.is_empty() {
        let _ = writeln!(text, "options {}", request.dns_options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ImageSource;

    fn request() -> ContainerRequest {
        ContainerRequest::new(ImageSource::Reference("x".to_owned()))
    }

    #[test]
    fn hosts_knows_the_loopback_the_container_and_what_was_added() {
        let mut request = request();
        request.add_hosts = vec!["db;store:10.0.0.9".parse().unwrap()];
        let text = hosts(&request, &HostFiles::default(), "web", "calm_tide");
        assert!(text.starts_with("10.0.0.9\tdb store\n127.0.0.1\tlocalhost"));
        assert!(text.ends_with("127.0.0.1\tweb calm_tide\n"));
    }

    #[test]
    fn resolv_conf_replaces_only_what_was_asked_for() {
        let host = HostFiles {
            resolv_conf: "# host\nnameserver 1.1.1.1\nsearch example.org\noptions ndots:2\n".into(),
            ..HostFiles::default()
        };
        let mut request = request();
        assert_eq!(resolv_conf(&request, &host), host.resolv_conf);
        request.dns = vec!["9.9.9.9".parse().unwrap()];
        request.dns_search = vec![".".to_owned()];
        let text = resolv_conf(&request, &host);
        assert_eq!(text, "# host\noptions ndots:2\nnameserver 9.9.9.9\n");
    }
}
