//! D-Bus messages as bytes (D-Bus specification, "Type system" and "Message protocol"): the types
//! that systemd's manager needs, written little-endian and read in either order.

use super::SystemdError;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    U64(u64),
    Text(String),
    U32s(Vec<u32>),
    Bytes(Vec<u8>),
    Pairs(Vec<(String, String)>),
    Limits(Vec<(String, u64)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::U32s(_) => "au",
            Self::Bytes(_) => "ay",
            Self::Pairs(_) => "a(ss)",
            Self::Limits(_) => "a(st)",
        }
    }
}

/// A property and its value: `(sv)`.
pub(crate) type Property = (&'static str, Value);

/// Writes values with their alignment.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// A string or an object path.
    pub(crate) fn text(&mut self, value: &str) {
        self.u32(value.len() as u32);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }

    pub(crate) fn signature(&mut self, value: &str) {
        self.bytes.push(value.len() as u8);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }

    /// An array: its length does not count the padding before the first element.
    pub(crate) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - begin) as u32;
        if let Some(place) = self.bytes.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(v) => self.bool(*v),
            Value::U64(v) => self.u64(*v),
            Value::Text(v) => self.text(v),
            Value::U32s(v) => self.array(4, |w| v.iter().for_each(|n| w.u32(*n))),
            Value::Bytes(v) => self.array(1, |w| w.bytes.extend(v)),
            Value::Pairs(v) => self.array(8, |w| {
                for (a, b) in v {
                    w.align(8);
                    w.text(a);
                    w.text(b);
                }
            }),
            Value::Limits(v) => self.array(8, |w| {
                for (name, limit) in v {
                    w.align(8);
                    w.text(name);
                    w.u64(*limit);
                }
            }),
        }
    }

    /// `a(sv)`
    pub(crate) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |w| {
            for (name, value) in properties {
                w.align(8);
                w.text(name);
                w.variant(value);
            }
        });
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'static str,
}

/// The bytes of a method call.
pub(crate) fn call(serial: u32, target: &Target<'_>, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    for byte in [b'l', 1, 0, 1] {
        w.byte(byte);
    }
    w.u32(body.len() as u32);
    w.u32(serial);
    w.array(8, |w| {
        let text = |w: &mut Writer, code: u8, typ: &str, value: &str| {
            w.align(8);
            w.byte(code);
            w.signature(typ);
            w.text(value);
        };
        text(w, 1, "o", target.path);
        text(w, 2, "s", target.interface);
        text(w, 3, "s", target.member);
        text(w, 6, "s", target.destination);
        if !signature.is_empty() {
            w.align(8);
            w.byte(8);
            w.signature("g");
            w.signature(signature);
        }
    });
    w.align(8);
    let mut bytes = w.into_bytes();
    bytes.extend(body);
    bytes
}

/// A received message, as far as it matters.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) reply_to: u32,
    pub(crate) error: String,
    pub(crate) member: String,
    pub(crate) signature: String,
    body: Vec<u8>,
    little: bool,
}

/// The bytes that say how long a message is.
pub(crate) const FIXED_HEADER: usize = 16;
/// The specification's limit for a message.
const LONGEST: usize = 128 << 20;

fn malformed(what: &'static str) -> SystemdError {
    SystemdError::Malformed { what }
}

/// How many bytes follow the fixed header.
pub(crate) fn remaining(fixed: &[u8; FIXED_HEADER]) -> Result<usize, SystemdError> {
    let little = byte_order(fixed)?;
    let mut r = Reader { bytes: fixed, at: 4, little };
    let body = r.u32()? as usize;
    r.at = 12;
    let fields = r.u32()? as usize;
    let rest = fields.checked_next_multiple_of(8).and_then(|f| f.checked_add(body));
    rest.filter(|&n| n < LONGEST).ok_or_else(|| malformed("it is too long"))
}

fn byte_order(bytes: &[u8]) -> Result<bool, SystemdError> {
    match bytes.first() {
        Some(b'l') => Ok(true),
        Some(b'B') => Ok(false),
        _ => Err(malformed("its byte order is unknown")),
    }
}

