//! Commands that change the shell itself (POSIX 2.14 and the few others that must be built in).

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::syntax::is_name;
use super::{Leave, Shell, Variable};
use crate::outcome::Failure;
use crate::sys::{self, Wait};

/// A built-in command.
pub type Builtin = fn(&mut Shell, &[Vec<u8>]) -> Result<u8, Leave>;

/// Finds a builtin by name.
pub fn find(name: &[u8]) -> Option<Builtin> {
    Some(match name {
        b":" => |_, _| Ok(0),
        b"." => source,
        b"break" => |_, arguments| Err(Leave::Break(levels(arguments)?)),
        b"cd" => cd,
        b"command" => command,
        b"continue" => |_, arguments| Err(Leave::Continue(levels(arguments)?)),
        b"eval" => eval,
        b"exec" => exec,
        b"exit" => |shell, arguments| Err(Leave::Exit(status(shell, arguments)?)),
        b"export" => export,
        b"local" => local,
        b"read" => read,
        b"readonly" => readonly,
        b"return" => |shell, arguments| Err(Leave::Return(status(shell, arguments)?)),
        b"set" => set,
        b"shift" => shift,
        b"trap" => trap,
        b"type" => type_of,
        b"umask" => umask,
        b"unset" => unset,
        b"wait" => wait,
        b"alias" | b"bg" | b"fg" | b"jobs" | b"ulimit" | b"getopts" | b"times" => {
            |_, _| Err(Failure::new(2, "not supported by this shell").into())
        }
        _ => return None,
    })
}

/// Whether an applet is run in the shell's own process: those that are used in every other line.
pub fn runs_in_process(applet: &str) -> bool {
    matches!(applet, "[" | "echo" | "false" | "kill" | "printf" | "pwd" | "test" | "true")
}

/// A text for messages.
fn show(text: &[u8]) -> impl std::fmt::Display {
    OsStr::from_bytes(text).display()
}

/// Reads a whole number.
fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, Failure> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Failure::usage(format!("{} is not a number", show(text))))
}

/// The number of loops that `break` and `continue` leave.
fn levels(arguments: &[Vec<u8>]) -> Result<usize, Failure> {
    match arguments.first() {
        None => Ok(1),
        Some(text) => Ok(number::<usize>(text)?.max(1)),
    }
}

/// The status that `exit` and `return` give.
fn status(shell: &Shell, arguments: &[Vec<u8>]) -> Result<u8, Failure> {
    match arguments.first() {
        None => Ok(shell.status),
        // Only the low eight bits are seen by the parent.
        Some(text) => Ok((number::<i64>(text)? & 0xff) as u8),
    }
}

/// `. FILE`
fn source(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let [file, ..] = arguments else { return Err(Failure::usage("wanted: FILE").into()) };
    let path = Path::new(OsStr::from_bytes(file));
    let text = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    match shell.run_text(&text) {
        Err(Leave::Return(status)) => Ok(status),
        done => done.map(|()| shell.status),
    }
}

/// `cd [DIRECTORY | -]`
fn cd(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let missing = |name: &str| Failure::new(1, format!("{name} is not set"));
    let target = match arguments {
        [] => shell.value(b"HOME").ok_or_else(|| missing("HOME"))?.to_vec(),
        [dash] if dash == b"-" => {
            let before = shell.value(b"OLDPWD").ok_or_else(|| missing("OLDPWD"))?.to_vec();
            writeln!(io::stdout(), "{}", show(&before))?;
            before
        }
        [target] => target.clone(),
        _ => return Err(Failure::usage("wanted: one directory").into()),
    };
    let path = PathBuf::from(OsStr::from_bytes(&target));
    std::env::set_current_dir(&path).map_err(|error| Failure::file(&path, &error))?;
    let before = shell.value(b"PWD").unwrap_or_default().to_vec();
    let now = std::env::current_dir()?.into_os_string().into_vec();
    shell.assign(b"OLDPWD", before)?;
    shell.assign(b"PWD", now)?;
    Ok(0)
}

