//! Maps of sparse files: GNU's old format and the checks that hold for all formats.

use super::header::number;
use super::{Extent, TarError};

/// The most extents that a file may have: enough for a hole in each block of a file of several
/// gigabytes, little enough for the memory.
const LIMIT: usize = 1 << 20;

/// Reads the 24-byte entries of a header or of an extension block of GNU's old format into `map`.
/// An entry of zeros ends them.
pub(super) fn old_entries(bytes: &[u8], map: &mut Vec<Extent>) -> Result<(), &'static str> {
    for entry in bytes.chunks_exact(24) {
        let (offset, length) = entry.split_at(12);
        if offset.first().is_none_or(|byte| *byte == 0) {
            break;
        }
        let field = |bytes| number(bytes).and_then(|value| u64::try_from(value).ok());
        let offset = field(offset).ok_or("an offset is malformed")?;
        let length = field(length).ok_or("a length is malformed")?;
        push(map, Extent { offset, length })?;
    }
    Ok(())
}

/// Adds an extent, within the limit.
pub(super) fn push(map: &mut Vec<Extent>, extent: Extent) -> Result<(), &'static str> {
    if map.len() >= LIMIT {
        return Err("it has too many pieces");
    }
    map.push(extent);
    Ok(())
}

/// Checks that the extents follow each other within `size` and hold exactly the stored bytes.
pub(super) fn check(path: &[u8], map: &[Extent], size: u64, stored: u64) -> Result<(), TarError> {
    let bad =
        |problem| TarError::Sparse { path: String::from_utf8_lossy(path).into_owned(), problem };
    let (mut end, mut sum) = (0u64, 0u64);
    for extent in map {
        if extent.offset < end {
            return Err(bad("its pieces overlap or are out of order"));
        }
        end = extent
            .offset
            .checked_add(extent.length)
            .filter(|end| *end <= size)
            .ok_or_else(|| bad("a piece reaches beyond the end of the file"))?;
        sum += extent.length;
    }
    if sum != stored {
        return Err(bad("its pieces do not add up to the stored data"));
    }
    Ok(())
}
