//! How a handler says that it did not succeed.

use std::time::Duration;

use crate::new_job::millis;

/// What a handler returns instead of a result. Any error becomes one by `?`,
/// and means: try again after the usual pause.
///
/// ```
/// use monolite_jobs::Failure;
/// use std::time::Duration;
///
/// async fn charge(card: &str) -> Result<(), Failure> {
///     if card.is_empty() {
///         return Err(Failure::discard("there is no card to charge"));
///     }
///     let _amount: u32 = "12".parse()?;
///     Err(Failure::snooze(Duration::from_secs(60)))
/// }
/// # let _ = charge("");
/// ```
#[derive(Debug)]
pub struct Failure {
    pub(super) error: String,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    BackOff,
    RetryIn(i64),
    Discard,
    Snooze(i64),
}

impl Failure {
    /// Failed; is tried again after the usual pause.
    pub fn retry(error: impl std::fmt::Display) -> Self {
        Self::new(error, Then::BackOff)
    }

    /// Failed; is tried again after this pause.
    pub fn retry_in(pause: Duration, error: impl std::fmt::Display) -> Self {
        Self::new(error, Then::RetryIn(millis(pause)))
    }

    /// Failed for good: dead at once, whatever attempts are left.
    pub fn discard(error: impl std::fmt::Display) -> Self {
        Self::new(error, Then::Discard)
    }

    /// Not yet: run it again later. Does not count as an attempt.
    pub fn snooze(pause: Duration) -> Self {
        Self::new("", Then::Snooze(millis(pause)))
    }

    fn new(error: impl std::fmt::Display, then: Then) -> Self {
        let error = error.to_string();
        Self { error, then }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// With what caused it, and what caused that.
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::retry(text)
    }
}
