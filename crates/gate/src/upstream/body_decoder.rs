//! Where the body of a response ends, and what is in it.

use bytes::{Buf, Bytes, BytesMut};

use super::not_http::NotHttp;

/// Longest line with the size of a chunk, in bytes, extensions included.
const SIZE_LINE_MAX: usize = 4 << 10;
/// Longest trailer, in bytes. Trailers are not passed on.
const TRAILER_MAX: usize = 64 << 10;

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyDecoder {
    Done,
    /// This many bytes.
    Length(u64),
    Chunked(Chunk),
    /// All that comes until the app closes the connection.
    UntilClose,
}

/// What comes next in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    Size,
    /// This many bytes of a chunk.
    Data(u64),
    /// The line end after a chunk.
    DataEnd,
    /// A line of the trailer, of which so many bytes came already.
    Trailer(usize),
}

/// What [`BodyDecoder::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    /// More must be read.
    Missing,
    End,
}

impl BodyDecoder {
    /// The number of bytes to come, where it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(length) => Some(*length),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Length(0))
    }

    /// Takes the next piece of the body out of `buffer`.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, NotHttp> {
        self.settle(buffer)?;
        Ok(match self {
            Self::Done => Piece::End,
            _ if buffer.is_empty() => Piece::Missing,
            Self::UntilClose => Piece::Data(buffer.split().freeze()),
            Self::Length(left) | Self::Chunked(Chunk::Data(left)) => {
                Piece::Data(take(buffer, left))
            }
            Self::Chunked(_) => Piece::Missing,
        })
    }

    /// Takes what is no data out of `buffer`, as far as it goes: after the last
    /// piece, the body is done then.
    pub(crate) fn settle(&mut self, buffer: &mut BytesMut) -> Result<(), NotHttp> {
        loop {
            *self = match *self {
                Self::Length(0) => Self::Done,
                Self::Chunked(Chunk::Data(0)) => Self::Chunked(Chunk::DataEnd),
                Self::Chunked(Chunk::DataEnd) => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        Self::Chunked(Chunk::Size)
                    }
                    None if buffer.is_empty() || buffer.starts_with(b"\r") => return Ok(()),
                    _ => return Err(NotHttp("a chunk is longer than its size")),
                },
                Self::Chunked(Chunk::Size) => match line(buffer, SIZE_LINE_MAX)? {
                    None => return Ok(()),
                    Some(line) => Self::Chunked(match chunk_size(&line)? {
                        0 => Chunk::Trailer(0),
                        size => Chunk::Data(size),
                    }),
                },
                Self::Chunked(Chunk::Trailer(seen)) => {
                    match line(buffer, TRAILER_MAX.saturating_sub(seen))? {
                        None => return Ok(()),
                        Some(line) if line.is_empty() => Self::Done,
                        Some(line) => Self::Chunked(Chunk::Trailer(seen + line.len() + 2)),
                    }
                }
                Self::Done | Self::Length(_) | Self::Chunked(Chunk::Data(_)) | Self::UntilClose => {
                    return Ok(());
                }
            };
        }
    }

    /// The app has closed the connection.
    pub(crate) fn closed(&mut self) -> Result<(), NotHttp> {
        match self {
            Self::Done | Self::Length(0) | Self::UntilClose => {
                *self = Self::Done;
                Ok(())
            }
            _ => Err(NotHttp("the response ended before its end")),
        }
    }
}

/// Takes up to `left` bytes.
fn take(buffer: &mut BytesMut, left: &mut u64) -> Bytes {
    let taken = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
    *left -= taken as u64;
    buffer.split_to(taken).freeze()
}

/// Takes a line without its end, if it is there.
fn line(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, NotHttp> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        return match buffer.len() > max {
            true => Err(NotHttp("a line of a chunked body is too long")),
            false => Ok(None),
        };
    };
    if end > max {
        return Err(NotHttp("a line of a chunked body is too long"));
    }
    match buffer.get(..end).and_then(|line| line.strip_suffix(b"\r")) {
        Some(text) if !text.contains(&b'\r') => {
            let line = buffer.split_to(end + 1).freeze();
            Ok(Some(line.slice(..end - 1)))
        }
        _ => Err(NotHttp("a line of a chunked body does not end with CR LF")),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, NotHttp> {
    const WRONG: NotHttp = NotHttp("the size of a chunk is no number");
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    // `from_str_radix` takes a sign.
    if !digits.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(WRONG);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| WRONG)?;
    u64::from_str_radix(digits, 16).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: BodyDecoder = BodyDecoder::Chunked(Chunk::Size);

    /// Feeds `parts` one after the other; the body, and what is left over.
    fn decode(
        mut decoder: BodyDecoder,
        parts: &[&[u8]],
    ) -> Result<(Vec<u8>, bool, Vec<u8>), NotHttp> {
        let (mut body, mut buffer, mut done) = (Vec::new(), BytesMut::new(), false);
        for part in parts {
            buffer.extend_from_slice(part);
            loop {
                match decoder.next(&mut buffer)? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::Missing => break,
                    Piece::End => {
                        done = true;
                        break;
                    }
                }
            }
        }
        Ok((body, done, buffer.to_vec()))
    }

    #[test]
    fn what_is_no_chunked_body_is_an_error() {
        for wrong in [
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n\r\n",
            "\r\nhello",
            "0x5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "10000000000000000\r\nhello",
            "5\r\nhello\r\r\n0\r\n\r\n",
            "0\r\nX: a\nY: b\r\n\r\n",
        ] {
            assert!(decode(CHUNKED, &[wrong.as_bytes()]).is_err(), "{wrong:?}");
        }
        let endless = [b'1'; SIZE_LINE_MAX + 1];
        assert!(decode(CHUNKED, &[&endless]).is_err());
    }

    #[test]
    fn an_early_end_is_an_error_where_the_length_is_known() {
        assert!(BodyDecoder::Length(1).closed().is_err());
        let mut chunked = CHUNKED;
        assert!(chunked.closed().is_err());
        assert!(BodyDecoder::Chunked(Chunk::Trailer(0)).closed().is_err());
        assert!(BodyDecoder::UntilClose.closed().is_ok());
        assert!(BodyDecoder::Length(0).closed().is_ok());
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..6),
            cuts in prop::collection::vec(1usize..20, 1..40),
            trailer: bool,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:X};a=\"b\"\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(if trailer { &b"0\r\nA: b\r\n\r\n"[..] } else { b"0\r\n\r\n" });
            wire.extend(b"HTTP/1.1");
            let (mut parts, mut rest) = (Vec::new(), &wire[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (part, more) = rest.split_at((*cut).min(rest.len()));
                parts.push(part);
                rest = more;
            }
            let (body, done, over) = decode(CHUNKED, &parts).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert!(done);
            prop_assert_eq!(over, b"HTTP/1.1");
        }

        #[test]
        fn no_bytes_make_it_panic(parts in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let _ = decode(CHUNKED, &parts);
        }
    }
}
