//! One instance of the app, from its start to its stop: connections to it, kept
//! and fresh.
//!
//! # Connections that suit every app server
//! Many servers give a connection a worker (a process, a thread) for as long as
//! it lasts or for some time after each answer. So a kept connection must never
//! keep a worker from a request that waits:
//!
//! - Idle connections are shared by all threads of the gate (`pool.rs`), for
//!   requests of every method, and closed at the age of [`IDLE_AGE_MAX`].
//! - While the first request on a fresh connection has no answer, the gate
//!   closes what is idle, or the connection that becomes idle next, after
//!   [`FRESH_WAIT`] and then at doubling intervals ([`Upstream::free_a_worker`]).
//!
//! # Requests that must not be sent twice
//! They use a kept connection only if it was idle for less than the limit that
//! was learnt from the app (`rest_limit.rs`), and are sent again only if the app
//! cannot have read them (`stream.rs`). What the kernel shows of that holds for
//! an app that closes its sockets whole. So each closing of an idle connection
//! is examined, and one that only shuts down the sending side ends the matter.

mod body_decoder;
mod connection;
mod not_http;
mod pool;
mod response_head;
mod rest_limit;
mod sending;
mod stream;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use self::body_decoder::BodyDecoder;
pub(crate) use self::connection::{Connection, ExchangeError};
pub use self::not_http::NotHttp;
pub(crate) use self::pool::use_pool;
use self::pool::{Idle, Pool};
pub(crate) use self::response_head::{Asked, ResponseHead};
use self::rest_limit::{IDLE_AGE_MAX, RestLimit};
pub(crate) use self::sending::Sending;
pub use self::stream::AppAddress;
pub(crate) use self::stream::AppStream;
use self::stream::Closing;

/// A fresh connection without an answer for this long may wait for a worker that
/// an idle connection occupies.
pub(crate) const FRESH_WAIT: Duration = Duration::from_millis(20);
/// Longest time between two attempts to free a worker.
pub(crate) const FRESH_WAIT_MAX: Duration = Duration::from_secs(1);
/// So many closings of idle connections must be seen, all whole, before a proof
/// counts.
const WHOLE_CLOSINGS_MIN: u32 = 8;
/// Between two looks at the idle connections.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) struct Upstream {
    address: AppAddress,
    pub(crate) activity: Activity,
    pool: Pool,
    /// Most connections in the pool of one thread.
    idle_max: usize,
    rest_limit: RestLimit,
    /// The next connection that becomes idle is closed.
    worker_needed: AtomicBool,
    /// How often the app was found to have closed a connection whole.
    whole_closings: AtomicU32,
    /// The app was found to have shut down its sending side only.
    half_closes: AtomicBool,
    /// A task looks at the idle connections.
    is_swept: AtomicBool,
    /// Set when this instance of the app is about to be stopped: endless
    /// responses and tunnels end.
    retired: watch::Sender<bool>,
}

/// Signs of life of one instance of the app.
#[derive(Default)]
pub(crate) struct Activity {
    /// Heads and pieces of responses that came from it, and pieces of requests that it took.
    pub(crate) progress: AtomicU64,
    /// Requests that it did not answer in time: 504.
    pub(crate) late: AtomicU64,
}

impl Upstream {
    pub(crate) fn new(address: AppAddress, idle_max: usize) -> Self {
        Self {
            address,
            activity: Activity::default(),
            pool: Pool::default(),
            idle_max,
            rest_limit: RestLimit::new(),
            worker_needed: AtomicBool::new(false),
            whole_closings: AtomicU32::new(0),
            half_closes: AtomicBool::new(false),
            is_swept: AtomicBool::new(false),
            retired: watch::Sender::new(false),
        }
    }

    /// A kept connection for a request that may be sent again.
    pub(crate) fn kept(&self) -> Option<Connection> {
        self.take(IDLE_AGE_MAX, |connection| connection.seems_usable())
    }

    /// A kept connection for a request that must not be sent twice.
    pub(crate) fn kept_for_write(&self) -> Option<Connection> {
        self.take(self.rest_limit.now(), Connection::is_usable)
    }

    /// True if the kernel's proof that the app has not read a request counts.
    pub(crate) fn proves(&self) -> bool {
        self.whole_closings.load(Ordering::Relaxed) >= WHOLE_CLOSINGS_MIN
            && !self.half_closes.load(Ordering::Relaxed)
    }

    fn take(
        &self,
        age_max: Duration,
        is_usable: fn(&mut Connection) -> bool,
    ) -> Option<Connection> {
        while let Some(mut idle) = self.pool.take() {
            let age = idle.age();
            if !is_usable(&mut idle.connection) {
                self.found_closed(idle);
            } else if age <= age_max {
                return Some(idle.connection);
            } else if age <= IDLE_AGE_MAX {
                // Too old for this request, and so are the others of its pool;
                // still good for one that may be sent again.
                self.pool.put(idle, self.idle_max);
                return None;
            }
        }
        None
    }

    fn found_closed(&self, idle: Idle) {
        self.rest_limit.closed_at(idle.age());
        match idle.connection.closing() {
            Some(Closing::Whole) => drop(self.whole_closings.fetch_add(1, Ordering::Relaxed)),
            Some(Closing::Half) => self.half_closes.store(true, Ordering::Relaxed),
            None => {}
        }
    }

    /// A connection on which nothing was sent yet.
    pub(crate) async fn fresh(&self) -> io::Result<Connection> {
        AppStream::connect(&self.address).await.map(Connection::new)
    }

    /// Takes a connection back after its response was read to the end, if
    /// nothing is left on it. `idle_max` is how long the app says it keeps it.
    pub(crate) fn keep(self: &Arc<Self>, mut connection: Connection, idle_max: Option<Duration>) {
        if !connection.is_clean()
            || *self.retired.borrow()
            || self.worker_needed.load(Ordering::Relaxed)
                && self.worker_needed.swap(false, Ordering::Relaxed)
        {
            return;
        }
        if let Some(idle_max) = idle_max {
            self.rest_limit.closed_at(idle_max);
        }
        connection.reused = true;
        connection.rest();
        if self.pool.put(Idle::new(connection), self.idle_max)
            && !self.is_swept.load(Ordering::Relaxed)
            && !self.is_swept.swap(true, Ordering::SeqCst)
        {
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Closes idle connections that are too old, until there are none.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let unfit = |idle: &mut Idle| idle.age() > IDLE_AGE_MAX || !idle.connection.is_usable();
            let (removed, left) = self.pool.remove(unfit);
            for idle in removed {
                if idle.age() <= IDLE_AGE_MAX {
                    self.found_closed(idle);
                }
            }
            if left > 0 {
                continue;
            }
            self.is_swept.store(false, Ordering::SeqCst);
            // One may have come in between, when nobody swept for it.
            let (_, left) = self.pool.remove(|_| false);
            if left == 0 || self.is_swept.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// A request waits on a fresh connection: closes what is idle, or else the
    /// connection that becomes idle next.
    pub(crate) fn free_a_worker(&self) {
        let (idle, _) = self.pool.remove(|_| true);
        self.worker_needed.store(idle.is_empty(), Ordering::Relaxed);
    }

    /// This instance gets no more requests: ends what would never end.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
        drop(self.pool.remove(|_| true));
    }

    /// Waits until [`Upstream::retire`].
    pub(crate) async fn retired(self: Arc<Self>) {
        let mut retired = self.retired.subscribe();
        let _ = retired.wait_for(|retired| *retired).await;
    }
}

#[cfg(test)]
mod tests;
