//! Going through an archive entry by entry.

use std::io::{self, BufRead};

use super::header::{BLOCK, Format, Header, owner};
use super::pax::{self, Records};
use super::{Entry, EntryKind, Extent, TarError, sparse};

/// Reads entries, and between them their data.
pub(crate) struct TarReader<R> {
    input: R,
    /// Bytes read so far.
    position: u64,
    /// Stored data of the current entry that is not read yet, and the padding after it.
    remaining: u64,
    padding: u64,
    global: Records,
}

/// A header with what the extended headers and long names before it said.
struct Described {
    header: Header,
    records: Records,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, position: 0, remaining: 0, padding: 0, global: Records::default() }
    }

    /// Where the current entry's data begins, once `next` has given it.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Stored bytes of the current entry that are not read yet.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The input behind the archive's end.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next entry, after skipping what is left of the current one's data; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        loop {
            self.skip_data()?;
            let Some(described) = self.described()? else { return Ok(None) };
            if let Some(entry) = self.entry(described)? {
                return Ok(Some(entry));
            }
        }
    }

    /// The next piece of the current entry's stored data, at most `limit` bytes; empty at its end.
    pub(crate) fn chunk(&mut self, limit: u64) -> Result<&[u8], TarError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let limit = usize::try_from(self.remaining.min(limit)).unwrap_or(usize::MAX);
        let available = fill(&mut self.input)?;
        if available.is_empty() {
            return Err(TarError::Truncated("an entry's data"));
        }
        Ok(available.get(..limit.min(available.len())).unwrap_or_default())
    }

    /// Marks bytes of the last chunk as used.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.position += bytes as u64;
        self.remaining = self.remaining.saturating_sub(bytes as u64);
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        let mut left = self.remaining + self.padding;
        self.remaining = 0;
        self.padding = 0;
        while left > 0 {
            let available = fill(&mut self.input)?.len();
            if available == 0 {
                return Err(TarError::Truncated("an entry's data"));
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(available);
            self.input.consume(step);
            self.position += step as u64;
            left -= step as u64;
        }
        Ok(())
    }

    /// The next header that stands for an entry, with all that precedes and describes it.
    fn described(&mut self) -> Result<Option<Described>, TarError> {
        let mut records = Records::default();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            match header.kind() {
                b'x' | b'X' => {
                    let position = header.position();
                    let data = self.extended(&header)?;
                    records
                        .add(&data)
                        .map_err(|problem| TarError::Extended { position, problem })?;
                }
                b'g' => {
                    let position = header.position();
                    let data = self.extended(&header)?;
                    self.global
                        .add(&data)
                        .map_err(|problem| TarError::Extended { position, problem })?;
                }
                b'L' => long_path = Some(cut(self.extended(&header)?)),
                b'K' => long_link = Some(cut(self.extended(&header)?)),
                _ => return Ok(Some(Described { header, records, long_path, long_link })),
            }
        }
    }

    fn entry(&mut self, described: Described) -> Result<Option<Entry>, TarError> {
        let Described { header, records, long_path, long_link } = described;
        let records = records.over(&self.global);
        let mut path = records.path.clone().or(long_path).unwrap_or_else(|| header.path());
        let link = records.link.clone().or(long_link).unwrap_or_else(|| header.link());
        let Some(kind) = kind(&header, &path)? else {
            self.remaining = stored_size(&header, &records)?;
            self.padding = padding(self.remaining);
            return Ok(None);
        };
        // Only files have data; a size with anything else stands for nothing that follows.
        let stored = match kind {
            EntryKind::File => stored_size(&header, &records)?,
            _ => 0,
        };
        self.remaining = stored;
        self.padding = padding(stored);
        let mut size = stored;
        let mut map = None;
        if kind == EntryKind::File {
            if let Some(name) = &records.sparse.name {
                path.clone_from(name);
            }
            if let Some((extents, real_size)) = self.sparse_map(&header, &records, &path)? {
                sparse::check(&path, &extents, real_size, self.remaining)?;
                size = real_size;
                map = Some(extents);
            }
        }
        let id = |record: Option<u64>, field: &'static str, own: Result<u32, TarError>| match record
        {
            Some(value) => owner(value).ok_or_else(|| header.bad(field)),
            None => own,
        };
        Ok(Some(Entry {
            kind,
            mode: header.mode()?,
            uid: id(records.uid, "user id", header.uid())?,
            gid: id(records.gid, "group id", header.gid())?,
            size,
            mtime: records.mtime.map_or_else(|| header.mtime(), Ok)?,
            atime: records.atime,
            device: match kind {
                EntryKind::CharacterDevice | EntryKind::BlockDevice => header.device()?,
                _ => (0, 0),
            },
            xattrs: records.xattrs,
            sparse: map,
            path,
            link,
        }))
    }

    /// The map and real size of a sparse file in any format; `None` for other files.
    fn sparse_map(
        &mut self,
        header: &Header,
        records: &Records,
        path: &[u8],
    ) -> Result<Option<(Vec<Extent>, u64)>, TarError> {
        let bad = |problem| TarError::Sparse {
            path: String::from_utf8_lossy(path).into_owned(),
            problem,
        };
        if header.kind() == b'S' {
            if header.format() != Format::Gnu {
                return Err(bad("its format is not GNU's"));
            }
            let (first, mut extended, real_size) = header.sparse()?;
            let mut map = Vec::new();
            sparse::old_entries(first, &mut map).map_err(bad)?;
            while extended {
                // Extension blocks stand between header and data and are not part of the size.
                let block =
                    self.block("a sparse map")?.ok_or(TarError::Truncated("a sparse map"))?;
                let (entries, rest) = block.split_at(504);
                sparse::old_entries(entries, &mut map).map_err(bad)?;
                extended = rest.first().is_some_and(|byte| *byte != 0);
            }
            return Ok(Some((map, real_size)));
        }
        let real_size = records.sparse.real_size;
        if records.map_precedes_data() {
            let real_size = real_size.ok_or_else(|| bad("its real size is missing"))?;
            return Ok(Some((self.map_before_data(&bad)?, real_size)));
        }
        match &records.sparse.map {
            Some(map) => {
                let real_size = real_size.ok_or_else(|| bad("its real size is missing"))?;
                Ok(Some((map.clone(), real_size)))
            }
            None => Ok(None),
        }
    }

    /// Format 1.0: decimal numbers, one a line, in whole blocks at the start of the stored data.
    fn map_before_data(
        &mut self,
        bad: &dyn Fn(&'static str) -> TarError,
    ) -> Result<Vec<Extent>, TarError> {
        let mut line = Vec::new();
        let (mut count, mut offset) = (None, None);
        let mut map = Vec::new();
        loop {
            if self.remaining < BLOCK as u64 {
                return Err(bad("it is cut short"));
            }
            let block = self.block("a sparse map")?.ok_or(TarError::Truncated("a sparse map"))?;
            self.remaining -= BLOCK as u64;
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err(bad("a number is malformed"));
                    }
                    continue;
                }
                let value = pax::decimal(&line).ok_or_else(|| bad("a number is malformed"))?;
                line.clear();
                match (count, offset.take()) {
                    (None, _) => count = Some(value),
                    (Some(_), None) => offset = Some(value),
                    (Some(_), Some(offset)) => {
                        sparse::push(&mut map, Extent { offset, length: value }).map_err(bad)?;
                    }
                }
                if count == Some(map.len() as u64) {
                    return Ok(map);
                }
            }
        }
    }

    /// The data of an extended header or long name.
    fn extended(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        if size > pax::LIMIT {
            return Err(TarError::Extended {
                position: header.position(),
                problem: "it is larger than a megabyte",
            });
        }
        self.remaining = size;
        self.padding = padding(size);
        let mut data = Vec::with_capacity(size as usize);
        while self.remaining > 0 {
            let chunk = self.chunk(u64::MAX)?;
            data.extend_from_slice(chunk);
            let used = chunk.len();
            self.consume(used);
        }
        self.skip_data()?;
        Ok(data)
    }

    /// The next header; `None` at the archive's end, which is two blocks of zeros, or one before
    /// the end of the bytes, or just that end.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut zeros = 0;
        loop {
            let position = self.position;
            let Some(block) = self.block("a header")? else { return Ok(None) };
            match Header::parse(&block, position)? {
                Some(header) => return Ok(Some(header)),
                None => zeros += 1,
            }
            if zeros == 2 {
                return Ok(None);
            }
        }
    }

    /// One block; `None` when there is no byte left.
    fn block(&mut self, what: &'static str) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut free: &mut [u8] = &mut block;
        while !free.is_empty() {
            let available = fill(&mut self.input)?;
            if available.is_empty() {
                if free.len() == BLOCK {
                    return Ok(None);
                }
                return Err(TarError::Truncated(what));
            }
            let step = available.len().min(free.len());
            let (now, later) = free.split_at_mut(step);
            now.copy_from_slice(available.get(..step).unwrap_or_default());
            free = later;
            self.input.consume(step);
            self.position += step as u64;
        }
        Ok(Some(block))
    }
}

