//! A request's body on its way to the app.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::spool::SpoolReader;

/// A client gets this long for its body, and a second more for every
/// [`RATE_MIN`] bytes of it: one that drips does not occupy the gate for ever.
pub(crate) const BODY_TIME_BASE: Duration = Duration::from_secs(30);
/// Bytes per second that a client must send on average, after
/// [`BODY_TIME_BASE`].
const RATE_MIN: u64 = 512;
/// A client that sends no byte of its body for this long is given up, however
/// fast it was before.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why a body cannot be read as it comes.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What a client did wrong in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// Its framing is not HTTP, or it ended early.
    Malformed,
    /// It came more slowly than [`BodyDeadline`] allows.
    Slow,
}

/// When a client must have sent its body, depending on how much of it came.
pub(crate) struct BodyDeadline {
    start: Instant,
    /// When the last of it came.
    last: Instant,
    bytes: u64,
    timer: Option<Pin<Box<Sleep>>>,
    /// Nothing is read until the app is asked.
    is_paused: bool,
}

impl BodyDeadline {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            last: start,
            bytes: 0,
            timer: None,
            is_paused: false,
        }
    }

    /// From here until the next look at the client no time counts.
    fn pause(&mut self) {
        self.is_paused = true;
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            let now = Instant::now();
            self.start += now - self.last;
            self.last = now;
        }
    }

    fn deadline(&self) -> Instant {
        let for_bytes = Duration::from_millis(self.bytes.saturating_mul(1000) / RATE_MIN);
        let on_average = self.start.checked_add(BODY_TIME_BASE + for_bytes);
        let after_silence = self.last + SILENCE_MAX;
        on_average.map_or(after_silence, |on_average| on_average.min(after_silence))
    }

    /// So many bytes came.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.resume();
        self.bytes += bytes as u64;
        self.last = Instant::now();
    }

    /// To be asked while nothing comes: ready when the client was too slow.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.resume();
        let deadline = self.deadline();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    }
}

/// What was read already, then the rest as it comes.
pub(crate) struct RequestBody {
    read: Option<Bytes>,
    spooled: Option<SpoolReader>,
    /// Read already, but not into the file.
    then: VecDeque<Bytes>,
    rest: Option<Incoming>,
    deadline: Option<BodyDeadline>,
    upload: Arc<Upload>,
}

/// How much of a request's body was taken, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Upload {
    frames: AtomicU64,
    malformed: AtomicBool,
    slow: AtomicBool,
}

impl Upload {
    /// Grows with every part taken.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn fault(&self) -> Option<BodyFault> {
        if self.slow.load(Ordering::Relaxed) {
            return Some(BodyFault::Slow);
        }
        let malformed = self.malformed.load(Ordering::Relaxed);
        malformed.then_some(BodyFault::Malformed)
    }
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self::new(Bytes::new(), None, None)
    }

    /// `read` first, then what is in the file, then the rest as it comes, which
    /// has to come within `deadline`.
    pub(crate) fn new(
        read: Bytes,
        spooled: Option<SpoolReader>,
        rest: Option<(Incoming, BodyDeadline)>,
    ) -> Self {
        let (rest, mut deadline) = rest.unzip();
        if let Some(deadline) = &mut deadline {
            deadline.pause();
        }
        Self {
            read: Some(read).filter(|read| !read.is_empty()),
            spooled,
            then: VecDeque::new(),
            rest,
            deadline,
            upload: Arc::default(),
        }
    }

    /// `parts` come after the file; if they are the last, nothing else does.
    pub(crate) fn then(mut self, parts: Vec<Bytes>, last: bool) -> Self {
        self.then = parts.into();
        if last {
            self.rest = None;
        }
        self
    }

    /// All of it is here, however slow the client is.
    pub(crate) fn is_here(&self) -> bool {
        self.rest.is_none()
    }

    pub(crate) fn upload(&self) -> &Arc<Upload> {
        &self.upload
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(read) = this.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(spooled) = &mut this.spooled {
            match ready!(spooled.poll_next(context)) {
                Some(Ok(piece)) => {
                    this.upload.frames.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot read a request's body back from its file");
                    this.upload.malformed.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => this.spooled = None,
            }
        }
        if let Some(part) = this.then.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let Some(rest) = &mut this.rest else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(rest).poll_frame(context) {
            this.upload.frames.fetch_add(1, Ordering::Relaxed);
            match &frame {
                None => this.rest = None,
                Some(Err(_)) => this.upload.malformed.store(true, Ordering::Relaxed),
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    if let Some(deadline) = &mut this.deadline {
                        deadline.add(bytes);
                    }
                }
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(deadline) = &mut this.deadline else {
            return Poll::Pending;
        };
        ready!(deadline.poll(context));
        this.upload.slow.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the client sent its body too slowly".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none()
            && self
                .spooled
                .as_ref()
                .is_none_or(|spooled| spooled.left() == 0)
            && self.then.is_empty()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, Bytes::len) as u64;
        let spooled = self.spooled.as_ref().map_or(0, SpoolReader::left);
        let then: u64 = self.then.iter().map(|part| part.len() as u64).sum();
        let here = read.saturating_add(spooled).saturating_add(then);
        let rest = self
            .rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(here)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(here));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_must_come_at_a_rate_and_without_long_silence() {
        let mut deadline = BodyDeadline::new();
        let start = Instant::now();
        assert_eq!(deadline.deadline() - start, BODY_TIME_BASE);
        // Drips: a byte a second wins next to nothing.
        for _ in 0..29 {
            tokio::time::advance(Duration::from_secs(1)).await;
            deadline.add(1);
        }
        assert!(deadline.deadline() - start < BODY_TIME_BASE + Duration::from_secs(1));
        // Fast: goes on, until it is silent.
        deadline.add(100 << 20);
        assert_eq!(deadline.deadline() - Instant::now(), SILENCE_MAX);
    }
}
