//! Watches the bytes of a connection for a request whose length is given twice.
//!
//! `Transfer-Encoding` together with `Content-Length` is how requests are
//! smuggled past a proxy. hyper resolves it safely (chunked wins, the
//! connection is closed) but does not report it; RFC 9112 §6.1 lets a server
//! refuse it, and this one does. Every other malformed head is refused by hyper
//! itself.
//!
//! The scan follows the framing just far enough to find where each head
//! begins. It never changes a byte: at anything it cannot follow it stops
//! and leaves the matter to hyper, which answers 400.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest head that is scanned, in bytes; hyper's own limit is lower.
const HEAD_MAX: usize = 512 << 10;

/// A connection whose request heads are scanned while they pass.
pub(crate) struct Watched<S> {
    inner: S,
    scan: Scan,
    pub(crate) marks: Arc<Marks>,
}

/// What is known of the bytes on a connection; each is set once and for good.
#[derive(Default)]
pub(crate) struct Marks {
    ambiguous: AtomicBool,
    tunnel: AtomicBool,
}

impl Marks {
    /// True once a head was read that gives its length twice.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Ordering::Acquire)
    }

    /// The connection leaves HTTP (an upgrade): what follows is not scanned.
    pub(crate) fn leaves_http(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            scan: Scan::default(),
            marks: Arc::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if let Some(read) = buffer.filled().get(before..)
            && !self.marks.tunnel.load(Ordering::Relaxed)
            && self.scan.feed(read)
        {
            self.marks.ambiguous.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Where in the stream of requests the next byte is.
#[derive(Debug, PartialEq)]
enum Scan {
    /// In a head, with what came of it so far.
    Head(Vec<u8>),
    /// In a body with this many bytes to come.
    Body(u64),
    /// In the line with a chunk's size, with what came of it so far.
    ChunkSize(Vec<u8>),
    /// In a chunk, with this many bytes to come, its line end included.
    Chunk(u64),
    /// After the last chunk, with what came of the current trailer line.
    Trailer(Vec<u8>),
    /// Malformed or refused: no longer scanned.
    Off,
}

impl Default for Scan {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Scan {
    /// Follows `bytes`; true if a head in them gives its length twice.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let (next, rest) = match std::mem::replace(self, Self::Off) {
                Self::Off => return false,
                Self::Head(seen) => match head(seen, bytes) {
                    Step::Next(next, rest) => (next, rest),
                    Step::Ambiguous => return true,
                },
                Self::Body(left) => skip(left, bytes, Self::default(), Self::Body),
                Self::Chunk(left) => skip(left, bytes, Self::ChunkSize(Vec::new()), Self::Chunk),
                Self::ChunkSize(seen) => line(seen, bytes, Self::ChunkSize, chunk_size),
                Self::Trailer(seen) => line(seen, bytes, Self::Trailer, |line| {
                    if line.is_empty() {
                        Self::default()
                    } else {
                        Self::Trailer(Vec::new())
                    }
                }),
            };
            *self = next;
            bytes = rest;
        }
        false
    }
}

enum Step<'b> {
    Next(Scan, &'b [u8]),
    Ambiguous,
}

fn head(mut seen: Vec<u8>, bytes: &[u8]) -> Step<'_> {
    // Empty lines before a request line are allowed, and skipped.
    let mut bytes = bytes;
    if seen.is_empty() {
        let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'));
        bytes = bytes
            .get(start.unwrap_or(bytes.len())..)
            .unwrap_or_default();
    }
    let from = seen.len().saturating_sub(3);
    let old = seen.len();
    seen.extend_from_slice(bytes);
    let Some(end) = find_end(seen.get(from..).unwrap_or_default()).map(|at| at + from) else {
        let next = if seen.len() > HEAD_MAX {
            Scan::Off
        } else {
            Scan::Head(seen)
        };
        return Step::Next(next, &[]);
    };
    let rest = bytes.get(end.saturating_sub(old)..).unwrap_or_default();
    match after(seen.get(..end).unwrap_or_default()) {
        Some(next) => Step::Next(next, rest),
        None => Step::Ambiguous,
    }
}

