//! cp and dd.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::Path;
use std::time::Instant;

use crate::files::{destination, sources_and_target};
use crate::options::{self, Options};
use crate::outcome::{Failure, Outcome, Tally};

/// What a copy takes over beside content and permission bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing more.
    Content,
    /// Times and, where the caller may, owners; symbolic links stay links.
    Everything,
}

/// `cp [-raf] SOURCE... TARGET`
pub fn cp(arguments: &[OsString]) -> Outcome {
    let options = Options::parse(arguments, "rRapf")?;
    let keep = if options.has('a') || options.has('p') { Keep::Everything } else { Keep::Content };
    let recursive = options.has('r') || options.has('R') || options.has('a');
    let (sources, target) = sources_and_target(&options)?;
    let mut tally = Tally::new("cp");
    for source in sources {
        let to = destination(source, target);
        tally.note(if recursive {
            copy_tree(Path::new(source), &to, keep)
        } else if Path::new(source).is_dir() {
            Err(Failure::new(1, format!("{} is a directory (-r copies them)", source.display())))
        } else {
            copy_file(Path::new(source), &to, keep)
        });
    }
    Ok(tally.status())
}

/// Copies a file's content, following a symbolic link.
fn copy_file(from: &Path, to: &Path, keep: Keep) -> Result<(), Failure> {
    fs::copy(from, to).map_err(|error| {
        Failure::new(
            1,
            format!("{} to {}: {}", from.display(), to.display(), crate::outcome::plain(&error)),
        )
    })?;
    take_over(from, to, keep)
}

/// Takes over times and owner.
fn take_over(from: &Path, to: &Path, keep: Keep) -> Result<(), Failure> {
    if keep == Keep::Content {
        return Ok(());
    }
    let failed = |error: io::Error| Failure::file(to, &error);
    let data = fs::symlink_metadata(from).map_err(|error| Failure::file(from, &error))?;
    match lchown(to, Some(data.uid()), Some(data.gid())) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(failed(error)),
        _ => {}
    }
    if data.is_symlink() {
        return Ok(());
    }
    // Changing the owner may have cleared bits.
    fs::set_permissions(to, data.permissions()).map_err(failed)?;
    let times = FileTimes::new()
        .set_accessed(data.accessed().map_err(failed)?)
        .set_modified(data.modified().map_err(failed)?);
    File::open(to).and_then(|file| file.set_times(times)).map_err(failed)
}

/// Copies a file, link or directory with all below it.
pub fn copy_tree(from: &Path, to: &Path, keep: Keep) -> Result<(), Failure> {
    let data = fs::symlink_metadata(from).map_err(|error| Failure::file(from, &error))?;
    if data.is_symlink() {
        let link = fs::read_link(from).map_err(|error| Failure::file(from, &error))?;
        symlink(link, to).map_err(|error| Failure::file(to, &error))?;
        return take_over(from, to, keep);
    }
    if data.is_file() {
        return copy_file(from, to, keep);
    }
    if !data.is_dir() {
        return Err(Failure::new(1, format!("{}: not a file or directory", from.display())));
    }
    match fs::create_dir(to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::file(to, &error));
        }
        _ => {}
    }
    for entry in fs::read_dir(from).map_err(|error| Failure::file(from, &error))? {
        let entry = entry.map_err(|error| Failure::file(from, &error))?;
        copy_tree(&entry.path(), &to.join(entry.file_name()), keep)?;
    }
    take_over(from, to, keep)
}

/// The operands of dd.
#[derive(Default)]
struct Blocks {
    input: Option<OsString>,
    output: Option<OsString>,
    size: u64,
    count: Option<u64>,
    skip: u64,
    seek: u64,
    truncate: bool,
    sync: bool,
    quiet: bool,
}

/// Reads dd's operands.
fn blocks(arguments: &[OsString]) -> Result<Blocks, Failure> {
    let mut blocks = Blocks { size: 512, truncate: true, ..Blocks::default() };
    for argument in arguments {
        let unknown = || Failure::usage(format!("unknown operand {}", argument.display()));
        let at = argument.as_bytes().iter().position(|byte| *byte == b'=').ok_or_else(unknown)?;
        let (key, value) = argument.as_bytes().split_at(at);
        let value = OsStr::from_bytes(value.get(1..).unwrap_or_default());
        match key {
            b"if" => blocks.input = Some(value.to_owned()),
            b"of" => blocks.output = Some(value.to_owned()),
            b"bs" => blocks.size = options::size(value)?.max(1),
            b"count" => blocks.count = Some(options::size(value)?),
            b"skip" => blocks.skip = options::size(value)?,
            b"seek" => blocks.seek = options::size(value)?,
            b"conv" if value == "notrunc" => blocks.truncate = false,
            b"conv" if value == "fsync" => blocks.sync = true,
            b"status" if value == "none" => blocks.quiet = true,
            _ => return Err(unknown()),
        }
    }
    Ok(blocks)
}

/// `dd [if=FILE] [of=FILE] [bs=N] [count=N] [skip=N] [seek=N] [conv=notrunc|fsync] [status=none]`
pub fn dd(arguments: &[OsString]) -> Outcome {
    let blocks = blocks(arguments)?;
    let started = Instant::now();
    let mut input: Box<dyn Read> = match &blocks.input {
        None => Box::new(io::stdin().lock()),
        Some(path) => {
            let mut file = File::open(path).map_err(|error| Failure::file(path, &error))?;
            if blocks.skip > 0 {
                file.seek(SeekFrom::Start(blocks.skip * blocks.size))
                    .map_err(|error| Failure::file(path, &error))?;
            }
            Box::new(file)
        }
    };
    let mut file = None;
    if let Some(path) = &blocks.output {
        let truncate = blocks.truncate && blocks.seek == 0;
        let opened = OpenOptions::new().write(true).create(true).truncate(truncate).open(path);
        let mut opened = opened.map_err(|error| Failure::file(path, &error))?;
        if blocks.seek > 0 {
            opened
                .seek(SeekFrom::Start(blocks.seek * blocks.size))
                .map_err(|error| Failure::file(path, &error))?;
        }
        file = Some(opened);
    }
    let size = usize::try_from(blocks.size).map_err(|_| Failure::usage("bs is too big"))?;
    let mut buffer = vec![0; size];
    let (mut full, mut partial, mut total) = (0_u64, 0_u64, 0_u64);
    while blocks.count.is_none_or(|count| full + partial < count) {
        let read = input.read(&mut buffer)?;
        let data = buffer.get(..read).unwrap_or_default();
        if data.is_empty() {
            break;
        }
        if read == size {
            full += 1;
        } else {
            partial += 1;
        }
        total += read as u64;
        let written = match &mut file {
            Some(file) => file.write_all(data),
            None => io::stdout().write_all(data),
        };
        written.map_err(|error| match &blocks.output {
            Some(path) => Failure::file(path, &error),
            None => Failure::from(error),
        })?;
    }
    if let (true, Some(file)) = (blocks.sync, &file) {
        file.sync_all()?;
    }
    if !blocks.quiet {
        let seconds = started.elapsed().as_secs_f64();
        writeln!(io::stderr(), "{full}+{partial} blocks, {total} bytes in {seconds:.3} s")?;
    }
    Ok(0)
}
