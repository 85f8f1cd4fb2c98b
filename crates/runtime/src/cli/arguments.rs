//! The words of the command line, understood. Options and the container's id may come in any order.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use berth_runtime::{ContainerId, KillScope, Signal};
use berth_spec::runtime::LinuxResources;
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt as _};

use super::exec::ExecArguments;
use super::log::Fault;
use super::resources;

/// Options that precede the command.
#[derive(Debug)]
pub(crate) struct Globals {
    /// Where states are kept.
    pub root: PathBuf,
    /// The log file.
    pub log: Option<PathBuf>,
    /// Its format.
    pub log_format: LogFormat,
    /// Whether systemd makes cgroups.
    pub systemd_cgroup: bool,
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
    /// The console socket.
    pub console_socket: Option<PathBuf>,
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
    Help(&'static str),
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
    /// Signal a container.
    Kill {
        /// The container.
        id: ContainerId,
        /// The signal.
        signal: Signal,
        /// Which processes.
        scope: KillScope,
    },
    /// Delete a container.
    Delete {
        /// The container.
        id: ContainerId,
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
        resources: Box<LinuxResources>,
    },
    /// Print statistics.
    Events {
        /// The container.
        id: ContainerId,
    },
    /// Write a configuration.
    Spec {
        /// Where.
        bundle: Option<PathBuf>,
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

const HELP: &str = "\
berth-runtime: an OCI runtime

usage: berth-runtime [GLOBAL OPTIONS] COMMAND [OPTIONS] [ID] [ARGUMENTS]

commands:
  create    create a container            [-b DIR] [--console-socket PATH] [--pid-file FILE]
                                          [--no-pivot] [--no-new-keyring] [--preserve-fds N] ID
  run       create and start a container  the same, [-d] [--keep] [--no-subreaper] ID
  start     start a created container     ID
  exec      execute another process       [-d] [-t] [-e NAME=VALUE] [--cwd DIR] [-u UID[:GID]]
                                          [-g GID] [-c CAP] [-p FILE] [--console-socket PATH]
                                          [--pid-file FILE] [--preserve-fds N] [--cgroup PATH]
                                          [--no-new-privs] [--ignore-paused] [--apparmor PROFILE]
                                          [--process-label LABEL] ID COMMAND [ARGUMENT ...]
  kill      send a signal                 [-a] ID [SIGNAL]
  delete    remove a container            [-f] ID
  pause     freeze all processes          ID
  resume    thaw them                     ID
  state     print the state               ID
  list      list containers               [-f table|json] [-q]
  ps        list a container's processes  [-f table|json] ID [PS OPTIONS]
  update    change limits                 [-r FILE|-] [--memory N] [--memory-swap N]
                                          [--memory-reservation N] [--cpu-quota N] [--cpu-period N]
                                          [--cpu-burst N] [--cpu-share N] [--cpu-idle N]
                                          [--cpu-rt-period N] [--cpu-rt-runtime N]
                                          [--cpuset-cpus LIST] [--cpuset-mems LIST]
                                          [--pids-limit N] [--blkio-weight N] ID
  events    print statistics              --stats ID
  spec      write a config.json           [-b DIR] [--rootless]
  features  print what is supported

global options:
  --root DIR              where states are kept (default /run/berth-runtime, or
                          $XDG_RUNTIME_DIR/berth-runtime without privileges)
  --log FILE              write errors and warnings to FILE, too
  --log-format text|json  its format
  --systemd-cgroup        let systemd make cgroups (the same: --cgroup-manager systemd)
  -v, --version           print the version
  -h, --help              print this
";

impl From<lexopt::Error> for Fault {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error.to_string())
    }
}

/// Understands a command line.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Invocation, Fault> {
    let mut parser = Parser::from_args(words);
    let mut globals = Globals {
        root: default_root(),
        log: None,
        log_format: LogFormat::Text,
        systemd_cgroup: false,
    };
    while let Some(argument) = parser.next()? {
        let command = match argument {
            Long("root") => {
                globals.root = PathBuf::from(parser.value()?);
                continue;
            }
            Long("log") => {
                globals.log =
                    Some(PathBuf::from(parser.value()?)).filter(|p| !p.as_os_str().is_empty());
                continue;
            }
            Long("log-format") => {
                globals.log_format = match parser.value()?.string()?.as_str() {
                    "json" => LogFormat::Json,
                    "text" | "" => LogFormat::Text,
                    other => return Err(Fault::usage(format!("--log-format cannot be {other:?}"))),
                };
                continue;
            }
            Long("systemd-cgroup") => {
                globals.systemd_cgroup = true;
                continue;
            }
            Long("cgroup-manager") => {
                globals.systemd_cgroup = match parser.value()?.string()?.as_str() {
                    "systemd" => true,
                    "cgroupfs" => false,
                    other => {
                        return Err(Fault::usage(format!("--cgroup-manager cannot be {other:?}")));
                    }
                };
                continue;
            }
            Short('v') | Long("version") => Command::Version,
            Short('h') | Long("help") => Command::Help(HELP),
            Value(word) => command(&word, &mut parser)?,
            other => return Err(other.unexpected().into()),
        };
        return Ok(Invocation { globals, command });
    }
    Err(Fault::usage("a command is missing"))
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
    match word.to_str().unwrap_or_default() {
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
            let (id, resources) = resources::parse(parser)?;
            Ok(Command::Update { id, resources: Box::new(resources) })
        }
        "events" => events(parser),
        "spec" => spec(parser),
        "features" => no_more(parser).map(|()| Command::Features),
        "help" => Ok(Command::Help(HELP)),
        "version" => Ok(Command::Version),
        "checkpoint" | "restore" => {
            Err(Fault::usage(format!("{} is not supported", word.display())))
        }
        _ => Err(Fault::usage(format!("{} is not a command", word.display()))),
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
        Some(other) => Err(other.unexpected().into()),
    }
}

