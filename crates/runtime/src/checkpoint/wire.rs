//! The encoding of CRIU's messages (protocol buffers, proto2): numbers and length-delimited fields,
//! which is all that its RPC uses. What the fields mean is `request`'s and `response`'s business.

/// A message that is being put together.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

impl Message {
    /// Adds an integer, an enumeration's value or a truth value.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value);
    }

    /// Adds a string or bytes.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Adds a message.
    pub(super) fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// The message as it is sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer, an enumeration's value or a truth value.
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

/// A message that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a message, in the order in which they stand there.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads a message.
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Value::Number(self.varint()?),
            DELIMITED => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED_64 => Value::Bytes(self.take(8)?),
            FIXED_32 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((u32::try_from(key >> 3).ok()?, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Malformed);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_the_encoding_defines_and_read_back() {
        let mut inner = Message::default();
        inner.number(1, 150);
        let mut message = Message::default();
        message.number(2, u64::MAX);
        message.bytes(51, b"/etc");
        message.message(3, &inner);
        assert_eq!(inner.as_bytes(), [0x08, 0x96, 0x01]);
        let found: Vec<_> = Fields::of(message.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            found,
            [
                (2, Value::Number(u64::MAX)),
                (51, Value::Bytes(b"/etc")),
                (3, Value::Bytes(&[0x08, 0x96, 0x01])),
            ]
        );
    }

    #[test]
    fn a_message_that_is_cut_short_is_an_error_and_the_end() {
        for bytes in [&[0x08][..], &[0x08, 0x80], &[0x12, 5, 1], &[0x0b], &[0xff; 11]] {
            let found: Vec<_> = Fields::of(bytes).collect();
            assert_eq!(found, [Err(Malformed)], "{bytes:?}");
        }
        // Kinds of fields that CRIU does not use today are passed over.
        let found: Vec<_> = Fields::of(&[0x0d, 1, 2, 3, 4, 0x10, 7]).collect();
        assert_eq!(found.last(), Some(&Ok((2, Value::Number(7)))));
    }
}
