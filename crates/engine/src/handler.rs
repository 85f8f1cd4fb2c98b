//! Handlers: the OCI runtimes that can make containers, by the names that people give them.
//!
//! `builtin` is our own, called as a library. Every other one is a program with the command line
//! that runc and crun share: configured under a name (`[runtimes.NAME]`), found under its own name
//! in the usual places, or given by its path.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use berth_monitor::protocol::{RuntimeChoice, RuntimeProgram};
use berth_spec::features::Features;
use serde::Deserialize;

use crate::config::EngineConfig;
use crate::core::Core;
use crate::error::RuntimeError;
use crate::view::RuntimeInfo;

/// The name of our own.
pub(crate) const BUILTIN: &str = "builtin";
/// Where programs are looked for by their own names.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Programs that `info` looks for though nobody has configured them.
const WELL_KNOWN: [&str; 4] = ["crun", "runc", "runsc", "youki"];
/// Programs whose containers run under a kernel of their own.
const SANDBOXES: [&str; 2] = ["runsc", "kata-runtime"];
/// What runsc is told unless its `arguments` say otherwise: what a container writes goes to its
/// writable layer. Its own overlay would hide that from `cp`, lose it at the end, and leave a file
/// behind over which the container does not start again.
const RUNSC_OVERLAY: &str = "--overlay2=none";
/// How long a runtime may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of what it says.
const MAX_ANSWER: u64 = 1 << 20;

/// A runtime of the configuration file: `[runtimes.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerConfig {
    /// The program: an absolute path, or a name that is looked for in the usual places; the
    /// handler's own name when absent.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Options of the program's own, before each command.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Whether its containers run under a kernel of their own, so that the host cannot signal
    /// their processes; known of `runsc` and `kata-runtime` when absent.
    #[serde(default)]
    pub sandboxed: Option<bool>,
}

/// Which runtime makes a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// Our own, as a library.
    Builtin,
    /// A program.
    Program(RuntimeProgram),
}

impl From<Runtime> for RuntimeChoice {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Builtin => Self::Builtin,
            Runtime::Program(program) => Self::Program(program),
        }
    }
}

impl EngineConfig {
    /// The runtime of a name or path; the default one when nobody says.
    pub(crate) fn handler(&self, wanted: Option<&str>) -> Result<Runtime, RuntimeError> {
        let name = wanted.unwrap_or(&self.runtime);
        let configured = self.runtimes.get(name);
        if configured.is_none() && matches!(name, BUILTIN | "" | "berth-runtime") {
            return Ok(Runtime::Builtin);
        }
        let settings = configured.cloned().unwrap_or_default();
        let named = settings.path.unwrap_or_else(|| PathBuf::from(name));
        let path = find(&named).ok_or_else(|| match configured {
            None => RuntimeError::Unknown(name.to_owned()),
            Some(_) => RuntimeError::Missing { name: name.to_owned(), program: named.clone() },
        })?;
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let sandboxed = settings.sandboxed.unwrap_or_else(|| SANDBOXES.contains(&file));
        let mut arguments = settings.arguments;
        if file == "runsc" && !arguments.iter().any(|argument| argument.contains("-overlay2")) {
            arguments.push(RUNSC_OVERLAY.to_owned());
        }
        let options = arguments.into_iter().map(Into::into).collect();
        Ok(Runtime::Program(RuntimeProgram { path, options, sandboxed }))
    }
}

impl Core {
    /// The runtime of a name or path; the default one when nobody says.
    pub(crate) fn runtime(&self, wanted: Option<&str>) -> Result<Runtime, RuntimeError> {
        self.config.handler(wanted)
    }

    /// Our own, every configured one, the default one, and the well-known ones that are installed.
    pub(crate) fn runtimes(&self) -> Vec<RuntimeInfo> {
        let mut names: Vec<&str> = vec![BUILTIN];
        names.extend(self.config.runtimes.keys().map(String::as_str));
        names.push(&self.config.runtime);
        names.extend(WELL_KNOWN.iter().filter(|name| find(Path::new(name)).is_some()));
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        names.into_iter().map(|name| self.describe(name)).collect()
    }

    fn describe(&self, name: &str) -> RuntimeInfo {
        let mut info = RuntimeInfo {
            name: name.to_owned(),
            is_default: name == self.config.runtime,
            ..RuntimeInfo::default()
        };
        match self.runtime(Some(name)) {
            Ok(Runtime::Builtin) => {
                info.version = Some(env!("CARGO_PKG_VERSION").to_owned());
                info.features = Some(berth_runtime::features());
            }
            Ok(Runtime::Program(program)) => {
                match ask(&program, "--version") {
                    Ok(text) => info.version = text.lines().next().map(str::to_owned),
                    Err(problem) => info.problem = Some(problem),
                }
                // A runtime without the command says so by failing; it may be used all the same.
                let features = ask(&program, "features").ok();
                info.features = features.and_then(|text| serde_json::from_str(&text).ok());
                info.path = Some(program.path);
            }
            Err(error) => info.problem = Some(error.to_string()),
        }
        info
    }
}

