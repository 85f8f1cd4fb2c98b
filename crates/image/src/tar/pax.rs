//! Extended headers (pax "Extended Header"): `length key=value` records and their meaning.

use super::{Extent, Time};

/// The largest extended header or long name: a hostile archive must not fill the memory.
pub(super) const LIMIT: u64 = 1 << 20;

/// What extended headers say about the next entry (or, when global, about all that follow).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// GNU's keys for sparse files, formats 0.0, 0.1 and 1.0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths (0.0 and 0.1).
    pub(super) map: Option<Vec<Extent>>,
    /// An offset whose length has not come yet (0.0).
    offset: Option<u64>,
}

impl Records {
    /// Adds the records of a header's data to what is known.
    pub(super) fn add(&mut self, mut data: &[u8]) -> Result<(), &'static str> {
        while !data.is_empty() {
            let space = data.iter().position(|b| *b == b' ').ok_or("a record has no length")?;
            let (digits, _) = data.split_at(space);
            let length = decimal(digits).ok_or("a record's length is not a number")?;
            let length = usize::try_from(length).map_err(|_| "a record is too long")?;
            if length > data.len() || length < space + 2 {
                return Err("a record's length is wrong");
            }
            let (record, rest) = data.split_at(length);
            data = rest;
            let record = record.get(space + 1..).unwrap_or_default();
            let record =
                record.strip_suffix(b"\n").ok_or("a record does not end with a newline")?;
            let equals = record.iter().position(|b| *b == b'=').ok_or("a record has no `=`")?;
            let (key, value) = record.split_at(equals);
            self.set(key, value.get(1..).unwrap_or_default())?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const XATTR: &[u8] = b"SCHILY.xattr.";
        if let Some(name) = key.strip_prefix(XATTR) {
            if name.is_empty() || name.contains(&0) {
                return Err("an extended attribute's name is bad");
            }
            self.xattrs.retain(|(known, _)| known != name);
            // An empty value takes back what a header before it said.
            if !value.is_empty() {
                self.xattrs.push((name.to_vec(), value.to_vec()));
            }
            return Ok(());
        }
        let bytes = || {
            if value.contains(&0) {
                return Err("a name has a NUL in it");
            }
            Ok((!value.is_empty()).then(|| value.to_vec()))
        };
        let number = || {
            if value.is_empty() {
                return Ok(None);
            }
            decimal(value).map(Some).ok_or("a number is malformed")
        };
        let time = || {
            if value.is_empty() {
                return Ok(None);
            }
            time(value).map(Some).ok_or("a time is malformed")
        };
        match key {
            b"path" => self.path = bytes()?,
            b"linkpath" => self.link = bytes()?,
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = time()?,
            b"atime" => self.atime = time()?,
            b"GNU.sparse.major" => self.sparse.major = number()?,
            b"GNU.sparse.minor" => self.sparse.minor = number()?,
            b"GNU.sparse.name" => self.sparse.name = bytes()?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = number()?,
            b"GNU.sparse.map" => self.sparse.map = Some(map(value)?),
            b"GNU.sparse.offset" => self.sparse.offset = number()?,
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take().ok_or("a sparse length has no offset")?;
                let length = number()?.ok_or("a sparse length is empty")?;
                self.sparse.map.get_or_insert_default().push(Extent { offset, length });
            }
            // Comments, names of users and groups, character sets, others' own keys.
            _ => {}
        }
        Ok(())
    }

    /// Format 1.0: the map stands before the data.
    pub(super) fn map_precedes_data(&self) -> bool {
        self.sparse.major == Some(1) && self.sparse.minor == Some(0)
    }

    /// The records of one entry on top of the global ones.
    pub(super) fn over(self, global: &Self) -> Self {
        let mut xattrs = global.xattrs.clone();
        xattrs.retain(|(name, _)| !self.xattrs.iter().any(|(own, _)| own == name));
        xattrs.extend(self.xattrs);
        Self {
            path: self.path.or_else(|| global.path.clone()),
            link: self.link.or_else(|| global.link.clone()),
            size: self.size.or(global.size),
            uid: self.uid.or(global.uid),
            gid: self.gid.or(global.gid),
            mtime: self.mtime.or(global.mtime),
            atime: self.atime.or(global.atime),
            xattrs,
            sparse: self.sparse,
        }
    }
}

/// Format 0.1: `offset,length,offset,length…`.
fn map(value: &[u8]) -> Result<Vec<Extent>, &'static str> {
    let numbers = value
        .split(|b| *b == b',')
        .map(decimal)
        .collect::<Option<Vec<u64>>>()
        .ok_or("a sparse map has a malformed number")?;
    let mut extents = Vec::with_capacity(numbers.len() / 2);
    for pair in numbers.chunks(2) {
        let [offset, length] = pair else { return Err("a sparse map has an odd number") };
        extents.push(Extent { offset: *offset, length: *length });
    }
    Ok(extents)
}

/// Decimal digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with an optional sign and fraction; digits beyond nanoseconds are cut off.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        nanoseconds = digits.fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        // The fraction counts upwards from the whole second below.
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_to_the_nanosecond() {
        let of = |text: &str| time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(of("1700000000.123456789"), Some((1700000000, 123456789)));
        assert_eq!(of("1.5"), Some((1, 500000000)));
        assert_eq!(of("-1.25"), Some((-2, 750000000)));
        assert_eq!(of("-3"), Some((-3, 0)));
        assert_eq!(of("1.1234567899"), Some((1, 123456789)));
        assert_eq!(of("x"), None);
        assert_eq!(of("1.-5"), None);
    }

    #[test]
    fn records_with_wrong_lengths_are_refused() {
        for data in ["", "5 a=b\n"] {
            let mut records = Records::default();
            assert_eq!(records.add(data.as_bytes()).is_ok(), data.is_empty(), "{data}");
        }
        for data in
            ["99 path=x\n", "0 path=x\n", "9 path=x\n\n", "10 path=x", "x path=y\n", "3 a\n"]
        {
            assert!(Records::default().add(data.as_bytes()).is_err(), "{data}");
        }
        let mut records = Records::default();
        records.add(b"10 path=x\n19 SCHILY.xattr.a=\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(b"x".as_slice()));
        assert!(records.xattrs.is_empty());
    }

    #[test]
    fn values_may_hold_newlines_and_equal_signs() {
        let mut records = Records::default();
        records.add(b"28 SCHILY.xattr.user.k=a=\nb\n").unwrap();
        assert_eq!(records.xattrs, [(b"user.k".to_vec(), b"a=\nb".to_vec())]);
    }
}
