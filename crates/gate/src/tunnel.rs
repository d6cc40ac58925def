//! WebSocket and other upgrades: after the handshake, bytes both ways.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::answer::Refusal;
use crate::body::Reply;
use crate::headers;
use crate::proxy::{Peer, respond};
use crate::send::{Passing, send};
use crate::state::{Hold, Shared};
use crate::upstream::Upstream;

/// Passes an upgrade request on. It waits like any other while the gate
/// holds, but is not counted as inside once the tunnel stands: a tunnel ends
/// when the app is stopped, nobody waits for it.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    peer: &Peer,
    mut hold: Hold,
    request: Passing,
    client: OnUpgrade,
) -> Result<Response<Reply>, Refusal> {
    let mut answered = send(shared, &mut hold, request).await?;
    if answered.response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(respond(shared, answered, None));
    }
    let app = hyper::upgrade::on(&mut answered.response);
    answered.connection.let_go();
    let upstream = Arc::clone(&answered.entry.upstream);
    peer.marks.tunnel.store(true, Ordering::Relaxed);
    let place = Arc::clone(&peer.place);
    let mut stopping = shared.stopping.subscribe();
    tokio::spawn(async move {
        let _place = place;
        let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        tokio::select! {
            () = stopped => {}
            () = join(client, app, upstream) => {}
        }
    });

    let (mut parts, _) = answered.response.into_parts();
    let protocol = parts.headers.get(hyper::header::UPGRADE).cloned();
    headers::strip_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = protocol {
        parts.headers.insert(hyper::header::UPGRADE, protocol);
        parts.headers.insert(
            hyper::header::CONNECTION,
            hyper::header::HeaderValue::from_static("upgrade"),
        );
    }
    Ok(Response::from_parts(parts, Reply::empty()))
}

async fn join(client: OnUpgrade, app: OnUpgrade, upstream: Arc<Upstream>) {
    let both = async { tokio::try_join!(client, app) };
    let (client, app): (Upgraded, Upgraded) = match both.await {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
    tokio::select! {
        // How a tunnel ends is between its two ends.
        _ = tokio::io::copy_bidirectional(&mut client, &mut app) => {}
        () = upstream.retired() => {}
    }
}
