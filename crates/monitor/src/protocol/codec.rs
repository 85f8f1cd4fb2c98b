//! Reading and writing the fields of a frame, every length checked.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::wire::{os_from_bytes, os_to_bytes, value};
use super::{DecodeError, MAX_NAME, Streams, Target, TerminalSize};

/// The longest path that a frame may carry (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// The most strings that a list may have, which is what its length field can say.
const MAX_LIST: usize = u8::MAX as usize;

/// Builds a frame.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(64))
    }

    pub(super) fn head(&mut self, kind: u8, number: u32) -> &mut Self {
        self.u8(kind).u32(number)
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn option_i32(&mut self, value: Option<i32>) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => self.u8(1).i32(value),
        }
    }

    /// A byte string; what is longer than its length field can say is cut, and the peer refuses
    /// it as too long.
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let length = bytes.len().min(usize::from(u16::MAX));
        self.u16(length as u16);
        self.0.extend_from_slice(bytes.get(..length).unwrap_or(bytes));
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn os(&mut self, text: &OsStr) -> &mut Self {
        self.bytes(os_to_bytes(text))
    }

    /// Strings with their number before them.
    pub(super) fn list(&mut self, texts: &[OsString]) -> &mut Self {
        let count = texts.len().min(MAX_LIST);
        self.u8(count as u8);
        for text in texts.iter().take(count) {
            self.os(text);
        }
        self
    }

    pub(super) fn target(&mut self, target: &Target) -> &mut Self {
        self.text(&target.container).text(target.exec.as_deref().unwrap_or(""))
    }

    pub(super) fn size(&mut self, size: TerminalSize) -> &mut Self {
        self.u16(size.rows).u16(size.columns)
    }

    pub(super) fn option_size(&mut self, size: Option<TerminalSize>) -> &mut Self {
        match size {
            None => self.u8(0),
            Some(size) => self.u8(1).size(size),
        }
    }

    pub(super) fn rest(&mut self, data: &[u8]) -> &mut Self {
        self.0.extend_from_slice(data);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a frame apart.
pub(super) struct Reader<'f> {
    left: &'f [u8],
}

impl<'f> Reader<'f> {
    pub(super) fn new(frame: &'f [u8]) -> Self {
        Self { left: frame }
    }

    fn take(&mut self, length: usize, field: &'static str) -> Result<&'f [u8], DecodeError> {
        let (taken, left) = self.left.split_at_checked(length).ok_or(DecodeError::Short(field))?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, left) = self.left.split_first_chunk().ok_or(DecodeError::Short(field))?;
        self.left = left;
        Ok(*taken)
    }

    pub(super) fn head(&mut self) -> Result<(u8, u32), DecodeError> {
        Ok((self.u8("type")?, self.u32("number")?))
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(value(field, other)),
        }
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn option_i32(&mut self, field: &'static str) -> Result<Option<i32>, DecodeError> {
        if self.bool(field)? { Ok(Some(self.i32(field)?)) } else { Ok(None) }
    }

    fn bytes(&mut self, field: &'static str) -> Result<&'f [u8], DecodeError> {
        let length = usize::from(self.u16(field)?);
        self.take(length, field)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(field)?;
        Ok(std::str::from_utf8(bytes).map_err(|_| DecodeError::Text(field))?.to_owned())
    }

    /// An ID or a session's name: it becomes part of file names.
    pub(super) fn name(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let name = self.optional_name(field)?;
        name.ok_or(DecodeError::Text(field))
    }

    fn optional_name(&mut self, field: &'static str) -> Result<Option<String>, DecodeError> {
        let name = self.text(field)?;
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        if name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(safe) {
            return Err(DecodeError::Text(field));
        }
        Ok(if name.is_empty() { None } else { Some(name) })
    }

    pub(super) fn path(&mut self, field: &'static str) -> Result<PathBuf, DecodeError> {
        let bytes = self.bytes(field)?;
        if bytes.first() != Some(&b'/') || bytes.contains(&0) || bytes.len() >= MAX_PATH {
            return Err(DecodeError::Text(field));
        }
        Ok(os_from_bytes(bytes).into())
    }

    pub(super) fn list(&mut self, field: &'static str) -> Result<Vec<OsString>, DecodeError> {
        (0..self.u8(field)?)
            .map(|_| {
                let bytes = self.bytes(field)?;
                if bytes.contains(&0) {
                    return Err(DecodeError::Text(field));
                }
                Ok(os_from_bytes(bytes))
            })
            .collect()
    }

    pub(super) fn target(&mut self) -> Result<Target, DecodeError> {
        Ok(Target { container: self.name("container")?, exec: self.optional_name("session")? })
    }

    pub(super) fn streams(&mut self) -> Result<Streams, DecodeError> {
        let bits = self.u8("streams")?;
        if bits > 7 {
            return Err(value("streams", bits));
        }
        Ok(Streams { stdin: bits & 1 != 0, stdout: bits & 2 != 0, stderr: bits & 4 != 0 })
    }

    pub(super) fn size(&mut self) -> Result<TerminalSize, DecodeError> {
        Ok(TerminalSize { rows: self.u16("rows")?, columns: self.u16("columns")? })
    }

    pub(super) fn option_size(&mut self) -> Result<Option<TerminalSize>, DecodeError> {
        if self.bool("size")? { Ok(Some(self.size()?)) } else { Ok(None) }
    }

    pub(super) fn rest(&mut self) -> &'f [u8] {
        std::mem::take(&mut self.left)
    }

    /// Whether nothing follows: a field that a later version added is not there.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.left.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.left.len())) }
    }
}
