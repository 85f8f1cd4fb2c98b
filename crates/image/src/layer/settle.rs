//! The end of a layer: what its archive leaves to the layers below.
//!
//! A layer is written without a look at those below it, so that several can be written at once.
//! What needs them comes here, once they are complete:
//! - a directory that the archive only passes through keeps what the lower layers say of it, since
//!   overlay shows the topmost one's owner, mode and attributes;
//! - where the lower layers have a symbolic link in its place, the content belongs where that leads;
//! - a hard link to a file of a lower layer takes that file, with all its names, up into this one;
//! - the root made opaque hides every name of the lower roots one by one, because the kernel does
//!   not look at that mark on a root.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{self as sys, AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::ApplyError;
use super::metadata::{Metadata, xattr_is};
use super::names::{LINK_LIMIT, base, components, is_within, join, parent};
use super::view::{Child, Found, LastLink, Part, View, is_whiteout};
use super::write::{Directory, LayerWriter, Parent, PendingLink, make_directory};
use crate::at;
use crate::layer::copy;
use crate::tar::Time;

impl LayerWriter<'_> {
    /// Completes the layer upon `lower` (roots of complete layers, topmost first) and gives the
    /// bytes of content that it holds.
    pub(crate) fn settle(mut self, lower: &[Arc<OwnedFd>]) -> Result<u64, ApplyError> {
        if self.hides_all {
            self.hide_all(lower)?;
        }
        let lower = if self.hides_all { &[] } else { lower };
        let view = |layers: &[Arc<OwnedFd>], own: &Arc<OwnedFd>| {
            let all = std::iter::once(own).chain(layers).cloned().collect();
            View::new(all, self.form)
        };
        let view = view(lower, &self.root);
        self.complete_directories(&view)?;
        for link in std::mem::take(&mut self.pending) {
            self.link(&link, &view)?;
        }
        self.finish_directories()?;
        Ok(self.bytes)
    }

    fn hide_all(&mut self, lower: &[Arc<OwnedFd>]) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("hide the lower layers with", b".wh..wh..opq");
        for layer in lower {
            for (name, _) in at::list(layer).map_err(failed())? {
                let device = sys::makedev(0, 0);
                let kind = FileType::CharacterDevice;
                match sys::mknodat(&self.root, name.as_slice(), kind, Mode::empty(), device) {
                    Ok(()) => {}
                    Err(Errno::EXIST) => match at::open_directory(&self.root, &name) {
                        Ok(directory) => self.set_opaque(&directory, &name)?,
                        Err(Errno::NOTDIR | Errno::LOOP) => {}
                        Err(error) => return Err(failed()(error)),
                    },
                    Err(error) => return Err(failed()(error)),
                }
            }
        }
        Ok(())
    }

    /// Gives every directory without an entry of its own what the lower layers have for it.
    fn complete_directories(&mut self, view: &View) -> Result<(), ApplyError> {
        let unknown = |directories: &std::collections::BTreeMap<Vec<u8>, Directory>| {
            directories
                .iter()
                .filter(|(_, directory)| directory.metadata.is_none())
                .map(|(path, _)| path.clone())
                .collect::<BTreeSet<_>>()
        };
        let mut open = unknown(&self.directories);
        while let Some(path) = open.pop_first() {
            let failed = || ApplyError::at("look below for the directory", &path);
            if path.is_empty() {
                let below = view.root().below_first_layer();
                self.inherit(&path, below.parts.first())?;
                continue;
            }
            let Found::Directory { merged } =
                view.resolve(parent(&path), LastLink::Follow).map_err(failed())?
            else {
                return Err(failed()(Errno::NOENT));
            };
            let below = merged.below_first_layer();
            match below.child(base(&path), view.form()).map_err(failed())? {
                Child::Directory(merged) => self.inherit(&path, merged.parts.first())?,
                Child::Other { stat, .. }
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink =>
                {
                    self.relocate(&path, view)?;
                    open = unknown(&self.directories);
                }
                Child::Other { .. } | Child::Absent => self.inherit(&path, None)?,
            }
        }
        Ok(())
    }

    fn inherit(&mut self, path: &[u8], from: Option<&Part>) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("read owner and mode of the lower directory", path);
        let time = self.directories.get(path).map_or(Time::default(), |known| known.time);
        let metadata = match from {
            Some(part) => {
                let stat = sys::fstat(&part.directory).map_err(failed())?;
                Metadata::of_file(&part.directory, &stat).map_err(failed())?
            }
            None => Metadata::plain_directory(time),
        };
        self.record(path.to_vec(), Some(metadata), time);
        Ok(())
    }

    /// Moves the content of a directory to where a link of the lower layers in its place leads.
    /// Where that is no directory, the directory stays and hides the link.
    fn relocate(&mut self, path: &[u8], view: &View) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("follow the lower layers' link at", path);
        let moved = self.scratch.fresh("relocated");
        let above = at::open_path(&self.root, parent(path)).map_err(failed())?;
        sys::renameat(&above, base(path), self.scratch, moved.as_str()).map_err(failed())?;
        let time = self.directories.get(path).map_or(Time::default(), |known| known.time);
        let mut records: Vec<(Vec<u8>, Directory)> = Vec::new();
        let within = self.directories.keys().filter(|key| is_within(key, path));
        for key in within.cloned().collect::<Vec<_>>() {
            if let Some(record) = self.directories.remove(&key) {
                records.push((key, record));
            }
        }
        let target = match self.ensure(path, time, view) {
            Ok(target) => target,
            Err(ApplyError::BelowFile { .. } | ApplyError::Entry { .. }) => {
                sys::renameat(self.scratch, moved.as_str(), &above, base(path)).map_err(failed())?;
                self.directories.extend(records);
                return self.inherit(path, None);
            }
            Err(error) => return Err(error),
        };
        let source = at::open_directory(self.scratch, moved.as_bytes()).map_err(failed())?;
        if xattr_is(&source, self.form.opaque(), b"y").map_err(failed())? {
            let readable = at::open_directory(&target.directory, b".").map_err(failed())?;
            self.set_opaque(&readable, path)?;
        }
        self.merge(&source, &target)?;
        drop(source);
        sys::unlinkat(self.scratch, moved.as_str(), AtFlags::REMOVEDIR).map_err(failed())?;
        for (key, record) in records {
            let rest = key.get(path.len()..).unwrap_or_default();
            if rest.is_empty() {
                continue; // the directory that gave way to the link
            }
            let key = [target.path.as_slice(), rest].concat();
            let key = key.strip_prefix(b"/").map_or_else(|| key.clone(), <[u8]>::to_vec);
            self.record(key, record.metadata, record.time);
        }
        Ok(())
    }

    /// Moves everything in `from` into `to`; what comes takes the place of what is there.
    fn merge(&mut self, from: &OwnedFd, to: &Parent) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("move to where a lower layer's link leads", &to.path);
        for (name, kind) in at::list(from).map_err(failed())? {
            let present = at::open_directory(&to.directory, &name);
            if let (FileType::Directory, Ok(present)) = (kind, present) {
                let below = at::open_directory(from, &name).map_err(failed())?;
                let path = join(&to.path, &name);
                self.merge(&below, &Parent { directory: present, path })?;
                sys::unlinkat(from, name.as_slice(), AtFlags::REMOVEDIR).map_err(failed())?;
                continue;
            }
            self.clear(to, &name, &to.path)?;
            sys::renameat(from, name.as_slice(), &to.directory, name.as_slice())
                .map_err(failed())?;
        }
        Ok(())
    }

    /// The directory at `path` in this layer, following links of this and the lower layers, made
    /// where it is missing.
    fn ensure(&mut self, path: &[u8], time: Time, view: &View) -> Result<Parent, ApplyError> {
        let failed = || ApplyError::at("open the directory", path);
        let top = || at::open_directory(&self.root, b".").map_err(failed());
        let mut queue: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut stack = vec![Parent { directory: top()?, path: Vec::new() }];
        let mut links = 0;
        while let Some(name) = queue.pop_front() {
            if name == b".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let Some(here) = stack.last() else { break };
            let place = join(&here.path, &name);
            let below = match view.resolve(&here.path, LastLink::Keep).map_err(failed())? {
                Found::Directory { merged } => merged.child(&name, view.form()).map_err(failed())?,
                _ => Child::Absent,
            };
            match below {
                Child::Other { part, stat }
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink =>
                {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(failed()(Errno::LOOP));
                    }
                    let target = sys::readlinkat(&part.directory, name.as_slice(), Vec::new())
                        .map_err(failed())?;
                    if target.to_bytes().starts_with(b"/") {
                        stack.truncate(1);
                    }
                    for part in components(target.to_bytes()).rev() {
                        queue.push_front(part.to_vec());
                    }
                    continue;
                }
                Child::Other { .. } => {
                    return Err(ApplyError::BelowFile {
                        entry: String::from_utf8_lossy(path).into_owned(),
                        parent: String::from_utf8_lossy(&place).into_owned(),
                    });
                }
                Child::Directory(_) | Child::Absent => {}
            }
            let directory = match at::open_directory(&here.directory, &name) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => {
                    let from = match &below {
                        Child::Directory(merged) => merged.parts.first(),
                        _ => None,
                    };
                    drop(make_directory(&here.directory, &name).map_err(failed())?);
                    self.record(place.clone(), None, time);
                    self.inherit(&place, from)?;
                    at::open_directory(&here.directory, &name).map_err(failed())?
                }
                // A whiteout of this layer's.
                Err(Errno::NOTDIR) => {
                    sys::unlinkat(&here.directory, name.as_slice(), AtFlags::empty())
                        .map_err(failed())?;
                    drop(make_directory(&here.directory, &name).map_err(failed())?);
                    let directory = at::open_directory(&here.directory, &name).map_err(failed())?;
                    self.set_opaque(&directory, &place)?;
                    self.record(place.clone(), None, time);
                    self.inherit(&place, None)?;
                    directory
                }
                Err(error) => return Err(failed()(error)),
            };
            stack.push(Parent { directory, path: place });
        }
        stack.pop().ok_or_else(|| failed()(Errno::NOENT))
    }

    /// Makes a hard link whose target was not in this layer when its entry came.
    fn link(&mut self, link: &PendingLink, view: &View) -> Result<(), ApplyError> {
        let failed = || ApplyError::at("make the hard link", &link.path);
        let into = self.ensure(parent(&link.path), Time::default(), view)?;
        let name = base(&link.path);
        match sys::statat(&into.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => self.clear(&into, name, &link.path)?,
            Ok(_) => return Ok(()), // a later entry of the archive took the name
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed()(error)),
        }
        let missing = || ApplyError::LinkTarget {
            entry: String::from_utf8_lossy(&link.path).into_owned(),
            target: String::from_utf8_lossy(&link.target).into_owned(),
        };
        match view.resolve(&link.target, LastLink::Keep).map_err(failed())? {
            Found::Absent => Err(missing()),
            Found::Directory { .. } => Err(failed()(Errno::ISDIR)),
            Found::Other { part, name: target, .. } if part.layer == 0 => sys::linkat(
                &part.directory,
                target.as_slice(),
                &into.directory,
                name,
                AtFlags::empty(),
            )
            .map_err(failed()),
            Found::Other { part, name: source, stat, path } => {
                copy::copy_file(&part.directory, &source, &stat, &into.directory, name)
                    .map_err(ApplyError::at("copy up the target of", &link.path))?;
                self.bytes += stat.st_size as u64;
                for other in same_file(view, &part, &stat, path).map_err(failed())? {
                    let holder = self.ensure(parent(&other), Time::default(), view)?;
                    match sys::linkat(
                        &into.directory,
                        name,
                        &holder.directory,
                        base(&other),
                        AtFlags::empty(),
                    ) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(failed()(error)),
                    }
                }
                Ok(())
            }
        }
    }

    /// Puts on every directory what it is to have, the deepest first, so that nothing that happens
    /// in it afterwards changes its times.
    fn finish_directories(&mut self) -> Result<(), ApplyError> {
        for (path, directory) in std::mem::take(&mut self.directories).into_iter().rev() {
            let failed = || ApplyError::at("set owner, mode and times of", &path);
            let Some(metadata) = directory.metadata else { continue };
            let file = at::open_path(&self.root, &path).map_err(failed())?;
            let refused = metadata.apply_to(&file).map_err(failed())?;
            self.warn_refused(&path, &refused);
        }
        Ok(())
    }
}

/// Every name by which the file is to be seen in the view (`path` being one of them).
fn same_file(
    view: &View,
    part: &Part,
    stat: &Stat,
    path: Vec<u8>,
) -> rustix::io::Result<Vec<Vec<u8>>> {
    if stat.st_nlink <= 1 {
        return Ok(vec![path]);
    }
    let Some(layer) = view.root().parts.iter().find(|root| root.layer == part.layer) else {
        return Ok(vec![path]);
    };
    let mut names = Vec::new();
    let mut places = vec![Vec::new()];
    while let Some(place) = places.pop() {
        let directory = at::open_path(&layer.directory, &place)?;
        for (name, kind) in at::list(&directory)? {
            let path = join(&place, &name);
            if kind == FileType::Directory {
                places.push(path);
                continue;
            }
            let found = sys::statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
            if found.st_ino != stat.st_ino {
                continue;
            }
            if let Found::Other { part: seen, stat: visible, .. } =
                view.resolve(&path, LastLink::Keep)?
                && seen.layer == part.layer
                && visible.st_ino == stat.st_ino
            {
                names.push(path);
            }
        }
    }
    Ok(names)
}
