//! A request's body on its way to the app.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

/// A client that sends no byte of its body for this long is given up, so that
/// it does not keep one of the app's few workers waiting.
pub(crate) const BODY_SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why a body cannot be read as it comes.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What a client did wrong in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// Its framing is not HTTP.
    Malformed,
    /// Nothing came for [`BODY_SILENCE_MAX`].
    Silent,
}

/// What was read already, then the rest as it comes.
pub(crate) struct RequestBody {
    read: Option<Bytes>,
    rest: Option<Incoming>,
    /// Set while the client is silent.
    silence: Option<Pin<Box<Sleep>>>,
    /// The timer is not set back: all that comes after the first silence has
    /// [`BODY_SILENCE_MAX`] together.
    one_deadline: bool,
    upload: Arc<Upload>,
}

/// How much of a request's body was sent to the app.
#[derive(Default)]
pub(crate) struct Upload {
    frames: AtomicU64,
    complete: AtomicBool,
    malformed: AtomicBool,
    silent: AtomicBool,
}

impl Upload {
    /// Grows with every part sent.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn fault(&self) -> Option<BodyFault> {
        if self.silent.load(Ordering::Relaxed) {
            return Some(BodyFault::Silent);
        }
        let malformed = self.malformed.load(Ordering::Relaxed);
        malformed.then_some(BodyFault::Malformed)
    }

    /// Nothing of the body is left to send.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self::new(Bytes::new(), None)
    }

    pub(crate) fn new(read: Bytes, rest: Option<Incoming>) -> Self {
        let body = Self {
            read: Some(read).filter(|read| !read.is_empty()),
            rest,
            silence: None,
            one_deadline: false,
            upload: Arc::default(),
        };
        body.note_end();
        body
    }

    /// From the client's first silence on, gives it [`BODY_SILENCE_MAX`] for
    /// all the rest.
    pub(crate) fn with_one_deadline(mut self) -> Self {
        self.one_deadline = true;
        self
    }

    pub(crate) fn upload(&self) -> &Arc<Upload> {
        &self.upload
    }

    fn note_end(&self) {
        if self.is_end_stream() {
            self.upload.complete.store(true, Ordering::Relaxed);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(read) = self.read.take() {
            self.note_end();
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(rest).poll_frame(context) {
            self.upload.frames.fetch_add(1, Ordering::Relaxed);
            match &frame {
                None => self.rest = None,
                Some(Err(_)) => self.upload.malformed.store(true, Ordering::Relaxed),
                Some(Ok(_)) => {}
            }
            self.note_end();
            if !self.one_deadline {
                self.silence = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(sleep(BODY_SILENCE_MAX)));
        ready!(silence.as_mut().poll(context));
        self.upload.silent.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(
            "the client sent nothing of its body for too long".into(),
        )))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, Bytes::len) as u64;
        let rest = self
            .rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }
}
