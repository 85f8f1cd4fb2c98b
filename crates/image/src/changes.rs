//! Changes to an image's configuration in the words of a Dockerfile: `CMD ["sh"]`, `ENV A=b`.

use berth_spec::image::ExecutionConfig;
use serde_json::{Value, json};

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the change `{change}` {problem}")]
pub struct ChangeError {
    /// The change as given.
    pub change: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Makes one change.
pub(crate) fn apply(config: &mut ExecutionConfig, change: &str) -> Result<(), ChangeError> {
    let bad =
        |problem: &str| ChangeError { change: change.to_owned(), problem: problem.to_owned() };
    let change = change.trim();
    let (instruction, rest) = match change.split_once(char::is_whitespace) {
        Some((instruction, rest)) => (instruction, rest.trim()),
        // Also `CMD=["sh"]`, as podman has it.
        None => change.split_once('=').map_or((change, ""), |(name, rest)| (name, rest.trim())),
    };
    if rest.is_empty() {
        return Err(bad("has nothing after the instruction"));
    }
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = command(rest),
        "ENV" => {
            for (name, value) in pairs(rest).map_err(|problem| bad(&problem))? {
                let variable = format!("{name}={value}");
                let prefix = format!("{name}=");
                match config.env.iter_mut().find(|known| known.starts_with(&prefix)) {
                    Some(known) => *known = variable,
                    None => config.env.push(variable),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).map_err(|problem| bad(&problem))?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let port = port_of(port).ok_or_else(|| bad("has a port that is not one"))?;
                config.exposed_ports.insert(port, json!({}));
            }
        }
        "VOLUME" => {
            let volumes =
                array(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            for volume in volumes {
                config.volumes.insert(volume, json!({}));
            }
        }
        "USER" => config.user = Some(rest.to_owned()),
        "WORKDIR" => {
            let current = config.working_dir.as_deref().unwrap_or("/").trim_end_matches('/');
            let absolute = rest.starts_with('/');
            let directory = if absolute { rest.to_owned() } else { format!("{current}/{rest}") };
            config.working_dir = Some(directory);
        }
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "HEALTHCHECK" => {
            config.healthcheck = Some(healthcheck(rest).map_err(|problem| bad(&problem))?);
        }
        "ONBUILD" => return Err(bad("is for building images; an OCI image cannot hold it")),
        _ => {
            return Err(bad(
                "is none of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, \
                 VOLUME and WORKDIR",
            ));
        }
    }
    Ok(())
}

/// A JSON array is the arguments; anything else is for the shell.
fn command(text: &str) -> Vec<String> {
    array(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn array(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `port[/protocol]` or a range of ports, with `tcp` where no protocol is given.
fn port_of(text: &str) -> Option<String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then(|| format!("{ports}/{protocol}"))
}

/// `name=value` pairs, quoted or escaped as in a shell; or the old form `name value`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(text)?;
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (name, value) =
            text.split_once(char::is_whitespace).ok_or("has a name without a value")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("has `{word}` where NAME=value is expected")),
        })
        .collect()
}

fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                let escaped = characters.next().ok_or("ends with a backslash")?;
                word.get_or_insert_default().push(escaped);
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("has a quote that is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// `NONE`, or options and `CMD` with a command, in Docker's form.
fn healthcheck(text: &str) -> Result<Value, String> {
    if text.eq_ignore_ascii_case("NONE") {
        return Ok(json!({"Test": ["NONE"]}));
    }
    let mut check = serde_json::Map::new();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (name, value) = option.split_once('=').ok_or("has an option without a value")?;
        let (key, value) = match name {
            "interval" => ("Interval", duration(value)?),
            "timeout" => ("Timeout", duration(value)?),
            "start-period" => ("StartPeriod", duration(value)?),
            "start-interval" => ("StartInterval", duration(value)?),
            "retries" => ("Retries", value.parse().map_err(|_| "has no number of retries")?),
            other => return Err(format!("has the unknown option `--{other}`")),
        };
        check.insert(key.to_owned(), json!(value));
        rest = after.trim_start();
    }
    let command = rest
        .strip_prefix("CMD")
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .map(str::trim)
        .filter(|rest| !rest.is_empty())
        .ok_or("has neither NONE nor CMD with a command")?;
    let test = match array(command) {
        Some(arguments) => std::iter::once("CMD".to_owned()).chain(arguments).collect(),
        None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
    };
    check.insert("Test".to_owned(), json!(test));
    Ok(Value::Object(check))
}

/// Nanoseconds of a duration such as `1m30s` or `500ms`.
fn duration(text: &str) -> Result<i64, String> {
    let bad = || format!("has the malformed duration `{text}`");
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits).ok_or_else(bad)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters).ok_or_else(bad)?;
        let unit: i64 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(bad()),
        };
        let number: i64 = number.parse().map_err(|_| bad())?;
        total =
            number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = after;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> ExecutionConfig {
        let mut config = ExecutionConfig::default();
        for change in changes {
            apply(&mut config, change).unwrap();
        }
        config
    }

    #[test]
    fn every_instruction_changes_its_field() {
        let config = changed(&[
            r#"CMD ["sh", "-c", "x"]"#,
            "entrypoint exec top -b",
            "ENV A=1 B=\"two words\" C=it\\'s",
            "ENV A=2",
            "ENV OLD form of it",
            "LABEL x=y",
            "EXPOSE 80 53/udp 8000-8010",
            r#"VOLUME ["/data"]"#,
            "USER app:app",
            "WORKDIR /srv",
            "WORKDIR app",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost",
        ]);
        assert_eq!(config.cmd, ["sh", "-c", "x"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "exec top -b"]);
        assert_eq!(config.env, ["A=2", "B=two words", "C=it's", "OLD=form of it"]);
        assert_eq!(config.labels.get("x").map(String::as_str), Some("y"));
        let ports: Vec<&String> = config.exposed_ports.keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000-8010/tcp"]);
        assert!(config.volumes.contains_key("/data"));
        assert_eq!(config.user.as_deref(), Some("app:app"));
        assert_eq!(config.working_dir.as_deref(), Some("/srv/app"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(
            config.healthcheck.unwrap(),
            json!({"Interval": 90_000_000_000_i64, "Retries": 3, "Test": ["CMD-SHELL", "curl localhost"]})
        );
        assert_eq!(changed(&["CMD=[\"a\"]"]).cmd, ["a"]);
    }

    #[test]
    fn what_is_no_change_is_refused_by_name() {
        let mut config = ExecutionConfig::default();
        for change in [
            "RUN ls",
            "CMD",
            "",
            "EXPOSE x",
            "EXPOSE 0",
            "ENV A",
            "ENV A=1 B",
            "LABEL a=\"x",
            "ONBUILD RUN x",
            "HEALTHCHECK curl",
            "HEALTHCHECK --interval=5 CMD x",
        ] {
            assert!(apply(&mut config, change).is_err(), "{change}");
        }
    }
}
