//! The way of one request to the app: check, rewrite, wait, pass on, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Version};

use crate::admission::{Admission, HeldRequest};
use crate::connection::Client;
use crate::error_pages::Refusal;
use crate::forward::{AppRequest, forward};
use crate::headers;
use crate::request_body::RequestBody;
use crate::response::{self, ResponseBody};
use crate::{tunnel, write_limiter};

/// Memory that a waiting request takes apart from the bytes of its head,
/// roughly.
const REQUEST_BASE_BYTES: usize = 1024;

/// Answers one request, by the app if at all possible.
pub(crate) async fn serve(
    admission: &Arc<Admission>,
    client: &Client,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    admission.totals.requests.fetch_add(1, Ordering::Relaxed);
    let accept = request.headers().get(header::ACCEPT).cloned();
    let outcome = match client.check_framing() {
        Ok(()) => pass(admission, client, request).await,
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(|refusal| {
        admission.totals.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(peer = %client.info.peer.ip(), reason = refusal.text(), "request not answered by the app");
        refusal.response(accept.as_ref()).map(ResponseBody::Own)
    })
}

async fn pass(
    admission: &Arc<Admission>,
    client: &Client,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Method);
    }
    // Taken before the parts are: it lives in the request's extensions.
    let upgrade =
        headers::wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    rewrite_head(
        &mut parts,
        admission,
        client,
        upgrade.is_some(),
        body.is_end_stream(),
    )?;

    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let mut held = HeldRequest::new(admission, head_bytes(&parts));
    if !safe && upgrade.is_none() && admission.limits_writes() {
        return write_limiter::pass(admission, held, parts, body).await;
    }
    let request = AppRequest {
        replay: (safe && upgrade.is_none() && body.is_end_stream()).then(|| parts.clone()),
        parts,
        body: RequestBody::new(Bytes::new(), Some(body)),
        late: None,
    };
    if let Some(upgrade) = upgrade {
        return tunnel::open(admission, client, held, request, upgrade).await;
    }
    let answered = forward(admission, &mut held, request).await?;
    if !safe && !admission.is_met().await {
        return Err(Refusal::Unconfirmed);
    }
    Ok(response::from_app(admission, answered, None))
}

/// Makes the client's head the one that the app gets.
fn rewrite_head(
    parts: &mut Parts,
    admission: &Admission,
    client: &Client,
    is_upgrade: bool,
    is_bodyless: bool,
) -> Result<(), Refusal> {
    headers::settle_host(
        &mut parts.uri,
        &parts.method,
        parts.version,
        &mut parts.headers,
    )?;
    let protocol = is_upgrade
        .then(|| parts.headers.get(header::UPGRADE).cloned())
        .flatten();
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::set_forwarded(
        &mut parts.headers,
        &client.info,
        admission.config.trust_forwarded,
    );
    // The gate answers 100 itself when it begins to read the body.
    parts.headers.remove(header::EXPECT);
    if let Some(protocol) = protocol {
        headers::set_upgrade(&mut parts.headers, protocol);
    }
    parts.version = Version::HTTP_11;
    if !is_bodyless && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        // Without it hyper sends a GET without its body.
        parts.headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
    Ok(())
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
