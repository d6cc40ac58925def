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
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::framing::Watched;
use crate::own;
use crate::proxy::{self, Peer};
use crate::state::{Inside, Shared};

/// After the system refused a connection (no descriptors, say) the next try
/// waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client that acknowledges nothing for this long is gone.
#[cfg(target_os = "linux")]
const UNREAD_MS: u32 = 60_000;

thread_local! {
    /// Which of the gate's threads this is; all others count as the first.
    static THREAD: Cell<usize> = const { Cell::new(0) };
}

/// Which share of what is kept per thread is this thread's.
pub(crate) fn this_thread() -> usize {
    THREAD.get()
}

/// An accepted connection. It is counted before anybody serves it: a drain
/// must not miss it.
pub(crate) struct Accepted<S> {
    stream: S,
    peer: SocketAddr,
    inside: Inside,
    place: OwnedSemaphorePermit,
}

/// Threads that serve the connections they are given, in turn. A connection
/// stays on its thread, and so do its connections to the app: nothing is
/// handed from core to core for a request.
pub(crate) struct Threads {
    /// Unbounded, yet holds no more than there may be connections.
    each: Vec<mpsc::UnboundedSender<Accepted<std::net::TcpStream>>>,
    next: usize,
}

impl Threads {
    pub(crate) fn start(shared: &Arc<Shared>, count: usize) -> io::Result<Self> {
        let each = (0..count).map(|number| start_thread(Arc::clone(shared), number));
        Ok(Self {
            each: each.collect::<io::Result<_>>()?,
            next: 0,
        })
    }

    fn serve(&mut self, accepted: Accepted<TcpStream>) {
        let thread = self.each.get(self.next);
        self.next = (self.next + 1) % self.each.len().max(1);
        // Off this thread's reactor, on to that of the other.
        if let (Some(thread), Ok(stream)) = (thread, accepted.stream.into_std()) {
            let _ = thread.send(Accepted {
                stream,
                peer: accepted.peer,
                inside: accepted.inside,
                place: accepted.place,
            });
        }
    }
}

fn start_thread(
    shared: Arc<Shared>,
    number: usize,
) -> io::Result<mpsc::UnboundedSender<Accepted<std::net::TcpStream>>> {
    let (sender, mut given) = mpsc::unbounded_channel::<Accepted<std::net::TcpStream>>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("monolite-gate-{number}"))
        .spawn(move || {
            THREAD.set(number);
            runtime.block_on(async {
                while let Some(accepted) = given.recv().await {
                    if let Ok(stream) = TcpStream::from_std(accepted.stream) {
                        tokio::spawn(serve(
                            Arc::clone(&shared),
                            Accepted {
                                stream,
                                peer: accepted.peer,
                                inside: accepted.inside,
                                place: accepted.place,
                            },
                        ));
                    }
                }
                // The connections are tasks of this runtime.
                shared.connections.none_ever().await;
            });
        })?;
    Ok(sender)
}

/// Accepts until the gate stops; then the port is free again. Serves on
/// `threads`, or on the runtime of the caller if there are none.
pub(crate) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut threads: Option<Threads>,
) {
    let mut stopping = shared.stopping.subscribe();
    loop {
        let next = async {
            let place = Arc::clone(&shared.places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            next = next => next,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, peer))) => {
                let accepted = Accepted {
                    stream,
                    peer,
                    inside: shared.connections.enter(),
                    place,
                };
                match &mut threads {
                    Some(threads) => threads.serve(accepted),
                    None => drop(tokio::spawn(serve(Arc::clone(&shared), accepted))),
                }
            }
            (Ok(_), Err(error)) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // The places are never closed.
            (Err(_), _) => return,
        }
    }
}

async fn serve(shared: Arc<Shared>, accepted: Accepted<TcpStream>) {
    let Accepted {
        stream,
        peer,
        inside: _inside,
        place,
    } = accepted;
    // Small answers leave at once; a refusal only makes them slower.
    let _ = stream.set_nodelay(true);
    // Nor does a client that takes nothing of its answer keep the app waiting.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_MS);
    let stream = Watched::new(stream);
    let peer = Peer {
        address: peer.ip(),
        marks: Arc::clone(&stream.marks),
        place: Arc::new(place),
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
