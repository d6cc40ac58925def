//! The way of one request: check, wait, pass on, answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{timeout, timeout_at};

use crate::answer::Refusal;
use crate::body::{AppBody, Outgoing, Reply, SILENCE};
use crate::framing::Marks;
use crate::headers;
use crate::lane::Place;
use crate::send::{Answered, Passing, send};
use crate::state::{Hold, Shared};
use crate::tunnel;
use crate::upstream::Upstream;

/// Body bytes read before a request enters the lane, so that a slow sender
/// does not keep the others out.
const LANE_BUFFER: usize = 1 << 20;
/// After the head of its response a request leaves the lane this soon, even
/// if a slow client is still taking the rest.
const LANE_LINGER: Duration = Duration::from_secs(1);
/// A request's share of memory beside its header bytes, roughly.
const HEAD_BASE: usize = 1024;

/// What is known of the connection a request came on.
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) marks: Arc<Marks>,
    /// Its place among the open connections, shared with its tunnel.
    pub(crate) place: Arc<OwnedSemaphorePermit>,
}

/// Answers one request, by the app if at all possible.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Reply> {
    shared.totals.requests.fetch_add(1, Ordering::Relaxed);
    let accept = request.headers().get(header::ACCEPT).cloned();
    let outcome = if peer.marks.ambiguous.load(Ordering::Acquire) {
        Err(Refusal::Bad("Content-Length beside Transfer-Encoding"))
    } else {
        pass(shared, peer, request).await
    };
    outcome.unwrap_or_else(|refusal| {
        shared.totals.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(peer = %peer.address, reason = refusal.text(), "request not answered by the app");
        refusal.response(accept.as_ref())
    })
}

async fn pass(
    shared: &Arc<Shared>,
    peer: &Peer,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Method);
    }
    // Taken before the parts are: it lives in the request's extensions.
    let upgrade =
        headers::wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    headers::settle_host(
        &mut parts.uri,
        &parts.method,
        parts.version,
        &mut parts.headers,
    )?;
    let protocol = upgrade
        .is_some()
        .then(|| parts.headers.get(header::UPGRADE).cloned())
        .flatten();
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::set_forwarded(
        &mut parts.headers,
        peer.address,
        shared.config.trust_forwarded,
    );
    // The gate says 100 itself when it begins to read the body.
    parts.headers.remove(header::EXPECT);
    if let Some(protocol) = protocol {
        parts.headers.insert(header::UPGRADE, protocol);
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    parts.version = Version::HTTP_11;
    if !body.is_end_stream() && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        // Said by name: hyper would send a GET without its body otherwise.
        parts.headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }

    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let mut hold = Hold::new(shared, head_bytes(&parts));
    let request = Passing {
        replay: (safe && upgrade.is_none() && body.is_end_stream()).then(|| parts.clone()),
        safe,
        parts,
        body: Outgoing::new(Bytes::new(), None),
        late: None,
    };

    if let Some(upgrade) = upgrade {
        let request = Passing {
            body: Outgoing::new(Bytes::new(), Some(body)),
            ..request
        };
        return tunnel::open(shared, peer, hold, request, upgrade).await;
    }
    let Some(lane) = shared.lane.as_ref().filter(|_| !safe) else {
        let request = Passing {
            body: Outgoing::new(Bytes::new(), Some(body)),
            ..request
        };
        let answered = send(shared, &mut hold, request).await?;
        return Ok(respond(shared, answered, None));
    };

    let body = read_ahead(shared, &mut hold, body).await?;
    // The wait begins now: reading was the client's time, not ours.
    hold.restart(shared);
    let (late, mut is_late) = oneshot::channel();
    let request = Passing {
        body,
        late: Some(late),
        ..request
    };
    let permit = match Arc::clone(lane).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            hold.begin(shared)?;
            let turn = timeout_at(hold.deadline, Arc::clone(lane).acquire_owned()).await;
            let turn = turn.map_err(|_| Refusal::HeldTooLong)?;
            turn.map_err(|_| Refusal::ShuttingDown)?
        }
    };
    // In a task of its own: a client that goes away, or was told that the app
    // is late, leaves its place only when the app is done.
    let shared = Arc::clone(shared);
    let mut sent = tokio::spawn(async move {
        let answered = send(&shared, &mut hold, request).await?;
        Ok(respond(&shared, answered, Some(permit)))
    });
    tokio::select! {
        biased;
        sent = &mut sent => sent.unwrap_or(Err(Refusal::AppFailed)),
        Ok(refusal) = &mut is_late => Err(refusal),
    }
}

fn head_bytes(parts: &Parts) -> usize {
    let headers: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let path = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    headers + path + HEAD_BASE
}

/// Reads the body, or as much of it as the lane's buffer takes.
async fn read_ahead(
    shared: &Arc<Shared>,
    hold: &mut Hold,
    mut body: Incoming,
) -> Result<Outgoing, Refusal> {
    let mut read = BytesMut::new();
    while !body.is_end_stream() && read.len() < LANE_BUFFER {
        let frame = timeout(SILENCE, body.frame())
            .await
            .map_err(|_| Refusal::BodyTooSlow)?;
        match frame {
            None => return Ok(Outgoing::new(read.freeze(), None)),
            Some(Err(_)) => return Err(Refusal::Bad("malformed body")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    hold.grow(shared, data.len())?;
                    read.extend_from_slice(&data);
                }
            }
        }
    }
    Ok(Outgoing::new(read.freeze(), Some(body)).hurry())
}

/// Turns the app's answer into the client's.
pub(crate) fn respond(
    shared: &Arc<Shared>,
    answered: Answered,
    lane: Option<OwnedSemaphorePermit>,
) -> Response<Reply> {
    let Answered {
        response,
        entry,
        connection,
    } = answered;
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it.
        return Refusal::AppFailed.response(None);
    }
    headers::strip_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;

    let mut app = AppBody::new(body);
    if is_event_stream(&parts.headers) {
        // Has no end: not waited for, and ended when the app is stopped.
        app.cut = Some(Box::pin(end_of(
            Arc::clone(shared),
            Arc::clone(&entry.upstream),
        )));
    } else {
        app.inside = Some(entry.inside);
        app.lane = lane.map(Place::new);
        if let Some(place) = app.lane.as_ref().filter(|_| !is_quick(&parts.headers)) {
            place.leave_after(LANE_LINGER);
        }
    }
    app.connection = Some((entry.upstream, connection));
    Response::from_parts(parts, Reply::App(app.settle()))
}

/// Comes when the app is about to be stopped, or the gate.
async fn end_of(shared: Arc<Shared>, upstream: Arc<Upstream>) {
    let mut stopping = shared.stopping.subscribe();
    tokio::select! {
        () = upstream.retired() => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

/// Short enough to be taken in at once, whatever the client's speed.
fn is_quick(headers: &HeaderMap) -> bool {
    const QUICK: u64 = 64 << 10;
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .is_some_and(|length: u64| length <= QUICK)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}
