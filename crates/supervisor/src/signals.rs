//! What this process is asked to do from outside.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A request of whoever runs this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM, SIGINT, SIGHUP or SIGQUIT; as PID 1 SIGWINCH, too, since images of Apache name it
    /// as their stop signal.
    Stop,
    /// SIGUSR2.
    Restart,
}

pub(crate) type Sender = mpsc::UnboundedSender<Request>;

pub(crate) struct Signals {
    requests: mpsc::UnboundedReceiver<Request>,
    /// When the last request to stop came.
    stopped: Option<Instant>,
}

/// A second request to stop within this time is the same one, sent twice: a wrapper and the
/// terminal both pass it on.
const ECHO_TIME: Duration = Duration::from_millis(500);

impl Signals {
    /// Handles the signals of this process from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // One that is started to outlive its terminal, as by `nohup`, does.
        let hang_up = SignalKind::hangup();
        let is_ignored = monolite_platform::process::is_ignored(hang_up.as_raw_value());
        let mut hang_up = (!is_ignored).then(|| signal(hang_up)).transpose()?;
        let mut quit = signal(SignalKind::quit())?;
        let mut window_change = signal(SignalKind::window_change())?;
        let mut restart = signal(SignalKind::user_defined2())?;
        let mut unused = signal(SignalKind::user_defined1())?;
        let is_init = std::process::id() == 1;
        let (sender, signals) = Self::channel();
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    _ = terminate.recv() => Request::Stop,
                    _ = interrupt.recv() => Request::Stop,
                    () = received(&mut hang_up) => Request::Stop,
                    _ = quit.recv() => Request::Stop,
                    _ = window_change.recv() => match is_init {
                        true => Request::Stop,
                        // A terminal was resized.
                        false => continue,
                    },
                    _ = unused.recv() => {
                        tracing::info!("SIGUSR1 does nothing; SIGUSR2 restarts the app, SIGTERM stops");
                        continue;
                    }
                    _ = restart.recv() => Request::Restart,
                };
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Ok(signals)
    }

    /// Requests that come from the sender.
    pub(crate) fn channel() -> (Sender, Self) {
        let (sender, requests) = mpsc::unbounded_channel();
        let stopped = None;
        (sender, Self { requests, stopped })
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Request {
        loop {
            match self.requests.recv().await {
                Some(Request::Restart) => return Request::Restart,
                Some(Request::Stop) => {
                    if self.stopped.is_none_or(|at| at.elapsed() >= ECHO_TIME) {
                        self.stopped = Some(Instant::now());
                        return Request::Stop;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// The next request to stop; those to restart come too late.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}

/// Returns with the next signal, if it is handled.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_echo_of_a_stop_is_none() {
        let (sender, mut signals) = Signals::channel();
        let is_pending = async |signals: &mut Signals| {
            let next = tokio::time::timeout(Duration::ZERO, signals.next());
            next.await.is_err()
        };
        sender.send(Request::Stop).unwrap();
        sender.send(Request::Stop).unwrap();
        assert_eq!(signals.next().await, Request::Stop);
        assert!(is_pending(&mut signals).await);
        tokio::time::advance(ECHO_TIME).await;
        sender.send(Request::Restart).unwrap();
        sender.send(Request::Stop).unwrap();
        signals.stop().await;
        assert!(is_pending(&mut signals).await);
    }
}
