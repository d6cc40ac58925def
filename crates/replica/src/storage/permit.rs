//! The right to write, asked for before each try of a write.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::error::Result;

/// How long a write to a local disk takes at most, for a permit.
pub(super) const LOCAL_WRITE_MAX: Duration = Duration::from_secs(1);

/// Asked before each try of each write, so that nobody writes who must not.
///
/// A [`Lease`](super::Lease) is one.
pub trait Permit: Send + Sync {
    /// Returns when a write may begin that takes at most `within`.
    ///
    /// # Errors
    /// It may not: the write fails with this.
    fn permit(&self, within: Duration) -> Permission<'_>;
}

/// What [`Permit::permit`] returns.
pub type Permission<'a> = BoxFuture<'a, Result<()>>;

/// Asks `permit`, if there is one.
pub(super) async fn permitted(permit: Option<&dyn Permit>, within: Duration) -> Result<()> {
    match permit {
        Some(permit) => permit.permit(within).await,
        None => Ok(()),
    }
}
