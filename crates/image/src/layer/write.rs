//! Entries become files.
//!
//! Every operation is relative to a descriptor of a directory below the layer's own, got by
//! openat2(2) without symbolic links, or by walking component by component; a link that the
//! archive itself made is followed by reading it, within the root. So nothing outside can be
//! reached, whatever the archive says. Directories stay private (mode 0700) until `settle` gives
//! them what they are to have.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    self as sys, AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, XattrFlags,
};
use rustix::io::Errno;

use super::metadata::{Metadata, Refused, Special};
use super::names::{self, DEPTH_LIMIT, LINK_LIMIT, PATH_LIMIT, base, components, join, parent};
use super::view::is_whiteout;
use super::{ApplyError, OverlayForm};
use crate::at;
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::tar::{Entry, EntryKind, TarReader, Time};

const WHITEOUT: &[u8] = b".wh.";
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// How many directories stay open for the entries to come.
const OPEN_DIRECTORIES: usize = 64;

/// A layer's directory while it is being written.
pub(crate) struct LayerWriter<'a> {
    pub(super) root: Arc<OwnedFd>,
    pub(super) scratch: &'a Scratch,
    pub(super) form: OverlayForm,
    /// By path: directories that are to have their metadata at the end.
    pub(super) directories: BTreeMap<Vec<u8>, Directory>,
    /// Hard links whose targets are not in this layer.
    pub(super) pending: Vec<PendingLink>,
    /// Whether the archive hides everything below.
    pub(super) hides_all: bool,
    /// Bytes of file content.
    pub(super) bytes: u64,
    progress: &'a dyn Progress,
    warned: HashSet<String>,
    /// Directories by the name that entries give them.
    open: HashMap<Vec<u8>, Arc<Parent>>,
}

/// What is known of a directory of the layer.
pub(super) struct Directory {
    /// What its entry says; `None` when the archive only passes through it.
    pub(super) metadata: Option<Metadata>,
    /// The time of the entry that made it necessary.
    pub(super) time: Time,
}

/// A hard link to make once the layers below can be looked at; paths are as in the archive.
pub(super) struct PendingLink {
    pub(super) path: Vec<u8>,
    pub(super) target: Vec<u8>,
}

/// A directory that entries are put in.
pub(super) struct Parent {
    pub(super) directory: OwnedFd,
    /// Where it really is, links followed.
    pub(super) path: Vec<u8>,
}

/// What happens when a directory on the way is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create(Time),
    Report,
}

impl<'a> LayerWriter<'a> {
    /// A layer in the empty directory `root`. What is replaced is thrown away through `scratch`,
    /// which must be on the same file system.
    pub(crate) fn new(
        root: OwnedFd,
        scratch: &'a Scratch,
        form: OverlayForm,
        progress: &'a dyn Progress,
    ) -> Self {
        let top = Directory { metadata: None, time: Time::default() };
        Self {
            root: Arc::new(root),
            scratch,
            form,
            directories: BTreeMap::from([(Vec::new(), top)]),
            pending: Vec::new(),
            hides_all: false,
            bytes: 0,
            progress,
            warned: HashSet::new(),
            open: HashMap::new(),
        }
    }

