//! What must hold whenever a request passes, and whenever the answer to one that may
//! have written goes back: the right to write, kept by somebody else.
//!
//! The gate asks at both moments, so that a process which was paused in between sends
//! no answer for what it may not have written any more.

use std::future::Future;
use std::pin::Pin;

/// The answer of [`Precondition::establish`], to wait for.
pub type Established<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Asked for each request: see [`Gate::set_precondition`](crate::Gate::set_precondition).
pub trait Precondition: Send + Sync + 'static {
    /// Whether it holds now. Must not block, and is fast: it is on every request's way.
    fn holds(&self) -> bool;

    /// Makes it hold, if that can be done; false if it cannot, or not now. Takes a few
    /// seconds at most.
    fn establish(&self) -> Established<'_>;
}
