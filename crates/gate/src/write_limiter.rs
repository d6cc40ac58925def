//! The write lane: with `Config::write_concurrency`, at most so many
//! state-changing requests are in the app at once, first come, first served.

use std::sync::Arc;

use hyper::Response;
use tokio::sync::oneshot;

use crate::admission::{Admission, HeldRequest};
use crate::error_pages::Refusal;
use crate::forward::{AppRequest, forward};
use crate::response::{self, ResponseBody};

/// Passes a state-changing request on when it is its turn. Its body was read
/// before, so that a slow sender does not keep other writes waiting.
pub(crate) async fn pass(
    admission: &Arc<Admission>,
    mut held: HeldRequest,
    mut request: AppRequest,
) -> Result<Response<ResponseBody>, Refusal> {
    // The time so far was the client's, not ours.
    held.restart(admission);
    let write_permit = admission.write_permit(&mut held).await?;
    let (late, mut is_late) = oneshot::channel();
    request.late = Some(late);
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
