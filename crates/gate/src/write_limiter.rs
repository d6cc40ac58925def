//! The write lane: with `Config::write_concurrency`, at most so many
//! state-changing requests are in the app at once, first come, first served.

use std::sync::Arc;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::admission::{Admission, HeldRequest};
use crate::error_pages::Refusal;
use crate::forward::{AppRequest, forward};
use crate::request_body::{BODY_SILENCE_MAX, RequestBody};
use crate::response::{self, ResponseBody};

/// Body bytes read before a request waits for its permit, so that a slow
/// sender does not keep other writes waiting.
const READ_AHEAD_MAX: usize = 1 << 20;

/// Passes a state-changing request on when it is its turn.
pub(crate) async fn pass(
    admission: &Arc<Admission>,
    mut held: HeldRequest,
    parts: Parts,
    body: Incoming,
) -> Result<Response<ResponseBody>, Refusal> {
    let body = read_ahead(admission, &mut held, body).await?;
    // The time so far was the client's, not ours.
    held.restart(admission);
    let write_permit = admission.write_permit(&mut held).await?;
    let (late, mut is_late) = oneshot::channel();
    let request = AppRequest {
        parts,
        body,
        replay: None,
        late: Some(late),
    };
    // In a task of its own: when the client leaves or is answered 504, the
    // permit stays until the app is done.
    let admission = Arc::clone(admission);
    let mut answer = tokio::spawn(async move {
        let answered = forward(&admission, &mut held, request).await?;
        if !admission.is_met().await {
            return Err(Refusal::Unconfirmed);
        }
        Ok(response::from_app(&admission, answered, write_permit))
    });
    tokio::select! {
        biased;
        answer = &mut answer => answer.unwrap_or(Err(Refusal::AppFailed)),
        Ok(refusal) = &mut is_late => Err(refusal),
    }
}

/// Reads the body, up to [`READ_AHEAD_MAX`] of it.
async fn read_ahead(
    admission: &Arc<Admission>,
    held: &mut HeldRequest,
    mut body: Incoming,
) -> Result<RequestBody, Refusal> {
    let mut read = BytesMut::new();
    while !body.is_end_stream() && read.len() < READ_AHEAD_MAX {
        let frame = timeout(BODY_SILENCE_MAX, body.frame())
            .await
            .map_err(|_| Refusal::BodyTooSlow)?;
        match frame {
            None => return Ok(RequestBody::new(read.freeze(), None)),
            Some(Err(_)) => return Err(Refusal::Bad("malformed body")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    held.add_body_bytes(admission, data.len())?;
                    read.extend_from_slice(&data);
                }
            }
        }
    }
    Ok(RequestBody::new(read.freeze(), Some(body)).with_one_deadline())
}
