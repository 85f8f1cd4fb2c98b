//! Compression of layers and archives: recognised by the first bytes, whatever a media type or a
//! file name says; the digests decide whether it was right.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A format that is known and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// Tells the compression by the first bytes.
pub(crate) fn sniff(start: &[u8]) -> Result<Compression, Unreadable> {
    match start {
        [0x1f, 0x8b, 8, ..] => Ok(Compression::Gzip),
        // A frame, or a skippable frame before one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => Err(Unreadable("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Unreadable("xz")),
        [0x04, 0x22, 0x4d, 0x18, ..] => Err(Unreadable("lz4")),
        [b'P', b'K', 3, 4, ..] => Err(Unreadable("zip")),
        _ => Ok(Compression::None),
    }
}

/// The decompressed form of a stream: gzip members and zstd frames may follow each other.
pub(crate) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    /// Looks at the first bytes of `input` and takes what fits them.
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        let start = input.fill_buf()?;
        match sniff(start) {
            Ok(Compression::None) => Ok(Self::Plain(input)),
            Ok(Compression::Gzip) => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(input)))),
            Ok(Compression::Zstd) => {
                Ok(Self::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(input)?)))
            }
            Err(Unreadable(format)) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is compressed with {format}, which is not supported"),
            )),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
            Self::Zstd(input) => input.read(buffer),
        }
    }
}

/// A buffered reader whose first read is already there to look at.
pub(crate) fn buffered<R: Read>(input: R) -> io::Result<BufReader<R>> {
    let mut input = BufReader::with_capacity(128 * 1024, input);
    input.fill_buf()?;
    Ok(input)
}
