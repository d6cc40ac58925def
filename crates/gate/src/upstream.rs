//! The app as one generation of it listens: connections, kept and fresh.
//!
//! A connection has no task of its own: whoever waits on it drives it, in the
//! task of the client's connection. That spares two wake-ups across threads
//! for every request. A kept connection is not driven at all; whether the app
//! has closed it shows when it is looked at next.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
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

use crate::body::{Outgoing, Progress};
use crate::server::this_thread;

/// The app is on this machine: a connect that takes longer is a stuck app.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Threads with kept connections of their own; further ones share.
const SHARES: usize = 16;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// By thread, see [`this_thread`]: a connection wakes the thread it was
    /// made on.
    idle: [Mutex<Vec<Connection>>; SHARES],
    idle_max: usize,
    /// Set when this generation of the app is about to be stopped: endless
    /// responses and tunnels end.
    retired: watch::Sender<bool>,
}

/// A connection to the app.
pub(crate) struct Connection {
    sender: SendRequest<Outgoing>,
    /// `None` once it has ended.
    driver: Option<Driver>,
    /// Of the request it carries.
    pub(crate) upload: Arc<Progress>,
    /// It has carried a request before, so the app may be closing it just now.
    pub(crate) reused: bool,
}

impl Connection {
    /// Moves bytes both ways, as far as they go now.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(context).is_ready()
        {
            // How it ended shows in the response, or in its absence.
            self.driver = None;
        }
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        self.upload = Arc::clone(request.body().progress());
        let mut response = std::pin::pin!(self.sender.try_send_request(request));
        poll_fn(|context| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(context).is_ready()
            {
                self.driver = None;
            }
            response.as_mut().poll(context)
        })
        .await
    }

    /// Drives it to its end in a task of its own, as an upgrade needs.
    pub(crate) fn let_go(self) {
        if let Some(driver) = self.driver {
            tokio::spawn(async move {
                let _ = driver.await;
            });
        }
    }

    /// Looks whether it can carry a request now.
    async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            let ready = matches!(self.sender.poll_ready(context), Poll::Ready(Ok(())));
            Poll::Ready(ready && self.driver.is_some())
        })
        .await
    }
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr, idle_max: usize) -> Self {
        Self {
            address,
            idle: Default::default(),
            idle_max,
            retired: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        let [first, ..] = &self.idle;
        let mine = self.idle.get(this_thread() % SHARES).unwrap_or(first);
        mine.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A connection nothing was sent on yet. What changes state goes here: a
    /// kept one that the app closes just now would leave it unknown whether
    /// the request was seen.
    pub(crate) async fn fresh(&self) -> io::Result<Connection> {
        let stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(self.address)).await??;
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
    /// that was answered before it had sent all is of no more use.
    pub(crate) fn keep(&self, mut connection: Connection) {
        let done = connection.upload.is_whole();
        if !done || connection.driver.is_none() || *self.retired.borrow() {
            return;
        }
        connection.reused = true;
        let mut idle = self.lock();
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }

    /// This generation gets no more requests: ends what would never end.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
        for share in &self.idle {
            share.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Waits until [`Upstream::retire`].
    pub(crate) async fn retired(self: Arc<Self>) {
        let mut retired = self.retired.subscribe();
        let _ = retired.wait_for(|retired| *retired).await;
    }
}
