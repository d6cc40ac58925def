//! How often, and how long, the same is tried again.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::error::StorageError;

/// When a request that failed for a passing reason is tried again.
///
/// The pause before the n-th further try is random between 0 and `first` × 2ⁿ,
/// but at most `longest`: those who failed together do not come back together.
/// It ends with `attempts` tries, or when `total` has passed, whichever is
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest first pause. 100 ms.
    pub first: Duration,
    /// The longest pause there is. 10 s.
    pub longest: Duration,
    /// Tries in all. 8.
    pub attempts: u32,
    /// After this, no further try is begun. A minute.
    pub total: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            attempts: 8,
            total: Duration::from_secs(60),
        }
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// It would fail again.
    Permanent(StorageError),
    /// It may go next time. The provider's words.
    Transient(String),
}

impl From<StorageError> for AttemptError {
    fn from(error: StorageError) -> Self {
        Self::Permanent(error)
    }
}

/// The tries of one thing.
#[derive(Debug)]
pub(super) struct Tries {
    policy: RetryPolicy,
    started: Instant,
    done: u32,
}

impl Tries {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            started: Instant::now(),
            done: 0,
        }
    }

    /// After a failure: the pause before the next try, unless it was the last.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let policy = &self.policy;
        let power = 1_u32.checked_shl(self.done).unwrap_or(u32::MAX);
        let most = policy.first.saturating_mul(power).min(policy.longest);
        let pause = most.mul_f64(fastrand::f64());
        self.done += 1;
        let over = self.done >= policy.attempts || self.started.elapsed() + pause >= policy.total;
        (!over).then_some(pause)
    }

    /// Forgets the failures so far, since there was progress.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.policy);
    }

    pub(super) fn error(&self, doing: &'static str, name: String, answer: String) -> StorageError {
        StorageError::Unavailable {
            doing,
            name,
            attempts: self.done,
            elapsed: self.started.elapsed(),
            answer,
        }
    }
}

/// Tries something until it goes, or cannot go, or was tried enough.
pub(super) async fn retry<T, F: Future<Output = Result<T, AttemptError>>>(
    policy: RetryPolicy,
    doing: &'static str,
    name: impl Fn() -> String,
    attempt: impl Fn() -> F,
) -> Result<T, StorageError> {
    let mut tries = Tries::new(policy);
    loop {
        let answer = match attempt().await {
            Ok(done) => return Ok(done),
            Err(AttemptError::Permanent(error)) => return Err(error),
            Err(AttemptError::Transient(answer)) => answer,
        };
        match tries.pause() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(tries.error(doing, name(), answer)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy {
            attempts,
            ..RetryPolicy::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_and_what_lasts_is_not() {
        let tried = Cell::new(0);
        let done = retry(policy(3), "put", String::new, async || {
            tried.set(tried.get() + 1);
            match tried.get() {
                3 => Ok(7),
                _ => Err(AttemptError::Transient("503".into())),
            }
        });
        assert_eq!(done.await.unwrap(), 7);
        let lasting = retry(policy(3), "put", String::new, async || {
            tried.set(tried.get() + 1);
            let error = StorageError::setting("a", "b");
            Err::<(), _>(error.into())
        });
        assert_eq!(lasting.await.unwrap_err().to_string(), "a: b");
        assert_eq!(tried.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_bounded_by_number_and_by_time() {
        let start = Instant::now();
        let failed = retry(
            policy(8),
            "put",
            || "s3://b".into(),
            async || Err::<(), _>(AttemptError::Transient("503 SlowDown".into())),
        );
        let error = failed.await.unwrap_err();
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(
            text.starts_with("cannot put s3://b now, tried 8 times"),
            "{text}"
        );
        assert!(text.ends_with("503 SlowDown"), "{text}");
        // 100 ms, 200 ms, … 6.4 s at most, and then it ends.
        assert!(start.elapsed() <= Duration::from_millis(12_700));

        let start = Instant::now();
        let failed = retry(policy(u32::MAX), "put", String::new, async || {
            Err::<(), _>(AttemptError::Transient("503".into()))
        });
        assert!(failed.await.is_err());
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn pauses_are_random_and_grow_to_the_longest() {
        let longest = |n| {
            let pauses = (0..200).map(|_| {
                let mut tries = Tries::new(policy(u32::MAX));
                tries.done = n;
                tries.pause().unwrap()
            });
            pauses.max().unwrap()
        };
        for (n, most) in [(0, 100), (3, 800), (7, 10_000), (40, 10_000)] {
            let most = Duration::from_millis(most);
            assert!(longest(n) <= most, "{n}");
            assert!(longest(n) > most.mul_f64(0.8), "{n}");
        }
    }
}