    /// Writes every entry of an archive.
    pub(crate) fn write<R: BufRead>(&mut self, tar: &mut TarReader<R>) -> Result<(), ApplyError> {
        while let Some(entry) = tar.next()? {
            self.entry(&entry, tar)?;
        }
        self.open.clear();
        Ok(())
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), ApplyError> {
        let path = names::normalize(&entry.path, &entry.path)?;
        if let Some(top) = self.directories.get_mut(b"".as_slice())
            && top.time == Time::default()
        {
            top.time = entry.mtime;
        }
        if path.is_empty() {
            if entry.kind != EntryKind::Directory {
                return Err(ApplyError::Name {
                    entry: entry.display(),
                    problem: "is the root of the layer, but no directory",
                });
            }
            self.record(Vec::new(), Some(Metadata::of_entry(entry)), entry.mtime);
            return Ok(());
        }
        let name = base(&path);
        let into = self.parent(parent(&path), entry)?;
        if name.starts_with(WHITEOUT) {
            return self.whiteout(entry, &into, name);
        }
        match entry.kind {
            EntryKind::File => self.file(entry, &into, name, tar),
            EntryKind::Directory => self.directory(entry, &into, name),
            EntryKind::Symlink => self.symlink(entry, &into, name),
            EntryKind::HardLink => self.hard_link(entry, &into, name, &path),
            EntryKind::CharacterDevice => self.node(entry, &into, name, FileType::CharacterDevice),
            EntryKind::BlockDevice => self.node(entry, &into, name, FileType::BlockDevice),
            EntryKind::Fifo => self.node(entry, &into, name, FileType::Fifo),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        into: &Parent,
        name: &[u8],
        tar: &mut TarReader<R>,
    ) -> Result<(), ApplyError> {
        let file = match at::create_file(&into.directory, name) {
            Err(Errno::EXIST) => {
                self.clear(into, name, &entry.path)?;
                at::create_file(&into.directory, name)
            }
            result => result,
        }
        .map_err(ApplyError::at("create", &entry.path))?;
        let failed = || ApplyError::at("write", &entry.path);
        match &entry.sparse {
            None => self.copy(tar, &file, u64::MAX, &entry.path)?,
            Some(extents) => {
                for extent in extents.iter().filter(|extent| extent.length > 0) {
                    sys::seek(&file, SeekFrom::Start(extent.offset)).map_err(failed())?;
                    self.copy(tar, &file, extent.length, &entry.path)?;
                }
                sys::ftruncate(&file, entry.size).map_err(failed())?;
            }
        }
        let refused = Metadata::of_entry(entry)
            .apply_to(&file)
            .map_err(ApplyError::at("set owner, mode and times of", &entry.path))?;
        self.warn_refused(&entry.path, &refused);
        Ok(())
    }

    /// Copies at most `limit` stored bytes, without a buffer in between.
    fn copy<R: BufRead>(
        &mut self,
        tar: &mut TarReader<R>,
        file: &OwnedFd,
        limit: u64,
        entry: &[u8],
    ) -> Result<(), ApplyError> {
        let mut left = limit;
        while left > 0 {
            let chunk = tar.chunk(left)?;
            if chunk.is_empty() {
                break;
            }
            at::write_all(file, chunk).map_err(ApplyError::at("write", entry))?;
            let used = chunk.len();
            tar.consume(used);
            left -= used as u64;
            self.bytes += used as u64;
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, into: &Parent, name: &[u8]) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("make the directory", &entry.path);
        let mut replaces = false;
        loop {
            match sys::mkdirat(&into.directory, name, Mode::RWXU) {
                Ok(()) => break,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed()(error)),
            }
            let stat =
                sys::statat(&into.directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed())?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                break;
            }
            self.clear(into, name, &entry.path)?;
            replaces = true;
        }
        if replaces {
            // What it takes the place of had hidden the lower layers' directory of that name.
            let directory = at::open_directory(&into.directory, name).map_err(failed())?;
            self.set_opaque(&directory, &entry.path)?;
        }
        let path = join(&into.path, name);
        self.record(path, Some(Metadata::of_entry(entry)), entry.mtime);
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, into: &Parent, name: &[u8]) -> Result<(), ApplyError> {
        let make = || sys::symlinkat(entry.link.as_slice(), &into.directory, name);
        match make() {
            Err(Errno::EXIST) => {
                self.clear(into, name, &entry.path)?;
                make()
            }
            result => result,
        }
        .map_err(ApplyError::at("make the symbolic link", &entry.path))?;
        self.special(entry, into, name, Special::Symlink)
    }

    fn node(
        &mut self,
        entry: &Entry,
        into: &Parent,
        name: &[u8],
        kind: FileType,
    ) -> Result<(), ApplyError> {
        let (major, minor) = entry.device;
        let device = sys::makedev(major, minor);
        let make = || sys::mknodat(&into.directory, name, kind, Mode::RUSR | Mode::WUSR, device);
        let made = match make() {
            Err(Errno::EXIST) => {
                self.clear(into, name, &entry.path)?;
                make()
            }
            result => result,
        };
        match made {
            Ok(()) => self.special(entry, into, name, Special::Node),
            // In a user namespace nobody may make devices; images do without them there.
            Err(Errno::PERM) if self.form == OverlayForm::User => {
                self.warn("devices", || {
                    format!("device nodes such as `{}` cannot be made here", entry.display())
                });
                Ok(())
            }
            Err(error) => Err(ApplyError::at("make the device", &entry.path)(error)),
        }
    }

    fn special(
        &mut self,
        entry: &Entry,
        into: &Parent,
        name: &[u8],
        what: Special,
    ) -> Result<(), ApplyError> {
        let refused = Metadata::of_entry(entry)
            .apply_at(&into.directory, name, what)
            .map_err(ApplyError::at("set owner, mode and times of", &entry.path))?;
        self.warn_refused(&entry.path, &refused);
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        into: &Parent,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("make the hard link", &entry.path);
        let target = names::normalize(&entry.link, &entry.link)?;
        let target_name = base(&target);
        let from = self.find(parent(&target), entry, Missing::Report)?;
        let stat = match &from {
            None => None,
            Some(from) => {
                match sys::statat(&from.directory, target_name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => Some(stat).filter(|stat| !is_whiteout(stat)),
                    Err(Errno::NOENT) => None,
                    Err(error) => return Err(failed()(error)),
                }
            }
        };
        let (Some(from), Some(stat)) = (from, stat) else {
            // In a layer below, then: that is for `settle` to see.
            self.clear(into, name, &entry.path)?;
            self.pending.push(PendingLink { path: path.to_vec(), target });
            return Ok(());
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(failed()(Errno::ISDIR));
        }
        match sys::statat(&into.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // The same file by another name already, perhaps by the very same name.
            Ok(present) if present.st_ino == stat.st_ino => return Ok(()),
            Ok(_) => self.clear(into, name, &entry.path)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed()(error)),
        }
        sys::linkat(&from.directory, target_name, &into.directory, name, AtFlags::empty())
            .map_err(failed())
    }

    /// Names that begin with `.wh.` hide what lower layers have, and never what this one has.
    fn whiteout(&mut self, entry: &Entry, into: &Parent, name: &[u8]) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("make the whiteout", &entry.path);
        if name == OPAQUE {
            if into.path.is_empty() {
                self.hides_all = true;
                return Ok(());
            }
            let directory = at::open_directory(&into.directory, b".").map_err(failed())?;
            return self.set_opaque(&directory, &entry.path);
        }
        if name.starts_with(AUFS) {
            self.warn("aufs", || {
                format!("`{}` is a mark of the aufs file system and was left out", entry.display())
            });
            return Ok(());
        }
        let hidden = name.get(WHITEOUT.len()..).unwrap_or_default();
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(ApplyError::Name { entry: entry.display(), problem: "hides no name" });
        }
        let device = sys::makedev(0, 0);
        let kind = FileType::CharacterDevice;
        match sys::mknodat(&into.directory, hidden, kind, Mode::empty(), device) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match at::open_directory(&into.directory, hidden) {
                Ok(directory) => self.set_opaque(&directory, &entry.path),
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(failed()(error)),
            },
            Err(error) => Err(failed()(error)),
        }
    }

    pub(super) fn set_opaque(&self, directory: &OwnedFd, entry: &[u8]) -> Result<(), ApplyError> {
        sys::fsetxattr(directory, self.form.opaque(), b"y", XattrFlags::empty())
            .map_err(ApplyError::at("mark as opaque the directory of", entry))
    }

    /// Removes whatever has the name, so that something else can have it.
    pub(super) fn clear(
        &mut self,
        into: &Parent,
        name: &[u8],
        entry: &[u8],
    ) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("replace", entry);
        match sys::unlinkat(&into.directory, name, AtFlags::empty()) {
            Ok(()) => {
                // It may have been a link that open directories were found through.
                self.open.clear();
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(failed()(error)),
        }
        self.scratch.discard(&into.directory, name).map_err(failed())?;
        self.open.clear();
        let path = join(&into.path, name);
        self.directories.retain(|directory, _| !names::is_within(directory, &path));
        Ok(())
    }

    pub(super) fn record(&mut self, path: Vec<u8>, metadata: Option<Metadata>, time: Time) {
        let known = self.directories.entry(path).or_insert(Directory { metadata: None, time });
        if metadata.is_some() {
            known.metadata = metadata;
        }
    }

    /// The directory for an entry, made with all those above it where they are missing.
    fn parent(&mut self, path: &[u8], entry: &Entry) -> Result<Arc<Parent>, ApplyError> {
        let found = self.find(path, entry, Missing::Create(entry.mtime))?;
        found.ok_or_else(|| ApplyError::at("find the directory of", &entry.path)(Errno::NOENT))
    }

    fn find(
        &mut self,
        path: &[u8],
        entry: &Entry,
        missing: Missing,
    ) -> Result<Option<Arc<Parent>>, ApplyError> {
        if let Some(known) = self.open.get(path) {
            return Ok(Some(Arc::clone(known)));
        }
        let found = match self.open_below(path) {
            Ok(directory) => Parent { directory, path: path.to_vec() },
            Err(Errno::MFILE | Errno::NFILE) => {
                return Err(ApplyError::at("open the directory of", &entry.path)(Errno::MFILE));
            }
            // Missing, through a link, or an old kernel: the long way.
            Err(_) => match self.walk(path, entry, missing)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if self.open.len() >= OPEN_DIRECTORIES {
            self.open.clear();
        }
        let found = Arc::new(found);
        self.open.insert(path.to_vec(), Arc::clone(&found));
        Ok(Some(found))
    }

    fn open_below(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        sys::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    fn walk(
        &mut self,
        path: &[u8],
        entry: &Entry,
        missing: Missing,
    ) -> Result<Option<Parent>, ApplyError> {
        let failed = || ApplyError::at("open the directory of", &entry.path);
        let mut queue: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut stack: Vec<Parent> = Vec::new();
        let mut links = 0;
        while let Some(name) = queue.pop_front() {
            if name == b".." {
                stack.pop();
                continue;
            }
            let (here, place) = match stack.last() {
                Some(top) => (top.directory.as_fd(), top.path.as_slice()),
                None => (self.root.as_fd(), b"".as_slice()),
            };
            let path = join(place, &name);
            if path.len() > PATH_LIMIT || stack.len() > DEPTH_LIMIT {
                return Err(failed()(Errno::NAMETOOLONG));
            }
            match sys::openat(here, name.as_slice(), path_flags(), Mode::empty()) {
                Ok(directory) => {
                    stack.push(Parent { directory, path });
                    continue;
                }
                Err(Errno::NOENT) => {
                    let Missing::Create(time) = missing else { return Ok(None) };
                    let directory = make_directory(here, &name).map_err(failed())?;
                    self.record(path.clone(), None, time);
                    stack.push(Parent { directory, path });
                    continue;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(failed()(error)),
            }
            let stat =
                sys::statat(here, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed())?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(failed()(Errno::LOOP));
                }
                let target = sys::readlinkat(here, name.as_slice(), Vec::new()).map_err(failed())?;
                if target.to_bytes().starts_with(b"/") {
                    stack.clear();
                }
                for part in components(target.to_bytes()).rev() {
                    queue.push_front(part.to_vec());
                }
                continue;
            }
            let Missing::Create(time) = missing else { return Ok(None) };
            if !is_whiteout(&stat) {
                return Err(ApplyError::BelowFile {
                    entry: entry.display(),
                    parent: String::from_utf8_lossy(&path).into_owned(),
                });
            }
            // Hidden first and made anew: nothing of the lower directory is to be seen.
            sys::unlinkat(here, name.as_slice(), AtFlags::empty()).map_err(failed())?;
            let directory = make_directory(here, &name).map_err(failed())?;
            let readable = at::open_directory(here, &name).map_err(failed())?;
            self.set_opaque(&readable, &entry.path)?;
            self.record(path.clone(), None, time);
            stack.push(Parent { directory, path });
        }
        match stack.pop() {
            Some(found) => Ok(Some(found)),
            None => {
                let directory = self
                    .open_below(b"")
                    .or_else(|_| sys::openat(&self.root, ".", path_flags(), Mode::empty()));
                let directory = directory.map_err(failed())?;
                Ok(Some(Parent { directory, path: Vec::new() }))
            }
        }
    }

    pub(super) fn warn_refused(&mut self, entry: &[u8], refused: &[Refused]) {
        for Refused { name, error } in refused {
            let name = String::from_utf8_lossy(name).into_owned();
            let why = std::io::Error::from(*error);
            self.warn(&name, || {
                format!(
                    "the attribute `{name}` cannot be kept here, on `{}` and others like it: {why}",
                    String::from_utf8_lossy(entry)
                )
            });
        }
    }

    /// Warns once for each `key`.
    fn warn(&mut self, key: &str, message: impl FnOnce() -> String) {
        if self.warned.insert(key.to_owned()) {
            self.progress.warned(&message());
        }
    }
}

fn path_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Makes and opens a directory.
pub(super) fn make_directory(at: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let at = at.as_fd();
    sys::mkdirat(at, name, Mode::RWXU)?;
    sys::openat(at, name, path_flags(), Mode::empty())
}
