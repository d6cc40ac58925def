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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::access_log::Record;
use crate::admission::{Admission, ConnectionPermit};
use crate::connection::{Client, ConnectionInfo, Scheme};
use crate::forwarded::Forwarding;
use crate::framing::{Marks, Watched};
use crate::internal_routes::{self, InternalRoutes};
use crate::proxy;
use crate::proxy_protocol;
use crate::request_id;
use crate::response;
use crate::upstream;

/// Without a request for this long, what a connection needs for serving one is
/// given back.
const IDLE_TIME: Duration = Duration::from_millis(100);
/// Longest time between two looks at a connection that is busy with one request.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// A client that does not take all of its answer gets this long, and then must
/// take [`READ_RATE_MIN`] bytes a second on average.
const READ_TIME_BASE: Duration = Duration::from_secs(60);
const READ_RATE_MIN: u64 = 512;
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
                    admission.cannot_accept(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                // The semaphore of slots is never closed.
                (Err(_), _) => return,
            }
        }
    }

    async fn serve_tcp(self: Arc<Self>, mut accepted: Accepted<TcpStream>) {
        let stream = &mut accepted.stream;
        // Small answers leave at once; if the system refuses, they are slower.
        let _ = stream.set_nodelay(true);
        // A client that reads nothing of its answer does not keep the app waiting.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&*stream, UNACKNOWLEDGED_MAX_MS);
        let config = &self.admission.config;
        if config.proxy_protocol {
            let peer = accepted.info.peer;
            if !config.trusted_proxies.trusts_peer(peer.ip()) {
                return tracing::debug!(%peer, "no trusted proxy; the connection is closed");
            }
            let header = proxy_protocol::read(stream);
            match timeout(proxy_protocol::HEADER_TIME_MAX, header).await {
                Ok(Ok(Some(client))) => {
                    accepted.info.peer = client;
                    accepted.info.is_named = true;
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    return tracing::debug!(%peer, %error, "the connection is closed");
                }
                Err(_) => return tracing::debug!(%peer, "no PROXY protocol header in time"),
            }
        }
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

    /// Alternates between waiting, with hardly any memory, and serving.
    async fn serve_http<S>(&self, accepted: Accepted<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = &self.admission.config;
        let mut stream = Watched::new(accepted.stream);
        let client = Client {
            info: accepted.info,
            forwarding: Forwarding::new(&accepted.info, &config.trusted_proxies),
            marks: Arc::clone(&stream.marks),
            permit: accepted.permit,
        };
        let mut wait_max = config.head_time;
        while self.wait(&mut stream, wait_max).await {
            let serving = Box::pin(self.serve_until_idle(stream, &client));
            let Some(idle) = serving.await else { return };
            stream = idle;
            wait_max = config.keep_alive;
        }
    }

    /// Waits for the next request; false if there is none.
    async fn wait<S>(&self, stream: &mut Watched<S>, max: Duration) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let idle = self.admission.idle_connection();
        tokio::select! {
            biased;
            came = stream.wait() => came,
            () = self.admission.stopped() => false,
            // Somebody else needs the connection.
            () = idle.ended() => false,
            () = sleep(max) => false,
        }
    }

    /// Serves requests until there were none for a while; `None` if the
    /// connection has ended.
    async fn serve_until_idle<S>(&self, stream: Watched<S>, client: &Client) -> Option<Watched<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (admission, marks) = (&self.admission, &client.marks);
        let service = service_fn(|request: hyper::Request<Incoming>| async move {
            let (config, busy) = (&admission.config, client.marks.begin_request());
            let id = request_id::of(request.headers(), client.forwarding.is_trusted);
            let record = config.access_log.as_ref().map(|log| {
                let proxies = &config.trusted_proxies;
                let address = client.forwarding.client(request.headers(), proxies);
                let id = id.to_str().unwrap_or_default();
                Box::new(Record::new(log, &request, address, id))
            });
            let response = if internal_routes::is_internal(&request) {
                internal_routes::serve(&self.routes, admission, client, request).await
            } else {
                proxy::serve(admission, client, request, &id).await
            };
            let response = response::serve(response, id, config.server_timing, busy, record);
            Ok::<_, Infallible>(response)
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(admission.config.head_time)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut stopped = std::pin::pin!(admission.stopped());
        let mut is_stopping = false;
        let mut interval = IDLE_TIME;
        let mut tick = std::pin::pin!(sleep(interval));
        let mut requests = marks.requests();
        let mut slow = SlowReader::default();
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "connection ended");
                        // What the client gets of a broken response is broken
                        // off; any other answer must reach it.
                        if !error.is_user() && let Some(parts) = connection.into_parts() {
                            let _ = parts.io.into_inner().shutdown().await;
                        }
                    }
                    return None;
                }
                () = &mut stopped, if !is_stopping => {
                    // Finish the request at hand, then close.
                    is_stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
                () = &mut tick => {
                    let before = std::mem::replace(&mut requests, marks.requests());
                    let was_active = marks.requests() != before;
                    interval = match was_active {
                        true => IDLE_TIME,
                        false => (interval * 2).min(LOOK_INTERVAL_MAX),
                    };
                    tick.as_mut().reset(Instant::now() + interval);
                    if slow.is_too_slow(marks) {
                        tracing::debug!(peer = %client.info.peer, "the client reads too slowly");
                        return None;
                    }
                    if !was_active && !is_stopping && marks.is_idle() {
                        let parts = connection.into_parts()?;
                        let mut stream = parts.io.into_inner();
                        stream.put_back(parts.read_buf);
                        return Some(stream);
                    }
                }
            }
        }
    }
}

/// A client that takes its answers too slowly.
#[derive(Default)]
struct SlowReader {
    /// Since when it is behind, and how much it had by then.
    since: Option<(Instant, u64)>,
}

impl SlowReader {
    /// To be asked now and then.
    fn is_too_slow(&mut self, marks: &Marks) -> bool {
        if !marks.is_blocked() {
            self.since = None;
            return false;
        }
        let (start, before) = *self.since.get_or_insert((Instant::now(), marks.written()));
        let elapsed = start.elapsed();
        let bytes = marks.written().saturating_sub(before);
        elapsed > READ_TIME_BASE && bytes < (elapsed - READ_TIME_BASE).as_secs() * READ_RATE_MIN
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
                // The connections and the tunnels are tasks of this runtime.
                server.admission.all_ended().await;
            });
        })?;
    Ok(sender)
}