/// A program by its absolute path, or by its name in the usual places.
fn find(named: &Path) -> Option<PathBuf> {
    if named.components().count() > 1 || named.is_absolute() {
        return named.is_file().then(|| named.to_owned());
    }
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(named)).find(|path| path.is_file())
}

/// What a runtime prints for one word; why not, otherwise.
fn ask(program: &RuntimeProgram, word: &str) -> Result<String, String> {
    let mut child = Command::new(&program.path)
        .arg(word)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot execute {}: {error}", program.path.display()))?;
    let reader = child.stdout.take().map(|stdout| {
        std::thread::spawn(move || {
            let mut text = String::new();
            stdout.take(MAX_ANSWER).read_to_string(&mut text).map(|_| text)
        })
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                // Its reader ends with the pipe.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{} {word} does not answer", program.path.display()));
            }
        }
    };
    let text = reader.and_then(|reader| reader.join().ok()).and_then(Result::ok);
    match text {
        Some(text) if status.success() => Ok(text),
        _ => Err(format!("{} {word} ended with {status}", program.path.display())),
    }
}

/// Whether a runtime's answer is worth showing: the names of what it knows.
pub(crate) fn summary(features: &Features) -> Vec<String> {
    let linux = features.linux.as_ref();
    let on = |enabled: Option<bool>, word: &str| enabled.unwrap_or(false).then(|| word.to_owned());
    let cgroup = linux.and_then(|linux| linux.cgroup.as_ref());
    [
        on(cgroup.map(|cgroup| cgroup.v1), "cgroup-v1"),
        on(cgroup.map(|cgroup| cgroup.v2), "cgroup-v2"),
        on(cgroup.map(|cgroup| cgroup.systemd), "systemd"),
        on(linux.map(|linux| linux.seccomp.as_ref().is_some_and(|s| s.enabled)), "seccomp"),
        on(linux.and_then(|linux| linux.apparmor).map(|it| it.enabled), "apparmor"),
        on(linux.and_then(|linux| linux.selinux).map(|it| it.enabled), "selinux"),
        on(linux.and_then(|linux| linux.intel_rdt).map(|it| it.enabled), "intel-rdt"),
        on(linux.and_then(|l| l.mount_extensions.as_ref()).map(|m| m.idmap.enabled), "idmap"),
        on(linux.and_then(|linux| linux.net_devices).map(|it| it.enabled), "net-devices"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> EngineConfig {
        let mut config = EngineConfig::from_environment();
        BUILTIN.clone_into(&mut config.runtime);
        config.apply_file(Path::new("berth.toml"), text).unwrap();
        config
    }

    fn program(runtime: Runtime) -> RuntimeProgram {
        match runtime {
            Runtime::Program(program) => program,
            Runtime::Builtin => panic!("builtin"),
        }
    }

    #[test]
    fn names_stand_for_what_is_configured() {
        let config = config(
            "[runtimes.careful]\npath = \"/bin/sh\"\narguments = [\"--debug\"]\n\
             [runtimes.boxed]\npath = \"sh\"\nsandboxed = true\n\
             [runtimes.absent]\npath = \"/nowhere/runtime\"\n",
        );
        let careful = program(config.handler(Some("careful")).unwrap());
        assert_eq!(careful.path, Path::new("/bin/sh"));
        assert_eq!(careful.options, ["--debug"]);
        assert!(!careful.sandboxed);
        assert!(program(config.handler(Some("boxed")).unwrap()).sandboxed);
        let missing = config.handler(Some("absent")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/runtime") && missing.contains("absent"), "{missing}");
        assert!(matches!(config.handler(Some("no-such")), Err(RuntimeError::Unknown(_))));
    }

    #[test]
    fn the_default_is_ours_unless_the_file_says_otherwise() {
        assert_eq!(config("").handler(None).unwrap(), Runtime::Builtin);
        let other = config("runtime = \"sh\"");
        assert!(program(other.handler(None).unwrap()).path.ends_with("sh"));
        assert_eq!(other.handler(Some("builtin")).unwrap(), Runtime::Builtin);
    }

    #[test]
    fn a_path_needs_no_configuration() {
        let by_path = program(config("").handler(Some("/bin/sh")).unwrap());
        assert_eq!(by_path, RuntimeProgram::new("/bin/sh"));
        assert!(config("").handler(Some("./sh")).is_err());
    }

    #[test]
    fn features_are_told_in_words() {
        let words = summary(&berth_runtime::features());
        assert!(words.contains(&"cgroup-v2".to_owned()), "{words:?}");
        assert!(summary(&Features::default()).is_empty());
    }
}
