//! Sends a request to the app, and again where that can do no harm.
//!
//! A request is sent at most once, with two exceptions:
//! - it was not sent at all: nobody listened, or a kept connection was closed
//!   before a byte of it went out;
//! - it is a GET, HEAD or OPTIONS without a body whose connection broke before
//!   an answer. That one is sent up to [`SENDS`] times to at most [`LIVES`]
//!   lives of the app, so that one that kills the app does not do so for ever.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::sync::oneshot;

use crate::answer::Refusal;
use crate::body::{Outgoing, Progress};
use crate::state::{Entry, Hold, Shared};
use crate::upstream::{Connection, Upstream};

/// Most times a harmless request is sent.
const SENDS: u32 = 3;
/// Most lives of the app that see it.
const LIVES: u32 = 2;
/// Between tries to reach an app that should be there but does not listen.
const RECONNECT: Duration = Duration::from_millis(25);
/// After a fresh connection broke the app is most likely dying; if this much
/// later it was not replaced, only a part of it (a worker) was.
const REPLACED: Duration = Duration::from_secs(1);

/// How long one whose client was answered 504 still keeps its place.
const LONGEST: Duration = Duration::from_secs(300);

/// A request ready to be sent.
pub(crate) struct Passing {
    pub(crate) parts: Parts,
    pub(crate) body: Outgoing,
    /// Changes nothing in the app: GET, HEAD or OPTIONS.
    pub(crate) safe: bool,
    /// The head once more, where sending it again does no harm.
    pub(crate) replay: Option<Parts>,
    /// Told when the client has waited long enough for the app; the request
    /// stays in the app, and is waited for in its place.
    pub(crate) late: Option<oneshot::Sender<Refusal>>,
}

/// The app's answer, and what it came on.
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) entry: Entry,
    pub(crate) connection: Connection,
}

/// How often a request was sent, and to how many lives of the app.
#[derive(Default)]
struct Sent {
    times: u32,
    lives: u32,
    last: Weak<Upstream>,
}

impl Sent {
    /// Counts a sending to `upstream`; false if that is one too many.
    fn count(&mut self, upstream: &Arc<Upstream>) -> bool {
        if !std::ptr::eq(self.last.as_ptr(), Arc::as_ptr(upstream)) {
            self.lives += 1;
            self.last = Arc::downgrade(upstream);
        }
        self.times += 1;
        self.times <= SENDS && self.lives <= LIVES
    }
}

/// Waits for the app, sends the request and waits for the response's head.
pub(crate) async fn send(
    shared: &Arc<Shared>,
    hold: &mut Hold,
    request: Passing,
) -> Result<Answered, Refusal> {
    let Passing {
        parts,
        body,
        safe,
        replay,
        mut late,
    } = request;
    let mut request = Request::from_parts(parts, body);
    let mut sent = Sent::default();
    loop {
        let entry = shared.enter(hold).await?;
        // What broke once is not tried on another kept one: they are as old.
        let connection = if safe && replay.is_some() && sent.times == 0 {
            entry.upstream.kept_or_fresh().await
        } else {
            entry.upstream.fresh().await
        };
        let Ok(mut connection) = connection else {
            // Nobody listens: it is restarting, or about to be.
            drop(entry);
            shared.wait_for_another(hold, RECONNECT).await?;
            continue;
        };
        if !sent.count(&entry.upstream) {
            return Err(Refusal::AppFailed);
        }
        hold.end();
        let progress = Arc::clone(request.body().progress());
        let answer = connection.exchange(request);
        let mut failed = match bounded(shared, &progress, &mut late, answer).await? {
            Ok(response) => {
                return Ok(Answered {
                    response,
                    entry,
                    connection,
                });
            }
            Err(failed) => failed,
        };
        if let Some(fault) = progress.fault() {
            return Err(fault);
        }
        if failed.error().is_parse() {
            tracing::warn!(error = %failed.error(), "the app's answer is not HTTP as it should be");
            return Err(Refusal::AppFailed);
        }
        let pause = if let Some(unsent) = failed.take_message() {
            request = unsent;
            sent.times -= 1;
            RECONNECT
        } else if let Some(parts) = &replay
            && sent.times < SENDS
        {
            shared.totals.replayed.fetch_add(1, Ordering::Relaxed);
            request = Request::from_parts(parts.clone(), Outgoing::new(Bytes::new(), None));
            REPLACED
        } else {
            tracing::debug!(error = %failed.error(), "the app broke off a request");
            return Err(Refusal::AppFailed);
        };
        if !connection.reused {
            let here = Arc::clone(&entry.upstream);
            drop(entry);
            if shared.is_open_at(&here) {
                shared.wait_for_another(hold, pause).await?;
            }
        }
    }
}

/// Waits for a response as long as the configuration says, counted from when
/// the last of the request was sent.
async fn bounded<T>(
    shared: &Shared,
    progress: &Progress,
    late: &mut Option<oneshot::Sender<Refusal>>,
    answer: impl Future<Output = T>,
) -> Result<T, Refusal> {
    let limit = shared.config.response_time;
    if limit.is_zero() {
        return Ok(answer.await);
    }
    let mut answer = std::pin::pin!(answer);
    loop {
        let sent = progress.frames();
        if let Ok(answered) = tokio::time::timeout(limit, answer.as_mut()).await {
            return Ok(answered);
        }
        if progress.frames() != sent {
            continue;
        }
        let Some(late) = late.take() else {
            return Err(Refusal::AppSlow);
        };
        let _ = late.send(Refusal::AppSlow);
        let answered = tokio::time::timeout(LONGEST, answer).await;
        return answered.map_err(|_| {
            tracing::warn!(
                after_s = LONGEST.as_secs(),
                "a request that changes state is still in the app; letting the next one in"
            );
            Refusal::AppSlow
        });
    }
}
