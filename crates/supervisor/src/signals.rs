//! What this process is asked to do from outside.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A wish of whoever runs us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM, SIGINT or SIGHUP.
    Stop,
    /// SIGUSR2.
    Restart,
}

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    restart: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            restart: signal(SignalKind::user_defined2())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hang_up.recv() => Request::Stop,
            _ = self.restart.recv() => Request::Restart,
        }
    }

    /// The next wish to stop; wishes to restart are past caring.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
