//! Sends a request to the app, and again where that can do no harm.
//!
//! A request is sent at most once, with two exceptions:
//! - it was not sent at all: nobody listened, or a kept connection was closed
//!   before a byte of it went out;
//! - it is a GET, HEAD or OPTIONS without a body whose connection broke before
//!   an answer. It is sent up to [`SENDS_MAX`] times to at most
//!   [`INSTANCES_MAX`] instances of the app, so that a request that kills the
//!   app does not do so for ever.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::sync::oneshot;

use crate::admission::{Admission, AppPermit, HeldRequest};
use crate::error_pages::Refusal;
use crate::request_body::{BodyFault, RequestBody, Upload};
use crate::upstream::{Activity, Connection, Upstream};

/// How often a request that changes nothing is sent, at most.
const SENDS_MAX: u32 = 3;
/// How many instances of the app see it, at most.
const INSTANCES_MAX: u32 = 2;
/// Between tries to reach an app that should be there but does not listen.
const RECONNECT_PAUSE: Duration = Duration::from_millis(25);
/// After a fresh connection broke, the app is most likely dying; if it was not
/// replaced within this time, only a part of it (a worker) was.
const REPLACEMENT_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a state-changing request whose client was answered 504 still keeps
/// other writes waiting.
const LATE_WRITE_MAX: Duration = Duration::from_secs(300);

/// A request as the app gets it.
pub(crate) struct AppRequest {
    pub(crate) parts: Parts,
    pub(crate) body: RequestBody,
    /// A copy of the head, if sending it again does no harm.
    pub(crate) replay: Option<Parts>,
    /// Gets the refusal for the client when the app takes too long, while the
    /// request goes on to wait for the app.
    pub(crate) late: Option<oneshot::Sender<Refusal>>,
}

/// The app's answer, and what it came on.
pub(crate) struct AppResponse {
    pub(crate) response: Response<Incoming>,
    pub(crate) permit: AppPermit,
    pub(crate) connection: Connection,
}

/// How often a request was sent, and to how many instances of the app.
#[derive(Default)]
struct Sends {
    times: u32,
    instances: u32,
    last: Weak<Upstream>,
}

impl Sends {
    /// Counts a sending to `upstream`; false if that is one too many.
    fn count(&mut self, upstream: &Arc<Upstream>) -> bool {
        if !std::ptr::eq(self.last.as_ptr(), Arc::as_ptr(upstream)) {
            self.instances += 1;
            self.last = Arc::downgrade(upstream);
        }
        self.times += 1;
        self.times <= SENDS_MAX && self.instances <= INSTANCES_MAX
    }
}

/// Waits for the app, sends the request and waits for the response's head.
pub(crate) async fn forward(
    admission: &Arc<Admission>,
    held: &mut HeldRequest,
    request: AppRequest,
) -> Result<AppResponse, Refusal> {
    let AppRequest {
        parts,
        body,
        replay,
        mut late,
    } = request;
    let mut request = Request::from_parts(parts, body);
    let mut sends = Sends::default();
    loop {
        let permit = admission.enter(held).await?;
        // After one kept connection broke, another is not tried: it is as old.
        let connection = if replay.is_some() && sends.times == 0 {
            permit.upstream.kept_or_fresh().await
        } else {
            permit.upstream.fresh().await
        };
        let Ok(mut connection) = connection else {
            // Nobody listens: the app is restarting, or about to.
            drop(permit);
            admission
                .wait_for_replacement(held, RECONNECT_PAUSE)
                .await?;
            continue;
        };
        if !sends.count(&permit.upstream) {
            return Err(Refusal::AppFailed);
        }
        held.end();
        let upload = Arc::clone(request.body().upload());
        let exchange = connection.exchange(request);
        let activity = &permit.upstream.activity;
        let mut failed = match in_time(admission, activity, &upload, &mut late, exchange).await? {
            Ok(response) => {
                activity.progress.fetch_add(1, Ordering::Relaxed);
                return Ok(AppResponse {
                    response,
                    permit,
                    connection,
                });
            }
            Err(failed) => failed,
        };
        match upload.fault() {
            Some(BodyFault::Silent) => return Err(Refusal::BodyTooSlow),
            Some(BodyFault::Malformed) => return Err(Refusal::Bad("malformed body")),
            None => {}
        }
        if failed.error().is_parse() {
            tracing::warn!(error = %failed.error(), "the app's answer is not valid HTTP");
            return Err(Refusal::AppFailed);
        }
        let pause = if let Some(unsent) = failed.take_message() {
            request = unsent;
            sends.times -= 1;
            RECONNECT_PAUSE
        } else if let Some(parts) = &replay
            && sends.times < SENDS_MAX
        {
            admission.totals.replayed.fetch_add(1, Ordering::Relaxed);
            request = Request::from_parts(parts.clone(), RequestBody::empty());
            REPLACEMENT_WAIT_MAX
        } else {
            tracing::debug!(error = %failed.error(), "the app broke off a request");
            return Err(Refusal::AppFailed);
        };
        if !connection.reused {
            let upstream = Arc::clone(&permit.upstream);
            drop(permit);
            if admission.is_open_at(&upstream) {
                admission.wait_for_replacement(held, pause).await?;
            }
        }
    }
}

/// Waits for a response as long as the configuration says, counted from when
/// the last of the request was sent.
async fn in_time<T>(
    admission: &Admission,
    activity: &Activity,
    upload: &Upload,
    late: &mut Option<oneshot::Sender<Refusal>>,
    exchange: impl Future<Output = T>,
) -> Result<T, Refusal> {
    let limit = admission.config.response_time;
    if limit.is_zero() {
        return Ok(exchange.await);
    }
    let mut exchange = std::pin::pin!(exchange);
    loop {
        let sent = upload.frames();
        if let Ok(answered) = tokio::time::timeout(limit, exchange.as_mut()).await {
            return Ok(answered);
        }
        if upload.frames() != sent {
            activity.progress.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        activity.late.fetch_add(1, Ordering::Relaxed);
        let Some(late) = late.take() else {
            return Err(Refusal::AppSlow);
        };
        let _ = late.send(Refusal::AppSlow);
        let answered = tokio::time::timeout(LATE_WRITE_MAX, exchange).await;
        return answered.map_err(|_| {
            tracing::warn!(
                after_s = LATE_WRITE_MAX.as_secs(),
                "a request that changes state is still in the app; letting the next one in"
            );
            Refusal::AppSlow
        });
    }
}
