//! Applets that change the directory tree: mkdir, rm, rmdir, touch, mv, ln, chmod, chown, and the
//! path printers readlink, basename and dirname.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown as set_owner, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::copy;
use crate::options::{self, Options};
use crate::outcome::{Failure, Outcome, Tally};

/// Writes one path and a newline.
fn print_path(path: impl AsRef<OsStr>) -> io::Result<()> {
    io::stdout().write_all(&[path.as_ref().as_bytes(), b"\n"].concat())
}

/// `mkdir [-p] [-m MODE] DIRECTORY...`
pub fn mkdir(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "pm:")?;
    let mode = options.value('m').map(|mode| options::number(mode, 8)).transpose()?;
    let mut tally = Tally::new("mkdir");
    for path in options.at_least(1, "DIRECTORY")? {
        let made = DirBuilder::new().recursive(options.has('p')).mode(0o777).create(path);
        // The umask has no say in a mode that was asked for.
        let made = made.and_then(|()| match mode {
            Some(mode) => fs::set_permissions(path, Permissions::from_mode(mode)),
            None => Ok(()),
        });
        tally.note(made.map_err(|error| Failure::file(path, &error)));
    }
    Ok(tally.status())
}

/// `rm [-rf] FILE...`
pub fn rm(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "rRf")?;
    let recursive = options.has('r') || options.has('R');
    let least = usize::from(!options.has('f'));
    let mut tally = Tally::new("rm");
    for path in options.at_least(least, "FILE")? {
        let remove = || -> io::Result<()> {
            if recursive && fs::symlink_metadata(path)?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        };
        match remove() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && options.has('f') => {}
            done => tally.note(done.map_err(|error| Failure::file(path, &error))),
        }
    }
    Ok(tally.status())
}

/// `rmdir DIRECTORY...`
pub fn rmdir(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "")?;
    let mut tally = Tally::new("rmdir");
    for path in options.at_least(1, "DIRECTORY")? {
        tally.note(fs::remove_dir(path).map_err(|error| Failure::file(path, &error)));
    }
    Ok(tally.status())
}

/// `touch FILE...`
pub fn touch(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "c")?;
    let now = SystemTime::now();
    let mut tally = Tally::new("touch");
    for path in options.at_least(1, "FILE")? {
        let touched = match OpenOptions::new().append(true).create(!options.has('c')).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && options.has('c') => continue,
            // A directory can't be opened for writing, but has times.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::File::open(path),
            opened => opened,
        };
        let times = FileTimes::new().set_accessed(now).set_modified(now);
        let touched = touched.and_then(|file| file.set_times(times));
        tally.note(touched.map_err(|error| Failure::file(path, &error)));
    }
    Ok(tally.status())
}

/// Where an operand of cp, mv or ln goes: below the last operand when that is a directory.
pub fn destination(source: &OsStr, target: &OsStr) -> PathBuf {
    let target = Path::new(target);
    if target.is_dir() {
        target.join(Path::new(source).file_name().unwrap_or_default())
    } else {
        target.to_owned()
    }
}

/// Splits operands into sources and the target.
pub fn sources_and_target(options: &Options) -> Result<(&[OsString], &OsString), Failure> {
    let Some((target, sources)) = options.at_least(2, "SOURCE TARGET")?.split_last() else {
        return Err(Failure::usage("missing operand: SOURCE TARGET"));
    };
    if sources.len() > 1 && !Path::new(target).is_dir() {
        return Err(Failure::usage(format!("{} is not a directory", target.display())));
    }
    Ok((sources, target))
}

/// `mv SOURCE... TARGET`
pub fn mv(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "f")?;
    let (sources, target) = sources_and_target(&options)?;
    let mut tally = Tally::new("mv");
    for source in sources {
        let to = destination(source, target);
        let moved = match fs::rename(source, &to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                copy::copy_tree(Path::new(source), &to, copy::Keep::Everything).and_then(|()| {
                    let gone = if Path::new(source).is_dir() {
                        fs::remove_dir_all(source)
                    } else {
                        fs::remove_file(source)
                    };
                    gone.map_err(|error| Failure::file(source, &error))
                })
            }
            renamed => renamed.map_err(|error| Failure::file(source, &error)),
        };
        tally.note(moved);
    }
    Ok(tally.status())
}

/// `ln [-sf] SOURCE... TARGET`
pub fn ln(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "sf")?;
    let (sources, target) = sources_and_target(&options)?;
    let mut tally = Tally::new("ln");
    for source in sources {
        let to = destination(source, target);
        if options.has('f') {
            // What can't be removed makes the link fail, with the same reason.
            let _ = fs::remove_file(&to);
        }
        let made = if options.has('s') { symlink(source, &to) } else { fs::hard_link(source, &to) };
        tally.note(made.map_err(|error| Failure::file(&to, &error)));
    }
    Ok(tally.status())
}

/// `chmod MODE FILE...`
pub fn chmod(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "")?;
    let Some((mode, paths)) = options.at_least(2, "MODE FILE")?.split_first() else {
        return Err(Failure::usage("missing operand: MODE FILE"));
    };
    let mode = options::number(mode, 8)?;
    let mut tally = Tally::new("chmod");
    for path in paths {
        let set = fs::set_permissions(path, Permissions::from_mode(mode));
        tally.note(set.map_err(|error| Failure::file(path, &error)));
    }
    Ok(tally.status())
}

/// `chown [-h] UID[:GID] FILE...`
pub fn chown(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "h")?;
    let Some((owner, paths)) = options.at_least(2, "UID[:GID] FILE")?.split_first() else {
        return Err(Failure::usage("missing operand: UID[:GID] FILE"));
    };
    let owner = owner.to_string_lossy();
    let (user, group) = owner.split_once(':').unwrap_or((&owner, ""));
    let id = |text: &str| -> Result<Option<u32>, Failure> {
        if text.is_empty() {
            return Ok(None);
        }
        options::number(OsStr::new(text), 10).map(Some)
    };
    let (user, group) = (id(user)?, id(group)?);
    let mut tally = Tally::new("chown");
    for path in paths {
        let set =
            if options.has('h') { lchown(path, user, group) } else { set_owner(path, user, group) };
        tally.note(set.map_err(|error| Failure::file(path, &error)));
    }
    Ok(tally.status())
}

/// `readlink [-f] PATH...`
pub fn readlink(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "fn")?;
    let mut tally = Tally::new("readlink");
    for path in options.at_least(1, "PATH")? {
        let read = if options.has('f') { fs::canonicalize(path) } else { fs::read_link(path) };
        tally.note(
            read.map_err(|error| Failure::file(path, &error))
                .and_then(|found| print_path(found).map_err(Failure::from)),
        );
    }
    Ok(tally.status())
}

/// `basename PATH [SUFFIX]`
pub fn basename(arguments: &[OsString]) -> Outcome {
    let (path, suffix) = match arguments {
        [path] => (path, OsStr::new("")),
        [path, suffix] => (path, suffix.as_os_str()),
        _ => return Err(Failure::usage("wanted: PATH [SUFFIX]")),
    };
    let name = Path::new(path).file_name().unwrap_or(path).as_bytes();
    let cut = name.strip_suffix(suffix.as_bytes()).filter(|cut| !cut.is_empty()).unwrap_or(name);
    print_path(OsStr::from_bytes(cut))?;
    Ok(0)
}

/// `dirname PATH`
pub fn dirname(arguments: &[OsString]) -> Outcome {
    let [path] = arguments else { return Err(Failure::usage("wanted: PATH")) };
    let parent = match Path::new(path).parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    print_path(parent)?;
    Ok(0)
}
