//! A response on its way to the client: the gate's own, an internal route's,
//! or the app's with all that is given back when it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::access_log::{Record, Times};
use crate::admission::{Admission, AppPermit, Counted, WritePermit};
use crate::forward::AppResponse;
use crate::framing::Busy;
use crate::headers;
use crate::request_body::BodyError;
use crate::request_id::REQUEST_ID;
use crate::response_buffer::{BufferedBody, Source};
use crate::upstream::{BodyDecoder, Connection, Upstream};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// After the head of its response, a state-changing request keeps other writes
/// waiting this long at most, however slowly its client reads the rest.
const SLOW_READER_MAX: Duration = Duration::from_secs(1);
/// Responses up to this many bytes count as read at once, whatever the
/// client's speed: the kernel's buffers take them.
const QUICK_RESPONSE_MAX: u64 = 64 << 10;

/// A response's body as the client gets it.
pub(crate) enum ResponseBody {
    /// The gate's own.
    Own(Full<Bytes>),
    /// An internal route's.
    Internal(InternalBody),
    /// The app's.
    App(AppBody),
}

/// An internal route's body.
pub(crate) struct InternalBody {
    body: UnsyncBoxBody<Bytes, BodyError>,
    /// Ends a body that has no end of its own.
    end: Option<End>,
}

/// The app's body: as it comes, or read ahead.
pub(crate) enum AppBody {
    Direct(Box<DirectBody>),
    Buffered(BufferedBody),
}

/// The app's body, and what is given back at its end.
pub(crate) struct DirectBody {
    /// Came with the head.
    first: Option<Bytes>,
    decoder: BodyDecoder,
    /// As a request in the app.
    counted: Option<Counted>,
    write_permit: Option<WritePermit>,
    /// Read from while the body comes, given back at its end; closed if dropped
    /// before.
    connection: Option<(Arc<Upstream>, Connection)>,
    /// The connection can carry another request, which the app keeps it for so long.
    keep: bool,
    idle_max: Option<Duration>,
    /// Ends a body that has no end of its own.
    end: Option<End>,
    /// A slow client must not keep the app waiting: after so many bytes more,
    /// the body is read ahead.
    ahead_after: Option<u64>,
    admission: Arc<Admission>,
}

type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Turns the app's answer into the client's.
pub(crate) fn from_app(
    admission: &Arc<Admission>,
    answered: AppResponse,
    write_permit: Option<WritePermit>,
) -> Response<ResponseBody> {
    let AppResponse {
        mut head,
        permit,
        mut connection,
        times,
    } = answered;
    headers::strip_hop_by_hop(head.status, &mut head.headers);
    let is_endless = is_event_stream(&head.headers);
    let is_buffered = !is_endless && may_be_buffered(&mut head.headers);
    let AppPermit { upstream, counted } = permit;
    let mut decoder = head.body;
    let mut first = None;
    if !decoder.is_done()
        && let Some(Ok(piece)) = connection.next_piece(&mut decoder)
    {
        first = piece;
    }
    let body = if connection.is_at_end(&mut decoder) {
        if head.keep {
            upstream.keep(connection, head.idle_max);
        }
        ResponseBody::Own(Full::new(first.unwrap_or_default()))
    } else {
        let mut app = DirectBody {
            first,
            decoder,
            counted: None,
            write_permit: None,
            connection: None,
            keep: head.keep,
            idle_max: head.idle_max,
            end: None,
            ahead_after: is_buffered.then_some(QUICK_RESPONSE_MAX),
            admission: Arc::clone(admission),
        };
        if is_endless {
            // Not waited for, and ended when the app is stopped.
            app.end = Some(Box::pin(stop_of(
                Arc::clone(admission),
                Arc::clone(&upstream),
            )));
        } else {
            app.counted = Some(counted);
            if let Some(write_permit) = &write_permit
                && !is_quick(&head.headers)
            {
                write_permit.release_after(SLOW_READER_MAX);
            }
            app.write_permit = write_permit;
        }
        app.connection = Some((upstream, connection));
        ResponseBody::App(AppBody::Direct(Box::new(app)))
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if admission.config.server_timing || admission.config.access_log.is_some() {
        response.extensions_mut().insert(times);
    }
    response
}

/// False if the app says that its response must not be buffered, in the header
/// that nginx has for it, which is not passed on.
fn may_be_buffered(headers: &mut HeaderMap) -> bool {
    let said = headers.remove(&ACCEL_BUFFERING);
    said.is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"no"))
}

/// Waits until the app is about to be stopped, or the gate.
async fn stop_of(admission: Arc<Admission>, upstream: Arc<Upstream>) {
    tokio::select! {
        () = upstream.retired() => {}
        () = admission.stopped() => {}
    }
}

