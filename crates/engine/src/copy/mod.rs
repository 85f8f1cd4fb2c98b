//! Copying between a container and the host, as docker's `cp` does it, over tar streams.
//!
//! A container's files are reached through a descriptor of its root: `/proc/PID/root` while it runs,
//! a detached mount while it doesn't. Every path is resolved by `openat2` with that root as `/`, so
//! links in the container never lead out of it, whoever changes them meanwhile.

mod archive;
mod extract;
mod tree;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::core::Core;
use crate::error::{CopyError, FindError, PathError, RootError};
use crate::lock::ContainerLock;
use crate::records::ContainerRecord;
use crate::state::Observed;
use crate::view::PathStat;

/// How files come to be where they are copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// `--overwrite`: a directory may replace a file and the other way round.
    pub overwrite: bool,
    /// `--archive`: owners stay as in the source; else all belongs to root in the container, or to
    /// the caller on the host.
    pub archive: bool,
}

/// A root descriptor, and a path below it.
struct Place {
    root: OwnedFd,
    path: PathBuf,
    name: PlaceName,
    /// Keeps a stopped container from being started while its files are mounted.
    _lock: Option<ContainerLock>,
}

/// How a place is called in messages: the container as it was named, and where its root is in it;
/// nothing on the host.
struct PlaceName(Option<(String, PathBuf)>);

/// The parts of a path that decide how it is copied.
struct Words<'a> {
    path: &'a Path,
    /// It ends with a slash: a directory is meant.
    directory: bool,
    /// It ends with `/.`: the directory's content is meant.
    content: bool,
}

impl<'a> Words<'a> {
    fn new(path: &'a Path) -> Self {
        let text = path.as_os_str().as_encoded_bytes();
        let content = text == b"." || text.ends_with(b"/.");
        Self { path, directory: content || text.ends_with(b"/"), content }
    }
}

/// What was found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Directory,
    Other,
}

impl Core {
    /// The root of a container's files, and the path below it. Of a stopped container a path below
    /// a volume or bind mount is taken from there.
    fn place(&self, word: &str, path: &Path) -> Result<Place, CopyError> {
        let record: ContainerRecord = self.find::<CopyError>(word)?;
        let gone = || FindError::NotFound(word.to_owned());
        let (record, observed) = self.settle(record)?.ok_or_else(gone)?;
        if let Some(place) = running_place(&observed, word, path) {
            return Ok(place);
        }
        let lock = self.lock(&record.id)?;
        let (record, observed) = self.heal(&record.id)?.ok_or_else(gone)?;
        if let Some(place) = running_place(&observed, word, path) {
            return Ok(place);
        }
        let clean = clean(path);
        let mounts = record.details.mounts.iter();
        let below = mounts
            .filter_map(|mount| {
                Some((mount.source.as_ref()?, clean.strip_prefix(&mount.target).ok()?))
            })
            .min_by_key(|(_, rest)| rest.components().count());
        if let Some((source, rest)) = below
            && source.is_dir()
        {
            let root = open_root(source)?;
            let target = mount_target(&clean, rest);
            let name = PlaceName::new(word, &target);
            return Ok(Place { root, path: keep_end(path, rest), name, _lock: Some(lock) });
        }
        let directory = self.paths.container(&record.id);
        crate::paths::make_private(&directory)?;
        let mount = self.root_mount(&record, &directory)?;
        let root = berth_runtime::rootfs::mount_detached(&mount)
            .map_err(|source| RootError::Mount { id: record.id.clone(), source })?;
        let name = PlaceName::new(word, Path::new("/"));
        Ok(Place { root, path: keep_end(path, &clean), name, _lock: Some(lock) })
    }

    /// What a path in a container is.
    pub(crate) fn stat_path(&self, word: &str, path: &Path) -> Result<PathStat, CopyError> {
        let place = self.place(word, path)?;
        Ok(place.stat()?)
    }

    /// Writes a path of a container as a tar stream.
    pub(crate) fn copy_from(
        &self,
        word: &str,
        path: &Path,
        output: &mut dyn Write,
    ) -> Result<PathStat, CopyError> {
        let place = self.place(word, path)?;
        let words = Words::new(path);
        let stat = place.stat()?;
        let name = if words.content { PathBuf::from(".") } else { PathBuf::from(&stat.name) };
        archive::write(place.root.as_fd(), &place.path, &name, output)?;
        Ok(stat)
    }

