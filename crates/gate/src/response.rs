//! A response on its way to the client: the gate's own, an internal route's,
//! or the app's with all that is given back when it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode, Version};

use crate::admission::{Admission, AppPermit, Counted, WritePermit};
use crate::error_pages::Refusal;
use crate::forward::AppResponse;
use crate::headers;
use crate::request_body::BodyError;
use crate::upstream::{Connection, Upstream};

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

/// The app's body, and what is given back at its end.
pub(crate) struct AppBody {
    body: Incoming,
    /// As a request in the app.
    counted: Option<Counted>,
    write_permit: Option<WritePermit>,
    /// Driven while the body comes, given back at its end; closed if dropped
    /// before.
    connection: Option<(Arc<Upstream>, Connection)>,
    /// Ends a body that has no end of its own.
    end: Option<End>,
}

type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Turns the app's answer into the client's.
pub(crate) fn from_app(
    admission: &Arc<Admission>,
    answered: AppResponse,
    write_permit: Option<WritePermit>,
) -> Response<ResponseBody> {
    let AppResponse {
        response,
        permit,
        connection,
    } = answered;
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it.
        return Refusal::AppFailed.response(None).map(ResponseBody::Own);
    }
    headers::strip_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;

    let AppPermit { upstream, counted } = permit;
    let mut app = AppBody {
        body,
        counted: None,
        write_permit: None,
        connection: None,
        end: None,
    };
    if is_event_stream(&parts.headers) {
        // Has no end: not waited for, and ended when the app is stopped.
        app.end = Some(Box::pin(stop_of(
            Arc::clone(admission),
            Arc::clone(&upstream),
        )));
    } else {
        app.counted = Some(counted);
        if let Some(write_permit) = &write_permit
            && !is_quick(&parts.headers)
        {
            write_permit.release_after(SLOW_READER_MAX);
        }
        app.write_permit = write_permit;
    }
    app.connection = Some((upstream, connection));
    if app.body.is_end_stream() {
        app.finish();
    }
    Response::from_parts(parts, ResponseBody::App(app))
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

impl AppBody {
    fn finish(&mut self) {
        if let Some((upstream, connection)) = self.connection.take() {
            upstream.keep(connection);
        }
        self.write_permit = None;
        self.counted = None;
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if has_ended(&mut self.end, context) {
            self.connection = None;
            return Poll::Ready(None);
        }
        if let Some((_, connection)) = &mut self.connection {
            connection.drive(context);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some((upstream, _)) = &self.connection {
            upstream.activity.progress.fetch_add(1, Ordering::Relaxed);
        }
        match &frame {
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            Some(Ok(_)) | None => self.finish(),
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame)
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
            Self::App(app) => app.poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(own) => own.is_end_stream(),
            Self::Internal(internal) => internal.body.is_end_stream(),
            Self::App(app) => app.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(own) => own.size_hint(),
            // A body that may be ended early has no length to promise.
            Self::Internal(InternalBody { end: Some(_), .. })
            | Self::App(AppBody { end: Some(_), .. }) => SizeHint::default(),
            Self::Internal(internal) => internal.body.size_hint(),
            Self::App(app) => app.body.size_hint(),
        }
    }
}