fn is_quick(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .is_some_and(|length: u64| length <= QUICK_RESPONSE_MAX)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Turns an internal route's answer into the client's.
pub(crate) fn from_internal(
    admission: &Arc<Admission>,
    response: Response<UnsyncBoxBody<Bytes, BodyError>>,
) -> Response<ResponseBody> {
    let end = is_event_stream(response.headers()).then(|| {
        let admission = Arc::clone(admission);
        Box::pin(async move { admission.stopped().await }) as End
    });
    response.map(|body| ResponseBody::Internal(InternalBody { body, end }))
}

impl DirectBody {
    fn finish(&mut self) {
        if let Some((upstream, connection)) = self.connection.take()
            && self.keep
        {
            upstream.keep(connection, self.idle_max);
        }
        self.write_permit = None;
        self.counted = None;
    }

    fn left(&self) -> Option<u64> {
        let first = self.first.as_ref().map_or(0, Bytes::len) as u64;
        self.decoder.length()?.checked_add(first)
    }

    fn is_done(&self) -> bool {
        self.first.is_none() && self.decoder.is_done()
    }

    /// True if the rest should be read ahead of the client.
    fn wants_buffer(&self) -> bool {
        self.ahead_after == Some(0) && !self.is_done()
    }
}

impl Source for DirectBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if has_ended(&mut self.end, context) {
            self.connection = None;
            self.decoder = BodyDecoder::Done;
            return Poll::Ready(None);
        }
        let Some((upstream, connection)) = &mut self.connection else {
            return Poll::Ready(None);
        };
        let piece = ready!(connection.poll_body(&mut self.decoder, context));
        upstream.activity.progress.fetch_add(1, Ordering::Relaxed);
        match &piece {
            Some(Ok(data)) => {
                if let Some(left) = &mut self.ahead_after {
                    *left = left.saturating_sub(data.len() as u64);
                }
                if connection.is_at_end(&mut self.decoder) {
                    self.finish();
                }
            }
            None => self.finish(),
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(piece)
    }
}

impl AppBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Self::Direct(direct) = self {
            if !direct.wants_buffer() {
                return direct.poll_piece(context);
            }
            let admission = Arc::clone(&direct.admission);
            let left = direct.left();
            let taken = DirectBody {
                first: direct.first.take(),
                decoder: direct.decoder,
                counted: direct.counted.take(),
                write_permit: direct.write_permit.take(),
                connection: direct.connection.take(),
                keep: direct.keep,
                idle_max: direct.idle_max,
                end: direct.end.take(),
                ahead_after: None,
                admission: Arc::clone(&admission),
            };
            *self = Self::Buffered(BufferedBody::start(&admission, taken, left));
        }
        match self {
            Self::Direct(direct) => direct.poll_piece(context),
            Self::Buffered(buffered) => buffered.poll_piece(context),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Direct(direct) => direct.is_done(),
            Self::Buffered(buffered) => buffered.left() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            // A body that may be ended early has no length to promise.
            Self::Direct(direct) if direct.end.is_some() => None,
            Self::Direct(direct) => direct.left(),
            Self::Buffered(buffered) => buffered.left(),
        };
        left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

fn has_ended(end: &mut Option<End>, context: &mut Context<'_>) -> bool {
    let ended = end
        .as_mut()
        .is_some_and(|end| end.as_mut().poll(context).is_ready());
    if ended {
        *end = None;
    }
    ended
}

/// A response's body while its connection is busy with it.
pub(crate) struct ServedBody {
    body: ResponseBody,
    _busy: Busy,
    record: Option<Box<Record>>,
}

/// Completes a response: its id, the times, the line in the access log.
pub(crate) fn serve(
    mut response: Response<ResponseBody>,
    id: HeaderValue,
    server_timing: bool,
    busy: Busy,
    mut record: Option<Box<Record>>,
) -> Response<ServedBody> {
    let times = response.extensions_mut().remove::<Times>();
    if let Some(record) = &mut record {
        record.answered(response.status(), times);
    }
    let headers = response.headers_mut();
    headers.entry(REQUEST_ID).or_insert(id);
    if let Some(Times { held, app }) = times.filter(|_| server_timing) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let text = format!("held;dur={:.1}, app;dur={:.1}", ms(held), ms(app));
        // Next to the app's own.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.append(SERVER_TIMING, value);
        }
    }
    response.map(|body| ServedBody {
        body,
        _busy: busy,
        record,
    })
}

impl Body for ServedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(record) = &mut this.record
            && let Some(Ok(frame)) = &frame
        {
            record.add_bytes(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(own) => Pin::new(own)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Internal(internal) => {
                if has_ended(&mut internal.end, context) {
                    return Poll::Ready(None);
                }
                Pin::new(&mut internal.body).poll_frame(context)
            }
            Self::App(app) => {
                let piece = ready!(app.poll_piece(context));
                Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(own) => own.is_end_stream(),
            Self::Internal(internal) => internal.body.is_end_stream(),
            Self::App(app) => app.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(own) => own.size_hint(),
            // A body that may be ended early has no length to promise.
            Self::Internal(InternalBody { end: Some(_), .. }) => SizeHint::default(),
            Self::Internal(internal) => internal.body.size_hint(),
            Self::App(app) => app.size_hint(),
        }
    }
}