/// Where a program is found in `PATH`.
fn in_path(shell: &Shell, name: &[u8]) -> Option<Vec<u8>> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if name.contains(&b'/') {
        return runs(Path::new(OsStr::from_bytes(name))).then(|| name.to_vec());
    }
    let directories = shell.value(b"PATH").unwrap_or_default().split(|byte| *byte == b':');
    directories
        .map(|directory| Path::new(OsStr::from_bytes(directory)).join(OsStr::from_bytes(name)))
        .find(|path| runs(path))
        .map(|path| path.into_os_string().into_vec())
}

/// `command [-v] NAME [ARGUMENT...]`
fn command(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    match arguments {
        [option, names @ ..] if option == b"-v" => {
            let mut status = 0;
            for name in names {
                let known = shell.functions.contains_key(name)
                    || find(name).is_some()
                    || crate::find(OsStr::from_bytes(name))
                        .is_some_and(|applet| runs_in_process(applet.name));
                match if known { Some(name.clone()) } else { in_path(shell, name) } {
                    Some(found) => writeln!(io::stdout(), "{}", show(&found))?,
                    None => status = 1,
                }
            }
            Ok(status)
        }
        [] => Ok(0),
        words => {
            if let Some((name, rest)) = words.split_first()
                && let Some(builtin) = find(name)
            {
                return builtin(shell, rest);
            }
            match shell.fork()? {
                sys::Fork::Child => {
                    let failure = shell.execute(words);
                    sys::exit_now(shell.complain(&failure))
                }
                sys::Fork::Parent(child) => shell.wait_for(child),
            }
        }
    }
}

/// `type NAME...`
fn type_of(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let mut status = 0;
    let mut out = io::stdout().lock();
    for name in arguments {
        let shown = show(name);
        if shell.functions.contains_key(name) {
            writeln!(out, "{shown} is a function")?;
        } else if find(name).is_some() {
            writeln!(out, "{shown} is a shell builtin")?;
        } else if let Some(path) = in_path(shell, name) {
            writeln!(out, "{shown} is {}", show(&path))?;
        } else {
            writeln!(out, "{shown}: not found")?;
            status = 1;
        }
    }
    Ok(status)
}

/// `eval WORD...`
fn eval(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    shell.status = 0;
    shell.run_text(&arguments.join(&b' '))?;
    Ok(shell.status)
}

/// `exec [COMMAND [ARGUMENT...]]`
fn exec(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    if arguments.is_empty() {
        return Ok(0);
    }
    let failure = shell.execute(arguments);
    let status = shell.complain(&failure);
    if shell.interactive { Ok(status) } else { Err(Leave::Exit(status)) }
}

/// Splits `NAME=VALUE`.
fn split_assignment(word: &[u8]) -> Result<(&[u8], Option<Vec<u8>>), Failure> {
    let at = word.iter().position(|byte| *byte == b'=');
    let (name, value) = match at {
        Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
        None => (word, None),
    };
    if !is_name(name) {
        return Err(Failure::usage(format!("{} is not a variable's name", show(name))));
    }
    Ok((name, value.map(<[u8]>::to_vec)))
}

/// `export [NAME[=VALUE]...]`
fn export(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let names = arguments.strip_prefix(&[b"-p".to_vec()]).unwrap_or(arguments);
    if names.is_empty() {
        let mut out = io::stdout().lock();
        for (name, value) in shell.environment() {
            writeln!(out, "export {}={}", name.display(), quote(value.as_bytes()))?;
        }
        return Ok(0);
    }
    for word in names {
        let (name, value) = split_assignment(word)?;
        if let Some(value) = value {
            shell.assign(name, value)?;
        }
        shell.variables.entry(name.to_vec()).or_default().exported = true;
    }
    Ok(0)
}

/// A text in single quotes.
fn quote(text: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(text).replace('\'', "'\\''"))
}

/// `readonly NAME[=VALUE]...`
fn readonly(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    for word in arguments {
        let (name, value) = split_assignment(word)?;
        if let Some(value) = value {
            shell.assign(name, value)?;
        }
        shell.variables.entry(name.to_vec()).or_default().read_only = true;
    }
    Ok(0)
}

/// `local NAME[=VALUE]...`
fn local(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    for word in arguments {
        let (name, value) = split_assignment(word)?;
        let before = shell.variables.get(name).cloned();
        let Some(hidden) = shell.hidden.last_mut() else {
            return Err(Failure::usage("only a function has local variables").into());
        };
        let exported = before.as_ref().is_some_and(|variable| variable.exported);
        hidden.push((name.to_vec(), before));
        let variable = Variable { value: value.unwrap_or_default(), exported, read_only: false };
        shell.variables.insert(name.to_vec(), variable);
    }
    Ok(0)
}

