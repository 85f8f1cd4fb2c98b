//! Applets that tell about the system: id, hostname, uname, ps, mount, ttysize.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::options::Options;
use crate::outcome::{Failure, Outcome};
use crate::{proc, sys};

/// `id [-u|-g|-G] [-n]`
pub fn id(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "ugGnr")?;
    let status = proc::status("self")?;
    let (user, group) = (status.user.1, status.group.1);
    let mut groups = vec![group];
    groups.extend(status.groups.iter().filter(|extra| **extra != group));
    let show = |database: &str, id: u32| {
        let name = options.has('n').then(|| proc::name_of(database, id)).flatten();
        name.unwrap_or_else(|| id.to_string())
    };
    let long = |database: &str, id: u32| match proc::name_of(database, id) {
        Some(name) => format!("{id}({name})"),
        None => id.to_string(),
    };
    let text = if options.has('u') {
        show("/etc/passwd", user)
    } else if options.has('g') {
        show("/etc/group", group)
    } else if options.has('G') {
        let all: Vec<String> = groups.iter().map(|id| show("/etc/group", *id)).collect();
        all.join(" ")
    } else {
        let all: Vec<String> = groups.iter().map(|id| long("/etc/group", *id)).collect();
        let (user, group) = (long("/etc/passwd", user), long("/etc/group", group));
        format!("uid={user} gid={group} groups={}", all.join(","))
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(0)
}

/// `hostname`
pub fn hostname(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "")?;
    if !options.operands.is_empty() {
        return Err(Failure::usage("setting the host name is not supported"));
    }
    writeln!(io::stdout(), "{}", proc::hostname()?)?;
    Ok(0)
}

/// `uname [-asnrvm]`
pub fn uname(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "asnrvm")?;
    let read = |name: &str| -> io::Result<String> {
        Ok(fs::read_to_string(format!("/proc/sys/kernel/{name}"))?.trim_end().to_owned())
    };
    let all = [
        ('s', read("ostype")?),
        ('n', read("hostname")?),
        ('r', read("osrelease")?),
        ('v', read("version")?),
        ('m', std::env::consts::ARCH.to_owned()),
    ];
    let none = !all.iter().any(|(letter, _)| options.has(*letter)) && !options.has('a');
    let shown: Vec<&str> = all
        .iter()
        .filter(|(letter, _)| options.has(*letter) || options.has('a') || (none && *letter == 's'))
        .map(|(_, text)| text.as_str())
        .collect();
    writeln!(io::stdout(), "{}", shown.join(" "))?;
    Ok(0)
}

/// `ps`
pub fn ps(arguments: &[OsString]) -> Outcome {
    // The usual letters for "all of them" are taken, since it shows all in any case.
    Options::parse(arguments, "efA")?;
    let mut out = io::stdout().lock();
    writeln!(out, "{:>5} {:>5} {:<8} {:<4} {:>8} COMMAND", "PID", "PPID", "USER", "STAT", "RSS")?;
    for pid in proc::processes()? {
        // A process may end between the listing and the look at it.
        let Ok(status) = proc::status(&pid.to_string()) else { continue };
        let user = proc::name_of("/etc/passwd", status.user.1);
        let user = user.unwrap_or_else(|| status.user.1.to_string());
        let command = proc::command_line(pid, &status.name);
        let (parent, state, resident) = (status.parent, &status.state, status.resident);
        writeln!(out, "{pid:>5} {parent:>5} {user:<8} {state:<4} {resident:>8} {command}")?;
    }
    Ok(0)
}

/// `mount`
pub fn mount(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "")?;
    if !options.operands.is_empty() {
        return Err(Failure::usage("only listing is supported"));
    }
    let mut out = io::stdout().lock();
    for mount in proc::mounts()? {
        let proc::Mount { source, target, kind, options, super_options } = mount;
        writeln!(out, "{source} on {target} type {kind} ({options},{super_options})")?;
    }
    Ok(0)
}

/// `ttysize`
pub fn ttysize(_arguments: &[OsString]) -> Outcome {
    let (columns, rows) = sys::window_size(io::stdin().as_fd())
        .map_err(|_| Failure::new(1, "standard input is not a terminal"))?;
    writeln!(io::stdout(), "{columns} {rows}")?;
    Ok(0)
}