fn fill(input: &mut impl BufRead) -> Result<&[u8], TarError> {
    // Interrupted reads are the only ones worth another try; the borrow ends before it.
    while let Err(error) = input.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(TarError::Read(error));
        }
    }
    input.fill_buf().map_err(TarError::Read)
}

/// Bytes of data behind a header.
fn stored_size(header: &Header, records: &Records) -> Result<u64, TarError> {
    let size = records.size.map_or_else(|| header.size(), Ok)?;
    if i64::try_from(size).is_err() {
        return Err(header.bad("size"));
    }
    Ok(size)
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// A long name's bytes up to its NUL.
fn cut(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(nul) = name.iter().position(|byte| *byte == 0) {
        name.truncate(nul);
    }
    name
}

/// What an entry is; `None` for one that stands for nothing in the file system.
fn kind(header: &Header, path: &[u8]) -> Result<Option<EntryKind>, TarError> {
    let unsupported = |what| {
        Err(TarError::Unsupported { path: String::from_utf8_lossy(path).into_owned(), what })
    };
    Ok(Some(match header.kind() {
        // Before POSIX a directory was a file whose name ended with a slash.
        b'0' | 0 if path.ends_with(b"/") => EntryKind::Directory,
        b'0' | 0 | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharacterDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'V' => return Ok(None), // a label of the archive
        b'D' => return unsupported("a directory of an incremental GNU archive"),
        b'M' => return unsupported("the rest of a file from another volume"),
        b'N' => return unsupported("a list of names in GNU's oldest format"),
        _ => return unsupported("an entry of an unknown type"),
    }))
}
