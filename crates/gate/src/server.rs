//! Accepts connections and serves HTTP/1.1 on each.
//!
//! accept (TCP) → [`Server::serve_tcp`] (socket options) →
//! [`Server::serve_http`] (any stream of bytes).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::admission::{Admission, ConnectionPermit};
use crate::connection::{Client, ConnectionInfo, Scheme};
use crate::forwarded::Forwarding;
use crate::framing::Watched;
use crate::internal_routes::{self, InternalRoutes};
use crate::proxy;
use crate::upstream;

/// After the system refused a connection (no descriptors, say) the next try
/// waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client that acknowledges no byte for this long is gone.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX_MS: u32 = 60_000;

/// What serves the connections of one gate.
pub(crate) struct Server {
    pub(crate) admission: Arc<Admission>,
    pub(crate) routes: InternalRoutes,
}

/// An accepted connection.
struct Accepted<S> {
    stream: S,
    info: ConnectionInfo,
    permit: ConnectionPermit,
}

impl Server {
    /// Accepts until the gate stops; then the port is free again. Serves on
    /// `threads`, or on the runtime of the caller if there are none.
    pub(crate) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        mut threads: Option<Threads>,
    ) {
        let admission = &self.admission;
        let local_port = listener.local_addr().map_or(0, |address| address.port());
        let mut stopped = std::pin::pin!(admission.stopped());
        loop {
            let next = async {
                let slot = admission.connection_slot().await;
                (slot, listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                biased;
                () = &mut stopped => return,
                next = next => next,
            };
            match (slot, accepted) {
                (Ok(slot), Ok((stream, peer))) => {
                    let accepted = Accepted {
                        stream,
                        info: ConnectionInfo::new(peer, Scheme::Http, local_port),
                        permit: admission.connected(slot),
                    };
                    match &mut threads {
                        Some(threads) => threads.serve(accepted),
                        None => drop(tokio::spawn(Arc::clone(&self).serve_tcp(accepted))),
                    }
                }
                (Ok(_), Err(error)) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                // The semaphore of slots is never closed.
                (Err(_), _) => return,
            }
        }
    }

    async fn serve_tcp(self: Arc<Self>, accepted: Accepted<TcpStream>) {
        let stream = &accepted.stream;
        // Small answers leave at once; if the system refuses, they are slower.
        let _ = stream.set_nodelay(true);
        // A client that reads nothing of its answer does not keep the app waiting.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX_MS);
        self.serve_http(accepted).await;
    }

    /// Serves a connection that this gate did not accept.
    pub(crate) async fn serve_stream<S>(&self, stream: S, info: ConnectionInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let slot = tokio::select! {
            biased;
            () = self.admission.stopped() => return,
            slot = self.admission.connection_slot() => slot,
        };
        // The semaphore of slots is never closed.
        let Ok(slot) = slot else { return };
        let permit = self.admission.connected(slot);
        self.serve_http(Accepted {
            stream,
            info,
            permit,
        })
        .await;
    }

    async fn serve_http<S>(&self, accepted: Accepted<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let admission = &self.admission;
        let stream = Watched::new(accepted.stream);
        let client = Client {
            info: accepted.info,
            forwarding: Forwarding::new(&accepted.info, &admission.config.trusted_proxies),
            marks: Arc::clone(&stream.marks),
            permit: accepted.permit,
        };
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let client = &client;
            async move {
                let response = if internal_routes::is_internal(&request) {
                    internal_routes::serve(&self.routes, admission, client, request).await
                } else {
                    proxy::serve(admission, client, request).await
                };
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(admission.config.head_time)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = admission.stopped() => {
                // Finish the request at hand, then close.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "connection ended");
        }
    }
}

/// Threads that serve the connections they are given, each the next one. A
/// connection stays on its thread, and so do its connections to the app: no
/// request is handed from core to core.
pub(crate) struct Threads {
    /// Unbounded, but the permits of connections bound what is in them.
    each: Vec<mpsc::UnboundedSender<Accepted<std::net::TcpStream>>>,
    next: usize,
}

impl Threads {
    /// Starts `count` of them.
    pub(crate) fn start(server: &Arc<Server>, count: usize) -> io::Result<Self> {
        let each = (0..count).map(|number| start_thread(Arc::clone(server), number));
        Ok(Self {
            each: each.collect::<io::Result<_>>()?,
            next: 0,
        })
    }

    fn serve(&mut self, accepted: Accepted<TcpStream>) {
        let thread = self.each.get(self.next);
        self.next = (self.next + 1) % self.each.len().max(1);
        let Accepted {
            stream,
            info,
            permit,
        } = accepted;
        // Out of this thread's reactor, into that of the other.
        if let (Some(thread), Ok(stream)) = (thread, stream.into_std()) {
            let _ = thread.send(Accepted {
                stream,
                info,
                permit,
            });
        }
    }
}

fn start_thread(
    server: Arc<Server>,
    number: usize,
) -> io::Result<mpsc::UnboundedSender<Accepted<std::net::TcpStream>>> {
    let (sender, mut given) = mpsc::unbounded_channel::<Accepted<std::net::TcpStream>>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("monolite-gate-{number}"))
        .spawn(move || {
            upstream::use_pool(number);
            runtime.block_on(async {
                while let Some(Accepted {
                    stream,
                    info,
                    permit,
                }) = given.recv().await
                {
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        tokio::spawn(Arc::clone(&server).serve_tcp(Accepted {
                            stream,
                            info,
                            permit,
                        }));
                    }
                }
                // The connections are tasks of this runtime.
                server.admission.all_closed().await;
            });
        })?;
    Ok(sender)
}
