//! Accepts connections and serves HTTP/1.1 on each.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::framing::Watched;
use crate::own;
use crate::proxy::{self, Peer};
use crate::state::{Inside, Shared};

/// After the system refused a connection (no descriptors, say) the next try
/// waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

thread_local! {
    /// Which of the gate's threads this is; all others count as the first.
    static THREAD: Cell<usize> = const { Cell::new(0) };
}

/// Which share of what is kept per thread is this thread's.
pub(crate) fn this_thread() -> usize {
    THREAD.get()
}

/// Starts `count` threads that each accept and serve by themselves. A
/// connection stays on the thread that accepted it, and so do its connections
/// to the app: nothing is handed from core to core for a request.
pub(crate) fn start_threads(
    shared: &Arc<Shared>,
    listener: &std::net::TcpListener,
    count: usize,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    for thread in 0..count {
        let (shared, listener) = (Arc::clone(shared), listener.try_clone()?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name(format!("monolite-gate-{thread}"))
            .spawn(move || {
                THREAD.set(thread);
                runtime.block_on(async {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => accept(Arc::clone(&shared), listener).await,
                        Err(error) => tracing::error!(%error, "a gate thread cannot accept"),
                    }
                    // The connections are tasks of this runtime.
                    shared.connections.none_ever().await;
                });
            })?;
    }
    Ok(())
}

/// Accepts until the gate stops; then the port is free again.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(shared.config.connections.max(1)));
    let mut stopping = shared.stopping.subscribe();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Counted before the task runs: a drain must not miss it.
                let inside = shared.connections.enter();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    serve(shared, stream, peer, inside).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A client that acknowledges nothing for this long is gone.
#[cfg(target_os = "linux")]
const UNREAD_MS: u32 = 60_000;

async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, _inside: Inside) {
    // Small answers leave at once; a refusal only makes them slower.
    let _ = stream.set_nodelay(true);
    // Nor does a client that takes nothing of its answer keep the app waiting.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_MS);
    let stream = Watched::new(stream);
    let peer = Peer {
        address: peer.ip(),
        ambiguous: Arc::clone(&stream.ambiguous),
    };
    let mut stopping = shared.stopping.subscribe();
    let head_time = shared.config.head_time;
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (shared, peer) = (&shared, &peer);
        async move {
            let response = match own::answer(shared, &request) {
                Some(response) => response,
                None => proxy::answer(shared, peer, request).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {
            // Finish the request at hand, then close.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "connection ended");
    }
}