fn only_id(parser: &mut Parser) -> Result<ContainerId, Fault> {
    let mut id = Id::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) => id.set(&word)?,
            other => return Err(other.unexpected().into()),
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
        console_socket: None,
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
            Long("console-socket") => found.console_socket = Some(path(parser)?),
            Long("pid-file") => found.pid_file = Some(path(parser)?),
            Long("no-pivot") => found.no_pivot = true,
            Long("no-new-keyring") => found.no_new_keyring = true,
            Long("preserve-fds") => found.preserve_fds = preserve_fds(parser)?,
            Short('d') | Long("detach") if mode == Mode::Run => found.detach = true,
            Long("keep") if mode == Mode::Run => found.keep = true,
            Long("no-subreaper") if mode == Mode::Run => found.no_subreaper = true,
            Value(word) => id.set(&word)?,
            other => return Err(other.unexpected().into()),
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

/// A count of descriptors.
pub(crate) fn preserve_fds(parser: &mut Parser) -> Result<u32, Fault> {
    let count: u32 = parser.value()?.parse()?;
    if count > 10_000 {
        return Err(Fault::usage("--preserve-fds cannot be above 10000"));
    }
    Ok(count)
}

fn kill(parser: &mut Parser) -> Result<Command, Fault> {
    let mut id = Id::default();
    let mut signal = None;
    let mut scope = KillScope::Init;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('a') | Long("all") => scope = KillScope::All,
            Short('s') | Long("signal") => signal = Some(parser.value()?),
            Value(word) if id.is_set() && signal.is_none() => signal = Some(word),
            Value(word) => id.set(&word)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let signal = match signal {
        None => Signal::TERM,
        Some(word) => word
            .to_string_lossy()
            .parse::<Signal>()
            .map_err(|error| Fault::new(error.to_string()).with_hint(error.hint()))?,
    };
    Ok(Command::Kill { id: id.get()?, signal, scope })
}

fn delete(parser: &mut Parser) -> Result<Command, Fault> {
    let mut id = Id::default();
    let mut force = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("force") => force = true,
            Value(word) => id.set(&word)?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Delete { id: id.get()?, force })
}

fn table_format(parser: &mut Parser) -> Result<TableFormat, Fault> {
    match parser.value()?.string()?.as_str() {
        "table" | "" => Ok(TableFormat::Table),
        "json" => Ok(TableFormat::Json),
        other => Err(Fault::usage(format!("--format cannot be {other:?}"))),
    }
}

fn list(parser: &mut Parser) -> Result<Command, Fault> {
    let (mut format, mut quiet) = (TableFormat::Table, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("format") => format = table_format(parser)?,
            Short('q') | Long("quiet") => quiet = true,
            other => return Err(other.unexpected().into()),
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
                let mut options: Vec<OsString> = parser.raw_args()?.collect();
                if options.first().is_some_and(|first| first == "--format") && options.len() >= 2 {
                    let rest = options.split_off(2);
                    format = match options.get(1).and_then(|word| word.to_str()) {
                        Some("json") => TableFormat::Json,
                        _ => TableFormat::Table,
                    };
                    options = rest;
                }
                return Ok(Command::Processes { id: id.get()?, format, options });
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Err(Fault::usage("the container's id is missing"))
}

fn events(parser: &mut Parser) -> Result<Command, Fault> {
    let mut id = Id::default();
    let mut once = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("stats") => once = true,
            Value(word) => id.set(&word)?,
            other => return Err(other.unexpected().into()),
        }
    }
    if !once {
        return Err(Fault::usage("a stream of events is not supported: give --stats"));
    }
    Ok(Command::Events { id: id.get()? })
}

fn spec(parser: &mut Parser) -> Result<Command, Fault> {
    let (mut bundle, mut rootless) = (None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('b') | Long("bundle") => bundle = Some(path(parser)?),
            Long("rootless") => rootless = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Spec { bundle, rootless })
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
            assert_eq!(signal, Signal::KILL);
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
            "events a",
            "checkpoint a",
            "run --preserve-fds -1 a",
            "state --all a",
        ] {
            assert!(parsed(words).is_err(), "{words}");
        }
    }

    #[test]
    fn global_options_come_first() {
        let words =
            ["--root", "/r", "--log", "/l", "--log-format=json", "--systemd-cgroup", "list"];
        let found = parse(words.map(OsString::from).to_vec()).unwrap().globals;
        assert_eq!(found.root, PathBuf::from("/r"));
        assert_eq!(found.log_format, LogFormat::Json);
        assert!(found.systemd_cgroup);
    }
}
