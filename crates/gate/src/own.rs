//! What the gate serves itself, under `/_monolite/`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::answer::own;
use crate::body::Reply;
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

/// 200 while requests pass, 503 otherwise; never waits.
fn health(shared: &Shared) -> Response<Reply> {
    let (status, word) = match &*shared.phase.borrow() {
        Phase::Open(_) => (StatusCode::OK, "ok"),
        Phase::Holding => (StatusCode::SERVICE_UNAVAILABLE, "holding"),
        Phase::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let body = format!(
        "{{\"status\":\"{word}\",\"held\":{},\"in_flight\":{},\"requests\":{},\
         \"held_total\":{},\"refused_total\":{},\"replayed_total\":{}}}\n",
        shared.held_now(),
        shared.inside.now(),
        count(&shared.totals.requests),
        count(&shared.totals.held),
        count(&shared.totals.refused),
        count(&shared.totals.replayed),
    );
    let mut response = own(status, "application/json", body);
    if status != StatusCode::OK {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
