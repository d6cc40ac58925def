//! Sends a request to the app, and again where that can do no harm.
//!
//! A request is sent at most once, with two exceptions:
//! - the app has read nothing of it: nobody listened, or it had closed the
//!   connection before the request came, and the kernel proves it
//!   (`upstream/stream.rs`);
//! - it is a GET, HEAD or OPTIONS without a body whose connection broke before
//!   an answer. It is sent up to [`SENDS_MAX`] times to at most
//!   [`INSTANCES_MAX`] instances of the app, so that a request that kills the
//!   app does not do so for ever.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::access_log::Times;
use crate::admission::{Admission, AppPermit, HeldRequest};
use crate::error_pages::Refusal;
use crate::request_body::{BodyFault, RequestBody, Upload};
use crate::upstream::{
    Activity, Asked, Connection, ExchangeError, FRESH_WAIT, FRESH_WAIT_MAX, ResponseHead, Sending,
    Upstream,
};

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
    /// As it is written to the connection.
    pub(crate) head: Bytes,
    pub(crate) body: RequestBody,
    pub(crate) chunked: bool,
    pub(crate) asked: Asked,
    /// Sending it again does no harm, and it has no body.
    pub(crate) is_repeatable: bool,
    /// Gets the refusal for the client when the app takes too long, while the
    /// request goes on to wait for the app.
    pub(crate) late: Option<oneshot::Sender<Refusal>>,
}

/// The app's answer, and what it came on.
pub(crate) struct AppResponse {
    pub(crate) head: ResponseHead,
    pub(crate) permit: AppPermit,
    pub(crate) connection: Connection,
    pub(crate) times: Times,
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

/// A connection kept from an earlier request, if this one may use it.
fn kept(upstream: &Upstream, request: &AppRequestFacts) -> Option<Connection> {
    match request {
        AppRequestFacts { upgrade: true, .. } => None,
        AppRequestFacts {
            repeatable: true, ..
        } => upstream.kept(),
        // Whole and small, so that it goes out at once: for the time between,
        // the connection would be idle.
        AppRequestFacts { here: true, .. } => upstream.kept_for_write(),
        AppRequestFacts { here: false, .. } => None,
    }
}

struct AppRequestFacts {
    upgrade: bool,
    repeatable: bool,
    here: bool,
}

/// Waits for the app, sends the request and waits for the response's head.
pub(crate) async fn forward(
    admission: &Arc<Admission>,
    held: &mut HeldRequest,
    request: AppRequest,
) -> Result<AppResponse, Refusal> {
    let AppRequest {
        head,
        body,
        chunked,
        asked,
        is_repeatable,
        mut late,
    } = request;
    let facts = AppRequestFacts {
        upgrade: asked.upgrade,
        repeatable: is_repeatable,
        here: body.is_here(),
    };
    let upload = Arc::clone(body.upload());
    let mut sending = Sending::new(head.clone(), body, chunked);
    let mut sends = Sends::default();
    let mut may_use_kept = true;
    loop {
        let permit = admission.enter(held).await?;
        // After a kept connection broke, another is not tried: it is as old.
        let kept = match std::mem::take(&mut may_use_kept) {
            true => kept(&permit.upstream, &facts),
            false => None,
        };
        let connection = match kept {
            Some(kept) => Ok(kept),
            None => permit.upstream.fresh().await,
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
        let sent = Instant::now();
        let reused = connection.reused;
        if let Some(looked) = connection.looked
            && !is_repeatable
            && permit.upstream.proves()
        {
            sending.want_proof(looked);
        }
        let exchange = async {
            match reused {
                true => connection.exchange(sending, asked).await,
                false => {
                    let exchange = connection.exchange(sending, asked);
                    freeing_workers(&permit.upstream, exchange).await
                }
            }
        };
        let activity = &permit.upstream.activity;
        let failed = match in_time(admission, activity, &upload, &mut late, exchange).await? {
            Ok(head) => {
                activity.progress.fetch_add(1, Ordering::Relaxed);
                return Ok(AppResponse {
                    head,
                    permit,
                    connection,
                    times: Times {
                        held: sent - held.start(),
                        app: sent.elapsed(),
                    },
                });
            }
            Err(failed) => failed,
        };
        let pause = match failed {
            ExchangeError::Body(BodyFault::Slow) => return Err(Refusal::BodyTooSlow),
            ExchangeError::Body(BodyFault::Malformed) => {
                return Err(Refusal::Bad("malformed body"));
            }
            ExchangeError::NotHttp(error) => {
                tracing::warn!(%error, "the app's answer is not HTTP");
                return Err(Refusal::AppNotHttp);
            }
            ExchangeError::Unread(unread, error) => {
                tracing::debug!(%error, "the app had closed the connection; sending the request again");
                sending = *unread;
                sends.times -= 1;
                RECONNECT_PAUSE
            }
            ExchangeError::Broken(_) if is_repeatable && sends.times < SENDS_MAX => {
                admission.totals.replayed.fetch_add(1, Ordering::Relaxed);
                sending = Sending::new(head.clone(), RequestBody::empty(), false);
                REPLACEMENT_WAIT_MAX
            }
            ExchangeError::Broken(error) => {
                tracing::debug!(%error, "the app broke off a request");
                return Err(Refusal::AppFailed);
            }
        };
        if !reused {
            let upstream = Arc::clone(&permit.upstream);
            drop(permit);
            if admission.is_open_at(&upstream) {
                admission.wait_for_replacement(held, pause).await?;
            }
        }
    }
}

/// Waits for the answer on a fresh connection. Meanwhile idle connections give
/// up the workers that they may occupy.
async fn freeing_workers<T>(upstream: &Upstream, exchange: impl Future<Output = T>) -> T {
    let mut exchange = std::pin::pin!(exchange);
    let mut wait = FRESH_WAIT;
    loop {
        if let Ok(answered) = tokio::time::timeout(wait, exchange.as_mut()).await {
            return answered;
        }
        upstream.free_a_worker();
        wait = (wait * 2).min(FRESH_WAIT_MAX);
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