/// Adds one line of standard input to `line`, newline included, a byte at a time so that nothing
/// behind it is taken. `false` when the input is at its end.
pub fn read_line(line: &mut Vec<u8>) -> io::Result<bool> {
    // A duplicate goes around the buffer of the standard library's own standard input.
    let mut input = fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut any = false;
    loop {
        let mut byte = [0];
        if input.read(&mut byte)? == 0 {
            return Ok(any);
        }
        any = true;
        line.extend(byte);
        if byte == [b'\n'] {
            return Ok(true);
        }
    }
}

/// `read [-r] [-p PROMPT] [NAME...]`
fn read(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let mut raw = false;
    let mut names = arguments;
    while let Some((option, rest)) = names.split_first() {
        match option.as_slice() {
            b"-r" => raw = true,
            b"-p" => {
                let (prompt, rest) =
                    rest.split_first().ok_or_else(|| Failure::usage("-p wants a prompt"))?;
                io::stderr().write_all(prompt)?;
                names = rest;
                continue;
            }
            [b'-', ..] => {
                return Err(Failure::usage(format!("unknown option {}", show(option))).into());
            }
            _ => break,
        }
        names = rest;
    }
    let mut line = Vec::new();
    let mut ended = false;
    loop {
        let mut more = Vec::new();
        match read_line(&mut more) {
            Ok(any) => ended |= !any || more.last() != Some(&b'\n'),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(128 + interrupting(shell).unwrap_or(2));
            }
            Err(error) => return Err(error.into()),
        }
        if more.last() == Some(&b'\n') {
            more.pop();
        }
        let escapes = more.iter().rev().take_while(|byte| **byte == b'\\').count();
        if raw || escapes % 2 == 0 || ended {
            line.extend(more);
            break;
        }
        more.pop();
        line.extend(more);
    }
    let separators = shell.value(b"IFS").unwrap_or(b" \t\n").to_vec();
    let default = [b"REPLY".to_vec()];
    let names = if names.is_empty() { &default } else { names };
    let values = split_line(&line, &separators, names.len(), raw);
    for (at, name) in names.iter().enumerate() {
        if !is_name(name) {
            return Err(Failure::usage(format!("{} is not a variable's name", show(name))).into());
        }
        shell.assign(name, values.get(at).cloned().unwrap_or_default())?;
    }
    Ok(u8::from(ended))
}

/// Splits a line into at most `count` values; the last one takes all that is left.
fn split_line(line: &[u8], separators: &[u8], count: usize, raw: bool) -> Vec<Vec<u8>> {
    let blank = |byte: &u8| separators.contains(byte) && byte.is_ascii_whitespace();
    let mut values = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.get(rest.iter().take_while(|byte| blank(byte)).count()..).unwrap_or_default();
        if rest.is_empty() {
            return values;
        }
        let last = values.len() + 1 == count;
        let mut value = Vec::new();
        let mut at = 0;
        while let Some(&byte) = rest.get(at) {
            at += 1;
            if byte == b'\\' && !raw {
                value.extend(rest.get(at));
                at += 1;
            } else if !last && separators.contains(&byte) {
                break;
            } else {
                value.push(byte);
            }
        }
        rest = rest.get(at..).unwrap_or_default();
        while last && value.last().is_some_and(blank) {
            value.pop();
        }
        values.push(value);
        if last {
            return values;
        }
    }
}

