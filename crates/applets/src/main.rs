//! The program inside berth's embedded image: many small commands in one static file.
//!
//! The name it is called by (`argv[0]`, so a symbolic link), or else its first argument, chooses
//! the applet. It uses the standard library alone, so that it can be built by a bare `rustc` from
//! a build script, and it knows nothing of containers: what `hello` prints, it reads from `/proc`
//! and `/sys` as any program could.
//!
//! The applets cover what demonstrations and tests of a container engine need and follow POSIX
//! where they overlap with it; an option that isn't known is refused by name.

#![deny(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

mod copy;
mod fetch;
mod files;
mod filter;
mod hello;
mod httpd;
mod init;
mod list;
mod options;
mod outcome;
mod pattern;
mod print;
mod proc;
mod process;
mod regex;
mod sh;
mod sys;
mod system;
mod testing;
mod text;
mod time;

use outcome::{Failure, Outcome};

/// One command of the program.
struct Applet {
    name: &'static str,
    run: fn(&[OsString]) -> Outcome,
    summary: &'static str,
}

/// A row of [`APPLETS`].
const fn applet(
    name: &'static str,
    run: fn(&[OsString]) -> Outcome,
    summary: &'static str,
) -> Applet {
    Applet { name, run, summary }
}

/// Every applet, sorted by name.
static APPLETS: &[Applet] = &[
    applet("[", testing::bracket, "evaluate an expression, up to a closing ]"),
    applet("basename", files::basename, "print the last part of a path"),
    applet("berth-init", init::run, "run a command as PID 1: pass signals on, reap orphans"),
    applet("cat", text::cat, "print files one after another"),
    applet("chmod", files::chmod, "change permission bits (octal)"),
    applet("chown", files::chown, "change the owner: uid[:gid]"),
    applet("cp", copy::cp, "copy files; -r directories, -a with times and owners"),
    applet("date", time::date, "print the time in UTC, +FORMAT"),
    applet("dd", copy::dd, "copy blocks: if= of= bs= count= skip= seek="),
    applet("dirname", files::dirname, "print a path without its last part"),
    applet("echo", print::echo, "print arguments; -n without a newline, -e with escapes"),
    applet("env", process::env, "print or change the environment and run a command"),
    applet("false", process::no, "fail"),
    applet("fetch", fetch::run, "print what an http URL serves"),
    applet("grep", filter::grep, "print lines that match a pattern (-F fixed, -v -i -c -q -n)"),
    applet("head", text::head, "print the first lines (-n) or bytes (-c)"),
    applet("hello", hello::run, "tell what a program in this container sees"),
    applet("hostname", system::hostname, "print the host name"),
    applet("httpd", httpd::run, "serve files: -p PORT -r ROOT; /status tells about the server"),
    applet("id", system::id, "print user and group ids (-u -g -G -n)"),
    applet("init", init::run, "run a command as PID 1: pass signals on, reap orphans"),
    applet("kill", process::kill, "send a signal to processes (-SIGNAL, -l)"),
    applet("ln", files::ln, "make hard links, or symbolic ones (-s -f)"),
    applet("ls", list::ls, "list directories (-l -a -d -1)"),
    applet("mkdir", files::mkdir, "make directories (-p, -m MODE)"),
    applet("mount", system::mount, "list the mounts"),
    applet("mv", files::mv, "rename files"),
    applet("printf", print::printf, "print arguments by a format"),
    applet("ps", system::ps, "list the processes"),
    applet("pwd", process::pwd, "print the working directory"),
    applet("readlink", files::readlink, "print where a symbolic link points (-f: the real path)"),
    applet("rm", files::rm, "remove files (-r -f)"),
    applet("rmdir", files::rmdir, "remove empty directories"),
    applet("seq", text::seq, "print numbers: [FIRST [STEP]] LAST"),
    applet("sh", sh::run, "the shell"),
    applet("sleep", process::sleep, "wait: seconds, or with a suffix of s, m, h, d; infinity"),
    applet("sort", filter::sort, "sort lines (-n -r -u)"),
    applet("stat", list::stat, "print what is known of a file (-c FORMAT)"),
    applet("tail", text::tail, "print the last lines (-n) or bytes (-c); -f follows"),
    applet("tee", text::tee, "copy input to output and to files (-a)"),
    applet("test", testing::test, "evaluate an expression"),
    applet("touch", files::touch, "make a file, or set its times to now"),
    applet("tr", filter::tr, "translate or delete (-d) characters"),
    applet("true", process::yes_status, "succeed"),
    applet("ttysize", system::ttysize, "print the terminal's columns and rows"),
    applet("uname", system::uname, "print the system's name (-a -s -n -r -v -m)"),
    applet("uniq", filter::uniq, "drop repeated lines (-c -d)"),
    applet("wc", text::wc, "count lines, words and bytes (-l -w -c)"),
    applet("yes", text::yes, "print a line until stopped"),
];

/// Finds an applet by name.
fn find(name: &OsStr) -> Option<&'static Applet> {
    let name = name.to_str()?;
    APPLETS.binary_search_by(|applet| applet.name.cmp(name)).ok().and_then(|at| APPLETS.get(at))
}

/// Runs an applet and reports its failure, if any, on standard error.
fn run_applet(applet: &Applet, arguments: &[OsString]) -> u8 {
    let outcome = (applet.run)(arguments);
    // What stands in the buffer of standard output belongs before what goes to standard error.
    let flushed = std::io::stdout().flush();
    match outcome {
        Ok(status) if flushed.is_ok() => status,
        Ok(_) => report(applet.name, &Failure::new(1, "cannot write to standard output")),
        Err(failure) => report(applet.name, &failure),
    }
}

/// Says what went wrong; gives the status to exit with.
fn report(name: &str, failure: &Failure) -> u8 {
    // Nothing can be done about a standard error that cannot be written to.
    let _ = writeln!(std::io::stderr(), "{name}: {failure}");
    failure.status()
}

/// Prints the table of applets.
fn usage(out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "berth-applets: small commands in one static program\n")?;
    writeln!(out, "usage: APPLET [ARGUMENT...]   or   berth-applets APPLET [ARGUMENT...]\n")?;
    for applet in APPLETS {
        writeln!(out, "  {:<10} {}", applet.name, applet.summary)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    sys::default_signal(sys::SIGPIPE);
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    // A login shell is called with a dash before its name.
    let name = Path::new(&called).file_name().unwrap_or_default().as_bytes();
    let name = OsStr::from_bytes(name.strip_prefix(b"-").unwrap_or(name));
    if let Some(applet) = find(name) {
        return run_applet(applet, &arguments).into();
    }
    match arguments.split_first() {
        None => usage(&mut std::io::stdout()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Some((first, _)) if first == "--list" => {
            let names: Vec<&str> = APPLETS.iter().map(|applet| applet.name).collect();
            let written = writeln!(std::io::stdout(), "{}", names.join("\n"));
            written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Some((first, _)) if first == "--help" => {
            usage(&mut std::io::stdout()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Some((first, rest)) => match find(first) {
            Some(applet) => run_applet(applet, rest).into(),
            None => {
                let failure = Failure::new(
                    127,
                    format!("no applet is called {}; --list tells them", first.display()),
                );
                report("berth-applets", &failure).into()
            }
        },
    }
}
