//! WebSocket and other upgrades: after the handshake, bytes both ways.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::admission::{Admission, HeldRequest};
use crate::connection::Client;
use crate::error_pages::Refusal;
use crate::forward::{AppRequest, forward};
use crate::headers;
use crate::response::{self, ResponseBody};
use crate::upstream::AppStream;

/// From when the app is about to be asked to stop until its tunnels are cut: time
/// for it to say goodbye in its own protocol.
const GOODBYE_TIME: Duration = Duration::from_secs(3);

/// Passes an upgrade request on. It waits like any other while the gate
/// holds, but is not counted as in the app once the tunnel stands: nobody waits
/// for it to end. When the app is stopped, the app ends it, or the gate a little
/// later.
pub(crate) async fn open(
    admission: &Arc<Admission>,
    client: &Client,
    mut held: HeldRequest,
    request: AppRequest,
    upgrade: OnUpgrade,
) -> Result<Response<ResponseBody>, Refusal> {
    let answered = forward(admission, &mut held, request).await?;
    if answered.head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response::from_app(admission, answered, None));
    }
    let upstream = Arc::clone(&answered.permit.upstream);
    let (app, read_already) = answered.connection.into_parts();
    client.marks.leaves_http();
    let permit = client.permit.for_tunnel();
    let counted = admission.tunnel();
    let admission = Arc::clone(admission);
    tokio::spawn(async move {
        let (_permit, _counted) = (permit, counted);
        let cut = async {
            tokio::select! {
                () = upstream.retired() => {}
                // The app is stopped when the requests have ended.
                () = admission.stopped() => admission.all_closed().await,
            }
            tokio::time::sleep(GOODBYE_TIME).await;
        };
        let joined = async {
            match app {
                AppStream::Tcp(app) => join(upgrade, app, read_already).await,
                AppStream::Unix(app) => join(upgrade, app, read_already).await,
            }
        };
        tokio::select! {
            () = joined => {}
            () = cut => {}
        }
    });

    let mut headers = answered.head.headers;
    headers::strip_hop_by_hop(answered.head.status, &mut headers);
    let mut response = Response::new(ResponseBody::Own(Full::default()));
    *response.status_mut() = answered.head.status;
    *response.headers_mut() = headers;
    Ok(response)
}

async fn join(
    client: OnUpgrade,
    mut app: impl AsyncRead + AsyncWrite + Unpin,
    read_already: Bytes,
) {
    let client: Upgraded = match client.await {
        Ok(client) => client,
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    let mut client = TokioIo::new(client);
    // How a tunnel ends is a matter of its two ends.
    if client.write_all(&read_already).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut app).await;
    }
}
