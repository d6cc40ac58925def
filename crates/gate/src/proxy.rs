//! The way of one request to the app: check, rewrite, wait, pass on, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};

use crate::admission::{Admission, HeldRequest};
use crate::connection::Client;
use crate::error_pages::Refusal;
use crate::forward::{AppRequest, forward};
use crate::headers;
use crate::request_body::RequestBody;
use crate::request_head::{self, Framing, Surroundings};
use crate::response::{self, ResponseBody};
use crate::upstream::Asked;
use crate::{request_buffer, tunnel, write_limiter};

/// Memory that a waiting request takes apart from the bytes of its head,
/// roughly.
const REQUEST_BASE_BYTES: usize = 1024;

/// Answers one request, by the app if at all possible.
pub(crate) async fn serve(
    admission: &Arc<Admission>,
    client: &Client,
    request: Request<Incoming>,
    id: &HeaderValue,
) -> Response<ResponseBody> {
    admission.totals.requests.fetch_add(1, Ordering::Relaxed);
    let accept = request.headers().get(header::ACCEPT).cloned();
    let outcome = match client.check_framing() {
        Ok(()) => pass(admission, client, request, id).await,
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(|refusal| {
        admission.totals.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(peer = %client.info.peer.ip(), ?id, reason = refusal.text(), "request not answered by the app");
        refusal.response(accept.as_ref()).map(ResponseBody::Own)
    })
}

async fn pass(
    admission: &Arc<Admission>,
    client: &Client,
    mut request: Request<Incoming>,
    id: &HeaderValue,
) -> Result<Response<ResponseBody>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Method);
    }
    // Taken before the parts are: it lives in the request's extensions.
    let wants_upgrade =
        request.method() == Method::GET && headers::wants_upgrade(request.headers());
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let target = request_head::target(&parts)?;
    request_head::check_codings(&parts.headers)?;

    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let is_repeatable = safe && upgrade.is_none() && body.is_end_stream();
    let limited = !safe && upgrade.is_none() && admission.limits_writes();
    let mut held = HeldRequest::new(admission, head_bytes(&parts));
    let body = match body.is_end_stream() {
        true => RequestBody::empty(),
        false => {
            let body = request_buffer::read(admission, &mut held, body, limited).await?;
            // The time so far was the client's, not ours.
            held.restart(admission);
            body
        }
    };
    let framing = framing(&parts, &body);
    let around = Surroundings {
        forwarding: &client.forwarding,
        proxies: &admission.config.trusted_proxies,
        believes_host: admission.config.trust_forwarded_host,
        default_host: &admission.config.default_host,
        request_id: id,
    };
    let request = AppRequest {
        head: request_head::write(&parts, &target, framing, upgrade.is_some(), &around),
        body,
        chunked: framing == Framing::Chunked,
        asked: Asked {
            head: parts.method == Method::HEAD,
            upgrade: upgrade.is_some(),
        },
        is_repeatable,
        late: None,
    };
    if limited {
        return write_limiter::pass(admission, held, request).await;
    }
    if let Some(upgrade) = upgrade {
        return tunnel::open(admission, client, held, request, upgrade).await;
    }
    let answered = forward(admission, &mut held, request).await?;
    if !safe && !admission.is_met().await {
        return Err(Refusal::Unconfirmed);
    }
    Ok(response::from_app(admission, answered, None))
}

fn framing(parts: &Parts, body: &RequestBody) -> Framing {
    match body.size_hint().exact() {
        // A length of 0 that the client gave may matter to the app.
        Some(0) if !parts.headers.contains_key(header::CONTENT_LENGTH) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

fn head_bytes(parts: &Parts) -> usize {
    let headers: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let path = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    headers + path + REQUEST_BASE_BYTES
}