    /// Extracts a tar stream below a directory of a container.
    pub(crate) fn copy_to(
        &self,
        word: &str,
        directory: &Path,
        input: &mut dyn Read,
        options: CopyOptions,
    ) -> Result<(), CopyError> {
        let place = self.place(word, directory)?;
        if look(place.root.as_fd(), &place.path) != Found::Directory {
            return Err(place.missing(&place.path).into());
        }
        let owner = if options.archive { None } else { Some((0, 0)) };
        extract::read(place.root.as_fd(), &place.path, input, options, owner)?;
        Ok(())
    }

    /// From the host into a container.
    pub(crate) fn copy_from_host(
        &self,
        host: &Path,
        word: &str,
        path: &Path,
        options: CopyOptions,
    ) -> Result<(), CopyError> {
        let source = host_place(host)?;
        let target = self.place(word, path)?;
        let owner = if options.archive { None } else { Some((0, 0)) };
        transfer(&source, host, &target, path, options, owner)?;
        Ok(())
    }

    /// From a container to the host.
    pub(crate) fn copy_to_host(
        &self,
        word: &str,
        path: &Path,
        host: &Path,
        options: CopyOptions,
    ) -> Result<(), CopyError> {
        let source = self.place(word, path)?;
        let target = host_place(host)?;
        let owner = if options.archive {
            None
        } else {
            Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()))
        };
        transfer(&source, path, &target, host, options, owner)?;
        Ok(())
    }
}

fn running_place(observed: &Observed, word: &str, path: &Path) -> Option<Place> {
    let pid = observed.state.pid.filter(|_| observed.state.status.is_active())?;
    let root = open_root(Path::new(&format!("/proc/{pid}/root"))).ok()?;
    let name = PlaceName::new(word, Path::new("/"));
    Some(Place { root, path: keep_end(path, &clean(path)), name, _lock: None })
}

fn host_place(path: &Path) -> Result<Place, PathError> {
    let absolute = std::path::absolute(path).map_err(|source| PathError::Step {
        action: "find",
        path: path.to_owned(),
        source,
    })?;
    let root = open_root(Path::new("/"))?;
    Ok(Place { root, path: keep_end(path, &absolute), name: PlaceName(None), _lock: None })
}

fn open_root(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(step("open", path))
}

/// For `map_err`: a step on a path failed.
fn step(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> PathError {
    move |errno| match errno {
        Errno::NOENT => PathError::NotFound(path.to_owned()),
        Errno::NOTDIR => PathError::NotDirectory(path.to_owned()),
        errno => PathError::Step { action, path: path.to_owned(), source: errno.into() },
    }
}

/// Opens a path with `root` as `/`.
fn open_in(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root.as_fd(), path, flags | OFlags::CLOEXEC, mode, resolve) {
            // A rename somewhere raced with the look-up.
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
}

/// An absolute path without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// `path` with the ending that `as_given` has: a slash makes links at the end be followed.
fn keep_end(as_given: &Path, path: &Path) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    if text.is_empty() {
        text.push(".");
    }
    if Words::new(as_given).directory {
        text.push("/");
    }
    PathBuf::from(text)
}

/// What is at a path, links followed.
fn look(root: impl AsFd, path: &Path) -> Found {
    match open_in(root, &clean(path), OFlags::PATH, Mode::empty()) {
        Ok(descriptor) => match rustix::fs::fstat(&descriptor) {
            Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() => {
                Found::Directory
            }
            _ => Found::Other,
        },
        Err(_) => Found::Nothing,
    }
}

impl Place {
    fn stat(&self) -> Result<PathStat, PathError> {
        archive::stat(self.root.as_fd(), &self.path).map_err(|error| match error {
            PathError::NotFound(_) => self.missing(&self.path),
            error => error,
        })
    }

    /// Which component of a path is the first that is not there, or not a directory.
    fn missing(&self, path: &Path) -> PathError {
        let path = clean(path);
        let mut so_far = PathBuf::from("/");
        for component in path.components().skip(1) {
            so_far.push(component);
            match look(self.root.as_fd(), &so_far) {
                Found::Directory => {}
                Found::Nothing => return PathError::NotFound(self.name.shown(&so_far)),
                Found::Other => return PathError::NotDirectory(self.name.shown(&so_far)),
            }
        }
        PathError::NotFound(self.name.shown(&path))
    }
}

impl PlaceName {
    fn new(container: &str, base: &Path) -> Self {
        Self(Some((container.to_owned(), base.to_owned())))
    }

    /// A path below the root as people know it.
    fn shown(&self, path: &Path) -> PathBuf {
        let Some((container, base)) = &self.0 else { return path.to_owned() };
        let below = base.join(path.strip_prefix("/").unwrap_or(path));
        let mut text = std::ffi::OsString::from(container);
        text.push(":");
        text.push(below);
        text.into()
    }
}

