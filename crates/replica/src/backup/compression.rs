//! Copies that take less space.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// How a copy is written. The levels are fast ones, since the database is held
/// still meanwhile, and its pages gain little from other pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// For `gunzip`.
    Gzip,
    /// For `zstd -d`: several times faster, and smaller.
    Zstd,
}

impl Compression {
    /// By the end of the name: `.gz`, `.zst`, or anything else.
    pub fn of_name(path: impl AsRef<Path>) -> Self {
        let is = |known| move |extension: &std::ffi::OsStr| extension.eq_ignore_ascii_case(known);
        let extension = path.as_ref().extension();
        if extension.is_some_and(is("gz")) {
            Self::Gzip
        } else if extension.is_some_and(is("zst")) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

const GZIP_LEVEL: u32 = 2;
const ZSTD_LEVEL: i32 = 1;

pub(super) enum Encoder<W: Write> {
    Plain(W),
    Gzip(Box<flate2::write::GzEncoder<Valve<W>>>),
    Zstd(Box<zstd::Encoder<'static, W>>),
}

impl<W: Write> Encoder<W> {
    /// For `bytes` of input, no more and no less.
    pub(super) fn new(out: W, compression: Compression, bytes: u64) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip => {
                let (out, level) = (Valve { out, shut: false }, GZIP_LEVEL);
                let encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(level));
                Self::Gzip(Box::new(encoder))
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
                // So that a file with a wrong bit, or cut short, is found.
                encoder.include_checksum(true)?;
                encoder.set_pledged_src_size(Some(bytes))?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => Ok(encoder.finish()?.out),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }

    /// Leaves the output without an end, so that what is there does not decode.
    pub(super) fn abandon(self) {
        if let Self::Gzip(mut encoder) = self {
            // Dropped, it would write the end all the same.
            encoder.get_mut().shut = true;
        }
    }
}

/// A writer that can be shut.
pub(super) struct Valve<W> {
    out: W,
    shut: bool,
}

impl<W: Write> Write for Valve<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.shut {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.shut {
            true => Ok(()),
            false => self.out.flush(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Reads what an [`Encoder`] wrote.
pub(super) fn decoder(file: File, compression: Compression) -> io::Result<Box<dyn Read>> {
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(BufReader::new(file))),
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name() {
        for (name, compression) in [
            ("a.sqlite3", Compression::None),
            ("a.sqlite3.gz", Compression::Gzip),
            ("a.GZ", Compression::Gzip),
            ("a.sqlite3.zst", Compression::Zstd),
            ("gz", Compression::None),
            ("a.gz/b", Compression::None),
        ] {
            assert_eq!(Compression::of_name(name), compression, "{name}");
        }
    }
}
