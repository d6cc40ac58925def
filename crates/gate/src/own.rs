//! What the gate serves itself, under `/_monolite/`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::answer::own;
use crate::body::Reply;
use crate::health::{Report, Summary};
use crate::state::{Phase, Shared};

/// The answer, if the path is the gate's.
pub(crate) fn answer(shared: &Arc<Shared>, request: &Request<Incoming>) -> Option<Response<Reply>> {
    let name = request.uri().path().strip_prefix("/_monolite/")?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    Some(match name {
        "health" if reads => health(shared),
        _ => own(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "no such page; paths under /_monolite/ are monolite's own\n",
        ),
    })
}

/// 200 while requests pass and no critical part fails, 503 otherwise; never
/// waits.
fn health(shared: &Shared) -> Response<Reply> {
    let Summary {
        fails,
        reasons,
        parts,
    } = shared.health.summary();
    let (status, word) = match &*shared.phase.borrow() {
        Phase::Open(_) if fails => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
        Phase::Open(_) if reasons.is_empty() => (StatusCode::OK, "ok"),
        Phase::Open(_) => (StatusCode::OK, "degraded"),
        Phase::Holding => (StatusCode::SERVICE_UNAVAILABLE, "holding"),
        Phase::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    let page = Page {
        status: word,
        reasons,
        held: shared.held_now(),
        in_flight: shared.inside.now(),
        requests: shared.totals.requests.load(Ordering::Relaxed),
        held_total: shared.totals.held.load(Ordering::Relaxed),
        refused_total: shared.totals.refused.load(Ordering::Relaxed),
        replayed_total: shared.totals.replayed.load(Ordering::Relaxed),
        parts,
    };
    let mut body = serde_json::to_vec(&page).unwrap_or_default();
    body.push(b'\n');
    let mut response = own(status, "application/json", body);
    if status != StatusCode::OK {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The health page, field by field.
#[derive(Serialize)]
struct Page {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    held: usize,
    in_flight: usize,
    requests: u64,
    held_total: u64,
    refused_total: u64,
    replayed_total: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parts: BTreeMap<String, Report>,
}
