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
//! - A state-changing request is sent to the app at most once, on a connection
//!   of its own. A GET, HEAD or OPTIONS without a body that the app broke off
//!   is sent again: three times in all, to two lives of the app at most.
//! - Bodies stream both ways; upgrades (WebSocket) pass.
//! - With [`Config::write_concurrency`] at most so many state-changing
//!   requests are in the app at once, first come, first served.
//! - A request whose length is told twice, or in a way two servers could read
//!   differently, is refused with 400 and its connection closed.
//!
//! Endless responses (`text/event-stream`) and tunnels are not waited for when
//! the app is restarted; they are ended, and their clients come again.

mod answer;
mod body;
mod config;
mod framing;
mod headers;
pub mod health;
mod lane;
mod own;
mod proxy;
mod send;
mod server;
mod state;
mod tunnel;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

pub use crate::config::{Config, TrustForwarded};

use crate::health::Health;
use crate::server::Threads;
use crate::state::{Phase, Shared};
use crate::upstream::Upstream;

/// The front of one app. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

/// What went through a gate since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests taken in, without those for the gate itself.
    pub requests: u64,
    /// Those that had to wait.
    pub held: u64,
    /// Those answered by the gate in the app's place.
    pub refused: u64,
    /// Sendings again, after the app broke one off.
    pub replayed: u64,
    /// Waiting now.
    pub held_now: usize,
    /// In the app now.
    pub in_flight: usize,
}

impl Gate {
    /// A gate that holds.
    pub fn new(config: Config) -> Self {
        Self {
            shared: Arc::new(Shared::new(config)),
        }
    }

    /// Accepts and serves until [`Gate::stop_accepting`], on the runtime of
    /// the caller.
    pub async fn serve(self, listener: TcpListener) {
        server::accept(self.shared, listener, None).await;
    }

    /// As [`Gate::serve`], serving on `threads` threads of the gate's own: one
    /// a core is best.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub async fn serve_on_threads(
        self,
        listener: TcpListener,
        threads: usize,
    ) -> std::io::Result<()> {
        let threads = Threads::start(&self.shared, threads.max(1))?;
        server::accept(self.shared, listener, Some(threads)).await;
        Ok(())
    }

    /// From now on requests wait. Those in the app go on.
    pub fn hold(&self) {
        self.change(Phase::Holding);
    }

    /// From now on requests pass to the app at `address`, the waiting ones
    /// first to notice.
    pub fn open(&self, address: SocketAddr) {
        let upstream = Upstream::new(address, self.shared.config.idle_upstream);
        self.change(Phase::Open(Arc::new(upstream)));
    }

    /// From now on requests, waiting ones too, are answered with 503.
    pub fn refuse(&self) {
        self.change(Phase::Closed);
    }

    fn change(&self, phase: Phase) {
        let old = self.shared.phase.send_replace(phase);
        if let Phase::Open(old) = old {
            let mut retiring = self.shared.lock_retiring();
            retiring.push(old);
        }
    }

    /// Waits until no request is in the app, except endless ones; false if
    /// that took longer than `limit`. Then ends the endless ones.
    pub async fn drain(&self, limit: Duration) -> bool {
        let drained = self.shared.inside.none(Instant::now() + limit).await;
        for upstream in self.shared.lock_retiring().drain(..) {
            upstream.retire();
        }
        drained
    }

    /// Closes the port. Idle connections are closed; the others finish the
    /// request at hand first, endless ones end now.
    pub fn stop_accepting(&self) {
        self.shared.stopping.send_replace(true);
    }

    /// Waits until every connection is closed; false if that took longer than
    /// `limit`.
    pub async fn closed(&self, limit: Duration) -> bool {
        self.shared.connections.none(Instant::now() + limit).await
    }

    /// The parts of this gate's health page, `/_monolite/health`.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Counts of what went through.
    pub fn stats(&self) -> Stats {
        let totals = &self.shared.totals;
        Stats {
            requests: totals.requests.load(Ordering::Relaxed),
            held: totals.held.load(Ordering::Relaxed),
            refused: totals.refused.load(Ordering::Relaxed),
            replayed: totals.replayed.load(Ordering::Relaxed),
            held_now: self.shared.held_now(),
            in_flight: self.shared.inside.now(),
        }
    }
}
