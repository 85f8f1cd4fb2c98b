//! The 512-byte header block: its fields, in POSIX's and GNU's layouts.

use super::{TarError, Time};

/// The size of a block.
pub(super) const BLOCK: usize = 512;

/// A header block with a right checksum.
pub(super) struct Header {
    block: [u8; BLOCK],
    position: u64,
}

/// Which layout the block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Gnu,
}

impl Header {
    /// Checks the sum; `None` for a block of zeros.
    pub(super) fn parse(block: &[u8; BLOCK], position: u64) -> Result<Option<Self>, TarError> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Self { block: *block, position };
        let stored = number(header.bytes(148, 8)).ok_or(TarError::Checksum(position))?;
        let outside = |index: usize| !(148..156).contains(&index);
        let counted = |(index, byte): (usize, &u8)| if outside(index) { *byte } else { b' ' };
        let unsigned: i64 = block.iter().enumerate().map(|item| i64::from(counted(item))).sum();
        // Some old programs add the bytes up as signed ones.
        let signed: i64 = block.iter().enumerate().map(|item| i64::from(counted(item) as i8)).sum();
        if stored != unsigned && stored != signed {
            return Err(TarError::Checksum(position));
        }
        Ok(Some(header))
    }

    fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        self.block.get(offset..offset + length).unwrap_or_default()
    }

    pub(super) fn format(&self) -> Format {
        match self.bytes(257, 8) {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar") => Format::Ustar,
            _ => Format::V7,
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.bytes(156, 1).first().copied().unwrap_or(0)
    }

    /// The name, with POSIX's prefix.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(self.bytes(0, 100));
        let prefix = match self.format() {
            Format::Ustar => until_nul(self.bytes(345, 155)),
            _ => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(self.bytes(157, 100)).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, TarError> {
        Ok(self.unsigned(100, 8, "mode")? as u32 & 0o7777)
    }

    pub(super) fn uid(&self) -> Result<u32, TarError> {
        self.owner(108, "user id")
    }

    pub(super) fn gid(&self) -> Result<u32, TarError> {
        self.owner(116, "group id")
    }

    fn owner(&self, offset: usize, field: &'static str) -> Result<u32, TarError> {
        owner(self.unsigned(offset, 8, field)?).ok_or_else(|| self.bad(field))
    }

    /// Bytes of data that follow.
    pub(super) fn size(&self) -> Result<u64, TarError> {
        self.unsigned(124, 12, "size")
    }

    pub(super) fn mtime(&self) -> Result<Time, TarError> {
        let seconds = number(self.bytes(136, 12)).ok_or_else(|| self.bad("modification time"))?;
        Ok(Time { seconds, nanoseconds: 0 })
    }

    /// Major and minor number.
    pub(super) fn device(&self) -> Result<(u32, u32), TarError> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        let half = |offset| {
            u32::try_from(self.unsigned(offset, 8, "device number")?)
                .map_err(|_| self.bad("device number"))
        };
        Ok((half(329)?, half(337)?))
    }

    /// GNU's sparse map in the header itself, whether more of it follows, and the real size.
    pub(super) fn sparse(&self) -> Result<(&[u8], bool, u64), TarError> {
        let extended = self.bytes(482, 1).first().is_some_and(|byte| *byte != 0);
        Ok((self.bytes(386, 96), extended, self.unsigned(483, 12, "real size")?))
    }

    fn unsigned(&self, offset: usize, length: usize, field: &'static str) -> Result<u64, TarError> {
        number(self.bytes(offset, length))
            .and_then(|value| u64::try_from(value).ok())
            .ok_or_else(|| self.bad(field))
    }

    pub(super) fn bad(&self, field: &'static str) -> TarError {
        TarError::Field { position: self.position, field }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

/// An id that a file can have: the kernel takes the largest number for "leave it as it is".
pub(super) fn owner(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|id| *id != u32::MAX)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits among spaces and NULs (nothing at all is 0), or GNU's base 256.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Base 256: two's complement, the top bit being the marker.
        let negative = first & 0x40 != 0;
        let start = if negative { i128::from(*first) - 0x100 } else { i128::from(first & 0x3f) };
        let mut value = start;
        for byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
        }
        return i64::try_from(value).ok();
    }
    let text = field.trim_ascii_start();
    let mut value: i64 = 0;
    let mut digits = text.iter().copied();
    for byte in digits.by_ref() {
        match byte {
            b'0'..=b'7' => value = value.checked_mul(8)?.checked_add(i64::from(byte - b'0'))?,
            b' ' | 0 => break,
            _ => return None,
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0 "), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"00008"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0x2d, 0xc6, 0xc0]), Some(3_000_000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(
            number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
    }
}
