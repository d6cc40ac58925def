//! A guarded migration as a program runs it, from the lock to the verdict: what `monolite run` and
//! `monolite migrate -- COMMAND` have in common.
//!
//! [`enter`], [`recover`] and [`begin`] come before the command, and are ended by `stop`; [`run`]
//! comes with the command, and whatever happens ends with a verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, spawn_blocking};

use crate::active::Active;
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::host::Host;
use crate::options::{Interrupted, Options};
use crate::rollback::Rollback;
use crate::verdict::Verdict;

/// A command that has ended, and all that it had started.
#[derive(Debug)]
pub struct Finished<S> {
    /// How it ended, in the caller's terms.
    pub status: S,
    /// Whether it did what it was meant to. One that was asked to end did not, whatever it says.
    pub succeeded: bool,
    /// Processes that it had left running, and that were ended for the judgement, in words.
    pub left_running: Vec<String>,
}

/// A guarded migration that has ended.
#[derive(Debug)]
pub struct Migrated<S> {
    /// How the command ended.
    pub status: S,
    /// Whether the command did what it was meant to.
    pub succeeded: bool,
    /// What became of the databases.
    pub verdict: Verdict,
    /// How many databases there were that could be lost.
    pub databases: usize,
    /// How long the command took.
    pub took: Duration,
}

impl<S> Migrated<S> {
    /// Whether the migration counts as done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.succeeded && matches!(self.verdict, Verdict::Accepted { .. })
    }
}

/// Waits until no other migration runs on the volume; `None` if `stop` came first. See
/// [`Guard::enter`].
///
/// # Errors
/// See [`Guard::enter`].
pub async fn enter(
    host: Arc<dyn Host>,
    command: &str,
    stop: impl Future<Output = ()>,
) -> Result<Option<Guard>> {
    let (of, command) = (Arc::clone(&host), command.to_owned());
    until(&*host, stop, move || Guard::enter(of, &command), |_| Ok(())).await
}

/// Does away with a migration that was interrupted; no guard if `stop` came first. What was done by
/// then is answered all the same. See [`Guard::recover`].
///
/// # Errors
/// See [`Guard::recover`].
pub async fn recover(
    guard: Guard,
    how: Interrupted,
    stop: impl Future<Output = ()>,
) -> Result<(Option<Guard>, Option<Rollback>)> {
    let host = Arc::clone(&guard.volume.host);
    let mut work = spawn_blocking(move || {
        let rollback = guard.recover(how)?;
        Ok((guard, rollback))
    });
    let recovered = tokio::select! {
        recovered = &mut work => {
            let (guard, rollback) = recovered.map_err(panicked)??;
            return Ok((Some(guard), rollback));
        }
        () = stop => {
            host.cancel().cancel();
            work.await.map_err(panicked)?
        }
    };
    match recovered {
        Ok((_, rollback)) => Ok((None, rollback)),
        Err(Error::Cancelled) => Ok((None, None)),
        Err(error) => Err(error),
    }
}

/// Takes the snapshots; `None` if `stop` came first, and then nothing has begun. See
/// [`Guard::begin`].
///
/// # Errors
/// See [`Guard::begin`].
pub async fn begin(
    guard: Guard,
    options: Options,
    stop: impl Future<Output = ()>,
) -> Result<Option<Active>> {
    let host = Arc::clone(&guard.volume.host);
    until(&*host, stop, move || guard.begin(options), Active::abandon).await
}

/// Has `command` run the command to its end, and to that of all that it has started; then judges
/// what it did, and rolls it back if need be.
///
/// # Errors
/// The command could not be started: nothing has happened then. Or see [`Active::finish`].
pub async fn run<S, E: From<Error>>(
    active: Active,
    command: impl AsyncFnOnce() -> Result<Finished<S>, E>,
) -> Result<Migrated<S>, E> {
    let databases = active.databases();
    let since = Instant::now();
    let finished = match command().await {
        Ok(finished) => finished,
        Err(error) => {
            blocking(move || active.abandon()).await?;
            return Err(error);
        }
    };
    let took = since.elapsed();
    if !finished.left_running.is_empty() {
        active.volume.warn(format!(
            "what the command had left running was ended, since its work is judged now: {}",
            finished.left_running.join(", ")
        ));
    }
    let succeeded = finished.succeeded;
    let verdict = blocking(move || active.finish(succeeded)).await?;
    Ok(Migrated {
        status: finished.status,
        succeeded,
        verdict,
        databases,
        took,
    })
}

/// Does `work` on a thread of its own. If `stop` comes first, what waits is cancelled, and what was
/// done a moment too late is undone.
async fn until<T: Send + 'static>(
    host: &dyn Host,
    stop: impl Future<Output = ()>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    undo: impl FnOnce(T) -> Result<()> + Send + 'static,
) -> Result<Option<T>> {
    let mut work = spawn_blocking(work);
    let done = tokio::select! {
        done = &mut work => return done.map_err(panicked)?.map(Some),
        () = stop => {
            host.cancel().cancel();
            work.await.map_err(panicked)?
        }
    };
    match done {
        Ok(done) => blocking(move || undo(done)).await?,
        Err(Error::Cancelled) => {}
        Err(error) => return Err(error),
    }
    Ok(None)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.map_err(panicked)?
}

fn panicked(error: JoinError) -> Error {
    let path = std::path::Path::new("the volume");
    Error::file("guard", path, std::io::Error::other(error))
}
