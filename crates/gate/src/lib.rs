//! The HTTP front of an app: holds requests while the app cannot take them,
//! passes them on when it can, and drains when it must stop.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use monolite_gate::{Config, Gate};
//! use tokio::net::TcpListener;
//!
//! let gate = Gate::new(Config::default());
//! let listener = TcpListener::bind("0.0.0.0:8080").await?;
//! tokio::spawn(gate.clone().serve(listener)); // requests wait from now on …
//! gate.open("127.0.0.1:4000".parse().unwrap()); // … and pass from now on
//! # Ok(()) }
//! ```
//!
//! # What is promised
//! - From the first moment the port accepts. A request that cannot pass waits,
//!   bounded in number, bytes and time ([`Config`]); beyond a bound it is
//!   answered with 503 and `Retry-After`.
//! - A state-changing request is sent to the app at most once, and again only if
//!   the app has read nothing of it. A GET, HEAD or OPTIONS without a body that
//!   the app broke off is sent again: three times in all, to two instances of
//!   the app at most.
//! - A kept connection never keeps a worker of the app from a request that waits.
//! - A slow client keeps no worker: bodies are read before the app is asked, and
//!   responses ahead of the client, in memory and in files ([`Config`]). What has
//!   no known length streams; upgrades (WebSocket) pass.
//! - The app is given one truth about its client, in all the headers that name it
//!   ([`TrustedProxies`]).
//! - With [`Config::write_concurrency`] at most so many state-changing
//!   requests are in the app at once, first come, first served.
//! - A request whose length is given twice, or in a way two servers could read
//!   differently, is refused with 400 and its connection closed.
//! - Paths under `/_monolite/` never reach the app: [`health`] is there, and
//!   what else was mounted ([`internal_routes`]).
//!
//! Endless responses (`text/event-stream`) and tunnels are not waited for when
//! the app is restarted; they are ended, and their clients connect again.

mod access_log;
mod admission;
mod config;
mod connection;
mod error_pages;
mod forward;
mod forwarded;
mod framing;
mod headers;
pub mod health;
mod idle;
pub mod internal_routes;
mod precondition;
mod probe;
mod proxy;
mod proxy_protocol;
mod request_body;
mod request_buffer;
mod request_head;
mod request_id;
mod response;
mod response_buffer;
mod server;
mod spool;
mod tunnel;
mod upstream;
mod write_limiter;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

pub use crate::access_log::{AccessLog, AccessLogFormat};
pub use crate::admission::{AppActivity, Stats};
pub use crate::config::Config;
pub use crate::connection::{ConnectionInfo, Scheme};
pub use crate::forwarded::{TrustedProxies, UnknownProxy};
pub use crate::precondition::{Established, Precondition};
pub use crate::probe::{ProbeError, probe};
pub use crate::upstream::{AppAddress, NotHttp};
/// The status of an HTTP response.
pub use hyper::StatusCode;

use crate::admission::{Admission, Phase};
use crate::health::{Health, HealthPage};
use crate::internal_routes::InternalRoutes;
use crate::server::{Server, Threads};
use crate::upstream::Upstream;

/// The front of one app. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    server: Arc<Server>,
    health: Health,
}

impl Gate {
    /// A gate that holds, with no internal route but its health page.
    pub fn new(config: Config) -> Self {
        Self::with_routes(config, InternalRoutes::new())
    }

    /// A gate that holds, and serves `routes` itself.
    pub fn with_routes(config: Config, routes: InternalRoutes) -> Self {
        let admission = Arc::new(Admission::new(config));
        let health = Health::default();
        let page = HealthPage {
            admission: Arc::clone(&admission),
            health: health.clone(),
        };
        let routes = routes.mount("health", page);
        Self {
            server: Arc::new(Server { admission, routes }),
            health,
        }
    }

    /// Accepts and serves until [`Gate::stop_accepting`], on the runtime of
    /// the caller.
    pub async fn serve(self, listener: TcpListener) {
        self.server.accept(listener, None).await;
    }

    /// As [`Gate::serve`], serving on `threads` threads of the gate's own: one
    /// a core is best. They are started at once; what is returned accepts.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn serve_on_threads(
        self,
        listener: TcpListener,
        threads: usize,
    ) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
        let threads = Threads::start(&self.server, threads.max(1))?;
        Ok(self.server.accept(listener, Some(threads)))
    }

    /// Serves HTTP on a connection that was accepted elsewhere, until it ends.
    /// `info` is what the app learns of it. It counts as any other: it waits
    /// while [`Config::connections`] are open, and is closed with them.
    pub async fn serve_connection<S>(&self, stream: S, info: ConnectionInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.server.serve_stream(stream, info).await;
    }

    /// From now on no request passes while this does not hold, and no answer to one
    /// that is not GET, HEAD or OPTIONS. Can be set once.
    pub fn set_precondition(&self, precondition: Arc<dyn Precondition>) {
        self.server.admission.set_precondition(precondition);
    }

    /// From now on requests wait. Those in the app go on.
    pub fn hold(&self) {
        self.server.admission.set_phase(Phase::Holding);
    }

    /// From now on requests pass to the app at `address`, the waiting ones
    /// first to notice.
    pub fn open(&self, address: SocketAddr) {
        self.open_at(AppAddress::Tcp(address));
    }

    /// As [`Gate::open`], for an app that may listen on a Unix socket.
    pub fn open_at(&self, address: AppAddress) {
        let admission = &self.server.admission;
        let upstream = Upstream::new(address, admission.config.idle_upstream);
        admission.set_phase(Phase::Open(Arc::new(upstream)));
    }

    /// From now on requests, waiting ones too, are answered with 503.
    pub fn refuse(&self) {
        self.server.admission.set_phase(Phase::Closed);
    }

    /// Waits until no request is in the app, except endless ones; false if
    /// that took longer than `limit`. Then ends the endless ones.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.server.admission.drain(limit).await
    }

    /// Closes the port. Idle connections are closed; all other ones finish the
    /// request at hand first, endless ones end now.
    pub fn stop_accepting(&self) {
        self.server.admission.stop();
    }

    /// Waits until every connection is closed; false if that took longer than
    /// `limit`.
    pub async fn closed(&self, limit: Duration) -> bool {
        self.server.admission.closed(limit).await
    }

    /// The parts of this gate's health page, `/_monolite/health`.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Signs of life of the app; `None` while requests do not pass to it.
    pub fn activity(&self) -> Option<AppActivity> {
        self.server.admission.activity()
    }

    /// Counts of what went through.
    pub fn stats(&self) -> Stats {
        self.server.admission.stats()
    }
}