impl Message {
    /// From all its bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SystemdError> {
        let little = byte_order(bytes)?;
        let kind = match bytes.get(1) {
            Some(1) => Kind::Call,
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => return Err(malformed("its type is unknown")),
        };
        let mut message = Self {
            kind,
            reply_to: 0,
            error: String::new(),
            member: String::new(),
            signature: String::new(),
            body: Vec::new(),
            little,
        };
        let mut r = Reader { bytes, at: 12, little };
        let end = r.u32()? as usize + FIXED_HEADER;
        while r.at < end {
            r.align(8);
            let code = r.byte()?;
            let typ = r.signature()?;
            match (code, typ.as_str()) {
                (4, "s") => message.error = r.text()?,
                (3, "s") => message.member = r.text()?,
                (5, "u") => message.reply_to = r.u32()?,
                (8, "g") => message.signature = r.signature()?,
                (_, "s" | "o") => drop(r.text()?),
                (_, "u") => drop(r.u32()?),
                (_, "g") => drop(r.signature()?),
                _ => return Err(malformed("a header field has an unexpected type")),
            }
        }
        message.body =
            bytes.get(end.next_multiple_of(8)..).ok_or_else(|| malformed("it is short"))?.to_vec();
        Ok(message)
    }

    pub(crate) fn body(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, little: self.little }
    }
}

/// Reads values with their alignment.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, n: usize) -> Result<&[u8], SystemdError> {
        let end = self.at.checked_add(n).ok_or_else(|| malformed("a length is absurd"))?;
        let bytes = self.bytes.get(self.at..end).ok_or_else(|| malformed("it is short"))?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, SystemdError> {
        self.take(1).map(|b| b.first().copied().unwrap_or(0))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, SystemdError> {
        self.align(4);
        let little = self.little;
        let bytes: [u8; 4] =
            self.take(4)?.try_into().map_err(|_| malformed("a number is short"))?;
        Ok(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    pub(crate) fn text(&mut self) -> Result<String, SystemdError> {
        let length = self.u32()? as usize;
        self.string(length)
    }

    pub(crate) fn signature(&mut self) -> Result<String, SystemdError> {
        let length = usize::from(self.byte()?);
        self.string(length)
    }

    fn string(&mut self, length: usize) -> Result<String, SystemdError> {
        let text = String::from_utf8(self.take(length)?.to_vec())
            .map_err(|_| malformed("a string is not UTF-8"))?;
        if self.byte()? == 0 { Ok(text) } else { Err(malformed("a string has no end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_back_as_it_was_written() {
        let mut body = Writer::default();
        body.text("a.scope");
        body.properties(&[
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::U32s(vec![7])),
            ("MemoryMax", Value::U64(9)),
            ("DeviceAllow", Value::Pairs(vec![("char-*".into(), "m".into())])),
        ]);
        let target = Target {
            destination: "org.example",
            path: "/org/example",
            interface: "org.example.I",
            member: "Do",
        };
        let bytes = call(5, &target, "sa(sv)", &body.into_bytes());
        let mut fixed = [0; FIXED_HEADER];
        fixed.copy_from_slice(&bytes[..FIXED_HEADER]);
        assert_eq!(remaining(&fixed).expect("a length") + FIXED_HEADER, bytes.len());
        let message = Message::parse(&bytes).expect("parses");
        assert_eq!((message.kind, message.member.as_str()), (Kind::Call, "Do"));
        assert_eq!(message.signature, "sa(sv)");
        assert_eq!(message.body().text().expect("a string"), "a.scope");
    }

    #[test]
    fn the_alignment_is_that_of_the_specification() {
        let mut w = Writer::default();
        w.byte(1);
        w.properties(&[("A", Value::U64(2))]);
        // 1, pad 3, length (18 + 8 = 24 bytes), then "A" (4 + 2), "t" (3), pad to 8, the number.
        let wanted = [
            1, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0,
            0, 0, 0, 0, 0,
        ];
        assert_eq!(w.into_bytes(), wanted);
    }

    #[test]
    fn no_truncated_message_is_taken_or_panics() {
        let target = Target { destination: "d.d", path: "/p", interface: "i.i", member: "M" };
        let bytes = call(1, &target, "s", &[1, 0, 0, 0, b'x', 0]);
        for end in 0..bytes.len() - 6 {
            assert!(Message::parse(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            // Whatever it says, reading it ends.
            if let Ok(message) = Message::parse(&damaged) {
                let _ = message.body().text();
            }
        }
    }
}
