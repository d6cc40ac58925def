//! WebSocket and other upgrades: after the handshake, bytes both ways.

use std::sync::Arc;

use http_body_util::Full;
use hyper::header;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::admission::{Admission, HeldRequest};
use crate::connection::Client;
use crate::error_pages::Refusal;
use crate::forward::{AppRequest, forward};
use crate::headers;
use crate::response::{self, ResponseBody};
use crate::upstream::Upstream;

/// Passes an upgrade request on. It waits like any other while the gate
/// holds, but is not counted as in the app once the tunnel stands: a tunnel
/// ends when the app is stopped, nobody waits for it.
pub(crate) async fn open(
    admission: &Arc<Admission>,
    client: &Client,
    mut held: HeldRequest,
    request: AppRequest,
    upgrade: OnUpgrade,
) -> Result<Response<ResponseBody>, Refusal> {
    let mut answered = forward(admission, &mut held, request).await?;
    if answered.response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response::from_app(admission, answered, None));
    }
    let app = hyper::upgrade::on(&mut answered.response);
    answered.connection.drive_in_background();
    let upstream = Arc::clone(&answered.permit.upstream);
    client.marks.leaves_http();
    let permit = client.permit.for_tunnel();
    let admission = Arc::clone(admission);
    tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            () = admission.stopped() => {}
            () = join(upgrade, app, upstream) => {}
        }
    });

    let (mut parts, _) = answered.response.into_parts();
    let protocol = parts.headers.get(header::UPGRADE).cloned();
    headers::strip_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = protocol {
        headers::set_upgrade(&mut parts.headers, protocol);
    }
    Ok(Response::from_parts(
        parts,
        ResponseBody::Own(Full::default()),
    ))
}

async fn join(client: OnUpgrade, app: OnUpgrade, upstream: Arc<Upstream>) {
    let both = async { tokio::try_join!(client, app) };
    let (client, app): (Upgraded, Upgraded) = match both.await {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
    tokio::select! {
        // How a tunnel ends is a matter of its two ends.
        _ = tokio::io::copy_bidirectional(&mut client, &mut app) => {}
        () = upstream.retired() => {}
    }
}
