//! A verb that takes its time: on a runtime, and ended by a signal.

use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::Failure;

/// For threads that still read or write a file at the end.
const LAST: Duration = Duration::from_secs(2);

/// Does `work`, unless a signal ends it: what it has begun is then removed.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            result = work => result,
            name = signals.next() => Err(Failure::Error(anyhow!(
                "ended by {name}; nothing was left half done"
            ))),
        }
    });
    runtime.shutdown_timeout(LAST);
    result
}

pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(4))
        .enable_all()
        .build()
}

/// A signal within this time after the first is the same one, sent twice: `timeout`,
/// `npm` and others signal their child and then its whole group.
const ECHO_TIME: Duration = Duration::from_millis(500);

/// From now on signals do not end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None`: ignored since before the start, as by `nohup`, and so it stays.
    hang_up: Option<Signal>,
    last: Option<Instant>,
}

impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let hang_up = SignalKind::hangup();
        let is_ignored = monolite_platform::process::is_ignored(hang_up.as_raw_value());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: (!is_ignored).then(|| signal(hang_up)).transpose()?,
            last: None,
        })
    }

    /// Returns with the next one that is no echo.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            let hang_up = async {
                match &mut self.hang_up {
                    Some(signal) => drop(signal.recv().await),
                    None => std::future::pending().await,
                }
            };
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                () = hang_up => "SIGHUP",
            };
            if self.last.is_none_or(|last| last.elapsed() >= ECHO_TIME) {
                self.last = Some(Instant::now());
                return name;
            }
        }
    }
}

/// From now on signals do not end the process; this returns with the first.
pub(crate) fn asked_to_stop() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut signals = Signals::listen()?;
    Ok(async move { signals.next().await })
}
