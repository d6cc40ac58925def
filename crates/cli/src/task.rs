//! A verb that takes its time: on a runtime, and ended by a signal.

use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;

/// For threads that still read or write a file at the end.
const LAST: Duration = Duration::from_secs(2);

/// Does `work`, unless a signal ends it: what it has begun is then removed.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            name = asked_to_stop()? => Err(Failure::Error(anyhow!(
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

/// From now on signals do not end the process; this returns with the first.
pub(crate) fn asked_to_stop() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
        }
    })
}
