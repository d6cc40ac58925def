//! Waits for a future from a plain thread, without a runtime.

use std::future::Future;
use std::time::Instant;

use monolite_store::park;

/// Runs `future` on this thread, sleeping while it waits; gives up at
/// `deadline`, if there is one.
pub(crate) fn block_on<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    match deadline {
        None => Some(park::block_on(future)),
        Some(deadline) => park::block_on_until(future, deadline),
    }
}
