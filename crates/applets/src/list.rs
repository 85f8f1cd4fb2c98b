//! ls and stat.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::options::Options;
use crate::outcome::{Failure, Outcome, Tally};
use crate::{proc, time};

/// `ls [-ladn1] [PATH...]`
pub fn ls(arguments: &[OsString]) -> Outcome {
    let mut options = Options::parse(arguments, "ladn1hA")?;
    if options.operands.is_empty() {
        options.operands.push(".".into());
    }
    let mut tally = Tally::new("ls");
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for path in &options.operands {
        let path = PathBuf::from(path);
        match fs::symlink_metadata(&path) {
            // A link to a directory is followed, unless the links themselves are asked for.
            Ok(data) if options.has('d') || options.has('l') && data.is_symlink() => {
                files.push(path);
            }
            Ok(_) if path.is_dir() => directories.push(path),
            Ok(_) => files.push(path),
            Err(error) => tally.note(Err(Failure::file(&path, &error))),
        }
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    for file in &files {
        tally.note(entry(file, file.as_os_str(), &options, &mut out));
    }
    for (at, directory) in directories.iter().enumerate() {
        if options.operands.len() > 1 {
            let gap = if at == 0 && files.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}{}:", directory.display())?;
        }
        let mut names = match fs::read_dir(directory) {
            Ok(entries) => {
                entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
            }
            Err(error) => Err(error),
        };
        if let Ok(names) = &mut names {
            let hidden = |name: &OsString| name.as_bytes().first() == Some(&b'.');
            names.retain(|name| options.has('a') || options.has('A') || !hidden(name));
            if options.has('a') {
                names.extend([".".into(), "..".into()]);
            }
            names.sort();
        }
        match names {
            Ok(names) => {
                for name in names {
                    tally.note(entry(&directory.join(&name), &name, &options, &mut out));
                }
            }
            Err(error) => tally.note(Err(Failure::file(directory, &error))),
        }
    }
    out.flush()?;
    Ok(tally.status())
}

/// Prints one line.
fn entry(path: &Path, name: &OsStr, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    if options.has('l') || options.has('n') {
        let data = fs::symlink_metadata(path).map_err(|error| Failure::file(path, &error))?;
        let owner = |database: &str, id: u32| {
            let name = if options.has('n') { None } else { proc::name_of(database, id) };
            name.unwrap_or_else(|| id.to_string())
        };
        let size = if data.file_type().is_char_device() || data.file_type().is_block_device() {
            let (major, minor) = device_numbers(data.rdev());
            format!("{major}, {minor}")
        } else {
            data.len().to_string()
        };
        let modified = time::Civil::from_seconds(data.mtime());
        write!(
            out,
            "{} {:>3} {:<8} {:<8} {size:>10} {modified} ",
            mode_string(&data),
            data.nlink(),
            owner("/etc/passwd", data.uid()),
            owner("/etc/group", data.gid()),
        )?;
    }
    out.write_all(name.as_bytes())?;
    if options.has('l')
        && let Ok(link) = fs::read_link(path)
    {
        write!(out, " -> {}", link.display())?;
    }
    out.write_all(b"\n")?;
    Ok(())
}

/// The type and permission bits, as `ls -l` writes them.
fn mode_string(data: &Metadata) -> String {
    let kind = data.file_type();
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () => '-',
    };
    let mode = data.mode();
    let mut text = String::from(letter);
    for (shift, special, set, unset) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Splits a device number as the C library does.
fn device_numbers(device: u64) -> (u64, u64) {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & 0xfff_ff00);
    (major, minor)
}

/// What a file is, in words.
fn kind_name(data: &Metadata) -> &'static str {
    let kind = data.file_type();
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_char_device() => "character special file",
        () if kind.is_block_device() => "block special file",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () if data.len() == 0 => "regular empty file",
        () => "regular file",
    }
}

/// `stat [-L] [-c FORMAT] FILE...`
pub fn stat(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "Lc:")?;
    let format = options.value('c').map(OsStr::to_string_lossy);
    let mut tally = Tally::new("stat");
    for path in options.at_least(1, "FILE")? {
        let data = if options.has('L') { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let print = data.map_err(|error| Failure::file(path, &error)).and_then(|data| {
            let text = match &format {
                Some(format) => stat_format(format, path, &data)?,
                None => stat_text(path, &data),
            };
            writeln!(io::stdout(), "{text}")?;
            Ok(())
        });
        tally.note(print);
    }
    Ok(tally.status())
}

/// The long form of stat.
fn stat_text(path: &OsStr, data: &Metadata) -> String {
    format!(
        "  File: {}\n  Size: {}\tBlocks: {}\t{}\nDevice: {:x}\tInode: {}\tLinks: {}\n\
         Access: ({:04o}/{})\tUid: {}\tGid: {}\nModify: {}",
        path.display(),
        data.len(),
        data.blocks(),
        kind_name(data),
        data.dev(),
        data.ino(),
        data.nlink(),
        data.mode() & 0o7777,
        mode_string(data),
        data.uid(),
        data.gid(),
        time::Civil::from_seconds(data.mtime()),
    )
}

/// Fills in a format as GNU stat does.
fn stat_format(format: &str, path: &OsStr, data: &Metadata) -> Result<String, Failure> {
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let (major, minor) = device_numbers(data.rdev());
        out += &match letters.next() {
            Some('n') => path.to_string_lossy().into_owned(),
            Some('s') => data.len().to_string(),
            Some('a') => format!("{:o}", data.mode() & 0o7777),
            Some('A') => mode_string(data),
            Some('F') => kind_name(data).to_owned(),
            Some('u') => data.uid().to_string(),
            Some('g') => data.gid().to_string(),
            Some('h') => data.nlink().to_string(),
            Some('i') => data.ino().to_string(),
            Some('d') => data.dev().to_string(),
            Some('t') => format!("{major:x}"),
            Some('T') => format!("{minor:x}"),
            Some('Y') => data.mtime().to_string(),
            Some('y') => time::Civil::from_seconds(data.mtime()).to_string(),
            Some('%') => "%".to_owned(),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(Failure::usage(format!("unknown conversion %{other}")));
            }
        };
    }
    Ok(out)
}
