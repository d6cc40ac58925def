//! One instance of the app, from its start to its stop: connections to it, kept
//! and fresh.
//!
//! A connection has no task of its own: whoever waits on it drives it, in the
//! task of the client's connection. That saves two wake-ups across threads
//! for every request. A kept connection is not driven at all; whether the app
//! has closed it shows when it is tried next.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::request_body::{RequestBody, Upload};

/// The app is on this machine: a connect that takes longer is a stuck app.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Pools of kept connections, one a thread; from the seventeenth thread on,
/// threads share.
const POOLS: usize = 16;

thread_local! {
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread use the kept connections of pool `number`, modulo
/// [`POOLS`]. Threads that never call this use the first.
pub(crate) fn use_pool(number: usize) {
    POOL.set(number);
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

pub(crate) struct Upstream {
    address: SocketAddr,
    pub(crate) activity: Activity,
    /// By thread, see [`use_pool`]: a connection wakes the thread it was made
    /// on.
    idle: [Mutex<Vec<Connection>>; POOLS],
    /// Most connections in one pool.
    idle_max: usize,
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

/// A connection to the app.
pub(crate) struct Connection {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended.
    driver: Option<Driver>,
    /// Of the request it carries.
    upload: Arc<Upload>,
    /// It has carried a request before, so the app may be closing it now.
    pub(crate) reused: bool,
}

impl Connection {
    /// Moves bytes both ways, as far as they go now.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, context);
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.upload = Arc::clone(request.body().upload());
        let mut response = std::pin::pin!(self.sender.try_send_request(request));
        poll_fn(|context| {
            drive(&mut self.driver, context);
            response.as_mut().poll(context)
        })
        .await
    }

    /// Drives it to its end in a task of its own, as an upgrade needs.
    pub(crate) fn drive_in_background(self) {
        if let Some(driver) = self.driver {
            tokio::spawn(async move {
                let _ = driver.await;
            });
        }
    }

    /// True if it can carry a request now.
    async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            let ready = matches!(self.sender.poll_ready(context), Poll::Ready(Ok(())));
            Poll::Ready(ready && self.driver.is_some())
        })
        .await
    }
}

/// Apart from [`Connection`], whose sender may be borrowed meanwhile.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if let Some(running) = driver
        && running.as_mut().poll(context).is_ready()
    {
        // How it ended shows in the response, or in its absence.
        *driver = None;
    }
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr, idle_max: usize) -> Self {
        Self {
            address,
            activity: Activity::default(),
            idle: Default::default(),
            idle_max,
            retired: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        let [first, ..] = &self.idle;
        let pool = self.idle.get(POOL.get() % POOLS).unwrap_or(first);
        pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection kept from an earlier request, else a fresh one.
    pub(crate) async fn kept_or_fresh(&self) -> io::Result<Connection> {
        loop {
            // Not in the loop's head: the lock would last through the await.
            let kept = self.lock().pop();
            let Some(mut kept) = kept else {
                return self.fresh().await;
            };
            if kept.is_usable().await {
                return Ok(kept);
            }
        }
    }

    /// A connection on which nothing was sent yet. What changes state needs
    /// one: if the app closes a kept one at that moment, nobody knows whether
    /// it has seen the request.
    pub(crate) async fn fresh(&self) -> io::Result<Connection> {
        let stream =
            tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Connection {
            sender,
            driver: Some(Box::pin(driver.with_upgrades())),
            upload: Arc::default(),
            reused: false,
        })
    }

    /// Takes a connection back after its response was read to the end. One
    /// that was answered before it had sent all of its request is dropped.
    pub(crate) fn keep(&self, mut connection: Connection) {
        if !connection.upload.is_complete() || connection.driver.is_none() || *self.retired.borrow()
        {
            return;
        }
        connection.reused = true;
        let mut idle = self.lock();
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }

    /// This instance gets no more requests: ends what would never end.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
        for pool in &self.idle {
            pool.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Waits until [`Upstream::retire`].
    pub(crate) async fn retired(self: Arc<Self>) {
        let mut retired = self.retired.subscribe();
        let _ = retired.wait_for(|retired| *retired).await;
    }
}
