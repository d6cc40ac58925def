//! Bodies on their way in and out, with what must last as long as they do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::answer::Refusal;
use crate::lane::Place;
use crate::state::Inside;
use crate::upstream::{Connection, Upstream};

/// A client that sends no byte of its body for this long is given up, so that
/// it does not keep one of the app's few workers waiting.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// A request's body as it goes to the app: what was read already, then the rest.
pub(crate) struct Outgoing {
    read: Option<Bytes>,
    rest: Option<Incoming>,
    /// Runs while the client is silent; once begun it runs on if `hurry`.
    silence: Option<Pin<Box<Sleep>>>,
    hurry: bool,
    progress: Arc<Progress>,
}

/// How far a request's body has come.
#[derive(Default)]
pub(crate) struct Progress {
    frames: AtomicU64,
    whole: AtomicBool,
    broken: AtomicBool,
    silent: AtomicBool,
}

impl Progress {
    /// Grows with every part sent.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// What the client did wrong in its body, if anything.
    pub(crate) fn fault(&self) -> Option<Refusal> {
        if self.silent.load(Ordering::Relaxed) {
            return Some(Refusal::BodyTooSlow);
        }
        let broken = self.broken.load(Ordering::Relaxed);
        broken.then_some(Refusal::Bad("malformed body"))
    }

    /// Nothing of the body is left to send.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }
}

type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl Outgoing {
    pub(crate) fn new(read: Bytes, rest: Option<Incoming>) -> Self {
        let body = Self {
            read: Some(read).filter(|read| !read.is_empty()),
            rest,
            silence: None,
            hurry: false,
            progress: Arc::default(),
        };
        body.note();
        body
    }

    /// Gives the client the time of one silence for all the rest.
    pub(crate) fn hurry(mut self) -> Self {
        self.hurry = true;
        self
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    fn note(&self) {
        if self.is_end_stream() {
            self.progress.whole.store(true, Ordering::Relaxed);
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(read) = self.read.take() {
            self.note();
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(rest).poll_frame(context) {
            self.progress.frames.fetch_add(1, Ordering::Relaxed);
            match &frame {
                None => self.rest = None,
                Some(Err(_)) => self.progress.broken.store(true, Ordering::Relaxed),
                Some(Ok(_)) => {}
            }
            self.note();
            if !self.hurry {
                self.silence = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
        ready!(silence.as_mut().poll(context));
        self.progress.silent.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the client fell silent in its body".into())))
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

/// A response's body as it goes to the client.
pub(crate) enum Reply {
    /// The gate's own words.
    Own(Full<Bytes>),
    /// The app's.
    App(AppBody),
}

impl Reply {
    pub(crate) fn empty() -> Self {
        Self::Own(Full::default())
    }
}

/// The app's response body, and what is released at its end.
pub(crate) struct AppBody {
    body: Incoming,
    /// Dropped at the end, or with the client.
    pub(crate) inside: Option<Inside>,
    pub(crate) lane: Option<Place>,
    /// Driven while the body comes, given back at its end; dropped (closed)
    /// before it.
    pub(crate) connection: Option<(Arc<Upstream>, Connection)>,
    /// Ends a body that has no end of its own.
    pub(crate) cut: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AppBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            body,
            inside: None,
            lane: None,
            connection: None,
            cut: None,
        }
    }

    /// If the body is already over, lets go of everything now.
    pub(crate) fn settle(mut self) -> Self {
        if self.body.is_end_stream() {
            self.finish();
        }
        self
    }

    fn finish(&mut self) {
        if let Some((upstream, connection)) = self.connection.take() {
            upstream.keep(connection);
        }
        self.lane = None;
        self.inside = None;
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let app = match self.get_mut() {
            Self::Own(own) => {
                let frame = ready!(Pin::new(own).poll_frame(context));
                return Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})));
            }
            Self::App(app) => app,
        };
        if let Some(cut) = &mut app.cut
            && cut.as_mut().poll(context).is_ready()
        {
            app.cut = None;
            app.connection = None;
            return Poll::Ready(None);
        }
        if let Some((_, connection)) = &mut app.connection {
            connection.drive(context);
        }
        let frame = ready!(Pin::new(&mut app.body).poll_frame(context));
        match &frame {
            Some(Ok(_)) if !app.body.is_end_stream() => {}
            Some(Ok(_)) | None => app.finish(),
            Some(Err(_)) => app.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(own) => own.is_end_stream(),
            Self::App(app) => app.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(own) => own.size_hint(),
            // A body that may be cut has no length to promise.
            Self::App(app) if app.cut.is_some() => SizeHint::default(),
            Self::App(app) => app.body.size_hint(),
        }
    }
}
