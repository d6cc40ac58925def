//! The app as one generation of it listens: connections, kept and fresh.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::body::Outgoing;

/// The app is on this machine: a connect that takes longer is a stuck app.
const CONNECT_TIME: Duration = Duration::from_secs(5);

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Outgoing>>>,
    idle_max: usize,
    /// Set when this generation of the app is about to be stopped: endless
    /// responses and tunnels end.
    retired: watch::Sender<bool>,
}

/// A connection on which one request can be sent.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Outgoing>,
    /// It has carried a request before, so the app may be closing it just now.
    pub(crate) reused: bool,
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr, idle_max: usize) -> Self {
        Self {
            address,
            idle: Mutex::default(),
            idle_max,
            retired: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SendRequest<Outgoing>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection kept from an earlier request, else a fresh one.
    pub(crate) async fn kept_or_fresh(&self) -> io::Result<Connection> {
        loop {
            let Some(mut sender) = self.lock().pop() else {
                return self.fresh().await;
            };
            if sender.ready().await.is_ok() {
                return Ok(Connection {
                    sender,
                    reused: true,
                });
            }
        }
    }

    /// A connection nothing was sent on yet. What changes state goes here: a
    /// kept one that the app closes just now would leave it unknown whether
    /// the request was seen.
    pub(crate) async fn fresh(&self) -> io::Result<Connection> {
        let stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its failure reaches whoever waits for the response.
            let _ = connection.with_upgrades().await;
        });
        Ok(Connection {
            sender,
            reused: false,
        })
    }

    /// Takes a connection back after its response was read to the end.
    pub(crate) fn keep(&self, sender: SendRequest<Outgoing>) {
        if sender.is_closed() || *self.retired.borrow() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < self.idle_max {
            idle.push(sender);
        }
    }

    /// This generation gets no more requests: ends what would never end.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
        self.lock().clear();
    }

    /// Waits until [`Upstream::retire`].
    pub(crate) async fn retired(self: Arc<Self>) {
        let mut retired = self.retired.subscribe();
        let _ = retired.wait_for(|retired| *retired).await;
    }
}