/// What is left of a path when what is below a mount is taken off its end.
fn mount_target(path: &Path, rest: &Path) -> PathBuf {
    path.ancestors().nth(rest.components().count()).unwrap_or(path).to_owned()
}

/// Docker's rules: which directory the source goes to, and under which name.
fn destination(
    source: &Words<'_>,
    source_is_directory: bool,
    source_name: &Path,
    target: &Words<'_>,
    found: Found,
    target_path: &Path,
) -> Result<(PathBuf, PathBuf), PathError> {
    let split = || -> Result<(PathBuf, PathBuf), PathError> {
        let clean = clean(target_path);
        match (clean.parent(), clean.file_name()) {
            (Some(parent), Some(name)) => Ok((parent.to_owned(), PathBuf::from(name))),
            _ => Err(PathError::NotDirectory(target.path.to_owned())),
        }
    };
    match (source_is_directory, found) {
        (false, Found::Nothing) if target.directory => {
            Err(PathError::NotFound(target.path.to_owned()))
        }
        (_, Found::Nothing) | (false, Found::Other)
            if !(target.directory && found == Found::Other) =>
        {
            split()
        }
        (true, Found::Other) => {
            Err(PathError::InTheWay { there: target.path.to_owned(), new: source.path.to_owned() })
        }
        (_, Found::Directory) if source.content => Ok((target_path.to_owned(), PathBuf::from("."))),
        (_, Found::Directory) => Ok((target_path.to_owned(), source_name.to_owned())),
        _ => Err(PathError::NotDirectory(target.path.to_owned())),
    }
}

/// Copies over a pipe: one thread writes the archive, this one extracts it.
fn transfer(
    source: &Place,
    source_shown: &Path,
    target: &Place,
    target_shown: &Path,
    options: CopyOptions,
    owner: Option<(u32, u32)>,
) -> Result<(), PathError> {
    let source_words = Words::new(source_shown);
    let target_words = Words::new(target_shown);
    let stat = source.stat()?;
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.mode).is_dir();
    if source_words.directory && !is_directory {
        return Err(PathError::NotDirectory(source_shown.to_owned()));
    }
    let found = look(target.root.as_fd(), &target.path);
    let (directory, name) = destination(
        &source_words,
        is_directory,
        Path::new(&stat.name),
        &target_words,
        found,
        &target.path,
    )
    .map_err(|error| match error {
        PathError::NotFound(_) => target.missing(&target.path),
        error => error,
    })?;
    if look(target.root.as_fd(), &directory) != Found::Directory {
        return Err(target.missing(&directory));
    }
    pipe(
        |output| archive::write(source.root.as_fd(), &source.path, &name, output),
        |input| extract::read(target.root.as_fd(), &directory, input, options, owner),
    )
}

/// Runs both ends of a pipe. The writer's failure is the cause when both fail.
fn pipe(
    write: impl FnOnce(&mut dyn Write) -> Result<(), PathError> + Send,
    read: impl FnOnce(&mut dyn Read) -> Result<(), PathError>,
) -> Result<(), PathError> {
    let (reader, writer) =
        std::io::pipe().map_err(|source| PathError::Archive { action: "pass on", source })?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let mut output = std::io::BufWriter::with_capacity(64 << 10, writer);
            write(&mut output)?;
            output.flush().map_err(|source| PathError::Archive { action: "write", source })
        });
        let mut input = reader;
        let result = read(&mut input);
        drop(input);
        let written = thread.join().unwrap_or_else(|_| {
            Err(PathError::Archive { action: "write", source: std::io::ErrorKind::Other.into() })
        });
        match (written, result) {
            // The reader stopped first: its error is the cause.
            (Err(PathError::Archive { source, .. }), Err(error))
                if source.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                Err(error)
            }
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
}

/// Copies a directory's content, and its own owner and permissions, into a directory of the host's
/// that exists.
pub(crate) fn copy_directory(
    root: &OwnedFd,
    source: &Path,
    target: &Path,
) -> Result<(), PathError> {
    match look(root, source) {
        Found::Directory => {}
        Found::Nothing => return Err(PathError::NotFound(source.to_owned())),
        Found::Other => return Err(PathError::NotDirectory(source.to_owned())),
    }
    let with_slash = keep_end(Path::new("x/"), source);
    let target_root = open_root(target)?;
    let options = CopyOptions { overwrite: false, archive: true };
    pipe(
        |output| archive::write(root.as_fd(), &with_slash, Path::new("."), output),
        |input| extract::read(target_root.as_fd(), Path::new("/"), input, options, None),
    )
}

#[cfg(test)]
mod tests;