/// Just past the empty line that ends a head. Bare line feeds count, since
/// lenient parsers take them.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(offset) = bytes.get(at..)?.iter().position(|b| *b == b'\n') {
        let next = at + offset + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

/// What follows a head; `None` if it gives its length twice.
fn after(head: &[u8]) -> Option<Scan> {
    let mut length = None;
    let mut encoded = false;
    for line in head.split(|b| *b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        match name.trim_ascii() {
            name if name.eq_ignore_ascii_case(b"content-length") => {
                length = Some(value.to_vec());
            }
            name if name.eq_ignore_ascii_case(b"transfer-encoding") => encoded = true,
            _ => {}
        }
    }
    Some(match (length, encoded) {
        (Some(_), true) => return None,
        (None, true) => Scan::ChunkSize(Vec::new()),
        (None, false) => Scan::default(),
        (Some(length), false) => match std::str::from_utf8(&length).ok().map(str::parse) {
            Some(Ok(0)) => Scan::default(),
            Some(Ok(length)) => Scan::Body(length),
            _ => Scan::Off,
        },
    })
}

fn skip(left: u64, bytes: &[u8], done: Scan, more: fn(u64) -> Scan) -> (Scan, &[u8]) {
    match usize::try_from(left)
        .ok()
        .and_then(|left| bytes.get(left..))
    {
        Some(rest) => (done, rest),
        None => (more(left - bytes.len() as u64), &[]),
    }
}

/// Collects a line and goes on with what it means; at a line longer than
/// `LINE_MAX` bytes the scan stops.
fn line(
    mut seen: Vec<u8>,
    bytes: &[u8],
    more: fn(Vec<u8>) -> Scan,
    done: fn(&[u8]) -> Scan,
) -> (Scan, &[u8]) {
    const LINE_MAX: usize = 16 << 10;
    let end = bytes.iter().position(|b| *b == b'\n');
    let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
    if seen.len() + part.len() > LINE_MAX {
        return (Scan::Off, &[]);
    }
    seen.extend_from_slice(part);
    if end.is_none() {
        return (more(seen), &[]);
    }
    (done(seen.trim_ascii_end()), rest)
}

fn chunk_size(line: &[u8]) -> Scan {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits.trim_ascii()).unwrap_or_default();
    match u64::from_str_radix(digits, 16) {
        Ok(0) => Scan::Trailer(Vec::new()),
        // And the line end after the chunk's bytes.
        Ok(size) => size.checked_add(2).map_or(Scan::Off, Scan::Chunk),
        Err(_) => Scan::Off,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const SIZED: &str = "POST / HTTP/1.1\r\nContent-Length: 45\r\n\r\n\
        x: y\r\n\r\nTransfer-Encoding:\r\nContent-Length: 1";
    const CHUNKED: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
        1e;ext=1\r\nContent-Length: 5\r\n\r\nGET / H\r\n\r\n0\r\nTrailer: x\r\n\r\n";
    const BOTH: &str =
        "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\nCONTENT-LENGTH: 4\r\n\r\n";

    #[test]
    fn bodies_are_not_mistaken_for_heads() {
        assert_eq!(SIZED.len() - SIZED.find("\r\n\r\n").unwrap() - 4, 45);
        let stream = [PLAIN, "\r\n", SIZED, CHUNKED, SIZED, PLAIN].concat();
        let mut scan = Scan::default();
        assert!(!scan.feed(stream.as_bytes()));
        assert_eq!(scan, Scan::default());
    }

    proptest! {
        #[test]
        fn an_ambiguous_head_is_found_wherever_it_stands(
            before in prop::collection::vec(prop::sample::select(vec![PLAIN, SIZED, CHUNKED]), 0..5),
            cuts in prop::collection::vec(1usize..40, 1..60),
            both: bool,
        ) {
            let mut stream = before.concat();
            stream.push_str(if both { BOTH } else { PLAIN });
            let (mut scan, mut rest, mut found) = (Scan::default(), stream.as_bytes(), false);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (part, more) = rest.split_at((*cut).min(rest.len()));
                found |= scan.feed(part);
                rest = more;
            }
            prop_assert_eq!(found, both);
        }

        #[test]
        fn no_bytes_make_it_panic(parts in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut scan = Scan::default();
            for part in parts { scan.feed(&part); }
        }
    }
}
