//! What this process is asked to do from outside.

use std::io;
use std::time::{Duration, Instant};

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
    stopped: Option<Instant>,
}

/// A second wish to stop this soon is the first one, told twice: a wrapper and
/// the terminal both pass it on.
const ECHO: Duration = Duration::from_millis(500);

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            restart: signal(SignalKind::user_defined2())?,
            stopped: None,
        })
    }

    pub(crate) async fn next(&mut self) -> Request {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hang_up.recv() => {}
                _ = self.restart.recv() => return Request::Restart,
            }
            if self.stopped.is_none_or(|at| at.elapsed() >= ECHO) {
                self.stopped = Some(Instant::now());
                return Request::Stop;
            }
        }
    }

    /// The next wish to stop; wishes to restart are past caring.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
