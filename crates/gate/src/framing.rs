//! A client's connection: watches its bytes for a request whose length is given
//! twice, says when it is idle, and closes so that the client gets its answer.
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

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Longest head that is scanned, in bytes; hyper's own limit is lower.
const HEAD_MAX: usize = 512 << 10;

/// A client's connection whose request heads are scanned while they pass.
pub(crate) struct Watched<S> {
    inner: S,
    scan: Scan,
    pub(crate) marks: Arc<Marks>,
    /// Read and scanned already, but not taken.
    unread: BytesMut,
    closing: Option<Closing>,
}

/// What is known of the bytes on a connection.
pub(crate) struct Marks {
    /// Set once and for good.
    ambiguous: AtomicBool,
    /// Set once and for good.
    tunnel: AtomicBool,
    /// No part of a request was read of which the rest is missing.
    between_requests: AtomicBool,
    /// All that was written has left for the kernel.
    flushed: AtomicBool,
    /// Bytes the kernel took.
    written: AtomicU64,
    requests: AtomicU64,
    /// Requests whose response has not ended.
    busy: AtomicUsize,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            ambiguous: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            between_requests: AtomicBool::new(true),
            flushed: AtomicBool::new(true),
            written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
        }
    }
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

    /// True if no request is in hand, and nothing of a response is left to send.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
            && self.flushed.load(Ordering::Relaxed)
            && self.between_requests.load(Ordering::Relaxed)
            && !self.tunnel.load(Ordering::Relaxed)
    }

    /// True if the client does not take what is sent to it.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.flushed.load(Ordering::Relaxed)
    }

    /// Bytes sent so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// A request begins; its response ends when the value is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

/// A request whose response has not ended.
pub(crate) struct Busy(Arc<Marks>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A closed connection whose client may still be sending. If the gate closed the
/// socket with bytes unread, the kernel would reset the connection, and the
/// client might lose the answer (RFC 9112 §9.6).
struct Closing {
    /// Bytes that were dropped.
    dropped: u64,
    /// It ends then, whatever the client sends.
    until: tokio::time::Instant,
    silence: Pin<Box<Sleep>>,
}

/// A client that sends nothing for this long after its answer has seen it.
const LINGER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// Longest time that a client may go on sending after its answer.
const LINGER_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes that are read and dropped after an answer, at most.
const LINGER_BYTES_MAX: u64 = 256 << 20;

impl<S> Watched<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            scan: Scan::default(),
            marks: Arc::default(),
            unread: BytesMut::new(),
            closing: None,
        }
    }

    /// Takes back what was read from it, but not used.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            let later = std::mem::replace(&mut self.unread, BytesMut::from(bytes));
            self.unread.extend_from_slice(&later);
        }
    }

    fn scan(&mut self, read: &[u8]) {
        if self.marks.tunnel.load(Ordering::Relaxed) {
            return;
        }
        if self.scan.feed(read) {
            self.marks.ambiguous.store(true, Ordering::Release);
        }
        let between = self.scan.is_between_requests();
        self.marks
            .between_requests
            .store(between, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    /// Waits until a byte comes, with hardly any memory; false if the client
    /// closes the connection instead.
    pub(crate) async fn wait(&mut self) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        poll_fn(|context| {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer));
            let came = buffer.filled();
            if read.is_ok() && !came.is_empty() {
                self.scan(came);
                self.unread.extend_from_slice(came);
            }
            Poll::Ready(!self.unread.is_empty())
        })
        .await
    }

    /// Reads and drops what the client still sends.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let must_wait = !self.marks.between_requests.load(Ordering::Relaxed);
        let closing = self.closing.get_or_insert_with(|| Closing {
            dropped: 0,
            until: tokio::time::Instant::now() + LINGER_TIME_MAX,
            silence: Box::pin(sleep(LINGER_SILENCE_MAX)),
        });
        loop {
            let mut bytes = [MaybeUninit::uninit(); 16 << 10];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.dropped += buffer.filled().len() as u64;
                    if closing.dropped > LINGER_BYTES_MAX {
                        return Poll::Ready(());
                    }
                    let until = tokio::time::Instant::now() + LINGER_SILENCE_MAX;
                    closing.silence.as_mut().reset(until.min(closing.until));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if must_wait => return closing.silence.as_mut().poll(context),
                Poll::Pending => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.unread.is_empty() {
            let taken = this.unread.len().min(buffer.remaining());
            buffer.put_slice(&this.unread.split_to(taken));
            if this.unread.is_empty() {
                this.unread = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        this.scan(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S> Watched<S> {
    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.marks
                .written
                .fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        self.marks.flushed.store(false, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if flushed.is_ready() {
            self.marks.flushed.store(true, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
        }
        self.poll_linger(context).map(Ok)
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
    fn is_between_requests(&self) -> bool {
        matches!(self, Self::Head(seen) if seen.is_empty())
    }

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
    // Usually all of a head comes at once: nothing is copied.
    if seen.is_empty()
        && let Some(end) = find_end(bytes)
    {
        let (head, rest) = bytes.split_at(end);
        return match after(head) {
            Some(next) => Step::Next(next, rest),
            None => Step::Ambiguous,
        };
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
