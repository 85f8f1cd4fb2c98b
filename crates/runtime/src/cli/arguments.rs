//! The words of the command line, understood. Options and the container's id may come in any order.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_runtime::checkpoint::CheckpointOptions;
use berth_runtime::{CgroupManager, ContainerId, KillScope, MountChange, Rootless, Signal};
use lexopt::Arg::{self, Long, Short, Value};
use lexopt::{Parser, ValueExt as _};

use super::checkpoint::{self, RestoreArguments};
use super::exec::ExecArguments;
use super::help;
use super::log::{Fault, Level};
use super::resources;

/// Options that precede the command.
#[derive(Debug)]
pub(crate) struct Globals {
    /// Where states are kept.
    pub root: PathBuf,
    /// Whether that was said, and so has to be there.
    pub root_given: bool,
    /// The log file.
    pub log: Option<PathBuf>,
    /// Its format.
    pub log_format: LogFormat,
    /// What is told at all.
    pub log_level: Level,
    /// Who makes cgroups.
    pub cgroup_manager: CgroupManager,
    /// Whether a container may be without a cgroup of its own.
    pub rootless: Rootless,
}

/// Which containers an operation is for.
#[derive(Debug)]
pub(crate) enum Selection {
    /// One.
    One(ContainerId),
    /// Those whose ids an extended regular expression matches.
    Matching(String),
}

/// The format of the log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// `time="…" level=… msg="…"`.
    Text,
    /// `{"level":"…","msg":"…","time":"…"}`.
    Json,
}