/// `set [-eufx] [+eufx] [-o NAME] [--] [ARGUMENT...]`
fn set(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    if arguments.is_empty() {
        let mut out = io::stdout().lock();
        for (name, variable) in shell.variables.iter().filter(|(name, _)| is_name(name)) {
            writeln!(out, "{}={}", show(name), quote(&variable.value))?;
        }
        return Ok(0);
    }
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"--" => {
                shell.positional = words.cloned().collect();
                return Ok(0);
            }
            [sign @ (b'-' | b'+'), b'o'] => {
                let on = *sign == b'-';
                match words.next().map(Vec::as_slice) {
                    Some(b"errexit") => shell.settings.exit_on_error = on,
                    Some(b"nounset") => shell.settings.unset_is_error = on,
                    Some(b"xtrace") => shell.settings.trace = on,
                    Some(b"noglob") => shell.settings.no_glob = on,
                    Some(b"pipefail") => shell.settings.pipe_fail = on,
                    other => {
                        let other = show(other.unwrap_or_default()).to_string();
                        return Err(Failure::usage(format!("unknown option {other}")).into());
                    }
                }
            }
            [sign @ (b'-' | b'+'), letters @ ..] if !letters.is_empty() => {
                for letter in letters {
                    shell.set_letter(*letter, *sign == b'-')?;
                }
            }
            first => {
                let first = first.to_vec();
                shell.positional = std::iter::once(first).chain(words.cloned()).collect();
                return Ok(0);
            }
        }
    }
    Ok(0)
}

/// `shift [N]`
fn shift(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let count = arguments.first().map_or(Ok(1), |text| number::<usize>(text))?;
    if count > shell.positional.len() {
        return Ok(1);
    }
    shell.positional.drain(..count);
    Ok(0)
}

/// `trap [- | COMMAND] SIGNAL...`, or `trap` to list them.
fn trap(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let Some((action, signals)) = arguments.split_first() else {
        let mut out = io::stdout().lock();
        for (signal, text) in &shell.traps {
            writeln!(out, "trap -- {} {signal}", quote(text))?;
        }
        return Ok(0);
    };
    if signals.is_empty() {
        return Err(Failure::usage("wanted: COMMAND SIGNAL").into());
    }
    for signal in signals {
        let text = String::from_utf8_lossy(signal);
        let number = if text == "EXIT" { Some(0) } else { sys::signal_number(&text) };
        let number = number.ok_or_else(|| Failure::usage(format!("unknown signal {text}")))?;
        if number == sys::SIGKILL || number == sys::SIGSTOP {
            return Err(Failure::usage(format!("{text} cannot be caught")).into());
        }
        if action == b"-" {
            shell.traps.remove(&number);
            if number > 0 {
                sys::default_signal(number);
            }
            continue;
        }
        shell.traps.insert(number, action.clone());
        if number > 0 && action.is_empty() {
            sys::ignore_signal(number);
        } else if number > 0 {
            sys::catch_signal(number);
        }
    }
    Ok(0)
}

/// `umask [MODE]`
fn umask(_shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let Some(mode) = arguments.first() else {
        let current = crate::proc::status("self")?.umask;
        writeln!(io::stdout(), "{current}")?;
        return Ok(0);
    };
    let mode = crate::options::number(OsStr::from_bytes(mode), 8)?;
    sys::set_umask(mode & 0o777);
    Ok(0)
}

/// `unset [-f] [-v] NAME...`
fn unset(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let mut functions = false;
    for name in arguments {
        match name.as_slice() {
            b"-f" => functions = true,
            b"-v" => functions = false,
            name if functions => {
                shell.functions.remove(name);
            }
            name if shell.variables.get(name).is_some_and(|variable| variable.read_only) => {
                return Err(Failure::usage(format!("{}: read-only", show(name))).into());
            }
            name => {
                shell.variables.remove(name);
            }
        }
    }
    Ok(0)
}

/// `wait [PID...]`
fn wait(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<u8, Leave> {
    let mut wanted = Vec::new();
    for text in arguments {
        wanted.push(number::<i32>(text)?);
    }
    let all = wanted.is_empty();
    if all {
        wanted.extend(shell.jobs.keys());
    }
    let mut status = 0;
    for pid in wanted {
        status = loop {
            match shell.jobs.get(&pid) {
                None => break 127,
                Some(Some(status)) => break *status,
                Some(None) => {}
            }
            match sys::wait_child(None, Wait::Block) {
                Ok(Some(ended)) => shell.note_end(ended),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if let Some(signal) = interrupting(shell) {
                        return Ok(128 + signal);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        shell.jobs.remove(&pid);
    }
    Ok(if all { 0 } else { status })
}

/// The trapped signal that interrupted a builtin, if it was one; its trap runs after the command.
fn interrupting(shell: &Shell) -> Option<u8> {
    if !sys::signal_pending() {
        return None;
    }
    let signal = shell.traps.keys().find(|signal| **signal > 0)?;
    u8::try_from(*signal).ok()
}
