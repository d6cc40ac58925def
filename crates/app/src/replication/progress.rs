//! Writes the progress of a restore into the log.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monolite_replica::Progress;

/// Time between two log lines.
const INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Logged {
    database: String,
    done: AtomicU64,
    /// The step, its bytes, and when the last line about it was written.
    step: Mutex<(&'static str, Option<u64>, Instant)>,
}

impl Logged {
    pub(super) fn new(database: &str) -> Self {
        Self {
            database: database.into(),
            done: AtomicU64::new(0),
            step: Mutex::new(("", None, Instant::now())),
        }
    }
}

impl Progress for Logged {
    fn begin(&self, step: &'static str, total: Option<u64>) {
        let mut now = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        (now.0, now.1) = (step, total);
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, bytes: u64) {
        let done = bytes + self.done.fetch_add(bytes, Ordering::Relaxed);
        // Another thread writes a line right now.
        let Ok(mut step) = self.step.try_lock() else {
            return;
        };
        if step.2.elapsed() < INTERVAL {
            return;
        }
        step.2 = Instant::now();
        let mib = |bytes: u64| bytes >> 20;
        tracing::info!(
            database = self.database,
            mib = mib(done),
            of_mib = step.1.map(mib),
            "{}",
            step.0
        );
    }
}