/// The format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Options of `create` and `run`.
#[derive(Debug)]
pub(crate) struct RunArguments {
    /// The container.
    pub id: ContainerId,
    /// The bundle.
    pub bundle: PathBuf,
    /// The configuration, if it is not the bundle's.
    pub config: Option<PathBuf>,
    /// The console socket.
    pub console_socket: Option<PathBuf>,
    /// The socket for a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// The pid file.
    pub pid_file: Option<PathBuf>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--detach`, of `run`.
    pub detach: bool,
    /// `--keep`, of `run`.
    pub keep: bool,
    /// `--no-subreaper`, of `run`.
    pub no_subreaper: bool,
}

/// A command.
#[derive(Debug)]
pub(crate) enum Command {
    /// Print this.
    Help(String),
    /// Print the version.
    Version,
    /// Create a container.
    Create(RunArguments),
    /// Create and start a container.
    Run(RunArguments),
    /// Execute a process.
    Exec(Box<ExecArguments>),
    /// Start a container.
    Start(ContainerId),
    /// Print a state.
    State(ContainerId),
    /// List containers.
    List {
        /// How.
        format: TableFormat,
        /// Only ids.
        quiet: bool,
    },
    /// List processes.
    Processes {
        /// The container.
        id: ContainerId,
        /// How.
        format: TableFormat,
        /// Options of ps(1).
        options: Vec<OsString>,
    },
    /// Signal containers.
    Kill {
        /// Which.
        of: Selection,
        /// The signal; `None` asks only whether there is anything to signal.
        signal: Option<Signal>,
        /// Which processes.
        scope: KillScope,
    },
    /// Delete containers.
    Delete {
        /// Which.
        of: Selection,
        /// Even when it lives.
        force: bool,
    },
    /// Freeze a container.
    Pause(ContainerId),
    /// Thaw a container.
    Resume(ContainerId),
    /// Change limits.
    Update {
        /// The container.
        id: ContainerId,
        /// The limits.
        update: Box<resources::Update>,
    },
    /// Print statistics.
    Events {
        /// The container.
        id: ContainerId,
        /// How often; `None` for once.
        interval: Option<Duration>,
    },
    /// Change mounts.
    Mounts {
        /// The container.
        id: ContainerId,
        /// How.
        change: MountChange,
        /// The file that says which.
        file: PathBuf,
    },
    /// Keep a container in files.
    Checkpoint(Box<CheckpointOptions>),
    /// Bring one back from them.
    Restore(Box<RestoreArguments>),
    /// Write a configuration.
    Spec {
        /// Where.
        path: PathBuf,
        /// For an unprivileged user.
        rootless: bool,
    },
    /// Print what is supported.
    Features,
}

/// A whole command line.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// What precedes the command.
    pub globals: Globals,
    /// The command.
    pub command: Command,
}

impl From<lexopt::Error> for Fault {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(match error {
            // As Go's command lines say it, which engines look for.
            lexopt::Error::MissingValue { option: Some(option) } => {
                format!("flag needs an argument: {option}")
            }
            error => error.to_string(),
        })
    }
}

/// What this program was called.
pub(crate) fn basename() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().map(OsStr::to_string_lossy);
    name.map_or_else(|| "berth-runtime".to_owned(), std::borrow::Cow::into_owned)
}

/// Understands a command line.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Invocation, Fault> {
    let mut parser = Parser::from_args(words);
    let mut globals = Globals {
        root: default_root(),
        root_given: false,
        log: None,
        log_format: LogFormat::Text,
        log_level: Level::Warning,
        cgroup_manager: CgroupManager::Cgroupfs,
        rootless: Rootless::Auto,
    };
    while let Some(argument) = parser.next()? {
        let command = match argument {
            Short('v' | 'V') | Long("version") => Command::Version,
            Short('h' | '?') | Long("help" | "usage") => {
                Command::Help(help::text(None).unwrap_or_default())
            }
            Value(word) => command(&word, &mut parser)?,
            Long(name) => {
                let name = name.to_owned();
                global(&name, &mut parser, &mut globals)?;
                continue;
            }
            other @ Short(_) => return Err(other.unexpected().into()),
        };
        return Ok(Invocation { globals, command });
    }
    Err(Fault::usage("a command is missing"))
}

/// An option that precedes the command.
fn global(name: &str, parser: &mut Parser, globals: &mut Globals) -> Result<(), Fault> {
    match name {
        "root" => {
            globals.root = root(&parser.value()?)?;
            globals.root_given = true;
        }
        "log" => {
            globals.log =
                Some(PathBuf::from(parser.value()?)).filter(|p| !p.as_os_str().is_empty());
        }
        "log-format" => {
            let formats =
                [("json", LogFormat::Json), ("text", LogFormat::Text), ("", LogFormat::Text)];
            globals.log_format = choice(parser, name, &formats)?;
        }
        "log-level" => {
            let levels =
                [("error", Level::Error), ("warning", Level::Warning), ("debug", Level::Debug)];
            globals.log_level = choice(parser, name, &levels)?;
        }
        "debug" => {
            if flag(parser)? {
                globals.log_level = Level::Debug;
            }
        }
        "systemd-cgroup" => {
            let systemd = flag(parser)?;
            globals.cgroup_manager =
                if systemd { CgroupManager::Systemd } else { CgroupManager::Cgroupfs };
        }
        "cgroup-manager" => {
            let managers = [
                ("systemd", CgroupManager::Systemd),
                ("cgroupfs", CgroupManager::Cgroupfs),
                ("disabled", CgroupManager::Disabled),
            ];
            globals.cgroup_manager = choice(parser, name, &managers)?;
        }
        "rootless" => {
            let text = parser.value()?.string()?;
            globals.rootless = match (text.as_str(), boolean(&text)) {
                ("auto" | "", _) => Rootless::Auto,
                (_, Some(true)) => Rootless::True,
                (_, Some(false)) => Rootless::False,
                _ => return Err(Fault::usage(format!("--rootless cannot be {text:?}"))),
            };
        }
        _ => return Err(Long(name).unexpected().into()),
    }
    Ok(())
}

/// One of the values that an option can have.
fn choice<T: Copy>(parser: &mut Parser, name: &str, known: &[(&str, T)]) -> Result<T, Fault> {
    let text = parser.value()?.string()?;
    let found = known.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| Fault::usage(format!("--{name} cannot be {text:?}")))
}

/// What a truth is written as.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// An option that is set by being there, or by `=true`.
pub(crate) fn flag(parser: &mut Parser) -> Result<bool, Fault> {
    match parser.optional_value() {
        None => Ok(true),
        Some(text) => boolean(&text.to_string_lossy())
            .ok_or_else(|| Fault::usage(format!("{} is neither true nor false", text.display()))),
    }
}

/// An option that a command does not have, which may be a call for help.
pub(crate) fn unexpected(argument: Arg<'_>) -> Fault {
    match argument {
        Short('h' | '?') | Long("help" | "usage") => Fault::help(),
        other => other.unexpected().into(),
    }
}

/// The directory of states, absolute, and not one that holds everything else.
fn root(word: &OsStr) -> Result<PathBuf, Fault> {
    let failed = |error| Fault::io("find the working directory", &error);
    let path = if word.is_empty() {
        PathBuf::from("/")
    } else {
        std::path::absolute(word).map_err(failed)?
    };
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    if plain == Path::new("/") {
        return Err(Fault::usage("--root cannot be /"));
    }
    Ok(plain)
}

fn default_root() -> PathBuf {
    let home = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    match home {
        Some(directory) if !rustix::process::geteuid().is_root() => {
            PathBuf::from(directory).join("berth-runtime")
        }
        _ => PathBuf::from("/run/berth-runtime"),
    }
}

fn command(word: &OsStr, parser: &mut Parser) -> Result<Command, Fault> {
    let name = word.to_str().unwrap_or_default();
    match understand(name, parser) {
        Err(fault) if fault.wants_help() => match help::text(Some(name)) {
            Some(text) => Ok(Command::Help(text)),
            None => Err(Fault::usage(format!("No help topic for '{name}'"))),
        },
        result => result,
    }
}

fn understand(name: &str, parser: &mut Parser) -> Result<Command, Fault> {
    match name {
        "create" => run_arguments(parser, Mode::Create).map(Command::Create),
        "run" => run_arguments(parser, Mode::Run).map(Command::Run),
        "exec" => super::exec::parse(parser).map(|found| Command::Exec(Box::new(found))),
        "start" => only_id(parser).map(Command::Start),
        "state" => only_id(parser).map(Command::State),
        "pause" => only_id(parser).map(Command::Pause),
        "resume" => only_id(parser).map(Command::Resume),
        "kill" => kill(parser),
        "delete" => delete(parser),
        "list" => list(parser),
        "ps" => processes(parser),
        "update" => {
            let (id, update) = resources::parse(parser)?;
            Ok(Command::Update { id, update: Box::new(update) })
        }
        "events" => events(parser),
        "mounts" => mounts(parser),
        "spec" => spec(parser),
        "features" => no_more(parser).map(|()| Command::Features),
        "version" => Ok(Command::Version),
        "help" => match parser.next()? {
            Some(Value(topic)) => match help::text(topic.to_str()) {
                Some(text) => Ok(Command::Help(text)),
                None => Err(Fault::usage(format!("No help topic for '{}'", topic.display()))),
            },
            _ => Ok(Command::Help(help::text(None).unwrap_or_default())),
        },
        "checkpoint" => {
            checkpoint::parse_checkpoint(parser).map(|found| Command::Checkpoint(Box::new(found)))
        }
        "restore" => {
            checkpoint::parse_restore(parser).map(|found| Command::Restore(Box::new(found)))
        }
        _ => Err(match parser.next() {
            Ok(Some(Short('h' | '?') | Long("help" | "usage"))) => Fault::help(),
            _ => Fault::usage(format!("{name} is not a command")),
        }),
    }
}

/// The container's id, given once.
#[derive(Default)]
pub(crate) struct Id(Option<ContainerId>);

impl Id {
    /// Takes a word.
    pub(crate) fn set(&mut self, word: &OsStr) -> Result<(), Fault> {
        if self.0.is_some() {
            return Err(Fault::usage(format!("{} is one word too many", word.display())));
        }
        let text = word.to_string_lossy();
        let id = ContainerId::new(text)
            .map_err(|error| Fault::new(error.to_string()).with_hint(error.hint()))?;
        self.0 = Some(id);
        Ok(())
    }

    /// Whether there is one.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The id.
    pub(crate) fn get(self) -> Result<ContainerId, Fault> {
        self.0.ok_or_else(|| Fault::usage("the container's id is missing"))
    }
}

fn no_more(parser: &mut Parser) -> Result<(), Fault> {
    match parser.next()? {
        None => Ok(()),
        Some(other) => Err(unexpected(other)),
    }
}

fn only_id(parser: &mut Parser) -> Result<ContainerId, Fault> {
    let mut id = Id::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) => id.set(&word)?,
            other => return Err(unexpected(other)),
        }
    }
    id.get()
}

/// Which of the two commands that share most options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Run,
}

fn run_arguments(parser: &mut Parser, mode: Mode) -> Result<RunArguments, Fault> {
    let mut id = Id::default();
    let mut found = RunArguments {
        id: ContainerId::new("none").map_err(|error| Fault::new(error.to_string()))?,
        bundle: PathBuf::from("."),
        config: None,
        console_socket: None,
        pidfd_socket: None,
        pid_file: None,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        detach: false,
        keep: false,
        no_subreaper: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('b') | Long("bundle") => found.bundle = path(parser)?,
            Short('f') | Long("config") => found.config = Some(path(parser)?),
            Long("console-socket") => found.console_socket = optional_path(parser)?,
            Long("pidfd-socket") => found.pidfd_socket = optional_path(parser)?,
            Long("pid-file") => found.pid_file = optional_path(parser)?,
            Long("no-pivot") => found.no_pivot = flag(parser)?,
            Long("no-new-keyring") => found.no_new_keyring = flag(parser)?,
            Long("preserve-fds") => found.preserve_fds = preserve_fds(parser)?,
            Short('d') | Long("detach") if mode == Mode::Run => found.detach = flag(parser)?,
            Long("keep") if mode == Mode::Run => found.keep = flag(parser)?,
            Long("no-subreaper") if mode == Mode::Run => found.no_subreaper = flag(parser)?,
            Value(word) => id.set(&word)?,
            other => return Err(unexpected(other)),
        }
    }
    found.id = id.get()?;
    Ok(found)
}

/// A path, which must not be empty.
pub(crate) fn path(parser: &mut Parser) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(parser.value()?);
    if path.as_os_str().is_empty() { Err(Fault::usage("a path is empty")) } else { Ok(path) }
}

/// A path that may be empty, as callers give it who have none.
pub(crate) fn optional_path(parser: &mut Parser) -> Result<Option<PathBuf>, Fault> {
    Ok(Some(PathBuf::from(parser.value()?)).filter(|path| !path.as_os_str().is_empty()))
}

/// A count of descriptors.
pub(crate) fn preserve_fds(parser: &mut Parser) -> Result<u32, Fault> {
    let count: u32 = parser.value()?.parse()?;
    if count > 10_000 {
        return Err(Fault::usage("--preserve-fds cannot be above 10000"));
    }
    Ok(count)
}

/// The container or containers that a word stands for.
fn selection(word: Option<OsString>, regex: bool) -> Result<Selection, Fault> {
    let Some(word) = word else {
        return Err(Fault::usage("the container's id is missing"));
    };
    if regex {
        return Ok(Selection::Matching(word.to_string_lossy().into_owned()));
    }
    let mut id = Id::default();
    id.set(&word)?;
    id.get().map(Selection::One)
}

fn one_too_many(word: &OsStr) -> Fault {
    Fault::usage(format!("{} is one word too many", word.display()))
}

fn kill(parser: &mut Parser) -> Result<Command, Fault> {
    let (mut of, mut signal) = (None, None);
    let (mut scope, mut regex) = (KillScope::Init, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('a') | Long("all") => {
                scope = if flag(parser)? { KillScope::All } else { KillScope::Init };
            }
            Short('r') | Long("regex") => regex = flag(parser)?,
            Short('s') | Long("signal") => signal = Some(parser.value()?),
            Value(word) if of.is_none() => of = Some(word),
            Value(word) if signal.is_none() => signal = Some(word),
            Value(word) => return Err(one_too_many(&word)),
            other => return Err(unexpected(other)),
        }
    }
    let signal = match signal {
        None => Some(Signal::TERM),
        Some(word) if word == "0" => None,
        Some(word) => {
            let signal = word.to_string_lossy().parse::<Signal>();
            Some(signal.map_err(|error| Fault::new(error.to_string()).with_hint(error.hint()))?)
        }
    };
    Ok(Command::Kill { of: selection(of, regex)?, signal, scope })
}

fn delete(parser: &mut Parser) -> Result<Command, Fault> {
    let (mut of, mut force, mut regex) = (None, false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("force") => force = flag(parser)?,
            Short('r') | Long("regex") => regex = flag(parser)?,
            Value(word) if of.is_none() => of = Some(word),
            Value(word) => return Err(one_too_many(&word)),
            other => return Err(unexpected(other)),
        }
    }
    Ok(Command::Delete { of: selection(of, regex)?, force })
}

fn table_format(parser: &mut Parser) -> Result<TableFormat, Fault> {
    let formats =
        [("table", TableFormat::Table), ("", TableFormat::Table), ("json", TableFormat::Json)];
    choice(parser, "format", &formats)
}

fn list(parser: &mut Parser) -> Result<Command, Fault> {
    let (mut format, mut quiet) = (TableFormat::Table, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("format") => format = table_format(parser)?,
            Short('q') | Long("quiet") => quiet = flag(parser)?,
            other => return Err(unexpected(other)),
        }
    }
    Ok(Command::List { format, quiet })
}

fn processes(parser: &mut Parser) -> Result<Command, Fault> {
    let mut format = TableFormat::Table;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("format") => format = table_format(parser)?,
            Value(word) => {
                let mut id = Id::default();
                id.set(&word)?;
                let options: Vec<OsString> = parser.raw_args()?.collect();
                return Ok(Command::Processes { id: id.get()?, format, options });
            }
            other => return Err(unexpected(other)),
        }
    }
    Err(Fault::usage("the container's id is missing"))
}

fn events(parser: &mut Parser) -> Result<Command, Fault> {
    let mut id = Id::default();
    let (mut once, mut interval) = (false, Duration::from_secs(5));
    while let Some(argument) = parser.next()? {
        match argument {
            Long("stats") => once = flag(parser)?,
            Long("interval") => {
                let text = parser.value()?.string()?;
                interval = super::events::duration(&text)
                    .filter(|interval| !interval.is_zero())
                    .ok_or_else(|| {
                        Fault::usage(format!("--interval {text:?} is not a time such as 5s"))
                    })?;
            }
            Value(word) => id.set(&word)?,
            other => return Err(unexpected(other)),
        }
    }
    Ok(Command::Events { id: id.get()?, interval: (!once).then_some(interval) })
}

fn mounts(parser: &mut Parser) -> Result<Command, Fault> {
    let mut words = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) => words.push(word),
            other => return Err(unexpected(other)),
        }
    }
    let [change, container, file] = &words[..] else {
        return Err(Fault::usage("mounts takes three words: add or remove, an id, a file"));
    };
    let change = match change.to_str() {
        Some("add") => MountChange::Add,
        Some("remove") => MountChange::Remove,
        _ => {
            return Err(Fault::usage(format!("mounts {} is not a command", change.display())));
        }
    };
    let mut id = Id::default();
    id.set(container)?;
    Ok(Command::Mounts { id: id.get()?, change, file: PathBuf::from(file) })
}

fn spec(parser: &mut Parser) -> Result<Command, Fault> {
    let mut bundle = PathBuf::from(".");
    let mut file = PathBuf::from("config.json");
    let mut rootless = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('b') | Long("bundle") => bundle = path(parser)?,
            Short('f') | Long("file") => file = path(parser)?,
            Long("rootless") => rootless = flag(parser)?,
            other => return Err(unexpected(other)),
        }
    }
    Ok(Command::Spec { path: bundle.join(file), rootless })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Command, Fault> {
        parse(words.split_whitespace().map(OsString::from).collect()).map(|found| found.command)
    }

    #[test]
    fn the_id_may_stand_before_and_after_options() {
        for words in ["run -d -b /b c", "run c -d --bundle /b", "run -d c --bundle=/b"] {
            let Ok(Command::Run(found)) = parsed(words) else { panic!("{words}") };
            assert_eq!((found.id.as_str(), found.detach), ("c", true));
            assert_eq!(found.bundle, PathBuf::from("/b"));
        }
        for words in ["delete -f c", "delete c --force"] {
            assert!(matches!(parsed(words), Ok(Command::Delete { force: true, .. })));
        }
        for words in ["kill c 9", "kill -a c KILL", "kill --all c SIGKILL", "kill c -s KILL"] {
            let Ok(Command::Kill { signal, .. }) = parsed(words) else { panic!("{words}") };
            assert_eq!(signal, Some(Signal::KILL));
        }
    }

    #[test]
    fn a_command_line_that_makes_no_sense_is_an_error() {
        for words in [
            "",
            "fly",
            "run",
            "run a b",
            "create -d a",
            "kill a FOO",
            "kill a 9 9",
            "list a",
            "run ../a",
            "--log-format xml list",
            "exec a",
            "ps",
            "events --interval 0s a",
            "events --interval x a",
            "mounts add a",
            "mounts move a f",
            "--root / list",
            "--root ../../../../../../.. list",
            "--rootless maybe list",
            "--debug=x list",
            "checkpoint",
            "checkpoint --empty-ns user a",
            "checkpoint --page-server nowhere a",
            "restore --leave-running a",
            "restore --manage-cgroups-mode some a",
            "run --preserve-fds -1 a",
            "state --all a",
        ] {
            assert!(parsed(words).is_err(), "{words}");
        }
    }

    #[test]
    fn help_has_runcs_words_and_cruns() {
        for words in ["-h", "--help", "-?", "--usage", "run -h", "kill -?", "exec --usage", "help"]
        {
            assert!(matches!(parsed(words), Ok(Command::Help(_))), "{words}");
        }
    }

    #[test]
    fn global_options_come_first() {
        let words =
            ["--root", "/r", "--log", "/l", "--log-format=json", "--systemd-cgroup", "list"];
        let found = parse(words.map(OsString::from).to_vec()).unwrap().globals;
        assert_eq!(found.root, PathBuf::from("/r"));
        assert_eq!(found.log_format, LogFormat::Json);
        assert_eq!(found.cgroup_manager, CgroupManager::Systemd);
    }
}
